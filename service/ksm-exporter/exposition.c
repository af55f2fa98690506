/*
 * The text that Prometheus reads
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Its two formats are told apart here only.  In OpenMetrics a family is called
 * without the suffix of its samples, has a unit, and the text an end.
 */
#include <inttypes.h>
#include <string.h>

#include "exposition.h"

/* Whoever starts a guest chooses its name. */
#define LABEL_BYTES_MAX 256

const char *const exporter_content_types[EXPORTER_FORMATS] = {
    [EXPORTER_TEXT] = "text/plain; version=0.0.4; charset=utf-8",
    [EXPORTER_OPENMETRICS] =
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

static const char *const exposition_types[] = {
    [EXPORTER_GAUGE] = "gauge",
    [EXPORTER_COUNTER] = "counter",
    [EXPORTER_INFO] = "info",
};

static const char *const exposition_suffixes[] = {
    [EXPORTER_GAUGE] = "",
    [EXPORTER_COUNTER] = "_total",
    [EXPORTER_INFO] = "_info",
};

void exporter_exposition_init(ExporterExposition *exposition,
                              ExporterFormat format)
{
    *exposition = (ExporterExposition) {
        .format = format,
        .text = g_string_new(NULL),
    };
}

char *exporter_exposition_end(ExporterExposition *exposition)
{
    if (exposition->format == EXPORTER_OPENMETRICS) {
        g_string_append(exposition->text, "# EOF\n");
    }
    return g_string_free(exposition->text, FALSE);
}

void exporter_exposition_begin(ExporterExposition *exposition,
                               const ExporterFamily *family)
{
    exposition->family = family;
    exposition->announced = false;
}

/* There is no type "info" in the older format. */
static void exposition_announce(ExporterExposition *exposition)
{
    const ExporterFamily *family = exposition->family;
    const char *suffix = exposition_suffixes[family->type];
    const char *type = exposition_types[family->type];
    GString *text = exposition->text;

    if (exposition->format == EXPORTER_OPENMETRICS) {
        suffix = "";
    } else if (family->type == EXPORTER_INFO) {
        type = exposition_types[EXPORTER_GAUGE];
    }
    g_string_append_printf(text, "# HELP %s%s %s\n# TYPE %s%s %s\n",
                           family->name, suffix, family->help,
                           family->name, suffix, type);
    if (family->unit && exposition->format == EXPORTER_OPENMETRICS) {
        g_string_append_printf(text, "# UNIT %s %s\n", family->name,
                               family->unit);
    }
}

static void exposition_character(GString *text, gunichar c)
{
    switch (c) {
    case '\n':
        g_string_append(text, "\\n");
        break;
    case '"':
    case '\\':
        g_string_append_c(text, '\\');
        g_string_append_c(text, c);
        break;
    default:
        /* Others would drive the terminal of who looks at it. */
        g_string_append_unichar(text, g_unichar_isprint(c) ? c : 0xfffd);
        break;
    }
}

static void exposition_label(GString *text, const ExporterLabel *label)
{
    g_autofree char *value = g_utf8_make_valid(
        label->value, strnlen(label->value, LABEL_BYTES_MAX));
    const char *p;

    g_string_append_printf(text, "%s=\"", label->name);
    for (p = value; *p; p = g_utf8_next_char(p)) {
        exposition_character(text, g_utf8_get_char(p));
    }
    g_string_append_c(text, '"');
}

static void exposition_labels(GString *text, const ExporterLabel *label)
{
    char before = '{';

    for (; label->name; label++) {
        if (label->value) {
            g_string_append_c(text, before);
            exposition_label(text, label);
            before = ',';
        }
    }
    if (before == ',') {
        g_string_append_c(text, '}');
    }
}

/* All of its digits: a double has but 15. */
static void exposition_value(GString *text, int64_t value, int64_t divisor)
{
    uint64_t size = value < 0 ? -(uint64_t)value : (uint64_t)value;
    uint64_t rest = size % divisor;

    g_string_append_printf(text, " %s%" PRIu64, value < 0 ? "-" : "",
                           size / divisor);
    if (divisor > 1) {
        g_string_append_c(text, '.');
        while (divisor > 1) {
            divisor /= 10;
            g_string_append_c(text, '0' + rest / divisor);
            rest %= divisor;
        }
    }
    g_string_append_c(text, '\n');
}

void exporter_exposition_sample(ExporterExposition *exposition,
                                const ExporterLabel *labels,
                                int64_t value, int64_t divisor)
{
    if (!exposition->announced) {
        exposition_announce(exposition);
        exposition->announced = true;
    }
    g_string_append_printf(exposition->text, "%s%s", exposition->family->name,
                           exposition_suffixes[exposition->family->type]);
    exposition_labels(exposition->text, labels);
    exposition_value(exposition->text, value, divisor);
}
