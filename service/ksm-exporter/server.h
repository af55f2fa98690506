/*
 * The HTTP server, in the main loop
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef EXPORTER_SERVER_H
#define EXPORTER_SERVER_H

#include "collector.h"

typedef struct ExporterServer ExporterServer;

/*
 * Serve whoever connects to @fd, which it closes at the end.  @collector must
 * outlive it.  NULL: see @error.
 */
ExporterServer *exporter_server_new(int fd, ExporterCollector *collector,
                                    GError **error);
void exporter_server_free(ExporterServer *server);

#endif
