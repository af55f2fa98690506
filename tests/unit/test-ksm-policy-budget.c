/*
 * Test how much CPU time ksmtuned grants each engine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib.h>

#include "policy-budget.h"

/* Busy engines share by weight; each that is not could be one of them. */
static void test_weights(void)
{
    KsmtunedShare shares[] = {
        { .weight = 3, .used_permille = 100 },
        { .weight = 1, .used_permille = 10 },
        { .weight = 4, .used_permille = 9 },
        { .weight = 1, .used_permille = 0 },
    };

    ksmtuned_policy_budget(shares, G_N_ELEMENTS(shares), 800);
    g_assert_cmpuint(shares[0].granted_permille, ==, 600);
    g_assert_cmpuint(shares[1].granted_permille, ==, 200);
    g_assert_cmpuint(shares[2].granted_permille, ==, 400);
    g_assert_cmpuint(shares[3].granted_permille, ==, 160);
}

/* One that uses up what little it is granted is busy. */
static void test_starved(void)
{
    KsmtunedShare shares[] = {
        { .weight = 1, .used_permille = 3, .granted_permille = 6 },
        { .weight = 1, .used_permille = 2, .granted_permille = 6 },
        { .weight = 1, .used_permille = 0 },
    };

    ksmtuned_policy_budget(shares, G_N_ELEMENTS(shares), 100);
    g_assert_cmpuint(shares[0].granted_permille, ==, 100);
    g_assert_cmpuint(shares[1].granted_permille, ==, 50);
    g_assert_cmpuint(shares[2].granted_permille, ==, 50);
}

/* Nobody is granted nothing, or more than a CPU. */
static void test_bounds(void)
{
    KsmtunedShare shares[] = {
        { .weight = 1000000, .used_permille = 100 },
        { .weight = 0.01, .used_permille = 100 },
    };

    ksmtuned_policy_budget(shares, G_N_ELEMENTS(shares), 10000);
    g_assert_cmpuint(shares[0].granted_permille, ==, 1000);
    g_assert_cmpuint(shares[1].granted_permille, ==, 1);
    ksmtuned_policy_budget(shares, 0, 1000);
    ksmtuned_policy_budget(shares, 2, UINT32_MAX);
    g_assert_cmpuint(shares[0].granted_permille, ==, 1000);
}

static void test_no_limit(void)
{
    KsmtunedShare shares[] = {
        { .weight = 1, .used_permille = 1000, .granted_permille = 1 },
        { .weight = 9, .used_permille = 1000, .granted_permille = 1 },
    };

    ksmtuned_policy_budget(shares, G_N_ELEMENTS(shares), 0);
    g_assert_cmpuint(shares[0].granted_permille, ==, 1000);
    g_assert_cmpuint(shares[1].granted_permille, ==, 1000);
}

/* Whatever they do: all that are busy together never get more. */
static void test_sum(void)
{
    unsigned round;

    for (round = 0; round < 10000; round++) {
        KsmtunedShare shares[32];
        uint32_t total = g_test_rand_int_range(100, 5000);
        uint64_t sum = 0;
        unsigned i;

        for (i = 0; i < G_N_ELEMENTS(shares); i++) {
            shares[i] = (KsmtunedShare) {
                .weight = g_test_rand_double_range(0.01, 100),
                .used_permille = g_test_rand_int_range(
                    KSMTUNED_BUDGET_BUSY_PERMILLE, 1001),
            };
        }
        ksmtuned_policy_budget(shares, G_N_ELEMENTS(shares), total);
        for (i = 0; i < G_N_ELEMENTS(shares); i++) {
            sum += shares[i].granted_permille;
        }
        /* Those who would get next to nothing get 1. */
        g_assert_cmpuint(sum, <=, total + G_N_ELEMENTS(shares));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ksm-policy-budget/weights", test_weights);
    g_test_add_func("/ksm-policy-budget/starved", test_starved);
    g_test_add_func("/ksm-policy-budget/bounds", test_bounds);
    g_test_add_func("/ksm-policy-budget/no-limit", test_no_limit);
    g_test_add_func("/ksm-policy-budget/sum", test_sum);
    return g_test_run();
}
