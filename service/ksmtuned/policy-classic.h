/*
 * How hard ksmd is to work, by the memory that guests have: ksmtuned's original
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * ksmd runs while guests and a reserve would not fit into memory, or less than
 * the reserve is free; harder in each round in which less than that is free,
 * and a little less hard in every other.
 *
 * A pure function: it reads nothing but its arguments and changes nothing but
 * the state that it is given.
 */
#ifndef KSMTUNED_POLICY_CLASSIC_H
#define KSMTUNED_POLICY_CLASSIC_H

#include <stdbool.h>
#include <stdint.h>

#include "pace.h"

/* Keys of ksmtuned.conf(5), by their names there without KSM_. */
typedef struct KsmtunedClassicSettings {
    int64_t sleep_msec;         /* after each batch, with 16 GiB of memory */
    int64_t npages_boost;       /* more pages in a batch when memory is short */
    int64_t npages_decay;       /* negative: fewer when it is not */
    int64_t npages_min;
    int64_t npages_max;
    int64_t thres_coef;         /* the reserve, in % of memory, */
    int64_t thres_const;        /* but at least so many MiB; KiB if @strict */
    bool strict;                /* decides as the original does, to the bit */
} KsmtunedClassicSettings;

typedef struct KsmtunedClassicReadings {
    int64_t total_kib;          /* more than 0 */
    int64_t free_kib;
    int64_t committed_kib;      /* what guests hold */
} KsmtunedClassicReadings;

/* Carried from one decision to the next; all zero at first. */
typedef struct KsmtunedClassicPolicy {
    int64_t npages;
} KsmtunedClassicPolicy;

KsmtunedPace ksmtuned_policy_classic(KsmtunedClassicPolicy *state,
                                     const KsmtunedClassicSettings *settings,
                                     const KsmtunedClassicReadings *readings);

/* What is to stay free, with @total_kib of memory. */
int64_t
ksmtuned_policy_classic_reserve_kib(const KsmtunedClassicSettings *settings,
                                    int64_t total_kib);
/* How long ksmd sleeps after each batch. */
int64_t
ksmtuned_policy_classic_sleep_ms(const KsmtunedClassicSettings *settings,
                                 int64_t total_kib);

#endif
