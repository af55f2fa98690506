/*
 * How much CPU time the engine may use
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A token bucket: time fills it with CPU time at the permitted rate, work
 * takes from it, and no work begins while it is empty.  It holds one slice at
 * most, so that no second sees more than its share and that slice.
 */
#ifndef ACCEL_KSM_BUDGET_H
#define ACCEL_KSM_BUDGET_H

/* No slice of work takes longer: the IOThread may serve disks too. */
#define KSM_SLICE_NS        (1 * SCALE_MS)

typedef struct KsmBudget {
    unsigned permille;      /* of one CPU */
    int64_t tokens_ns;      /* CPU time that may be used; negative: debt */
    int64_t filled_at_ns;   /* any monotonic clock */
} KsmBudget;

/* CPU time @used_ns was used until @now_ns. */
void ksm_budget_use(KsmBudget *budget, int64_t now_ns, int64_t used_ns);
/* How long to wait until work may begin: 0 for now. */
int64_t ksm_budget_delay(KsmBudget *budget, int64_t now_ns);

#endif
