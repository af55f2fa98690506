/*
 * How much CPU time the engine may use
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "budget.h"

static void fill(KsmBudget *budget, int64_t now_ns)
{
    /* A second of idleness fills any bucket; more could overflow. */
    int64_t elapsed = MIN(now_ns - budget->filled_at_ns,
                          NANOSECONDS_PER_SECOND);

    budget->filled_at_ns = now_ns;
    budget->tokens_ns = MIN(budget->tokens_ns +
                            elapsed * (int64_t)budget->permille / 1000,
                            KSM_SLICE_NS);
}

void ksm_budget_use(KsmBudget *budget, int64_t now_ns, int64_t used_ns)
{
    fill(budget, now_ns);
    budget->tokens_ns -= used_ns;
}

int64_t ksm_budget_delay(KsmBudget *budget, int64_t now_ns)
{
    /* With all of a CPU the bucket is refilled as fast as it is used. */
    fill(budget, now_ns);
    if (budget->tokens_ns >= 0) {
        return 0;
    }
    return -budget->tokens_ns * 1000 / budget->permille;
}
