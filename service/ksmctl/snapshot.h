/*
 * What the host has merged, at one moment
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_SNAPSHOT_H
#define KSMCTL_SNAPSHOT_H

#include "guest.h"
#include "host/mounts.h"
#include "host/sysfs.h"

/* Measures from one snapshot to the next: ksmd's CPU time, and engines. */
typedef struct KsmctlMeter {
    char *schedstat;            /* NULL: ksmd can't be seen */
    bool running;               /* cpu_ns and at_us are set */
    uint64_t cpu_ns;
    int64_t at_us;
    KsmctlEngines *engines;     /* the latest */
} KsmctlMeter;

/*
 * For the first snapshot, this takes a quarter of a second where ksmd can be
 * seen, and 1.5 s at most where there are engines: until there is news of
 * them, or there has been none for that long.
 */
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
    GPtrArray *guests;          /* of KsmctlGuest */
    const KsmctlEngines *engines; /* of the meter */
    GPtrArray *mounts;          /* of KsmMount */
} KsmctlSnapshot;

/* It ends before @meter takes another one. */
void ksmctl_snapshot_take(KsmctlSnapshot *snapshot, const KsmctlHost *host,
                          KsmctlMeter *meter);
void ksmctl_snapshot_clear(KsmctlSnapshot *snapshot);

/* In bytes. */
KsmFigure ksmctl_mount_saved(const KsmMount *mount);
/* @pages in bytes. */
KsmFigure ksmctl_bytes(KsmFigure pages);

#endif
