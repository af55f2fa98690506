/*
 * What the kernel knows of another process's pages: /proc/PID/pagemap
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Neither way touches a page.  See Documentation/admin-guide/mm/pagemap.rst in
 * the kernel's source for both.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "host/memory.h"
#include "ksm-pagemap-scan.h"
#include "pagemap.h"

#define ENTRY_PRESENT   (UINT64_C(1) << 63)
#define ENTRY_FRAME     ((UINT64_C(1) << 55) - 1)
/* Entries that are read at once. */
#define ENTRIES         512

static bool pagemap_entries(int fd, uint64_t start, PagemapPage *pages,
                            size_t number)
{
    uint64_t entries[ENTRIES];
    size_t size = number * sizeof(*entries);
    size_t i;

    /* Less than that is read where its memory is gone. */
    if (pread(fd, entries, size, start / ksm_page_size() *
              sizeof(*entries)) != (ssize_t)size) {
        return false;
    }
    for (i = 0; i < number; i++) {
        bool present = entries[i] & ENTRY_PRESENT;

        pages[i].flags = present ? PAGEMAP_RESIDENT : 0;
        pages[i].frame = present ? entries[i] & ENTRY_FRAME : 0;
    }
    return true;
}

static void pagemap_set(PagemapPage *page, uint64_t categories)
{
    if (categories & KSM_PAGE_IS_HUGE) {
        page->flags |= PAGEMAP_HUGE;
    }
    /* A huge one counts page by page, too. */
    if (page->flags & PAGEMAP_RESIDENT && categories & KSM_PAGE_IS_PFNZERO) {
        page->flags = PAGEMAP_ZERO_PAGE;
    }
}

/* False: the kernel can't, and nothing was added. */
static bool pagemap_scan(int fd, uint64_t start, PagemapPage *pages,
                         size_t number)
{
    const uint64_t size = ksm_page_size();
    KsmPageRange ranges[ENTRIES] = { 0 };    /* for valgrind */
    KsmPagemapScan scan = {
        .size = sizeof(scan),
        .start = start,
        .end = start + number * size,
        .vec = (uintptr_t)ranges,
        .vec_len = ENTRIES,
        .category_anyof_mask = KSM_PAGE_IS_HUGE | KSM_PAGE_IS_PFNZERO,
        .return_mask = KSM_PAGE_IS_HUGE | KSM_PAGE_IS_PFNZERO,
    };
    int found = ioctl(fd, KSM_PAGEMAP_SCAN, &scan);
    int i;

    for (i = 0; i < found; i++) {
        uint64_t at;

        for (at = ranges[i].start; at < ranges[i].end; at += size) {
            pagemap_set(&pages[(at - start) / size], ranges[i].categories);
        }
    }
    return found >= 0;
}

bool pagemap_read(int fd, uint64_t start, PagemapPage *pages, size_t number,
                  bool *scanned)
{
    size_t done, part;

    for (done = 0; done < number; done += part) {
        uint64_t at = start + done * ksm_page_size();

        part = MIN(number - done, ENTRIES);
        if (!pagemap_entries(fd, at, pages + done, part)) {
            return false;
        }
        *scanned &= pagemap_scan(fd, at, pages + done, part);
    }
    return true;
}

bool pagemap_next(int fd, uint64_t *at, uint64_t end)
{
    KsmPageRange range = { 0 };     /* for valgrind */
    KsmPagemapScan scan = {
        .size = sizeof(scan),
        .start = *at,
        .end = end,
        .vec = (uintptr_t)&range,
        .vec_len = 1,
        .max_pages = 1,
        .category_mask = KSM_PAGE_IS_PRESENT,
        .return_mask = KSM_PAGE_IS_PRESENT,
    };
    PagemapPage last;
    int found = ioctl(fd, KSM_PAGEMAP_SCAN, &scan);

    if (found >= 0) {
        *at = found ? range.start : end;
    }
    /* A process that has ended may look like one hole. */
    return found || pagemap_entries(fd, end - ksm_page_size(), &last, 1);
}
