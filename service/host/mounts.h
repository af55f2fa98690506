/*
 * The mounts of ksmfs, from /sys/fs/ksmfs and /proc/PID/mountinfo
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_MOUNTS_H
#define KSM_MOUNTS_H

#include "sysfs.h"

#define KSM_MOUNTS_ROOT "/sys/fs/ksmfs"

/* Figures are pages, or times, and named as in ksmfs(5). */
typedef struct KsmMount {
    char *device;               /* "MAJOR:MINOR", its name in /sys/fs/ksmfs */
    /* As this process sees it, else process 1; NULL: neither does. */
    char *path;
    KsmFigure size_kib;         /* its option; not known without a path */
    KsmFigure pages_used;
    KsmFigure pages_allocated;
    KsmFigure pages_shared;
    KsmFigure pages_sharing;
    KsmFigure pages_unshared;
    KsmFigure ksm_zero_pages;
    KsmFigure merges;
    KsmFigure cow_breaks;
    KsmFigure max_kernel_pages;
} KsmMount;

void ksm_mount_free(KsmMount *mount);

/* What merging saves on it, in bytes. */
KsmFigure ksm_mount_saved(const KsmMount *mount);

/*
 * All of them, each once, wherever else it is mounted, too.  @ksmfs_root has
 * the files of /sys/fs/ksmfs, @proc_root those of /proc.
 */
GPtrArray *ksm_mounts_find(const char *ksmfs_root, const char *proc_root);

#endif
