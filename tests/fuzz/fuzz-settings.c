/*
 * Any ksmtuned.conf, and ksmtuned-domains.conf
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Whatever it says, the settings that come of it are in their ranges, and no
 * decision by them overflows, on the smallest host and on the largest.
 */
#include <glib.h>

#include "fuzz.h"
#include "policy-pressure.h"
#include "rules.h"
#include "settings.h"

/* 1 MiB, and 4 PiB: as much as x86-64 can address with five levels. */
static const int64_t host_kib[] = { 1024, INT64_C(1) << 42 };

static void check_pace(const KsmtunedClassicSettings *settings,
                       KsmtunedPace pace)
{
    if (pace.run) {
        /* One of them, if they cross. */
        g_assert_cmpint(pace.pages_to_scan, >=,
                        MIN(settings->npages_min, settings->npages_max));
        g_assert_cmpint(pace.pages_to_scan, <=,
                        MAX(settings->npages_min, settings->npages_max));
        g_assert_cmpint(pace.sleep_millisecs, >=, 10);
    }
}

static void check_classic(const KsmtunedClassicSettings *settings,
                          int64_t total_kib)
{
    KsmtunedClassicPolicy policy = { 0 };
    int i;

    for (i = 0; i < 4; i++) {
        KsmtunedClassicReadings readings = {
            .total_kib = total_kib,
            .free_kib = i & 1 ? total_kib : 0,
            .committed_kib = i & 2 ? total_kib : 0,
        };

        check_pace(settings,
                   ksmtuned_policy_classic(&policy, settings, &readings));
    }
}

static void check_pressure(const KsmtunedSettings *settings,
                           int64_t total_kib)
{
    const KsmtunedPressureSettings pressure = {
        .classic = &settings->classic,
        .release_after_ms = settings->release_after_s * 1000,
    };
    KsmtunedPressurePolicy policy = { 0 };
    int i;

    for (i = 0; i < 4; i++) {
        KsmtunedPressureReadings readings = {
            .now_ms = i * 1000,
            .total_kib = total_kib,
            .available_kib = i & 1 ? total_kib : 0,
            .stall = i & 2 ? 10000 : 0,
            .merged_kib = i & 2 ? total_kib : 0,
        };

        check_pace(&settings->classic,
                   ksmtuned_policy_pressure(&policy, &pressure, &readings));
    }
}

/* Wrong rules are none. */
static void check_rules(const char *path)
{
    const KsmtunedPeer peer = { .cgroup = (char *)"/a", .label = (char *)"b" };
    g_autoptr(GError) error = NULL;
    KsmtunedRules *rules = ksmtuned_rules_read(path, &error);

    g_assert_true(!rules == !!error);
    if (rules) {
        const KsmtunedRule *rule = ksmtuned_rules_find(rules, &peer);

        g_assert_true(!rule || (rule->name && rule->domain));
        ksmtuned_rules_free(rules);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *path = fuzz_path("ksmtuned.conf");
    KsmtunedSettings settings;
    size_t i;

    fuzz_write("ksmtuned.conf", data, size);
    ksmtuned_settings_read(&settings, path);
    g_assert_cmpint(settings.monitor_interval_s, >=, 1);
    g_assert_cmpint(settings.monitor_interval_s, <=, 86400);
    g_assert_true(!settings.logfile || settings.logfile[0]);
    for (i = 0; i < G_N_ELEMENTS(host_kib); i++) {
        check_classic(&settings.classic, host_kib[i]);
        check_pressure(&settings, host_kib[i]);
    }
    ksmtuned_settings_clear(&settings);
    check_rules(path);
    return 0;
}
