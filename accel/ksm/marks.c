/*
 * Marks: which pages the kernel may merge, within the budget of mappings
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "backend.h"
#include "marks.h"

/* Linux's default of vm.max_map_count. */
#define DEFAULT_MAX_MAP_COUNT   65530
/* A run in the middle of a mapping makes three of one. */
#define VMAS_PER_RUN            2
/*
 * The kernel may merge gaps of so many pages between runs, too, when a region
 * has settled: ksmd reads these in vain, but each scan of the tracker walks all
 * mappings.
 */
#define BRIDGE_PAGES            8
/* Try in so many passes whether regions marked whole can be marked exactly. */
#define RECONSIDER_PASSES       16

void ksm_marks_init(KsmMarks *marks)
{
    g_autofree char *text = NULL;
    uint64_t limit = DEFAULT_MAX_MAP_COUNT;

    if (g_file_get_contents("/proc/sys/vm/max_map_count", &text, NULL, NULL)) {
        g_strchomp(text);
        if (qemu_strtou64(text, NULL, 10, &limit) < 0) {
            limit = DEFAULT_MAX_MAP_COUNT;
        }
    }
    marks->vma_budget = limit / 4;
    marks->min_density = 1;
}

static bool is_wanted(KsmPage page, bool zeros)
{
    return zeros ? ksm_page_is_candidate(page) : page & KSM_PAGE_TWIN;
}

bool ksm_marks_next_run(const KsmPage *pages, size_t from, size_t last,
                        bool zeros, size_t *run_first, size_t *run_last)
{
    while (from < last && !is_wanted(pages[from], zeros)) {
        from++;
    }
    *run_first = from;
    while (from < last && is_wanted(pages[from], zeros)) {
        from++;
    }
    *run_last = from;
    return *run_first < from;
}

/*
 * Candidates of a promoted region; at least 1, for what was merged there needs
 * to be watched.  0 if it isn't promoted.
 */
static unsigned density(const KsmRegion *region)
{
    unsigned n = region->twins + region->zeros - region->zeropages;

    return region->promoted ? MAX(n, 1) : 0;
}

bool ksm_marks_admit(const KsmMarks *marks, const KsmRegion *region)
{
    return density(region) >= marks->min_density;
}

/* Is there a neighbour @r that is armed, or will be? */
static bool is_admitted(const KsmMarks *marks, const KsmBlock *block, size_t r)
{
    return r < block->n_regions && ksm_marks_admit(marks, &block->regions[r]);
}

bool ksm_marks_take(KsmMarks *marks, const KsmBlock *block, size_t r)
{
    /* Where it meets another one that has its own, one mapping is saved. */
    const unsigned met = (r > 0 && is_admitted(marks, block, r - 1)) +
                         is_admitted(marks, block, r + 1);

    if (met == 0) {
        if (marks->vmas + VMAS_PER_RUN > marks->vma_budget) {
            marks->limited = true;
            marks->refused = true;
            return false;
        }
        marks->vmas += VMAS_PER_RUN;
    } else if (met == 2) {
        marks->vmas -= MIN(marks->vmas, VMAS_PER_RUN);
    }
    return true;
}

/* Does a mapping end between a region marked whole and this neighbour? */
static bool differs(const KsmMarks *marks, const KsmRegion *neighbour)
{
    return ksm_marks_admit(marks, neighbour) && !neighbour->whole;
}

/*
 * More mappings if region @r is marked whole: where it is armed it has one
 * anyway, unless a neighbour is armed too and shares it.
 */
static unsigned whole_cost(const KsmMarks *marks, const KsmBlock *block,
                           size_t r)
{
    return (r > 0 && differs(marks, &block->regions[r - 1])) +
           (r + 1 < block->n_regions && differs(marks, &block->regions[r + 1]));
}

/*
 * [d] is how many mappings the admitted regions need, armed or marked whole,
 * if the cut is at d.  They begin and end where an admitted region meets one
 * that is not.
 */
