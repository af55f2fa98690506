/*
 * The runtime directory: one ksmtuned at a time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMTUNED_RUNTIME_H
#define KSMTUNED_RUNTIME_H

#include <glib.h>

typedef struct KsmtunedRuntime {
    int lock_fd;
    int sysfs_fd;               /* locked, too; -1: there is no such thing */
    char *state_path;           /* of ksmd's original settings */
    char *socket_path;          /* unless --socket says otherwise */
    char *stats_path;           /* unless --stats-file says otherwise */
} KsmtunedRuntime;

/*
 * Make the directory @path if needed and lock it, and the host's KSM at
 * @sysfs_root.  NULL with a reason, which names the other's pid where it is
 * known, if another ksmtuned has one of them.
 */
KsmtunedRuntime *ksmtuned_runtime_open(const char *path,
                                       const char *sysfs_root,
                                       GError **error);
/* Unlocks; the lock file stays, as removing it would race with the next. */
void ksmtuned_runtime_close(KsmtunedRuntime *runtime);

#endif
