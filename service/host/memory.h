/*
 * The host's memory, from /proc/meminfo
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_MEMORY_H
#define KSM_MEMORY_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct KsmMemory {
    uint64_t total_kib;
    /* MemFree, Buffers and Cached: what ksmtuned's original calls free. */
    uint64_t unused_kib;
    uint64_t available_kib;     /* without swapping; Linux >= 3.14 */
    uint64_t swap_total_kib;
} KsmMemory;

/* Of a page, in bytes. */
int64_t ksm_page_size(void);

/* @proc_root has the files of /proc.  MemTotal must be there, not the rest. */
bool ksm_memory_read(const char *proc_root, KsmMemory *memory,
                     GError **error);
/*
 * For how much of the last ten seconds some process waited for memory, in
 * 1/100 %: /proc/pressure/memory.  False, and 0: this kernel doesn't tell.
 */
bool ksm_memory_stall(const char *proc_root, int64_t *stall);

#endif
