/*
 * The text that Prometheus reads
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef EXPORTER_EXPOSITION_H
#define EXPORTER_EXPOSITION_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum ExporterFormat {
    EXPORTER_TEXT,              /* version 0.0.4: what all read */
    EXPORTER_OPENMETRICS,       /* version 1.0.0 */
    EXPORTER_FORMATS,
} ExporterFormat;

/* As HTTP says it. */
extern const char *const exporter_content_types[EXPORTER_FORMATS];

typedef enum ExporterType {
    EXPORTER_GAUGE,
    EXPORTER_COUNTER,
    EXPORTER_INFO,              /* 1, with labels to tell something */
} ExporterType;

typedef struct ExporterFamily {
    const char *name;           /* without _total or _info */
    ExporterType type;
    const char *unit;           /* which ends the name; NULL: it has none */
    const char *help;
} ExporterFamily;

typedef struct ExporterLabel {
    const char *name;
    const char *value;          /* of any bytes; NULL: it is left out */
} ExporterLabel;

typedef struct ExporterExposition {
    ExporterFormat format;
    GString *text;
    const ExporterFamily *family;
    bool announced;             /* it had a sample */
} ExporterExposition;

void exporter_exposition_init(ExporterExposition *exposition,
                              ExporterFormat format);
/* What was written; the caller frees it. */
char *exporter_exposition_end(ExporterExposition *exposition);

/* Samples are of @family from now on.  One without samples isn't written. */
void exporter_exposition_begin(ExporterExposition *exposition,
                               const ExporterFamily *family);
/*
 * @value / @divisor, with the @labels, which end with a name that is NULL.
 * @divisor is a power of ten.
 */
void exporter_exposition_sample(ExporterExposition *exposition,
                                const ExporterLabel *labels,
                                int64_t value, int64_t divisor);

#endif
