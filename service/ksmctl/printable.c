/*
 * Text that can't drive a terminal
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Whoever starts a guest chooses its name.
 */
#include <stdio.h>

#include "printable.h"

/* How many bytes at @text are one character that may be shown; 0: none. */
static size_t printable_bytes(const char *text, gboolean utf8)
{
    gunichar c;

    if (!utf8 || !((unsigned char)*text & 0x80)) {
        return g_ascii_isprint(*text) && *text != '\\';
    }
    c = g_utf8_get_char_validated(text, -1);
    /* Those that turn the direction of text are not printable. */
    if (c == (gunichar)-1 || c == (gunichar)-2 || !g_unichar_isprint(c)) {
        return 0;
    }
    return g_utf8_skip[*(const unsigned char *)text];
}

char *ksmctl_printable(const char *text)
{
    gboolean utf8 = g_get_charset(NULL);
    GString *shown = g_string_new(NULL);

    while (*text) {
        size_t bytes = printable_bytes(text, utf8);

        if (bytes) {
            g_string_append_len(shown, text, bytes);
            text += bytes;
        } else if (*text == '\\') {
            g_string_append(shown, "\\\\");
            text++;
        } else {
            g_string_append_printf(shown, "\\x%02x", (unsigned char)*text);
            text++;
        }
    }
    return g_string_free(shown, FALSE);
}

void ksmctl_complain(const char *program, const char *format, va_list ap)
{
    g_autofree char *text = g_strdup_vprintf(format, ap);
    g_autofree char *shown = ksmctl_printable(text);

    fprintf(stderr, "%s: %s\n", program, shown);
}
