/*
 * Which resident pages were written since they were last asked for
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Armed ranges are registered with a userfaultfd in asynchronous
 * write-protect mode: the first write to a page clears a bit, delivers no
 * fault, and is found by PAGEMAP_SCAN.  Nothing is missed that the CPU writes;
 * a device that writes to a page which it pinned earlier can be.
 *
 * There is one userfaultfd for each mapping: while another user (postcopy,
 * background-snapshot) needs the memory, nothing may be armed.
 */
#ifndef ACCEL_KSM_TRACKER_H
#define ACCEL_KSM_TRACKER_H

#include "pagemap.h"

typedef struct KsmTracker {
    const KsmPagemap *pagemap;
    int uffd;               /* -1: writes can't be tracked */
} KsmTracker;

/* Ranges that are reported at once; to arm one takes up to 20 us. */
#define KSM_TRACKER_RANGES 32

/*
 * Returns false if the kernel can't track writes; then there is nothing to
 * arm, and the tracker needs no closing.
 */
bool ksm_tracker_open(KsmTracker *tracker, const KsmPagemap *pagemap,
                      Error **errp);
/* Disarms everything. */
void ksm_tracker_close(KsmTracker *tracker);
static inline bool ksm_tracker_can_arm(const KsmTracker *tracker)
{
    return tracker->uffd >= 0;
}

/*
 * Watch [@host, @host + @size), page-aligned, private anonymous memory.
 * Returns 0, or -EBUSY if another userfaultfd has it, or another -errno.
 */
int ksm_tracker_arm(KsmTracker *tracker, void *host, size_t size);
/* Watch it no more; ranges that were not armed are left as they are. */
int ksm_tracker_disarm(KsmTracker *tracker, void *host, size_t size);

/*
 * Find the pages of the armed range [@start, @end) that were written, or
 * discarded, since they were armed.  They go on being found until they are
 * armed again.
 *
 * Stores up to KSM_TRACKER_RANGES ranges, ascending, and in @next where to go
 * on: @end if that was all.  Returns their number, or -errno if the kernel
 * refuses.
 */
int ksm_tracker_written(KsmTracker *tracker, uint64_t start, uint64_t end,
                        KsmPageRange ranges[KSM_TRACKER_RANGES],
                        uint64_t *next);
/*
 * Arm the written pages of [@start, @end) again: before they are read.  The
 * next write to each costs a fault, and one more under KVM.  Returns 0 or
 * -errno.
 */
int ksm_tracker_rearm(KsmTracker *tracker, uint64_t start, uint64_t end);

#endif
