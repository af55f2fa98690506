/*
 * Files of shell assignments, as in /etc/default and /etc/sysconfig
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_ASSIGNMENTS_H
#define KSM_ASSIGNMENTS_H

#include <glib.h>
#include <stdbool.h>

/* Gets KEY=VALUE of @line, unquoted; "" is a value, too. */
typedef void KsmAssign(const char *key, const char *value, unsigned line,
                       void *opaque);
/* Gets a @line, as it is, that assigns nothing, and what is wrong with it. */
typedef void KsmNoAssignment(const char *text, unsigned line,
                             const char *reason, void *opaque);

/*
 * Read such a file the way a shell that sources it would: comments, quotes,
 * "export", several assignments in a line.  Nothing is run and no variable
 * expanded: a value that has "$" or "`" outside of single quotes is no
 * assignment.  False, with the reason in @error, if @path can't be read or is
 * no text; a file that isn't there is G_FILE_ERROR_NOENT.
 */
bool ksm_assignments_read(const char *path, KsmAssign *assign,
                          KsmNoAssignment *no_assignment, void *opaque,
                          GError **error);

/* The same with @text instead of what a file holds. */
void ksm_assignments_parse(const char *text, KsmAssign *assign,
                           KsmNoAssignment *no_assignment, void *opaque);

#endif
