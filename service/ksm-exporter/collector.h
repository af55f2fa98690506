/*
 * What a host tells, collected when somebody asks
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef EXPORTER_COLLECTOR_H
#define EXPORTER_COLLECTOR_H

#include "exposition.h"
#include "host/host.h"

typedef struct ExporterCollector ExporterCollector;

/* @host must outlive it. */
ExporterCollector *exporter_collector_new(const KsmHost *host);
void exporter_collector_free(ExporterCollector *collector);

/*
 * All metrics in @format, as they were shortly ago: within a second where that
 * is quick.  The caller unrefs it.
 */
GBytes *exporter_collector_text(ExporterCollector *collector,
                                ExporterFormat format);

#endif