static void count_needed(const KsmBlockList *blocks,
                         uint64_t needed[KSM_REGION_MAX_PAGES + 1])
{
    /* [d]: how many more than with the cut at d - 1. */
    int64_t change[KSM_REGION_MAX_PAGES + 2] = { 0 };
    KsmBlock *block;

    QTAILQ_FOREACH(block, blocks, next) {
        unsigned before = 0;

        for (size_t r = 0; r <= block->n_regions; r++) {
            unsigned here = r < block->n_regions ? density(&block->regions[r])
                                                 : 0;

            change[MIN(before, here) + 1]++;
            change[MAX(before, here) + 1]--;
            before = here;
        }
    }
    needed[0] = 0;
    for (int d = 1; d <= KSM_REGION_MAX_PAGES; d++) {
        needed[d] = needed[d - 1] + change[d];
    }
}

/*
 * The cut is eased only well below the budget, so that regions near it are not
 * marked and unmarked in turn.
 */
static void choose_cut(KsmMarks *marks, const uint64_t *needed)
{
    if (needed[marks->min_density] > marks->vma_budget) {
        while (marks->min_density < KSM_REGION_MAX_PAGES &&
               needed[marks->min_density] > marks->vma_budget * 7 / 8) {
            marks->min_density++;
        }
    } else {
        while (marks->min_density > 1 &&
               needed[marks->min_density - 1] <= marks->vma_budget * 3 / 4) {
            marks->min_density--;
        }
    }
}

void ksm_marks_begin(KsmMarks *marks, KsmBlockList *blocks)
{
    uint64_t needed[KSM_REGION_MAX_PAGES + 1];
    bool roomy, whole = false;
    KsmBlock *block;

    count_needed(blocks, needed);
    choose_cut(marks, needed);
    marks->vmas = needed[marks->min_density];
    QTAILQ_FOREACH(block, blocks, next) {
        for (size_t r = 0; r < block->n_regions; r++) {
            KsmRegion *region = &block->regions[r];

            if (region->whole) {
                region->vmas = whole_cost(marks, block, r);
                whole = true;
            }
            marks->vmas += region->vmas;
        }
    }
    /*
     * Exact runs of some regions must not keep others from being marked at
     * all.  They come back only when there is much room again.
     */
    roomy = marks->vmas <= marks->vma_budget / 2;
    marks->tight = marks->starved || marks->vmas > marks->vma_budget ||
                   (marks->tight && !roomy);
    marks->starved = false;
    marks->limited = whole || marks->min_density > 1 || marks->refused;
    marks->refused = false;
    marks->round++;
    QTAILQ_FOREACH(block, blocks, next) {
        for (size_t r = 0; r < block->n_regions; r++) {
            KsmRegion *region = &block->regions[r];

            if (marks->tight) {
                region->marks_due |= region->vmas > VMAS_PER_RUN;
            } else if (roomy && r % RECONSIDER_PASSES ==
                                marks->round % RECONSIDER_PASSES) {
                region->marks_due |= region->whole;
            }
        }
    }
}

static void set_marked(KsmMarks *marks, KsmBlock *block, size_t first,
                       size_t last, bool marked)
{
    for (size_t p = first; p < last; p++) {
        KsmPage page = block->pages[p];

        if (marked && !(page & KSM_PAGE_MARKED)) {
            marks->marked++;
            ksm_block_set_page(block, p, page | KSM_PAGE_MARKED);
        } else if (!marked && (page & KSM_PAGE_MARKED)) {
            ksm_block_set_page(block, p,
                               page & ~(KSM_PAGE_MARKED | KSM_PAGE_REUSED));
        }
    }
}

/* Also of what the records know nothing of: some of a mark that was refused. */
static bool withdraw(KsmMarks *marks, KsmBlock *block, size_t r)
{
    KsmRegion *region = &block->regions[r];
    size_t first, last;

    ksm_region_pages(block, r, &first, &last);
    if (!block->backend->unmerge(block, first, last)) {
        return false;
    }
    set_marked(marks, block, first, last, false);
    marks->vmas -= MIN(marks->vmas, region->vmas);
    region->vmas = 0;
    region->whole = false;
    region->bridged = false;
    region->blanket = false;
    /* Should passes run again, what has a twin is marked again. */
    region->marks_due = true;
    return true;
}

bool ksm_marks_withdraw(KsmMarks *marks, KsmBlock *block, size_t r)
{
    KsmRegion *region = &block->regions[r];

    if (!region->marked && !region->blanket && !region->bridged) {
        return true;
    }
    if (!block->backend->unmerge) {
        /* Nothing is merged, and the mark that QEMU made is left alone. */
        region->blanket = false;
        return true;
    }
    return withdraw(marks, block, r);
}

