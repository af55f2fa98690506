/*
 * Text that can't drive a terminal
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_PRINTABLE_H
#define KSMCTL_PRINTABLE_H

#include <glib.h>
#include <stdarg.h>

/*
 * @text for a terminal: what is no printable character of the locale becomes
 * \xHH for each of its bytes, and a backslash two.  The caller frees it.
 */
char *ksmctl_printable(const char *text);

/* A line of @program on stderr that is so. */
void ksmctl_complain(const char *program, const char *format, va_list ap)
    G_GNUC_PRINTF(2, 0);

#endif
