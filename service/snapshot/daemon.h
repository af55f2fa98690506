/*
 * What ksmtuned says of itself, in its statistics
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_DAEMON_H
#define KSM_DAEMON_H

#include <json-glib/json-glib.h>

#include "host/sysfs.h"

/* Figures are named as in ksmtuned(8). */
typedef enum KsmDaemonFigure {
    KSM_DAEMON_CLIENTS,
    KSM_DAEMON_INDEX_ENTRIES,
    KSM_DAEMON_INDEX_SHARED,
    KSM_DAEMON_INDEX_BYTES,
    KSM_DAEMON_TWINS_TOLD,
    KSM_DAEMON_CPU_NS,
    KSM_DAEMON_DEMAND_WAITING_PAGES,
    KSM_DAEMON_KSMD_WAKEUPS,
    KSM_DAEMON_DECISIONS,
    KSM_DAEMON_MAX_KERNEL_PAGES,
    KSM_DAEMON_FIGURES,
} KsmDaemonFigure;

/* Ends with NULL. */
extern const char *const ksm_daemon_policies[];

/* What is NULL, or not known, ksmtuned doesn't tell, or it makes no sense. */
typedef struct KsmDaemon {
    const char *policy;         /* in force; of ksm_daemon_policies */
    KsmFigure figures[KSM_DAEMON_FIGURES];
} KsmDaemon;

/* From @stats, the whole file. */
void ksm_daemon_read(KsmDaemon *daemon, JsonObject *stats);

#endif
