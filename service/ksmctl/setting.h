/*
 * Changes of KSM's settings
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_SETTING_H
#define KSMCTL_SETTING_H

#include <glib.h>
#include <stdbool.h>

/*
 * Set @name in the directory @root.  False: it can't be, which was said, with
 * the reason and the way out.
 */
bool ksmctl_set(const char *root, const char *name, const char *value);
/* Say so of what ksm_sysfs_set() could not set. */
void ksmctl_set_failed(const char *root, const char *name,
                       const GError *error);

#endif
