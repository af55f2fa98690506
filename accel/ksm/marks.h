/*
 * Marks: which pages the kernel may merge, within the budget of mappings
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each marked run of pages can cost two memory mappings (VMAs), and a process
 * that reaches vm.max_map_count fails in malloc().  So all marks of the
 * process together stay below a quarter of it.  Where exact runs would cost
 * more, the twins of a region are marked as one run, densest regions first,
 * and the rest are left unmarked.
 *
 * All functions need the engine's lock.
 */
#ifndef ACCEL_KSM_MARKS_H
#define ACCEL_KSM_MARKS_H

#include "block.h"

/* A mark outlives its page's last twin by so many passes (hysteresis). */
#define KSM_MARKS_QUIET_PASSES  16

typedef struct KsmMarks {
    uint64_t vma_budget;    /* mappings that marks may cost */
    uint64_t vmas;          /* that they may have cost, as last counted */
    bool limited;           /* some twins are unmarked for want of mappings */
    uint64_t marked;        /* pages marked since last asked */
    unsigned min_density;   /* twins that a region needs to be marked */
} KsmMarks;

/* Reads vm.max_map_count. */
void ksm_marks_init(KsmMarks *marks);

/*
 * Before the regions of a pass: count what marks cost now, and choose the
 * density that a region needs.  O(regions).
 */
void ksm_marks_begin(KsmMarks *marks, KsmBlockList *blocks);

/*
 * Make the marks of region @r what its twins want.  Returns false if the
 * kernel refused; the region is tried again in the next pass.
 */
bool ksm_marks_update(KsmMarks *marks, KsmBlock *block, size_t r);

/* Take all marks of region @r away, whoever made them. */
bool ksm_marks_withdraw(KsmMarks *marks, KsmBlock *block, size_t r);

/*
 * A ROM is not tracked, for nothing in it changes.  It is small and alike in
 * many guests, so it is marked whole, with what it may grow to: a huge page
 * often backs all of it.  ksmd is not woken for that alone.
 */
void ksm_marks_whole(KsmBlock *block);
void ksm_marks_withdraw_whole(KsmBlock *block);

/* What is marked of a region. */
typedef struct KsmMarkRule {
    bool zeros;             /* zero pages too, not only twins */
    bool coalesce;          /* all from the first such page to the last */
} KsmMarkRule;

/*
 * The first run at or after page @from of [.., @last) of pages that should be
 * marked.  Returns false if there is none.
 */
bool ksm_marks_next_run(const KsmPage *pages, size_t from, size_t last,
                        KsmMarkRule rule, size_t *run_first,
                        size_t *run_last);

#endif
