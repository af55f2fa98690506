/*
 * What the host has merged, at one moment
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "host/ksmd-cpu.h"
#include "host/memory.h"
#include "snapshot.h"
#include "stats-file.h"

#define NS_PER_US       1000
/* Over which ksmd's CPU is measured first. */
#define MEASURE_US      250000
/* How long to wait for news of engines, and how often to look. */
#define NEWS_US         1500000
#define NEWS_POLL_US    50000

static KsmFigure meter_read(KsmctlMeter *meter)
{
    uint64_t cpu_ns = 0;

    meter->running = meter->schedstat &&
                     ksm_ksmd_cpu_ns(meter->schedstat, &cpu_ns);
    meter->cpu_ns = cpu_ns;
    meter->at_us = g_get_monotonic_time();
    return (KsmFigure) { meter->running, cpu_ns };
}

static void meter_await_engines(const KsmctlMeter *meter,
                                const KsmctlHost *host)
{
    int64_t until_us = g_get_monotonic_time() + NEWS_US;

    while (meter->engines->list->len && g_get_monotonic_time() < until_us &&
           ksmctl_stats_time(host) == meter->engines->at_us) {
        g_usleep(NEWS_POLL_US);
    }
}

void ksmctl_meter_start(KsmctlMeter *meter, const KsmctlHost *host)
{
    *meter = (KsmctlMeter) {
        .schedstat = ksm_ksmd_find_schedstat(host->proc_root),
        .engines = ksmctl_engines_read(host),
    };
    meter_read(meter);
    if (meter->running) {
        g_usleep(MEASURE_US);
    }
    meter_await_engines(meter, host);
}

void ksmctl_meter_clear(KsmctlMeter *meter)
{
    g_free(meter->schedstat);
    ksmctl_engines_free(meter->engines);
}

static void snapshot_take_cpu(KsmctlSnapshot *snapshot, KsmctlMeter *meter)
{
    KsmctlMeter before = *meter;

    snapshot->ksmd_cpu_ns = meter_read(meter);
    snapshot->percent_known = before.running && meter->running &&
                              meter->at_us > before.at_us;
    if (snapshot->percent_known) {
        double ns = (double)(meter->at_us - before.at_us) * NS_PER_US;

        snapshot->ksmd_percent =
            100.0 * (int64_t)(meter->cpu_ns - before.cpu_ns) / ns;
    }
}

static void snapshot_take_engines(KsmctlSnapshot *snapshot, KsmctlMeter *meter,
                                  const KsmctlHost *host)
{
    KsmctlEngines *engines = ksmctl_engines_read(host);

    ksmctl_engines_measure(engines, meter->engines);
    ksmctl_engines_free(meter->engines);
    meter->engines = engines;
    snapshot->engines = engines;
}

KsmFigure ksmctl_bytes(KsmFigure pages)
{
    pages.known = pages.known && !__builtin_mul_overflow(pages.value,
                                                         ksm_page_size(),
                                                         &pages.value);
    return pages;
}

/* Older kernels don't count zero pages apart. */
static KsmFigure saved_bytes(KsmFigure pages, KsmFigure zero_pages)
{
    pages.known = pages.known && !__builtin_add_overflow(pages.value,
                                                         zero_pages.value,
                                                         &pages.value);
    return ksmctl_bytes(pages);
}

void ksmctl_snapshot_take(KsmctlSnapshot *snapshot, const KsmctlHost *host,
                          KsmctlMeter *meter)
{
    const char *root = host->sysfs_root;

    snapshot->run = ksm_sysfs_figure(root, "run");
    snapshot->saved_bytes =
        saved_bytes(ksm_sysfs_figure(root, "pages_sharing"),
                    ksm_sysfs_figure(root, "ksm_zero_pages"));
    snapshot->profit_bytes = ksm_sysfs_figure(root, "general_profit");
    snapshot->max_kernel_pages = ksm_sysfs_figure(root, "max_kernel_pages");
    snapshot_take_cpu(snapshot, meter);
    snapshot_take_engines(snapshot, meter, host);
    snapshot->guests = ksmctl_guests_find(host, snapshot->engines);
    snapshot->mounts = ksm_mounts_find(host->ksmfs_root, host->proc_root);
}

void ksmctl_snapshot_clear(KsmctlSnapshot *snapshot)
{
    g_clear_pointer(&snapshot->guests, g_ptr_array_unref);
    g_clear_pointer(&snapshot->mounts, g_ptr_array_unref);
}

KsmFigure ksmctl_mount_saved(const KsmMount *mount)
{
    return saved_bytes(mount->pages_sharing, mount->ksm_zero_pages);
}
