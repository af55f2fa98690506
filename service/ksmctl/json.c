/*
 * JSON, written piece by piece
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <inttypes.h>

#include "json.h"

void ksmctl_json_init(KsmctlJson *json)
{
    *json = (KsmctlJson) { .text = g_string_new(NULL) };
}

void ksmctl_json_clear(KsmctlJson *json)
{
    g_string_free(json->text, TRUE);
}

static void json_unit(KsmctlJson *json, unsigned unit)
{
    g_string_append_printf(json->text, "\\u%04x", unit);
}

/* Only ASCII: right in each locale, and nothing drives a terminal. */
static void json_character(KsmctlJson *json, gunichar c)
{
    if (c == '"' || c == '\\') {
        g_string_append_c(json->text, '\\');
        g_string_append_c(json->text, c);
    } else if (c >= ' ' && c < 0x7f) {
        g_string_append_c(json->text, c);
    } else if (c < 0x10000) {
        json_unit(json, c);
    } else {
        json_unit(json, 0xd800 + ((c - 0x10000) >> 10));
        json_unit(json, 0xdc00 + ((c - 0x10000) & 0x3ff));
    }
}

static void json_quote(KsmctlJson *json, const char *value)
{
    g_autofree char *valid = g_utf8_make_valid(value, -1);
    const char *p;

    g_string_append_c(json->text, '"');
    for (p = valid; *p; p = g_utf8_next_char(p)) {
        json_character(json, g_utf8_get_char(p));
    }
    g_string_append_c(json->text, '"');
}

static void json_name(KsmctlJson *json, const char *name)
{
    if (json->comma) {
        g_string_append(json->text, ", ");
    }
    json->comma = true;
    if (name) {
        json_quote(json, name);
        g_string_append(json->text, ": ");
    }
}

void ksmctl_json_open(KsmctlJson *json, const char *name, char bracket)
{
    json_name(json, name);
    g_string_append_c(json->text, bracket);
    json->comma = false;
}

void ksmctl_json_close(KsmctlJson *json, char bracket)
{
    g_string_append_c(json->text, bracket);
    json->comma = true;
}

void ksmctl_json_string(KsmctlJson *json, const char *name, const char *value)
{
    json_name(json, name);
    json_quote(json, value);
}

void ksmctl_json_boolean(KsmctlJson *json, const char *name, bool value)
{
    json_name(json, name);
    g_string_append(json->text, value ? "true" : "false");
}

void ksmctl_json_decimal(KsmctlJson *json, const char *name, double value)
{
    char digits[G_ASCII_DTOSTR_BUF_SIZE];

    json_name(json, name);
    g_ascii_formatd(digits, sizeof(digits), "%.2f", value);
    g_string_append(json->text, digits);
}

void ksmctl_json_figure(KsmctlJson *json, const char *name, KsmFigure figure)
{
    if (figure.known) {
        json_name(json, name);
        g_string_append_printf(json->text, "%" PRId64, figure.value);
    }
}
