/*
 * What ksmctl says
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_MESSAGE_H
#define KSMCTL_MESSAGE_H

#include <glib.h>
#include <stdbool.h>

/* A line on stderr.  What is in it can't drive a terminal. */
void ksmctl_error(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Write stdout.  False, with a message, if it could not take all. */
bool ksmctl_flush(void);

#endif