static unsigned marked_runs(const KsmBlock *block, size_t first, size_t last)
{
    bool before = false;
    unsigned n = 0;

    for (size_t p = first; p < last; p++) {
        bool here = block->pages[p] & KSM_PAGE_MARKED;

        n += here && !before;
        before = here;
    }
    return n;
}

bool ksm_marks_exclude(KsmMarks *marks, KsmBlock *block, size_t first,
                       size_t last)
{
    const size_t r = ksm_block_region_of(block, first);
    KsmRegion *region = &block->regions[r];

    if (region->blanket || region->whole || region->bridged ||
        marks->vmas + VMAS_PER_RUN > marks->vma_budget) {
        return withdraw(marks, block, r);
    }
    if (!block->backend->unmerge(block, first, last)) {
        return false;
    }
    if (marked_runs(block, first, last)) {
        /* A run may be two now. */
        region->vmas += VMAS_PER_RUN;
        marks->vmas += VMAS_PER_RUN;
        set_marked(marks, block, first, last, false);
        region->marks_due = true;
    }
    return true;
}

/* Are there pages in the region that must not be marked? */
static bool has_excluded(const KsmRegion *region)
{
    return region->advised && !bitmap_empty(region->advised->never,
                                            KSM_REGION_MAX_PAGES);
}

void ksm_marks_whole(KsmBlock *block)
{
    const size_t n = block->max_size / qemu_real_host_page_size();

    if (!block->whole && block->backend && block->backend->merge &&
        block->backend->merge(block, 0, n)) {
        block->whole = true;
    }
}

void ksm_marks_withdraw_whole(KsmBlock *block)
{
    const size_t n = block->max_size / qemu_real_host_page_size();

    if (block->whole && block->backend->unmerge(block, 0, n)) {
        block->whole = false;
    }
}

static unsigned wanted_runs(const KsmBlock *block, size_t first, size_t last,
                            bool zeros)
{
    size_t run_first, run_last = first;
    unsigned n = 0;

    while (ksm_marks_next_run(block->pages, run_last, last, zeros,
                              &run_first, &run_last)) {
        n++;
    }
    return n;
}

/*
 * May the kernel merge the page without a reason?  With @bridged, whatever its
 * record tells.  A zero page is never stale: merged, it is the kernel's shared
 * one and no candidate any more, and to unmark it would give it memory again.
 * So it would one that was merged before the guest said that it is volatile.
 */
static bool is_stale(KsmPage page, bool bridged)
{
    if ((page & KSM_PAGE_EXCLUDED) && (page & KSM_PAGE_MARKED)) {
        return false;
    }
    return (bridged || (page & KSM_PAGE_MARKED)) &&
           !(page & (KSM_PAGE_TWIN | KSM_PAGE_ZERO));
}

/* Unmark the runs of marked pages that have no reason to be. */
static bool withdraw_stale(KsmMarks *marks, KsmBlock *block, size_t first,
                           size_t last, bool bridged)
{
    size_t p = first;

    while (p < last) {
        size_t start;

        while (p < last && !is_stale(block->pages[p], bridged)) {
            p++;
        }
        start = p;
        while (p < last && is_stale(block->pages[p], bridged)) {
            p++;
        }
        if (p > start) {
            if (!block->backend->unmerge(block, start, p)) {
                return false;
            }
            set_marked(marks, block, start, p, false);
        }
    }
    return true;
}

/*
 * Have the kernel merge the pages [@first, @last) between two runs, too.  The
 * records don't call them marked, as ksmd is not to be woken for them: one that
 * gains a twin is marked then.
 */
static bool bridge(KsmMarks *marks, KsmBlock *block, size_t first, size_t last)
{
    if (!block->backend->merge(block, first, last)) {
        return false;
    }
    for (size_t p = first; p < last; p++) {
        if (is_stale(block->pages[p], false)) {
            set_marked(marks, block, p, p + 1, false);
        }
    }
    return true;
}

/*
 * Nothing but the runs is to be marked in region @r, and, if @bridges, short
 * gaps between them: no more pages than have a reason to be.
 */
