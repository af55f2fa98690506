/*
 * ksmd as a process: its CPU time and its priority
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_KSMD_PROCESS_H
#define KSM_KSMD_PROCESS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Its ID.  0: there is no ksmd to be seen.  @proc_root has /proc's files. */
pid_t ksm_ksmd_find(const char *proc_root);

/*
 * Its nice value, of -20 to 19.  False: we may not give it back what it has
 * now once we changed that, which takes CAP_SYS_NICE.
 */
bool ksm_ksmd_nice(pid_t ksmd, int *nice);
bool ksm_ksmd_set_nice(pid_t ksmd, int nice);

/* CPU time since boot, in nanoseconds.  False: it can't be read. */
bool ksm_ksmd_cpu_ns(const char *proc_root, pid_t ksmd, uint64_t *cpu_ns);

#endif
