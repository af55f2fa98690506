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
    char *state_path;           /* of ksmd's original settings */
    char *socket_path;          /* unless --socket says otherwise */
} KsmtunedRuntime;

/*
 * Make the directory @path if needed and lock it.  NULL with a reason, which
 * names the other's pid, if another ksmtuned has it.
 */
KsmtunedRuntime *ksmtuned_runtime_open(const char *path, GError **error);
/* Unlocks; the lock file stays, as removing it would race with the next. */
void ksmtuned_runtime_close(KsmtunedRuntime *runtime);

#endif
