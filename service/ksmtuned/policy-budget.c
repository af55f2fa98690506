/*
 * How much CPU time each engine may use
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib.h>
#include <stdbool.h>

#include "ksm-wire.h"
#include "policy-budget.h"

static bool share_is_busy(const KsmtunedShare *share)
{
    return share->used_permille >= KSMTUNED_BUDGET_BUSY_PERMILLE ||
           (share->granted_permille &&
            share->used_permille * 2 >= share->granted_permille);
}

void ksmtuned_policy_budget(KsmtunedShare *shares, size_t n,
                            uint32_t total_permille)
{
    double busy = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        busy += share_is_busy(&shares[i]) ? shares[i].weight : 0;
    }
    for (i = 0; i < n; i++) {
        KsmtunedShare *share = &shares[i];
        double among = busy + (share_is_busy(share) ? 0 : share->weight);

        share->granted_permille =
            total_permille ? CLAMP(total_permille * share->weight / among, 1,
                                   KSM_BUDGET_CPU_MAX) : KSM_BUDGET_CPU_MAX;
    }
}
