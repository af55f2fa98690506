/*
 * What metrics have to look like
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <string.h>

#include "metrics-form.h"

/* No character that would drive a terminal, and no quotation mark as it is. */
#define LABEL   "[a-z]+=\"(?:[^\\p{Cc}\\p{Cf}\"\\\\]|\\\\[\\\\\"n])*+\""
#define COMMENT "# (?:HELP|TYPE|UNIT) ksm_\\w+ [ -~]+"
#define SERIES  "ksm_\\w+(?:\\{" LABEL "(?:," LABEL ")*\\})?"
#define VALUE   "-?\\d+(?:\\.\\d+)?"

unsigned fuzz_check_metrics(GBytes *text, ExporterFormat format)
{
    static GRegex *form;
    gsize size;
    const char *data = g_bytes_get_data(text, &size);
    g_autofree char *terminated = g_strndup(data, size);
    g_auto(GStrv) lines = g_strsplit(terminated, "\n", -1);
    g_autoptr(GHashTable) all = g_hash_table_new(g_str_hash, g_str_equal);
    unsigned i, count = g_strv_length(lines);

    if (!form) {
        form = g_regex_new("\\A(?:" COMMENT "|" SERIES " " VALUE ")\\z",
                           G_REGEX_OPTIMIZE, 0, NULL);
    }
    g_assert_cmpuint(strlen(terminated), ==, size);
    g_assert_cmpuint(count, >, 1);
    g_assert_cmpstr(lines[--count], ==, "");
    if (format == EXPORTER_OPENMETRICS) {
        g_assert_cmpstr(lines[--count], ==, "# EOF");
    }
    for (i = 0; i < count; i++) {
        g_assert_true(g_regex_match(form, lines[i], 0, NULL));
        if (lines[i][0] != '#') {
            *strrchr(lines[i], ' ') = '\0';
            g_assert_true(g_hash_table_add(all, lines[i]));
        }
    }
    return count;
}
