/*
 * The PAGEMAP_SCAN command of /proc/PID/pagemap
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * As in linux/fs.h since 6.7, under names of our own: a build may run with
 * headers that are older, or newer, than the kernel it is for.  See
 * Documentation/admin-guide/mm/pagemap.rst in the kernel's source.
 */
#ifndef KSM_PAGEMAP_SCAN_H
#define KSM_PAGEMAP_SCAN_H

#include <stdint.h>
#include <sys/ioctl.h>

/* Adjacent pages of the same categories. */
typedef struct KsmPageRange {
    uint64_t start;             /* virtual address */
    uint64_t end;               /* past the range */
    uint64_t categories;        /* KSM_PAGE_IS_* */
} KsmPageRange;

#define KSM_PAGE_IS_WRITTEN     (UINT64_C(1) << 1)
#define KSM_PAGE_IS_PRESENT     (UINT64_C(1) << 3)
#define KSM_PAGE_IS_PFNZERO     (UINT64_C(1) << 5)
#define KSM_PAGE_IS_HUGE        (UINT64_C(1) << 6)

typedef struct KsmPagemapScan {
    uint64_t size;              /* of this structure */
    uint64_t flags;             /* KSM_PAGEMAP_SCAN_* */
    uint64_t start;
    uint64_t end;
    uint64_t walk_end;          /* set: where to go on */
    uint64_t vec;               /* address of KsmPageRange[vec_len] */
    uint64_t vec_len;
    uint64_t max_pages;         /* 0: no limit */
    uint64_t category_inverted;
    uint64_t category_mask;     /* only pages of all of these */
    uint64_t category_anyof_mask;
    uint64_t return_mask;       /* tell of these in a range's categories */
} KsmPagemapScan;

/* Returns the number of ranges, or -1 and sets errno. */
#define KSM_PAGEMAP_SCAN        _IOWR('f', 16, KsmPagemapScan)
/* Write-protect the pages that are found. */
#define KSM_PAGEMAP_SCAN_WP     (UINT64_C(1) << 0)

#endif
