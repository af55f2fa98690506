/*
 * The mounts of ksmfs, from /sys/fs/ksmfs and /proc/self/mountinfo
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_MOUNTS_H
#define KSM_MOUNTS_H

#include "sysfs.h"

#define KSM_MOUNTS_ROOT "/sys/fs/ksmfs"

/* Figures are pages, and named as in ksmfs(5). */
typedef struct KsmMount {
    char *device;               /* "MAJOR:MINOR", its name in /sys/fs/ksmfs */
    char *path;                 /* NULL: mounted in another namespace */
    KsmFigure pages_used;
    KsmFigure pages_allocated;
    KsmFigure pages_sharing;
    KsmFigure ksm_zero_pages;
    KsmFigure max_kernel_pages;
} KsmMount;

void ksm_mount_free(KsmMount *mount);

/*
 * All of them, each once, wherever else it is mounted, too.  @ksmfs_root has
 * the files of /sys/fs/ksmfs, @proc_root those of /proc.
 */
GPtrArray *ksm_mounts_find(const char *ksmfs_root, const char *proc_root);

#endif
