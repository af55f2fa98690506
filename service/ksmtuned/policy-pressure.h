/*
 * How hard ksmd is to work, by how short memory is right now
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * ksmd begins when less than the reserve of the classic policy can be had
 * without swapping, or processes wait for memory, and works the harder the
 * shorter memory is: before the host swaps.  It rests again when memory has
 * been plentiful for a while.  Engines give back what is merged when memory has
 * been so plentiful that this leaves much more than the reserve, and merge
 * again well before it is short.
 *
 * A pure function, as the others.
 */
#ifndef KSMTUNED_POLICY_PRESSURE_H
#define KSMTUNED_POLICY_PRESSURE_H

#include "policy-classic.h"

/*
 * Processes waited for memory in so many 1/100 % of the last ten seconds: ksmd
 * begins, and works as hard as it may.
 */
#define KSMTUNED_PRESSURE_STALL         100
#define KSMTUNED_PRESSURE_STALL_FULL    1000
/* Memory is plentiful with so many % of the reserve available, */
#define KSMTUNED_PRESSURE_PLENTY        125
/* for so long. */
#define KSMTUNED_PRESSURE_PLENTY_MS     60000
/* Pages are given back if that leaves so many % of the reserve, */
#define KSMTUNED_PRESSURE_RELEASE       200
/* and merged again when fewer than so many are left. */
#define KSMTUNED_PRESSURE_REMERGE       150
/* Between two decisions, while ksmd works. */
#define KSMTUNED_PRESSURE_TICK_MS       2000
/* And while it rests, at most. */
#define KSMTUNED_PRESSURE_REST_MS       10000

typedef struct KsmtunedPressureReadings {
    int64_t now_ms;             /* monotonic */
    int64_t total_kib;          /* more than 0 */
    int64_t available_kib;
    int64_t stall;              /* in 1/100 %; 0 where it is not known */
    int64_t merged_kib;         /* what it takes to give all back */
} KsmtunedPressureReadings;

/* Carried from one decision to the next; all zero at first. */
typedef struct KsmtunedPressurePolicy {
    bool working;
    int64_t short_ms;           /* when memory was last not plentiful */
    bool released;              /* engines give merged pages back */
    bool decided;               /* not for the first time, so there is: */
    int64_t needed_ms;          /* when that was last out of the question */
} KsmtunedPressurePolicy;

typedef struct KsmtunedPressureSettings {
    const KsmtunedClassicSettings *classic;
    int64_t release_after_ms;   /* of plentiful memory; 0: never */
} KsmtunedPressureSettings;

/* For ksmd; for engines ->released of @state counts. */
KsmtunedPace
ksmtuned_policy_pressure(KsmtunedPressurePolicy *state,
                         const KsmtunedPressureSettings *settings,
                         const KsmtunedPressureReadings *readings);

#endif
