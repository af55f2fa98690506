/*
 * What the kernel knows of this process's pages: /proc/self/pagemap
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Linux >= 6.7 answers for ranges at once (PAGEMAP_SCAN), and knows which
 * pages were written since they were last armed.  Older kernels tell only
 * which pages are resident.
 */
#ifndef ACCEL_KSM_PAGEMAP_H
#define ACCEL_KSM_PAGEMAP_H

#include "ksm-pagemap-scan.h"

typedef struct KsmPagemap {
    int fd;                     /* /proc/self/pagemap */
    bool has_scan;              /* PAGEMAP_SCAN works */
} KsmPagemap;

/* Fails where /proc is not mounted, for instance. */
bool ksm_pagemap_open(KsmPagemap *pagemap, Error **errp);
void ksm_pagemap_close(KsmPagemap *pagemap);

/*
 * Find resident pages of [@start, @end).  Touches none of them.
 *
 * Stores at most @max ranges in @ranges, ascending, and in @next where to go
 * on (@end when all was seen).  Categories are PRESENT, and PFNZERO and HUGE
 * where the kernel tells.  Returns the number of ranges, or -errno.
 */
int ksm_pagemap_present(const KsmPagemap *pagemap, uint64_t start,
                        uint64_t end, KsmPageRange *ranges, int max,
                        uint64_t *next);

/*
 * Find pages of [@start, @end) that were written or discarded since they were
 * last armed.  Read-only.  Needs has_scan and a range that is registered with a
 * userfaultfd in asynchronous write-protect mode.  Otherwise as above.
 */
int ksm_pagemap_written(const KsmPagemap *pagemap, uint64_t start,
                        uint64_t end, KsmPageRange *ranges, int max,
                        uint64_t *next);

/*
 * Arm [@start, @end), with holes, which get page tables.  The kernel notifies
 * MMU users (KVM) of the whole range: pass only ranges that were written, or a
 * range that is armed for the first time.
 *
 * Returns 0 or -errno.
 */
int ksm_pagemap_arm(const KsmPagemap *pagemap, uint64_t start, uint64_t end);

#endif
