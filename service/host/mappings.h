/*
 * The files that a process has mapped, from /proc/PID/maps
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_MAPPINGS_H
#define KSM_MAPPINGS_H

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/*
 * The text of that file, which the caller frees.  NULL: it can't be read, as
 * the process has ended or is somebody else's.
 */
char *ksm_mappings_read(const char *proc_root, pid_t pid);

/* Whether one of @mappings is of a file on @device, "MAJOR:MINOR". */
bool ksm_mappings_have_device(const char *mappings, const char *device);

#endif
