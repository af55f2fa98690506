/*
 * Figures of ksmtuned, as JSON
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * They are written to a file at most once a second, less often where there are
 * very many engines, and only after something changed: an idle ksmtuned has no
 * timer.
 */
#ifndef KSMTUNED_STATS_H
#define KSMTUNED_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "domain.h"

typedef struct KsmtunedStats KsmtunedStats;

typedef struct KsmtunedFigures {
    unsigned clients;
    KsmtunedDomainFigures index;
    uint64_t demand_waiting_pages;
    uint64_t ksmd_wakeups;
    const char *policy;         /* in force */
    uint64_t decisions;         /* of policies */
    int64_t max_kernel_pages;   /* that may be shared; 0: no limit */
    bool ksmd_running;
    char *engines;              /* JSON array; freed by who asks for figures */
} KsmtunedFigures;

typedef void KsmtunedStatsCollect(KsmtunedFigures *figures, void *opaque);

/* @path may be NULL: no file.  @collect fills in all figures. */
KsmtunedStats *ksmtuned_stats_new(const char *path,
                                  KsmtunedStatsCollect *collect, void *opaque);
/* Writes the last figures. */
void ksmtuned_stats_free(KsmtunedStats *stats);

/* Something changed. */
void ksmtuned_stats_touch(KsmtunedStats *stats);
/* The figures now as one line; the caller frees it. */
char *ksmtuned_stats_json(KsmtunedStats *stats);

#endif
