/*
 * ksmd as a process: its CPU time and its priority
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "ksmd-process.h"

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

pid_t ksm_ksmd_find(const char *proc_root)
{
    g_autoptr(GDir) proc = g_dir_open(proc_root, 0, NULL);
    const char *pid;

    while (proc && (pid = g_dir_read_name(proc))) {
        if (g_ascii_isdigit(pid[0]) && process_is_ksmd(proc_root, pid)) {
            return g_ascii_strtoull(pid, NULL, 10);
        }
    }
    return 0;
}

bool ksm_ksmd_nice(pid_t ksmd, int *nice)
{
    errno = 0;
    *nice = getpriority(PRIO_PROCESS, ksmd);
    /* Nobody needs a privilege to be nicer, but to be less so. */
    return !errno && *nice > PRIO_MIN &&
           ksm_ksmd_set_nice(ksmd, *nice - 1) && ksm_ksmd_set_nice(ksmd, *nice);
}

bool ksm_ksmd_set_nice(pid_t ksmd, int nice)
{
    return setpriority(PRIO_PROCESS, ksmd, nice) == 0;
}

bool ksm_ksmd_cpu_ns(const char *proc_root, pid_t ksmd, uint64_t *cpu_ns)
{
    g_autofree char *path = g_strdup_printf("%s/%d/schedstat", proc_root,
                                            (int)ksmd);
    g_autofree char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return false;
    }
    /* "nanoseconds-on-cpu nanoseconds-waiting timeslices" */
    *cpu_ns = g_ascii_strtoull(text, NULL, 10);
    return true;
}
