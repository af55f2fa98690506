/*
 * What ksmctl and ksm-exporter show of a host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "fuzz.h"
#include "metrics-form.h"
#include "metrics.h"
#include "shown.h"
#include "status.h"

/* In place of stdout; the caller frees @text when it is closed. */
static FILE *shown_begin(char **text, size_t *size)
{
    FILE *terminal = stdout;

    stdout = open_memstream(text, size);
    g_assert_nonnull(stdout);
    return terminal;
}

static void shown_end(FILE *terminal, const char *const *text,
                      const size_t *size)
{
    const char *c;

    fclose(stdout);
    stdout = terminal;
    g_assert_cmpuint(strlen(*text), ==, *size);
    for (c = *text; *c; c++) {
        g_assert_true(g_ascii_isprint(*c) || *c == '\n');
    }
}

static void check_status(const KsmSnapshot *snapshot,
                         const KsmHost *host,
                         void (*print)(const KsmSnapshot *,
                                       const KsmHost *), bool json)
{
    char *text;
    size_t size;
    FILE *terminal = shown_begin(&text, &size);

    print(snapshot, host);
    shown_end(terminal, (const char *const *)&text, &size);
    if (json) {
        fuzz_check_json(text);
    }
    free(text);
}

static void check_domains(KsmHost *host, bool json)
{
    const KsmctlCommand domains = { .name = "domains", .arguments = "" };
    char *arguments[] = { (char *)"domains", (char *)"--json", NULL };
    char *text;
    size_t size;
    FILE *terminal = shown_begin(&text, &size);

    g_assert_cmpint(ksmctl_domains(&domains, host, json ? 2 : 1, arguments),
                    ==, EXIT_SUCCESS);
    shown_end(terminal, (const char *const *)&text, &size);
    if (json) {
        fuzz_check_json(text);
    }
    free(text);
}

static void check_metrics(const KsmSnapshot *snapshot, const KsmHost *host,
                          ExporterFormat format)
{
    const ExporterSources sources = { .host = host, .snapshot = snapshot };
    ExporterExposition exposition;
    g_autoptr(GBytes) text = NULL;
    char *all;

    exporter_exposition_init(&exposition, format);
    exporter_metrics_write(&exposition, &sources);
    all = exporter_exposition_end(&exposition);
    text = g_bytes_new_take(all, strlen(all));
    fuzz_check_metrics(text, format);
}

void fuzz_check_shown(KsmHost *host, KsmMeter *meter)
{
    KsmSnapshot snapshot = { 0 };

    ksm_snapshot_take(&snapshot, host, meter);
    check_status(&snapshot, host, ksmctl_status_json, true);
    check_status(&snapshot, host, ksmctl_status_text, false);
    check_metrics(&snapshot, host, EXPORTER_TEXT);
    check_metrics(&snapshot, host, EXPORTER_OPENMETRICS);
    ksm_snapshot_clear(&snapshot);
    check_domains(host, true);
    check_domains(host, false);
}
