/*
 * What a host tells, collected when somebody asks
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All of /proc is gone through each time.  Whoever may connect can ask as often
 * as they like, so what was collected serves all who ask within a second, or
 * within a few times of what it took, on hosts with very many processes.
 */
#include <string.h>

#include "collector.h"
#include "metrics.h"

#define FRESH_US        G_USEC_PER_SEC
#define FRESH_FACTOR    4

struct ExporterCollector {
    const KsmHost *host;
    KsmMeter meter;
    GBytes *texts[EXPORTER_FORMATS]; /* or NULL */
    int64_t fresh_us[EXPORTER_FORMATS]; /* until then they are */
};

ExporterCollector *exporter_collector_new(const KsmHost *host)
{
    ExporterCollector *collector = g_new0(ExporterCollector, 1);

    collector->host = host;
    ksm_meter_init(&collector->meter, host);
    return collector;
}

void exporter_collector_free(ExporterCollector *collector)
{
    int i;

    for (i = 0; i < EXPORTER_FORMATS; i++) {
        g_clear_pointer(&collector->texts[i], g_bytes_unref);
    }
    ksm_meter_clear(&collector->meter);
    g_free(collector);
}

static GBytes *collector_collect(ExporterCollector *collector,
                                 ExporterFormat format)
{
    int64_t begin_us = g_get_monotonic_time();
    ExporterExposition exposition;
    KsmSnapshot snapshot;
    char *text;

    ksm_snapshot_take(&snapshot, collector->host, &collector->meter);
    exporter_exposition_init(&exposition, format);
    exporter_metrics_write(&exposition, &(ExporterSources) {
        .host = collector->host,
        .snapshot = &snapshot,
        .collect_us = g_get_monotonic_time() - begin_us,
    });
    ksm_snapshot_clear(&snapshot);
    text = exporter_exposition_end(&exposition);
    return g_bytes_new_take(text, strlen(text));
}

GBytes *exporter_collector_text(ExporterCollector *collector,
                                ExporterFormat format)
{
    int64_t begin_us = g_get_monotonic_time();

    if (!collector->texts[format] || begin_us >= collector->fresh_us[format]) {
        int64_t end_us;

        g_clear_pointer(&collector->texts[format], g_bytes_unref);
        collector->texts[format] = collector_collect(collector, format);
        end_us = g_get_monotonic_time();
        collector->fresh_us[format] =
            end_us + MAX(FRESH_US, FRESH_FACTOR * (end_us - begin_us));
    }
    return g_bytes_ref(collector->texts[format]);
}
