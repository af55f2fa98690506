/*
 * What the kernel knows of another process's pages: /proc/PID/pagemap
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CENSUS_PAGEMAP_H
#define CENSUS_PAGEMAP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Of a page. */
enum {
    PAGEMAP_RESIDENT = 1,       /* as memory of its own, zero page apart */
    PAGEMAP_ZERO_PAGE = 2,      /* the kernel's page of zeros is mapped there */
    PAGEMAP_HUGE = 4,           /* a huge page is */
};

typedef struct PagemapPage {
    uint8_t flags;
    uint64_t frame;             /* 0: not known, it needs CAP_SYS_ADMIN */
} PagemapPage;

/*
 * What is at @start, which may be changed meanwhile, in @pages.  @fd is that
 * file.  Returns whether there is such a process still.
 *
 * Linux before 6.7 doesn't tell what is huge, nor the page of zeros: that is
 * called resident then, and @scanned becomes false.
 */
bool pagemap_read(int fd, uint64_t start, PagemapPage *pages, size_t number,
                  bool *scanned);

/*
 * Moves @at to the first page from there on that is resident, or the page of
 * zeros, or to @end.  That takes no time where there are none.  Returns whether
 * there is such a process still.
 *
 * Linux before 6.7 can't, and @at stays.
 */
bool pagemap_next(int fd, uint64_t *at, uint64_t end);

#endif
