/*
 * Marks: which pages the kernel may merge, within the budget of mappings
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Pages that are marked, or armed by the tracker, need memory mappings (VMAs)
 * of their own, and a process that reaches vm.max_map_count fails in malloc().
 * So what the engine needs stays below a quarter of it.  Where exact runs would
 * need more, regions are marked whole; where even that would, only the densest
 * regions are marked and armed at all.
 *
 * All functions need the engine's lock.
 */
#ifndef ACCEL_KSM_MARKS_H
#define ACCEL_KSM_MARKS_H

#include "block.h"

/* A mark outlives its page's last twin by so many passes (hysteresis). */
#define KSM_MARKS_QUIET_PASSES  16

typedef struct KsmMarks {
    uint64_t vma_budget;    /* mappings that the engine may need */
    uint64_t vmas;          /* that it may need, as last counted */
    bool limited;           /* less is marked, or more, for want of mappings */
    uint64_t marked;        /* pages marked since last asked */
    unsigned min_density;   /* candidates that a region needs to be admitted */
    bool tight;             /* no region may cost more than one run */
    bool starved;           /* one found no mapping at all */
    bool refused;           /* one found none to be armed with */
    unsigned round;         /* times that all was marked */
} KsmMarks;

/* Reads vm.max_map_count. */
void ksm_marks_init(KsmMarks *marks);

/*
 * Before all are gone through: count the mappings needed now, and choose the
 * density that a region needs.  O(regions).
 */
void ksm_marks_begin(KsmMarks *marks, KsmBlockList *blocks);

/* May the promoted @region be marked and armed? */
bool ksm_marks_admit(const KsmMarks *marks, const KsmRegion *region);

/*
 * Region @r was promoted and admitted since they were counted: take the
 * mappings that it needs.  Returns false if there are not so many.
 */
bool ksm_marks_take(KsmMarks *marks, const KsmBlock *block, size_t r);

/*
 * Make the marks of region @r what its twins want.  Returns false if the
 * kernel refused; the region is tried again in the next pass.
 */
bool ksm_marks_update(KsmMarks *marks, KsmBlock *block, size_t r);

/* Take all marks of region @r away, whoever made them. */
bool ksm_marks_withdraw(KsmMarks *marks, KsmBlock *block, size_t r);

/*
 * Take the marks of pages [@first, @last) of one region away, whoever made
 * them; of others there, too, if they were not marked one by one.
 */
bool ksm_marks_exclude(KsmMarks *marks, KsmBlock *block, size_t first,
                       size_t last);

/*
 * A ROM is not tracked, for nothing in it changes.  It is small and alike in
 * many guests, so it is marked whole, with what it may grow to: a huge page
 * often backs all of it.  ksmd is not woken for that alone.
 */
void ksm_marks_whole(KsmBlock *block);
void ksm_marks_withdraw_whole(KsmBlock *block);

/*
 * The first run at or after page @from of [.., @last) of pages that should be
 * marked: those with a twin, and with @zeros the zero pages that are not the
 * kernel's shared one.  Returns false if there is none.
 */
bool ksm_marks_next_run(const KsmPage *pages, size_t from, size_t last,
                        bool zeros, size_t *run_first, size_t *run_last);

#endif
