/*
 * What an engine reports of itself
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <inttypes.h>

#include "report.h"

static const char *const report_states[KSM_REPORT_STATE__MAX] = {
    [KSM_REPORT_RUNNING] = "running",
    [KSM_REPORT_IDLE] = "idle",
    [KSM_REPORT_STOPPED] = "stopped",
    [KSM_REPORT_YIELDED] = "yielded",
};

/* In the order of their bits. */
static const char *const report_backends[] = { "ksmd", "ksmfs", "null" };

static void report_number(GString *json, const char *name, uint64_t number)
{
    g_string_append_printf(json, ", \"%s\": %" PRIu64, name, number);
}

static void report_backends_json(GString *json, uint32_t backends)
{
    const char *comma = "";
    size_t i;

    g_string_append(json, ", \"backends\": [");
    for (i = 0; i < G_N_ELEMENTS(report_backends); i++) {
        if (backends & (1u << i)) {
            g_string_append_printf(json, "%s\"%s\"", comma,
                                   report_backends[i]);
            comma = ", ";
        }
    }
    g_string_append_c(json, ']');
}

/* The engine is another process: its text is not to be trusted. */
static void report_text(GString *json, const char *name, const char *text)
{
    g_string_append_printf(json, ", \"%s\": \"", name);
    for (; *text; text++) {
        g_string_append_c(json, g_ascii_isprint(*text) && *text != '"' &&
                                *text != '\\' ? *text : '?');
    }
    g_string_append_c(json, '"');
}

void ksmtuned_report_json(GString *json, const char *name,
                          const char *domain, pid_t pid, int64_t at_ms,
                          const KsmFrameReport *report)
{
    g_string_append_printf(json, "{\"pid\": %d", (int)pid);
    report_text(json, "name", name);
    report_text(json, "domain", domain);
    report_text(json, "state", report_states[report->state]);
    report_backends_json(json, report->backends);
    report_number(json, "reported_ms", at_ms);
    report_number(json, "ram_bytes", report->ram_bytes);
    report_number(json, "full_scans", report->full_scans);
    report_number(json, "pages_hashed", report->pages_hashed);
    report_number(json, "pages_twins", report->pages_twins);
    report_number(json, "pages_zero", report->pages_zero);
    report_number(json, "pages_marked", report->pages_marked);
    if (report->ksmfs_sharing_pages != KSM_REPORT_UNKNOWN) {
        report_number(json, "ksmfs_sharing_pages",
                      report->ksmfs_sharing_pages);
    }
    report_number(json, "cow_breaks", report->cow_breaks);
    report_number(json, "cpu_ns", report->cpu_ns);
    report_number(json, "metadata_bytes", report->metadata_bytes);
    if (report->limit[0]) {
        report_text(json, "limit", report->limit);
    }
    g_string_append_c(json, '}');
}
