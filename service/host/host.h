/*
 * Where a host has its files
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_HOST_H
#define KSM_HOST_H

#include <glib.h>
#include <stdbool.h>

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

/*
 * Parse @context with options for each of them: what is given replaces what
 * @host has.
 */
bool ksm_host_parse_options(KsmHost *host, GOptionContext *context, int *argc,
                            char ***argv, GError **error);

#endif
