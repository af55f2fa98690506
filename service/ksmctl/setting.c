/*
 * Changes of KSM's settings
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <string.h>

#include "host/sysfs.h"
#include "message.h"
#include "setting.h"

/* The kernel says BUSY, which GLib has no code for. */
static bool setting_needs_unmerged(const char *name)
{
    return !strcmp(name, "max_page_sharing") ||
           !strcmp(name, "merge_across_nodes");
}

static bool setting_is_of_advisor(const char *root, const char *name)
{
    g_autofree char *mode = ksm_sysfs_get(root, "advisor_mode");

    return !strcmp(name, "pages_to_scan") && mode && strcmp(mode, "none");
}

static const char *setting_way_out(const char *root, const char *name,
                                   const GError *error)
{
    switch (error->code) {
    case G_FILE_ERROR_NOENT:
        return "boot a kernel that has it, with CONFIG_KSM=y, and mount sysfs";
    case G_FILE_ERROR_ACCES:
    case G_FILE_ERROR_PERM:
    case G_FILE_ERROR_ROFS:
        return "run ksmctl as root, where /sys is writable";
    case G_FILE_ERROR_NOMEM:
        return "free memory, or end guests";
    case G_FILE_ERROR_INTR:
        return "it was interrupted: try again";
    case G_FILE_ERROR_INVAL:
        return setting_is_of_advisor(root, name) ?
               "the advisor sets it: set advisor_mode=none before" :
               "give a value that the kernel's documentation of KSM allows";
    default:
        return setting_needs_unmerged(name) ?
               "it can change only while no page is merged: "
               "ksmctl unmerge before" :
               "see the kernel's log";
    }
}

void ksmctl_set_failed(const char *root, const char *name,
                       const GError *error)
{
    ksmctl_error("%s: %s", error->message,
                 setting_way_out(root, name, error));
}

bool ksmctl_set(const char *root, const char *name, const char *value)
{
    g_autoptr(GError) error = NULL;

    if (!ksm_sysfs_set(root, name, value, &error)) {
        ksmctl_set_failed(root, name, error);
        return false;
    }
    return true;
}
