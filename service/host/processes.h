/*
 * The QEMU processes of the host, from /proc
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_PROCESSES_H
#define KSM_PROCESSES_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What KSM does for a process.  What the kernel doesn't tell is 0. */
typedef struct KsmProcessMerging {
    bool known;                 /* merging_pages: Linux >= 5.19 */
    bool zero_known;            /* zero_pages: Linux >= 6.6 */
    bool profit_known;          /* profit_bytes: Linux >= 6.4 */
    uint64_t merging_pages;     /* its pages that are merged with others */
    uint64_t zero_pages;        /* and with the kernel's page of zeros */
    int64_t profit_bytes;       /* saved less what KSM needs for it */
} KsmProcessMerging;

typedef struct KsmProcess {
    pid_t pid;
    char *name;                 /* of its -name; else NULL */
    char *uuid;                 /* of its -uuid, in small letters; else NULL */
    bool has_engine;            /* it was started with an -object ksm */
    char *command_line;         /* its arguments, with a space between two */
    bool resident_known;
    uint64_t resident_kib;      /* a merged page counts in each of its users */
    KsmProcessMerging merging;
} KsmProcess;

void ksm_process_free(KsmProcess *process);

/*
 * The process @pid, or that of the thread @pid, whatever its program is called.
 * NULL: there is none, or it is the kernel's own.
 */
KsmProcess *ksm_process_find(const char *proc_root, pid_t pid);

/*
 * All of them, by pid.  A process is one if its program's name says so:
 * qemu-system*, qemu-kvm or kvm.  @proc_root has the files of /proc.  What
 * ends meanwhile is left out.
 */
GPtrArray *ksm_processes_find(const char *proc_root);

#endif
