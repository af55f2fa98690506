/*
 * What the host has merged, at one moment
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_SNAPSHOT_H
#define KSM_SNAPSHOT_H

#include "guests.h"
#include "host/mounts.h"
#include "host/sysfs.h"

/* Measures from one snapshot to the next: ksmd's CPU time, and engines. */
typedef struct KsmMeter {
    const char *proc_root;
    pid_t ksmd;                 /* 0: it can't be seen */
    bool running;               /* cpu_ns and at_us are set */
    uint64_t cpu_ns;
    int64_t at_us;
    KsmEngines *engines;        /* the latest */
} KsmMeter;

/* As of now, at once. */
void ksm_meter_init(KsmMeter *meter, const KsmHost *host);
/*
 * For rates in the first snapshot, too, this takes a quarter of a second where
 * ksmd can be seen, and 1.5 s at most where there are engines: until there is
 * news of them, or there has been none for that long.
 */
void ksm_meter_start(KsmMeter *meter, const KsmHost *host);
void ksm_meter_clear(KsmMeter *meter);

typedef struct KsmSnapshot {
    KsmFigure run;
    KsmFigure saved_bytes;      /* by KSM, in all of the host */
    KsmFigure profit_bytes;     /* that, less what KSM itself needs */
    KsmFigure max_kernel_pages; /* of the kernel */
    KsmFigure ksmd_cpu_ns;      /* since boot */
    bool percent_known;
    double ksmd_percent;        /* of a core, since the snapshot before */
    GPtrArray *guests;          /* of KsmGuest */
    const KsmEngines *engines; /* of the meter */
    GPtrArray *mounts;          /* of KsmMount */
} KsmSnapshot;

/* It ends before @meter takes another one. */
void ksm_snapshot_take(KsmSnapshot *snapshot, const KsmHost *host,
                       KsmMeter *meter);
void ksm_snapshot_clear(KsmSnapshot *snapshot);

#endif
