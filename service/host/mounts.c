/*
 * The mounts of ksmfs, from /sys/fs/ksmfs and /proc/PID/mountinfo
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

/* NULL: it is there already. */
static KsmMount *mounts_add(GPtrArray *mounts, const char *device)
{
    KsmMount *mount;

    if (mounts_lookup(mounts, device)) {
        return NULL;
    }
    mount = g_new0(KsmMount, 1);
    mount->device = g_strdup(device);
    g_ptr_array_add(mounts, mount);
    return mount;
}

/*
 * The last fields of "36 35 98:0 /root /path options tag:1 tag:2 - type source
 * options", where the type is ksmfs; else NULL.
 */
static char **mount_of_ksmfs(char **fields)
{
    guint i, fields_number = g_strv_length(fields);

    for (i = FIELD_OPTIONAL; i + 1 < fields_number; i++) {
        if (!strcmp(fields[i], "-")) {
            return !strcmp(fields[i + 1], "ksmfs") ? fields + i + 1 : NULL;
        }
    }
    return NULL;
}

/* Of "rw,size=1024k,max_kernel_pages=7"; @options may be NULL. */
static KsmFigure mount_size(const char *options)
{
    const char *size = options ? strstr(options, ",size=") : NULL;

    return (KsmFigure) {
        size != NULL,
        size ? g_ascii_strtoll(size + strlen(",size="), NULL, 10) : 0
    };
}

static void mounts_add_line(GPtrArray *mounts, const char *line)
{
    g_auto(GStrv) fields = g_strsplit(line, " ", -1);
    char **of_ksmfs = mount_of_ksmfs(fields);
    KsmMount *mount = of_ksmfs ? mounts_add(mounts, fields[FIELD_DEVICE]) :
                                 NULL;

    if (mount) {
        /* Spaces and the like are octal there: \040. */
        mount->path = g_strcompress(fields[FIELD_PATH]);
        mount->size_kib = mount_size(of_ksmfs[1] ? of_ksmfs[2] : NULL);
    }
}

static void mounts_read_mountinfo(GPtrArray *mounts, const char *proc_root,
                                  const char *pid)
{
    g_autofree char *path = g_build_filename(proc_root, pid, "mountinfo",
                                             NULL);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    char **line;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return;
    }
    lines = g_strsplit(text, "\n", -1);
    for (line = lines; *line; line++) {
        mounts_add_line(mounts, *line);
    }
}

static void mounts_read_sysfs(GPtrArray *mounts, const char *ksmfs_root)
{
    g_autoptr(GDir) dir = g_dir_open(ksmfs_root, 0, NULL);
    const char *device;

    while (dir && (device = g_dir_read_name(dir))) {
        mounts_add(mounts, device);
    }
}

static void mount_read_figures(KsmMount *mount, const char *ksmfs_root)
{
    g_autofree char *root = g_build_filename(ksmfs_root, mount->device, NULL);

    mount->pages_used = ksm_sysfs_figure(root, "pages_used");
    mount->pages_allocated = ksm_sysfs_figure(root, "pages_allocated");
    mount->pages_shared = ksm_sysfs_figure(root, "pages_shared");
    mount->pages_sharing = ksm_sysfs_figure(root, "pages_sharing");
    mount->pages_unshared = ksm_sysfs_figure(root, "pages_unshared");
    mount->ksm_zero_pages = ksm_sysfs_figure(root, "ksm_zero_pages");
    mount->merges = ksm_sysfs_figure(root, "merges");
    mount->cow_breaks = ksm_sysfs_figure(root, "cow_breaks");
    mount->max_kernel_pages = ksm_sysfs_figure(root, "max_kernel_pages");
}

void ksm_mount_free(KsmMount *mount)
{
    g_free(mount->device);
    g_free(mount->path);
    g_free(mount);
}

KsmFigure ksm_mount_saved(const KsmMount *mount)
{
    return ksm_saved_bytes(mount->pages_sharing, mount->ksm_zero_pages);
}

GPtrArray *ksm_mounts_find(const char *ksmfs_root, const char *proc_root)
{
    GPtrArray *mounts =
        g_ptr_array_new_with_free_func((GDestroyNotify)ksm_mount_free);
    guint i;

    mounts_read_mountinfo(mounts, proc_root, "self");
    /* A service may be shut off from the mounts, and yet see their figures. */
    mounts_read_mountinfo(mounts, proc_root, "1");
    mounts_read_sysfs(mounts, ksmfs_root);
    for (i = 0; i < mounts->len; i++) {
        mount_read_figures(g_ptr_array_index(mounts, i), ksmfs_root);
    }
    return mounts;
}
