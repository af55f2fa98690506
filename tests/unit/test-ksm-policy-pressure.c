/*
 * Test of how hard ksmd works when memory is short
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib.h>

#include "policy-pressure.h"

#define GIB     (INT64_C(1) << 20)

/* A reserve of 2 GiB. */
static const KsmtunedClassicSettings settings = {
    .sleep_msec = 10, .npages_min = 100, .npages_max = 1100,
    .thres_coef = 20, .thres_const = 2048,
};

static const KsmtunedPressureSettings pressure_settings = {
    .classic = &settings, .release_after_ms = 1000,
};

static KsmtunedPace decide(KsmtunedPressurePolicy *state, int64_t now_ms,
                           int64_t available_kib, int64_t stall)
{
    const KsmtunedPressureReadings readings = {
        .now_ms = now_ms, .total_kib = 10 * GIB,
        .available_kib = available_kib, .stall = stall,
    };

    return ksmtuned_policy_pressure(state, &pressure_settings, &readings);
}

static void test_rest(void)
{
    KsmtunedPressurePolicy state = { 0 };

    g_assert_false(decide(&state, 0, 2 * GIB, 0).run);
    g_assert_false(decide(&state, 1, 2 * GIB,
                          KSMTUNED_PRESSURE_STALL - 1).run);
}

static void test_harder(void)
{
    static const struct {
        int64_t available_kib, stall, pages;
    } cases[] = {
        { 2 * GIB - 1, 0, 100 },
        { 2 * GIB - GIB / 2, 0, 600 },
        { GIB, 0, 1100 },
        { 0, 0, 1100 },
        /* Stalls count, whatever is available; the worse of both decides. */
        { 9 * GIB, KSMTUNED_PRESSURE_STALL_FULL / 2, 600 },
        { 9 * GIB, KSMTUNED_PRESSURE_STALL_FULL, 1100 },
        { 9 * GIB, 10000, 1100 },
        { 2 * GIB - GIB / 2, KSMTUNED_PRESSURE_STALL, 600 },
        { 2 * GIB - 1, KSMTUNED_PRESSURE_STALL_FULL / 2, 600 },
    };
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        KsmtunedPressurePolicy state = { 0 };
        KsmtunedPace pace = decide(&state, 0, cases[i].available_kib,
                                   cases[i].stall);

        g_assert_true(pace.run);
        g_assert_cmpint(pace.pages_to_scan, ==, cases[i].pages);
        /* Of a host with less than 16 GiB. */
        g_assert_cmpint(pace.sleep_millisecs, ==, 16);
    }
}

/* It goes on gently until memory has been plentiful for a minute. */
static void test_relief(void)
{
    KsmtunedPressurePolicy state = { 0 };
    int64_t plenty_kib = 2 * GIB * KSMTUNED_PRESSURE_PLENTY / 100;
    int64_t ms = KSMTUNED_PRESSURE_PLENTY_MS;
    KsmtunedPace pace;

    g_assert_true(decide(&state, 1000, GIB, 0).run);
    pace = decide(&state, 1000 + ms, plenty_kib - 1, 0);
    g_assert_true(pace.run);
    g_assert_cmpint(pace.pages_to_scan, ==, 100);
    g_assert_true(decide(&state, 1000 + 2 * ms - 1, plenty_kib, 0).run);
    g_assert_false(decide(&state, 1000 + 2 * ms, plenty_kib, 0).run);
    /* And is not woken by less than a shortage. */
    g_assert_false(decide(&state, 1001 + 2 * ms, 2 * GIB, 0).run);
    g_assert_true(decide(&state, 1002 + 2 * ms, 2 * GIB - 1, 0).run);
}

static bool releases(KsmtunedPressurePolicy *state, int64_t now_ms,
                     int64_t available_kib, int64_t merged_kib, int64_t stall)
{
    const KsmtunedPressureReadings readings = {
        .now_ms = now_ms, .total_kib = 10 * GIB, .stall = stall,
        .available_kib = available_kib, .merged_kib = merged_kib,
    };

    ksmtuned_policy_pressure(state, &pressure_settings, &readings);
    return state->released;
}

/* Pages are given back after a while of much memory, and not for ever. */
static void test_release(void)
{
    KsmtunedPressurePolicy state = { 0 };

    g_assert_false(releases(&state, 5000, 8 * GIB, GIB, 0));
    g_assert_false(releases(&state, 5999, 8 * GIB, GIB, 0));
    g_assert_true(releases(&state, 6000, 8 * GIB, GIB, 0));
    /* It takes what it takes, and that is no reason to merge again. */
    g_assert_true(releases(&state, 6001, 7 * GIB, 0, 0));
    g_assert_true(releases(&state, 6002, 3 * GIB, 0, 0));
    g_assert_false(releases(&state, 6003, 3 * GIB - 1, 0, 0));
    g_assert_false(releases(&state, 6004, 10 * GIB, 0, 0));
    g_assert_true(releases(&state, 7003, 10 * GIB, 0, 0));
    g_assert_false(releases(&state, 7004, 10 * GIB, 0,
                            KSMTUNED_PRESSURE_STALL));
    /* Not if too little is left then. */
    g_assert_false(releases(&state, 9000, 5 * GIB, GIB + 1, 0));
    g_assert_false(releases(&state, 19000, 5 * GIB, GIB + 1, 0));
    g_assert_false(releases(&state, 19001, 5 * GIB, GIB, 0));
    g_assert_true(releases(&state, 20000, 5 * GIB, GIB, 0));
}

static void test_no_release(void)
{
    const KsmtunedPressureSettings never = { .classic = &settings };
    KsmtunedPressurePolicy state = { 0 };
    KsmtunedPressureReadings readings = {
        .total_kib = 10 * GIB, .available_kib = 10 * GIB,
    };
    int i;

    for (i = 0; i < 3; i++) {
        readings.now_ms += G_MAXINT32;
        ksmtuned_policy_pressure(&state, &never, &readings);
        g_assert_false(state.released);
    }
}

/* Settings that make little sense do no harm. */
static void test_limits(void)
{
    KsmtunedClassicSettings odd = settings;
    KsmtunedPressureSettings pressure = pressure_settings;
    KsmtunedPressurePolicy state = { 0 };
    KsmtunedPressureReadings readings = {
        .total_kib = 1, .available_kib = 0, .stall = 0,
    };

    pressure.classic = &odd;
    odd.npages_min = 2000;
    odd.thres_coef = 0;
    odd.thres_const = 0;
    g_assert_false(ksmtuned_policy_pressure(&state, &pressure, &readings)
                   .run);
    readings.stall = G_MAXINT64 / 200;
    g_assert_cmpint(ksmtuned_policy_pressure(&state, &pressure, &readings)
                    .pages_to_scan, ==, 1100);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ksm-policy/pressure/rest", test_rest);
    g_test_add_func("/ksm-policy/pressure/harder", test_harder);
    g_test_add_func("/ksm-policy/pressure/relief", test_relief);
    g_test_add_func("/ksm-policy/pressure/release", test_release);
    g_test_add_func("/ksm-policy/pressure/no-release", test_no_release);
    g_test_add_func("/ksm-policy/pressure/limits", test_limits);
    return g_test_run();
}
