/*
 * Log lines of ksmtuned
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <stdio.h>

#include "log.h"

/* Options of the process as a whole, like stderr itself. */
static bool log_debug;
static const char *log_path;    /* of debug lines */
static bool log_failed;         /* and said so */

void ksmtuned_log_set_debug(bool debug, const char *path)
{
    log_debug = debug;
    log_path = path;
}

/* False: it can't be written. */
static bool log_append(const char *text)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *time = g_date_time_format(now, "%F %T");
    FILE *file = fopen(log_path, "ae");
    bool ok;

    if (!file) {
        return false;
    }
    ok = fprintf(file, "%s: %s\n", time, text) > 0;
    return fclose(file) == 0 && ok;
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

    if (level == KSMTUNED_LOG_DEBUG && log_path) {
        if (log_append(text)) {
            log_failed = false;
            return;
        }
        if (!log_failed) {
            log_failed = true;
            ksmtuned_log(KSMTUNED_LOG_WARNING, "%s: %s: debug lines go to "
                         "where the others go", log_path, g_strerror(errno));
        }
    }
    if (g_getenv("JOURNAL_STREAM")) {
        fprintf(stderr, "<%d>%s\n", level, text);
    } else {
        fprintf(stderr, "ksmtuned: %s\n", text);
    }
}
