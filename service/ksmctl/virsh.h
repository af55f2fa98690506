/*
 * libvirt, by its program virsh
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_VIRSH_H
#define KSMCTL_VIRSH_H

#include <glib.h>
#include <stdbool.h>

/*
 * Run virsh with @arguments, which end with NULL, at @uri, or at its default
 * if that is NULL.  It reads @input, or nothing if that is NULL.  NULL: it
 * failed; @error has what it said.  Else its output, which the caller frees.
 */
char *ksmctl_virsh(const char *uri, const char *const *arguments,
                   const char *input, GError **error);

#endif