static bool settle_gaps(KsmMarks *marks, KsmBlock *block, size_t r, bool zeros,
                        bool bridges)
{
    KsmRegion *region = &block->regions[r];
    const bool was_bridged = region->bridged;
    size_t spare = bridges ? density(region) : 0;
    size_t first, last, from, run_first, run_last;
    bool more, ok, bridged = false;

    ksm_region_pages(block, r, &first, &last);
    from = first;
    do {
        size_t gap;

        more = ksm_marks_next_run(block->pages, from, last, zeros, &run_first,
                                  &run_last);
        gap = run_first - from;
        if (more && from > first && gap <= MIN(spare, BRIDGE_PAGES)) {
            bridged = true;
            spare -= gap;
            ok = bridge(marks, block, from, run_first);
        } else {
            ok = withdraw_stale(marks, block, from, run_first, was_bridged);
        }
        from = run_last;
    } while (more && ok);
    region->bridged = bridged || (was_bridged && !ok);
    return ok;
}

/* Mark the pages [@first, @last), if any of them is not marked yet. */
static bool mark_run(KsmMarks *marks, KsmBlock *block, size_t first,
                     size_t last)
{
    for (size_t p = first; p < last; p++) {
        if (!(block->pages[p] & KSM_PAGE_MARKED)) {
            if (!block->backend->merge(block, first, last)) {
                return false;
            }
            set_marked(marks, block, first, last, true);
            break;
        }
    }
    return true;
}

static bool mark_exactly(KsmMarks *marks, KsmBlock *block, size_t first,
                         size_t last, bool zeros)
{
    size_t run_first, run_last = first;

    while (ksm_marks_next_run(block->pages, run_last, last, zeros,
                              &run_first, &run_last)) {
        if (!mark_run(marks, block, run_first, run_last)) {
            return false;
        }
    }
    return true;
}

bool ksm_marks_update(KsmMarks *marks, KsmBlock *block, size_t r)
{
    KsmRegion *region = &block->regions[r];
    const uint64_t others = marks->vmas - MIN(marks->vmas, region->vmas);
    /*
     * The first merge in a huge page splits it, and the kernel (6.12) maps the
     * zero pages that it finds then to its shared one.  So zero pages of a
     * huge page are marked only to have it split, and one is enough for that.
     */
    const bool zeros = !region->huge || !region->twins;
    const bool split_only = region->huge && !region->twins;
    const bool quiet = region->quiet >= KSM_MARKS_QUIET_PASSES;
    size_t first, last, wanted_first, wanted_last, run_last;
    bool whole, crowded, ok;
    unsigned exact, cost = 0;

    if (!block->backend->merge) {
        region->marks_due = false;
        return true;
    }
    ksm_region_pages(block, r, &first, &last);
    wanted_first = first;
    wanted_last = last;
    if (split_only &&
        ksm_marks_next_run(block->pages, first, last, zeros, &wanted_first,
                           &run_last)) {
        wanted_last = wanted_first + 1;
    }
    exact = wanted_runs(block, wanted_first, wanted_last, zeros) *
            VMAS_PER_RUN;
    whole = others + exact > marks->vma_budget ||
            (marks->tight && exact > VMAS_PER_RUN);
    if (whole) {
        cost = whole_cost(marks, block, r);
        marks->limited = true;
        if (has_excluded(region)) {
            /* A mapping for all of it won't do, and each run's are too many. */
            return ksm_marks_withdraw(marks, block, r);
        }
        if (others + cost > marks->vma_budget &&
            (!region->marked || cost > region->vmas)) {
            marks->starved |= !region->marked;
            return true;
        }
        ok = mark_run(marks, block, first, last);
    } else {
        /* Stale marks cost mappings, and may become good ones again. */
        crowded = others + exact + region->vmas > marks->vma_budget;
        ok = mark_exactly(marks, block, wanted_first, wanted_last, zeros) &&
             (!(quiet || crowded) ||
              settle_gaps(marks, block, r, zeros,
                          quiet && !has_excluded(region)));
    }
    /* What there is now, even if the kernel refused the rest. */
    region->whole = whole && ok;
    region->bridged &= !region->whole;
    region->vmas = region->whole ? cost
                                 : marked_runs(block, first, last) *
                                   VMAS_PER_RUN;
    marks->vmas = others + region->vmas;
    region->marks_due = !ok || !quiet;
    return ok;
}
