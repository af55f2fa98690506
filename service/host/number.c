/*
 * Numbers that people write
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib.h>

#include "host/number.h"

bool ksm_number_parse(const char *text, int64_t least, int64_t most,
                      int64_t *number)
{
    bool hexadecimal = g_str_has_prefix(text, "0x");
    int64_t parsed;

    /* No sign may follow the prefix. */
    if (hexadecimal && !g_ascii_isxdigit(text[2])) {
        return false;
    }
    if (!g_ascii_string_to_signed(hexadecimal ? text + 2 : text,
                                  hexadecimal ? 16 : 10, least, most, &parsed,
                                  NULL)) {
        return false;
    }
    *number = parsed;
    return true;
}
