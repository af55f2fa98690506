/*
 * The CPU time of ksmd, from /proc
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_KSMD_CPU_H
#define KSM_KSMD_CPU_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The path of ksmd's schedstat, which the caller frees.  NULL: there is no
 * ksmd to be seen, as in a PID namespace.  @proc_root has the files of /proc.
 */
char *ksm_ksmd_find_schedstat(const char *proc_root);

/* Of it: since boot, in nanoseconds.  False: it can't be read. */
bool ksm_ksmd_cpu_ns(const char *schedstat, uint64_t *cpu_ns);

#endif
