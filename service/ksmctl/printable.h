/*
 * Text that can't drive a terminal
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_PRINTABLE_H
#define KSMCTL_PRINTABLE_H

#include <glib.h>

/*
 * @text for a terminal: what is no printable character of the locale becomes
 * \xHH for each of its bytes, and a backslash two.  The caller frees it.
 */
char *ksmctl_printable(const char *text);

#endif
