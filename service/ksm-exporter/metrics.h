/*
 * The metrics of a host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef EXPORTER_METRICS_H
#define EXPORTER_METRICS_H

#include "exposition.h"
#include "snapshot/snapshot.h"

typedef struct ExporterSources {
    const KsmHost *host;
    const KsmSnapshot *snapshot;
    int64_t collect_us;         /* what it took to take that */
} ExporterSources;

/* All that @sources know; what they don't is left out. */
void exporter_metrics_write(ExporterExposition *exposition,
                            const ExporterSources *sources);

#endif
