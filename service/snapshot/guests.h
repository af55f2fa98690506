/*
 * A guest: what the kernel says of its process, and its engine of itself
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_GUESTS_H
#define KSM_GUESTS_H

#include "engines.h"
#include "host/processes.h"

typedef struct KsmGuest {
    KsmProcess *process;
    const KsmEngine *engine; /* NULL: it has none, or no engine is known */
    const char *engine_state;   /* NULL: not known */
} KsmGuest;

/*
 * The guests of this host, by pid.  They use @engines.  An engine has one of
 * its own where its process is not seen as one, as in a PID namespace.
 */
GPtrArray *ksm_guests_find(const KsmHost *host,
                           const KsmEngines *engines);

pid_t ksm_guest_pid(const KsmGuest *guest);
/* As its process is called, else as its engine is; else NULL. */
const char *ksm_guest_name(const KsmGuest *guest);
/* Why its engine doesn't do all of its job; NULL: it does. */
const char *ksm_guest_limit(const KsmGuest *guest);

/* In bytes. */
KsmFigure ksm_guest_resident(const KsmGuest *guest);
KsmFigure ksm_guest_ram(const KsmGuest *guest);
/* By the kernel's KSM and on ksmfs. */
KsmFigure ksm_guest_saved(const KsmGuest *guest);
KsmFigure ksm_guest_profit(const KsmGuest *guest);

KsmRate ksm_guest_cow_breaks(const KsmGuest *guest);
KsmRate ksm_guest_cpu(const KsmGuest *guest);

#endif
