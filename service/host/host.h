/*
 * Where a host has its files
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_HOST_H
#define KSM_HOST_H

#include <glib.h>

/* Of ksmtuned, unless it is told otherwise. */
#define KSM_RUNTIME_DIR         "/run/ksmtuned"

typedef struct KsmHost {
    char *sysfs_root;           /* has those of /sys/kernel/mm/ksm */
    char *ksmfs_root;           /* those of /sys/fs/ksmfs */
    char *proc_root;            /* those of /proc */
    char *runtime_dir;          /* ksmtuned's */
} KsmHost;

/* Where they are on this host. */
void ksm_host_init(KsmHost *host);
void ksm_host_clear(KsmHost *host);

/* Options for each of them.  What is given will be in @given, else NULL. */
void ksm_host_add_options(GOptionContext *context, KsmHost *given);
/* What is @given instead of what @host has; it is empty then. */
void ksm_host_update(KsmHost *host, KsmHost *given);

#endif
