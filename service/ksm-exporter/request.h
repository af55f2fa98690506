/*
 * A request and its answer, as far as they are not HTTP's syntax
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef EXPORTER_REQUEST_H
#define EXPORTER_REQUEST_H

#include "collector.h"

typedef struct ExporterRequest {
    const char *method;
    const char *path;           /* without what follows a "?" */
    const char *accept;         /* the header; or NULL */
} ExporterRequest;

typedef struct ExporterAnswer {
    unsigned status;
    const char *content_type;
    const char *allow;          /* the header; or NULL */
    GBytes *body;               /* of HEAD, too; the caller unrefs it */
} ExporterAnswer;

ExporterAnswer exporter_request_answer(const ExporterRequest *request,
                                       ExporterCollector *collector);

#endif
