/*
 * The mounts of ksmfs, from /sys/fs/ksmfs and /proc/self/mountinfo
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <string.h>

#include "mounts.h"

/* Fields of a line of mountinfo: see proc(5). */
enum {
    FIELD_DEVICE = 2,
    FIELD_PATH = 4,
    FIELD_OPTIONAL = 6,
};

static KsmMount *mounts_lookup(GPtrArray *mounts, const char *device)
{
    guint i;

    for (i = 0; i < mounts->len; i++) {
        KsmMount *mount = g_ptr_array_index(mounts, i);

        if (!strcmp(mount->device, device)) {
            return mount;
        }
    }
    return NULL;
}

static void mounts_add(GPtrArray *mounts, const char *device, const char *path)
{
    KsmMount *mount;

    if (mounts_lookup(mounts, device)) {
        return;
    }
    mount = g_new0(KsmMount, 1);
    mount->device = g_strdup(device);
    /* Spaces and the like are octal there: \040. */
    mount->path = path ? g_strcompress(path) : NULL;
    g_ptr_array_add(mounts, mount);
}

/* "36 35 98:0 /root /path options tag:1 tag:2 - type source options" */
static bool mount_is_ksmfs(char **fields)
{
    guint i, fields_number = g_strv_length(fields);

    for (i = FIELD_OPTIONAL; i + 1 < fields_number; i++) {
        if (!strcmp(fields[i], "-")) {
            return !strcmp(fields[i + 1], "ksmfs");
        }
    }
    return false;
}

static void mounts_read_mountinfo(GPtrArray *mounts, const char *proc_root)
{
    g_autofree char *path = g_build_filename(proc_root, "self", "mountinfo",
                                             NULL);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    char **line;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return;
    }
    lines = g_strsplit(text, "\n", -1);
    for (line = lines; *line; line++) {
        g_auto(GStrv) fields = g_strsplit(*line, " ", -1);

        if (mount_is_ksmfs(fields)) {
            mounts_add(mounts, fields[FIELD_DEVICE], fields[FIELD_PATH]);
        }
    }
}

static void mounts_read_sysfs(GPtrArray *mounts, const char *ksmfs_root)
{
    g_autoptr(GDir) dir = g_dir_open(ksmfs_root, 0, NULL);
    const char *device;

    while (dir && (device = g_dir_read_name(dir))) {
        mounts_add(mounts, device, NULL);
    }
}

static void mount_read_figures(KsmMount *mount, const char *ksmfs_root)
{
    g_autofree char *root = g_build_filename(ksmfs_root, mount->device, NULL);

    mount->pages_used = ksm_sysfs_figure(root, "pages_used");
    mount->pages_allocated = ksm_sysfs_figure(root, "pages_allocated");
    mount->pages_sharing = ksm_sysfs_figure(root, "pages_sharing");
    mount->ksm_zero_pages = ksm_sysfs_figure(root, "ksm_zero_pages");
    mount->max_kernel_pages = ksm_sysfs_figure(root, "max_kernel_pages");
}

void ksm_mount_free(KsmMount *mount)
{
    g_free(mount->device);
    g_free(mount->path);
    g_free(mount);
}

GPtrArray *ksm_mounts_find(const char *ksmfs_root, const char *proc_root)
{
    GPtrArray *mounts =
        g_ptr_array_new_with_free_func((GDestroyNotify)ksm_mount_free);
    guint i;

    mounts_read_mountinfo(mounts, proc_root);
    mounts_read_sysfs(mounts, ksmfs_root);
    for (i = 0; i < mounts->len; i++) {
        mount_read_figures(g_ptr_array_index(mounts, i), ksmfs_root);
    }
    return mounts;
}
