/*
 * Test the engine's CPU budget
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "../../accel/ksm/budget.h"

/* No second sees more than its share and one slice, and work gets its share. */
static void test_share(void)
{
    static const unsigned permilles[] = { 1, 10, 100, 500, 1000 };

    for (int i = 0; i < ARRAY_SIZE(permilles); i++) {
        KsmBudget budget = { .permille = permilles[i] };
        const int64_t share = NANOSECONDS_PER_SECOND *
                              permilles[i] / 1000;
        int64_t now = 0, used = 0, at[20000], cost[20000];
        int n = 0;

        while (now < 3 * NANOSECONDS_PER_SECOND && n < ARRAY_SIZE(at)) {
            int64_t delay = ksm_budget_delay(&budget, now);
            int64_t slice = g_test_rand_int_range(1, KSM_SLICE_NS);

            if (delay) {
                now += delay;
                continue;
            }
            at[n] = now;
            cost[n++] = slice;
            now += slice;
            used += slice;
            ksm_budget_use(&budget, now, slice);
        }
        g_assert_cmpint(used, >=, now / 1000 * permilles[i] - KSM_SLICE_NS);
        for (int a = 0, b = 0, sum = 0; a < n; a++) {
            while (b < n && at[b] + cost[b] <=
                            at[a] + NANOSECONDS_PER_SECOND) {
                sum += cost[b++];
            }
            g_assert_cmpint(sum, <=, share + 2 * KSM_SLICE_NS);
            sum -= cost[a];
        }
    }
}

/* Idleness is not saved up for a burst. */
static void test_no_burst(void)
{
    KsmBudget budget = { .permille = 100 };
    int64_t now = 3600 * NANOSECONDS_PER_SECOND;

    g_assert_cmpint(ksm_budget_delay(&budget, now), ==, 0);
    ksm_budget_use(&budget, now, 3 * KSM_SLICE_NS);
    g_assert_cmpint(ksm_budget_delay(&budget, now), ==, 20 * KSM_SLICE_NS);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ksm/budget/share", test_share);
    g_test_add_func("/ksm/budget/no_burst", test_no_burst);
    return g_test_run();
}
