/*
 * A request and its answer, as far as they are not HTTP's syntax
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <string.h>

#include "accept.h"
#include "request.h"

#define REQUEST_PATH    "/metrics"

static ExporterAnswer request_refuse(unsigned status, const char *allow,
                                     const char *reason)
{
    return (ExporterAnswer) {
        .status = status,
        .content_type = "text/plain; charset=utf-8",
        .allow = allow,
        .body = g_bytes_new_static(reason, strlen(reason)),
    };
}

ExporterAnswer exporter_request_answer(const ExporterRequest *request,
                                       ExporterCollector *collector)
{
    ExporterFormat format = exporter_accept(request->accept);

    if (strcmp(request->path, REQUEST_PATH)) {
        return request_refuse(404, NULL, "There is nothing here but "
                              REQUEST_PATH ".\n");
    }
    if (strcmp(request->method, "GET") && strcmp(request->method, "HEAD")) {
        return request_refuse(405, "GET, HEAD",
                              "Metrics can be read, by GET.\n");
    }
    return (ExporterAnswer) {
        .status = 200,
        .content_type = exporter_content_types[format],
        .body = exporter_collector_text(collector, format),
    };
}
