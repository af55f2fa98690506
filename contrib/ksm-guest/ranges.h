/*
 * Ranges of guest-physical memory, and what is advised of them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_GUEST_RANGES_H
#define KSM_GUEST_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Range {
    uint64_t page;      /* the first page frame, */
    uint64_t n;         /* and how many there are */
    uint32_t advice;    /* KSM_GUEST_NONE and so on, see hw/ksm-guest.h */
} Range;

typedef struct Ranges {
    Range *list;
    size_t n;
    size_t room;
} Ranges;

/* Ends the program if there is no memory. */
void ranges_add(Ranges *ranges, uint64_t page, uint64_t n, uint32_t advice);
/* All of @more as well. */
void ranges_add_all(Ranges *ranges, const Ranges *more);
/*
 * In order, and those side by side as one.  Where they overlap with different
 * advice, the lower one holds: never rather than volatile.
 */
void ranges_tidy(Ranges *ranges);
/* Adds to @out those pages of @old, as such of @advice, that @now has not. */
void ranges_add_missing(Ranges *out, const Ranges *old, const Ranges *now,
                        uint32_t advice);
/* Are all pages of such @advice in @some so in @all?  Both are tidy. */
bool ranges_cover(const Ranges *all, const Ranges *some, uint32_t advice);
uint64_t ranges_pages(const Ranges *ranges);
void ranges_free(Ranges *ranges);

/* Read and write a file of them.  No file: none; errors end the program. */
void ranges_load(Ranges *ranges, const char *path);
void ranges_save(const Ranges *ranges, const char *path);

#endif
