/*
 * What the host has merged, at one moment
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "host/ksmd-process.h"
#include "snapshot.h"
#include "stats-file.h"

#define NS_PER_US       1000
/* Over which ksmd's CPU is measured first. */
#define MEASURE_US      250000
/* How long to wait for news of engines, and how often to look. */
#define NEWS_US         1500000
#define NEWS_POLL_US    50000

static KsmFigure meter_read(KsmMeter *meter)
{
    uint64_t cpu_ns = 0;

    meter->running = meter->ksmd &&
                     ksm_ksmd_cpu_ns(meter->proc_root, meter->ksmd, &cpu_ns);
    meter->cpu_ns = cpu_ns;
    meter->at_us = g_get_monotonic_time();
    return (KsmFigure) { meter->running, cpu_ns };
}

static void meter_await_engines(const KsmMeter *meter,
                                const KsmHost *host)
{
    int64_t until_us = g_get_monotonic_time() + NEWS_US;

    while (meter->engines->list->len && g_get_monotonic_time() < until_us &&
           ksm_stats_time(host) == meter->engines->at_us) {
        g_usleep(NEWS_POLL_US);
    }
}

void ksm_meter_init(KsmMeter *meter, const KsmHost *host)
{
    *meter = (KsmMeter) {
        .proc_root = host->proc_root,
        .ksmd = ksm_ksmd_find(host->proc_root),
        .engines = ksm_engines_read(host),
    };
    meter_read(meter);
}

void ksm_meter_start(KsmMeter *meter, const KsmHost *host)
{
    ksm_meter_init(meter, host);
    if (meter->running) {
        g_usleep(MEASURE_US);
    }
    meter_await_engines(meter, host);
}

void ksm_meter_clear(KsmMeter *meter)
{
    ksm_engines_free(meter->engines);
}

static void snapshot_take_cpu(KsmSnapshot *snapshot, KsmMeter *meter)
{
    KsmMeter before = *meter;

    snapshot->ksmd_cpu_ns = meter_read(meter);
    snapshot->percent_known = before.running && meter->running &&
                              meter->at_us > before.at_us;
    if (snapshot->percent_known) {
        double ns = (double)(meter->at_us - before.at_us) * NS_PER_US;

        snapshot->ksmd_percent =
            100.0 * (int64_t)(meter->cpu_ns - before.cpu_ns) / ns;
    }
}

static void snapshot_take_engines(KsmSnapshot *snapshot, KsmMeter *meter,
                                  const KsmHost *host)
{
    KsmEngines *engines = ksm_engines_read(host);

    ksm_engines_measure(engines, meter->engines);
    ksm_engines_free(meter->engines);
    meter->engines = engines;
    snapshot->engines = engines;
}

void ksm_snapshot_take(KsmSnapshot *snapshot, const KsmHost *host,
                       KsmMeter *meter)
{
    const char *root = host->sysfs_root;

    snapshot->run = ksm_sysfs_figure(root, "run");
    snapshot->saved_bytes = ksm_sysfs_saved(root);
    snapshot->profit_bytes = ksm_sysfs_figure(root, "general_profit");
    snapshot->max_kernel_pages = ksm_sysfs_figure(root, "max_kernel_pages");
    snapshot_take_cpu(snapshot, meter);
    snapshot_take_engines(snapshot, meter, host);
    snapshot->guests = ksm_guests_find(host, snapshot->engines);
    snapshot->mounts = ksm_mounts_find(host->ksmfs_root, host->proc_root);
}

void ksm_snapshot_clear(KsmSnapshot *snapshot)
{
    g_clear_pointer(&snapshot->guests, g_ptr_array_unref);
    g_clear_pointer(&snapshot->mounts, g_ptr_array_unref);
}
