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
    va_list ap;

    va_start(ap, format);
    ksmctl_complain("ksmctl", format, ap);
    va_end(ap);
}

bool ksmctl_flush(void)
{
    if (fflush(stdout) || ferror(stdout)) {
        ksmctl_error("can't write to standard output: %s", g_strerror(errno));
        return false;
    }
    return true;
}
