/*
 * What the kernel knows of this process's pages: /proc/self/pagemap
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * See Documentation/admin-guide/mm/pagemap.rst in the kernel's source for both
 * interfaces.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bitops.h"
#include "pagemap.h"

QEMU_BUILD_BUG_ON(sizeof(KsmPagemapScan) != 96);
QEMU_BUILD_BUG_ON(sizeof(KsmPageRange) != 24);

/*
 * Scan [@start, @end) for pages that are in all of @mask; report those of
 * @wanted that each range is in.  Returns the number of ranges, or -errno.
 */
static int pagemap_scan(const KsmPagemap *pagemap, uint64_t flags,
                        uint64_t start, uint64_t end, uint64_t mask,
                        uint64_t wanted, KsmPageRange *ranges, int max,
                        uint64_t *next)
{
    KsmPagemapScan arg = {
        .size = sizeof(arg),
        .flags = flags,
        .start = start,
        .end = end,
        .vec = (uintptr_t)ranges,
        .vec_len = max,
        .category_mask = mask,
        .return_mask = wanted,
    };
    int ret;

    do {
        ret = ioctl(pagemap->fd, KSM_PAGEMAP_SCAN, &arg);
    } while (ret < 0 && errno == EINTR);
    if (ret < 0) {
        return -errno;
    }
    *next = arg.walk_end;
    return ret;
}

bool ksm_pagemap_open(KsmPagemap *pagemap, Error **errp)
{
    uint64_t next;

    pagemap->fd = qemu_open("/proc/self/pagemap", O_RDONLY, errp);
    if (pagemap->fd < 0) {
        return false;
    }
    /* An empty range asks only whether the kernel knows the command. */
    pagemap->has_scan = pagemap_scan(pagemap, 0, 0, 0, KSM_PAGE_IS_PRESENT,
                                     KSM_PAGE_IS_PRESENT, NULL, 0,
                                     &next) == 0;
    return true;
}

void ksm_pagemap_close(KsmPagemap *pagemap)
{
    if (pagemap->fd >= 0) {
        close(pagemap->fd);
        pagemap->fd = -1;
    }
}

/* Residency from the 64-bit entries that every kernel has. */
static int pagemap_read_present(const KsmPagemap *pagemap, uint64_t start,
                                uint64_t end, KsmPageRange *ranges, int max,
                                uint64_t *next)
{
    const size_t page_size = qemu_real_host_page_size();
    uint64_t entries[512];
    int n = 0;

    while (start < end) {
        size_t want = MIN((end - start) / page_size, ARRAY_SIZE(entries));
        ssize_t got = pread(pagemap->fd, entries, want * sizeof(*entries),
                            start / page_size * sizeof(*entries));

        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            return -errno;
        }
        got /= sizeof(*entries);
        if (got == 0) {
            break;
        }
        for (ssize_t i = 0; i < got; i++, start += page_size) {
            if (!(entries[i] & BIT_ULL(63))) {
                continue;
            }
            if (n && ranges[n - 1].end == start) {
                ranges[n - 1].end += page_size;
                continue;
            }
            if (n == max) {
                *next = start;
                return n;
            }
            ranges[n++] = (KsmPageRange) {
                start, start + page_size, KSM_PAGE_IS_PRESENT
            };
        }
    }
    *next = end;
    return n;
}

int ksm_pagemap_present(const KsmPagemap *pagemap, uint64_t start,
                        uint64_t end, KsmPageRange *ranges, int max,
                        uint64_t *next)
{
    if (!pagemap->has_scan) {
        return pagemap_read_present(pagemap, start, end, ranges, max, next);
    }
    return pagemap_scan(pagemap, 0, start, end, KSM_PAGE_IS_PRESENT,
                        KSM_PAGE_IS_PRESENT | KSM_PAGE_IS_PFNZERO |
                        KSM_PAGE_IS_HUGE, ranges, max, next);
}

int ksm_pagemap_written(const KsmPagemap *pagemap, uint64_t start,
                        uint64_t end, KsmPageRange *ranges, int max,
                        uint64_t *next)
{
    /* The kernel has a short way for exactly this question. */
    return pagemap_scan(pagemap, 0, start, end, KSM_PAGE_IS_WRITTEN,
                        KSM_PAGE_IS_WRITTEN, ranges, max, next);
}

int ksm_pagemap_arm(const KsmPagemap *pagemap, uint64_t start, uint64_t end)
{
    uint64_t next;

    /* Holes too: else they would be found as if written, again and again. */
    return pagemap_scan(pagemap, KSM_PAGEMAP_SCAN_WP, start, end,
                        KSM_PAGE_IS_WRITTEN, KSM_PAGE_IS_WRITTEN, NULL, 0,
                        &next);
}
