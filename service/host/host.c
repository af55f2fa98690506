/*
 * Where a host has its files
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "host.h"
#include "mounts.h"
#include "sysfs.h"

#define PROC_ROOT       "/proc"

void ksm_host_init(KsmHost *host)
{
    *host = (KsmHost) {
        .sysfs_root = g_strdup(KSM_SYSFS_ROOT),
        .ksmfs_root = g_strdup(KSM_MOUNTS_ROOT),
        .proc_root = g_strdup(PROC_ROOT),
        .runtime_dir = g_strdup(KSM_RUNTIME_DIR),
    };
}

void ksm_host_clear(KsmHost *host)
{
    g_free(host->sysfs_root);
    g_free(host->ksmfs_root);
    g_free(host->proc_root);
    g_free(host->runtime_dir);
}

static void host_replace(char **path, char *given)
{
    if (given) {
        g_free(*path);
        *path = given;
    }
}

bool ksm_host_parse_options(KsmHost *host, GOptionContext *context, int *argc,
                            char ***argv, GError **error)
{
    KsmHost given = { NULL };
    const GOptionEntry entries[] = {
        { "sysfs-root", 0, 0, G_OPTION_ARG_FILENAME, &given.sysfs_root,
          "Where KSM's files are (default: " KSM_SYSFS_ROOT ")", "DIR" },
        { "ksmfs-root", 0, 0, G_OPTION_ARG_FILENAME, &given.ksmfs_root,
          "Where those of ksmfs are (default: " KSM_MOUNTS_ROOT ")", "DIR" },
        { "proc-root", 0, 0, G_OPTION_ARG_FILENAME, &given.proc_root,
          "Where proc(5) is (default: " PROC_ROOT ")", "DIR" },
        { "runtime-dir", 0, 0, G_OPTION_ARG_FILENAME, &given.runtime_dir,
          "That of ksmtuned (default: " KSM_RUNTIME_DIR ")", "DIR" },
        { NULL }
    };

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, error)) {
        return false;
    }
    host_replace(&host->sysfs_root, given.sysfs_root);
    host_replace(&host->ksmfs_root, given.ksmfs_root);
    host_replace(&host->proc_root, given.proc_root);
    host_replace(&host->runtime_dir, given.runtime_dir);
    return true;
}
