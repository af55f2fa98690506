/*
 * The CPU time of ksmd, from /proc
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <string.h>

#include "ksmd-cpu.h"

static bool process_is_ksmd(const char *proc_root, const char *pid)
{
    g_autofree char *comm_path = g_build_filename(proc_root, pid, "comm",
                                                  NULL);
    g_autofree char *cmdline_path = g_build_filename(proc_root, pid,
                                                     "cmdline", NULL);
    g_autofree char *comm = NULL;
    g_autofree char *cmdline = NULL;
    gsize size = 0;

    if (!g_file_get_contents(comm_path, &comm, NULL, NULL) ||
        strcmp(comm, "ksmd\n")) {
        return false;
    }
    /* A kernel thread has no command line; a pretender has. */
    return !g_file_get_contents(cmdline_path, &cmdline, &size, NULL) || !size;
}

char *ksm_ksmd_find_schedstat(const char *proc_root)
{
    g_autoptr(GDir) proc = g_dir_open(proc_root, 0, NULL);
    const char *pid;

    while (proc && (pid = g_dir_read_name(proc))) {
        if (g_ascii_isdigit(pid[0]) && process_is_ksmd(proc_root, pid)) {
            return g_build_filename(proc_root, pid, "schedstat", NULL);
        }
    }
    return NULL;
}

bool ksm_ksmd_cpu_ns(const char *schedstat, uint64_t *cpu_ns)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents(schedstat, &text, NULL, NULL)) {
        return false;
    }
    /* "nanoseconds-on-cpu nanoseconds-waiting timeslices" */
    *cpu_ns = g_ascii_strtoull(text, NULL, 10);
    return true;
}
