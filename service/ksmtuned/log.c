/*
 * Log lines of ksmtuned
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdio.h>

#include "log.h"

/* Options of the process as a whole, like stderr itself. */
static bool log_debug;

void ksmtuned_log_set_debug(bool debug)
{
    log_debug = debug;
}

void ksmtuned_log(KsmtunedLogLevel level, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    if (level == KSMTUNED_LOG_DEBUG && !log_debug) {
        return;
    }
    va_start(ap, format);
    text = g_strdup_vprintf(format, ap);
    va_end(ap);

    if (g_getenv("JOURNAL_STREAM")) {
        fprintf(stderr, "<%d>%s\n", level, text);
    } else {
        fprintf(stderr, "ksmtuned: %s\n", text);
    }
}
