/*
 * What the host has merged, at one moment
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_SNAPSHOT_H
#define KSMCTL_SNAPSHOT_H

#include "command.h"
#include "host/guests.h"
#include "host/mounts.h"
#include "host/sysfs.h"

/* Measures ksmd's CPU time from one snapshot to the next. */
typedef struct KsmctlMeter {
    char *schedstat;            /* NULL: ksmd can't be seen */
    bool running;               /* the rest is set */
    uint64_t cpu_ns;
    int64_t at_us;
} KsmctlMeter;

/* Takes a quarter of a second where ksmd can be seen: the first snapshot's. */
void ksmctl_meter_start(KsmctlMeter *meter, const KsmctlHost *host);
void ksmctl_meter_clear(KsmctlMeter *meter);

typedef struct KsmctlSnapshot {
    KsmFigure run;
    KsmFigure saved_bytes;      /* by KSM, in all of the host */
    KsmFigure profit_bytes;     /* that, less what KSM itself needs */
    KsmFigure max_kernel_pages; /* of the kernel */
    KsmFigure ksmd_cpu_ns;      /* since boot */
    bool percent_known;
    double ksmd_percent;        /* of a core, since the snapshot before */
    GPtrArray *guests;          /* of KsmGuest */
    GPtrArray *mounts;          /* of KsmMount */
} KsmctlSnapshot;

void ksmctl_snapshot_take(KsmctlSnapshot *snapshot, const KsmctlHost *host,
                          KsmctlMeter *meter);
void ksmctl_snapshot_clear(KsmctlSnapshot *snapshot);

/* Figures of a guest and of a mount, in bytes. */
KsmFigure ksmctl_guest_resident(const KsmGuest *guest);
KsmFigure ksmctl_guest_saved(const KsmGuest *guest);
KsmFigure ksmctl_guest_profit(const KsmGuest *guest);
KsmFigure ksmctl_mount_saved(const KsmMount *mount);
/* @pages in bytes. */
KsmFigure ksmctl_bytes(KsmFigure pages);

#endif
