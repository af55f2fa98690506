/*
 * A change of KSM's settings that takes long, and that is watched
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_GUARDED_WRITE_H
#define KSMCTL_GUARDED_WRITE_H

#include <glib.h>
#include <stdbool.h>

/* Asked now and then, in the thread of who wants the change. */
typedef bool KsmctlGuard(void *opaque);

/*
 * Set @name in the directory @root, as long as @may_go_on says true, or to the
 * end if it is NULL.  False: @interrupted, or the reason is in @error.
 */
bool ksmctl_set_guarded(const char *root, const char *name, const char *value,
                        KsmctlGuard *may_go_on, void *opaque,
                        bool *interrupted, GError **error);

#endif
