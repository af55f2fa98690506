/*
 * Any contents of the files of /proc and /sys that the services read
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Input is, for some of the files below: a byte that says which, two for how
 * much it holds, and that.  The others hold what they hold there.
 */
#include <glib.h>
#include <string.h>

#include "commitment.h"
#include "fuzz.h"
#include "host/ksmd-process.h"
#include "host/memory.h"
#include "ksmd.h"
#include "policy-pressure.h"
#include "shown.h"

#define FILE(name, text)        { name, text, sizeof(text) - 1 }
#define NO_FILE(name)           { name, NULL, 0 }

static const struct {
    const char *name;
    const char *text;
    size_t size;
} host_files[] = {
    FILE("proc/meminfo", "MemTotal: 1000 kB\nMemFree: 10 kB\n"
         "MemAvailable: 20 kB\nSwapTotal: 30 kB\n"),
    FILE("proc/pressure/memory", "some avg10=1.23 avg60=0.00 total=5\n"),
    FILE("proc/50/comm", "ksmd\n"),
    FILE("proc/50/cmdline", ""),
    FILE("proc/50/schedstat", "1000 2000 3\n"),
    FILE("proc/100/cmdline", "qemu-system-x86_64\0-name\0guest=a\0"),
    FILE("proc/100/statm", "1000 500 3\n"),
    FILE("proc/100/ksm_stat", "ksm_rmap_items 1\nksm_zero_pages 2\n"
         "ksm_merging_pages 3\nksm_process_profit 4\n"),
    NO_FILE("proc/100/ksm_merging_pages"),
    FILE("proc/100/maps", "1000-2000 rw-s 00000000 00:32 7 /mnt/ram\n"),
    FILE("proc/self/mountinfo", "1 2 0:50 / /mnt rw - ksmfs none rw\n"),
    FILE("ksm/run", "1\n"),
    FILE("ksm/pages_sharing", "10\n"),
    FILE("ksm/pages_shared", "5\n"),
    FILE("ksm/ksm_zero_pages", "3\n"),
    FILE("ksm/general_profit", "-100\n"),
    NO_FILE("ksm/max_kernel_pages"),
    FILE("ksm/advisor_mode", "[none] scan-time\n"),
    FILE("ksm/pages_scanned", "1000\n"),
    FILE("ksm/full_scans", "7\n"),
    FILE("ksmfs/0:50/pages_used", "30\n"),
    FILE("ksmfs/0:50/pages_allocated", "20\n"),
    FILE("ksmfs/0:50/pages_sharing", "10\n"),
    FILE("ksmfs/0:50/max_kernel_pages", "0\n"),
    NO_FILE("run/ksmd-settings"),
};

static void host_file_reset(size_t which)
{
    if (host_files[which].text) {
        fuzz_write(host_files[which].name, host_files[which].text,
                   host_files[which].size);
    } else {
        fuzz_remove(host_files[which].name);
    }
}

static void host_make(KsmHost *host)
{
    size_t i;

    host->sysfs_root = fuzz_path("ksm");
    host->ksmfs_root = fuzz_path("ksmfs");
    host->proc_root = fuzz_path("proc");
    host->runtime_dir = fuzz_path("run");
    for (i = 0; i < G_N_ELEMENTS(host_files); i++) {
        host_file_reset(i);
    }
}

/* Returns how much of @data it took. */
static size_t host_file_set(const uint8_t *data, size_t size)
{
    size_t length = MIN((size_t)(data[1] | data[2] << 8), size - 3);

    fuzz_write(host_files[data[0] % G_N_ELEMENTS(host_files)].name, data + 3,
               length);
    return 3 + length;
}

static void check_ksmctl(KsmHost *host)
{
    KsmMeter meter = {
        .proc_root = host->proc_root,
        .ksmd = ksm_ksmd_find(host->proc_root),
        .engines = ksm_engines_read(host),
    };

    fuzz_check_shown(host, &meter);
    ksm_meter_clear(&meter);
}

/* What ksmtuned decides by. */
static void check_policies(const KsmHost *host, const KsmMemory *memory)
{
    const KsmtunedClassicSettings settings = {
        .sleep_msec = 10, .npages_boost = 300, .npages_decay = -50,
        .npages_min = 64, .npages_max = 1250, .thres_coef = 100,
        .thres_const = 2048,
    };
    const KsmtunedPressureSettings pressure_settings = {
        .classic = &settings, .release_after_ms = 1000,
    };
    KsmtunedClassicReadings classic = {
        .total_kib = memory->total_kib,
        .free_kib = memory->unused_kib,
        .committed_kib = ksmtuned_committed_kib(host->proc_root,
                                                host->sysfs_root, false),
    };
    KsmtunedPressureReadings pressure = {
        .total_kib = memory->total_kib,
        .available_kib = memory->available_kib,
    };
    KsmtunedClassicPolicy classic_policy = { 0 };
    KsmtunedPressurePolicy pressure_policy = { 0 };

    g_assert_cmpint(classic.total_kib, >, 0);
    g_assert_cmpint(classic.free_kib, >=, 0);
    g_assert_cmpint(classic.committed_kib, >=, 0);
    ksm_memory_stall(host->proc_root, &pressure.stall);
    g_assert_cmpint(pressure.stall, >=, 0);
    ksmtuned_policy_classic(&classic_policy, &settings, &classic);
    ksmtuned_policy_pressure(&pressure_policy, &pressure_settings, &pressure);
}

static void check_ksmtuned(const KsmHost *host)
{
    g_autofree char *state = g_build_filename(host->runtime_dir,
                                              "ksmd-settings", NULL);
    KsmtunedKsmd *ksmd = ksmtuned_ksmd_new(host->sysfs_root, host->proc_root,
                                           state);
    KsmtunedKsmdReadings readings = { 0 };
    KsmMemory memory;

    if (ksm_memory_read(host->proc_root, &memory, NULL)) {
        check_policies(host, &memory);
    }
    ksmtuned_ksmd_read(ksmd, &readings);
    if (ksmtuned_ksmd_is_changed(ksmd)) {
        ksmtuned_ksmd_restore(ksmd, NULL);
    }
    ksmtuned_ksmd_free(ksmd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static KsmHost host;
    size_t at, i;

    if (!host.sysfs_root) {
        host_make(&host);
    }
    for (at = 0; at + 3 <= size;) {
        at += host_file_set(data + at, size - at);
    }
    check_ksmctl(&host);
    check_ksmtuned(&host);
    for (i = 0; i < G_N_ELEMENTS(host_files); i++) {
        host_file_reset(i);
    }
    return 0;
}
