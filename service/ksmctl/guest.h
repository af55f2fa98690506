/*
 * A guest: what the kernel says of its process, and its engine of itself
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_GUEST_H
#define KSMCTL_GUEST_H

#include "engines.h"
#include "host/guests.h"

typedef struct KsmctlGuest {
    KsmGuest *process;
    const KsmctlEngine *engine; /* NULL: it has none, or no engine is known */
    const char *engine_state;   /* NULL: not known */
} KsmctlGuest;

/*
 * The guests of this host, by pid.  They use @engines.  An engine has one of
 * its own where its process is not seen as one, as in a PID namespace.
 */
GPtrArray *ksmctl_guests_find(const KsmctlHost *host,
                              const KsmctlEngines *engines);

pid_t ksmctl_guest_pid(const KsmctlGuest *guest);
/* As its process is called, else as its engine is; else NULL. */
const char *ksmctl_guest_name(const KsmctlGuest *guest);
/* Why its engine doesn't do all of its job; NULL: it does. */
const char *ksmctl_guest_limit(const KsmctlGuest *guest);

/* In bytes. */
KsmFigure ksmctl_guest_resident(const KsmctlGuest *guest);
KsmFigure ksmctl_guest_ram(const KsmctlGuest *guest);
/* By the kernel's KSM and on ksmfs. */
KsmFigure ksmctl_guest_saved(const KsmctlGuest *guest);
KsmFigure ksmctl_guest_profit(const KsmctlGuest *guest);

KsmctlRate ksmctl_guest_cow_breaks(const KsmctlGuest *guest);
KsmctlRate ksmctl_guest_cpu(const KsmctlGuest *guest);

#endif
