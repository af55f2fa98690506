/*
 * What ksmctl says
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <stdio.h>

#include "message.h"
#include "printable.h"

void ksmctl_error(const char *format, ...)
{
    g_autofree char *text = NULL;
    g_autofree char *shown = NULL;
    va_list ap;

    va_start(ap, format);
    text = g_strdup_vprintf(format, ap);
    va_end(ap);
    shown = ksmctl_printable(text);
    fprintf(stderr, "ksmctl: %s\n", shown);
}

bool ksmctl_flush(void)
{
    if (fflush(stdout) || ferror(stdout)) {
        ksmctl_error("can't write to standard output: %s", g_strerror(errno));
        return false;
    }
    return true;
}
