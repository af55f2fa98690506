/*
 * Log lines of ksmtuned
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Lines go to stderr; under systemd each begins with its priority.
 */
#ifndef KSMTUNED_LOG_H
#define KSMTUNED_LOG_H

#include <glib.h>
#include <stdbool.h>

typedef enum KsmtunedLogLevel {
    KSMTUNED_LOG_ERROR = 3,     /* as in syslog(3) */
    KSMTUNED_LOG_WARNING = 4,
    KSMTUNED_LOG_INFO = 6,
    KSMTUNED_LOG_DEBUG = 7,
} KsmtunedLogLevel;

/*
 * @debug: log debug lines, too; off at first.  They go to the end of the file
 * @path instead, each with the time, if it isn't NULL and can be written.  It
 * is opened anew for each: something else may rotate it.
 */
void ksmtuned_log_set_debug(bool debug, const char *path);

void ksmtuned_log(KsmtunedLogLevel level, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

#endif
