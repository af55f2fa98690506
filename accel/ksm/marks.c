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

static bool is_wanted(KsmPage page, KsmMarkRule rule)
{
    return rule.zeros ? ksm_page_is_candidate(page) : page & KSM_PAGE_TWIN;
}

bool ksm_marks_next_run(const KsmPage *pages, size_t from, size_t last,
                        KsmMarkRule rule, size_t *run_first, size_t *run_last)
{
    while (from < last && !is_wanted(pages[from], rule)) {
        from++;
    }
    if (from == last) {
        return false;
    }
    *run_first = from;
    if (rule.coalesce) {
        while (!is_wanted(pages[last - 1], rule)) {
            last--;
        }
        *run_last = last;
        return true;
    }
    while (from < last && is_wanted(pages[from], rule)) {
        from++;
    }
    *run_last = from;
    return true;
}

/* Candidates of the region: what counts as density. */
static unsigned density(const KsmRegion *region)
{
    return region->twins + region->zeros - region->zeropages;
}

void ksm_marks_begin(KsmMarks *marks, KsmBlockList *blocks)
{
    uint64_t histogram[KSM_REGION_MAX_PAGES + 1] = { 0 };
    uint64_t wanted = 0, kept = 0;
    KsmBlock *block;
    int d;

    marks->vmas = 0;
    QTAILQ_FOREACH(block, blocks, next) {
        for (size_t r = 0; r < block->n_regions; r++) {
            const KsmRegion *region = &block->regions[r];

            marks->vmas += region->runs * VMAS_PER_RUN;
            if (region->promoted) {
                histogram[MIN(density(region), KSM_REGION_MAX_PAGES)]++;
                wanted++;
            }
        }
    }
    /*
     * Each region costs one run at least.  If not even that fits, leave out
     * the sparsest.  The cut is eased only well below the budget, so that
     * regions near it are not marked and unmarked in turn.
     */
    if (wanted * VMAS_PER_RUN <= marks->vma_budget * 3 / 4) {
        marks->min_density = 1;
    } else if (wanted * VMAS_PER_RUN > marks->vma_budget) {
        for (d = KSM_REGION_MAX_PAGES; d > 1; d--) {
            kept += histogram[d];
            if (kept * VMAS_PER_RUN > marks->vma_budget * 7 / 8) {
                break;
            }
        }
        marks->min_density = MAX(marks->min_density, d);
    }
    marks->limited = marks->min_density > 1;
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
            ksm_block_set_page(block, p, page & ~KSM_PAGE_MARKED);
        }
    }
}

bool ksm_marks_withdraw(KsmMarks *marks, KsmBlock *block, size_t r)
{
    KsmRegion *region = &block->regions[r];
    size_t first, last;

    if (!region->marked && !region->blanket) {
        return true;
    }
    if (!block->backend->unmerge) {
        /* Nothing is merged, and the mark that QEMU made is left alone. */
        region->blanket = false;
        return true;
    }
    ksm_region_pages(block, r, &first, &last);
    if (!block->backend->unmerge(block, first, last)) {
        return false;
    }
    set_marked(marks, block, first, last, false);
    marks->vmas -= MIN(marks->vmas, region->runs * VMAS_PER_RUN);
    region->runs = 0;
    region->blanket = false;
    /* Should passes run again, what has a twin is marked again. */
    region->marks_due = true;
    return true;
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

static unsigned count_runs(const KsmBlock *block, size_t first, size_t last,
                           KsmMarkRule rule)
{
    size_t run_first, run_last = first;
    unsigned n = 0;

    while (ksm_marks_next_run(block->pages, run_last, last, rule,
                              &run_first, &run_last)) {
        n++;
    }
    return n;
}

/* Unmark the runs of marked pages that are no candidates any more. */
static bool withdraw_stale(KsmMarks *marks, KsmBlock *block, size_t first,
                           size_t last)
{
    size_t p = first;

    while (p < last) {
        size_t start;

        while (p < last && (!(block->pages[p] & KSM_PAGE_MARKED) ||
                            ksm_page_is_candidate(block->pages[p]))) {
            p++;
        }
        start = p;
        while (p < last && (block->pages[p] & KSM_PAGE_MARKED) &&
               !ksm_page_is_candidate(block->pages[p])) {
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

bool ksm_marks_update(KsmMarks *marks, KsmBlock *block, size_t r)
{
    KsmRegion *region = &block->regions[r];
    size_t first, last, run_first, run_last;
    /*
     * The first merge in a huge page splits it, and the kernel (6.12) maps the
     * zero pages that it finds then to its shared one.  So zero pages of a
     * huge page are marked only to have it split, and one is enough for that.
     */
    KsmMarkRule rule = { .zeros = !region->huge || !region->twins };
    bool split_only = region->huge && !region->twins;
    unsigned exact;

    if (!block->backend->merge) {
        region->marks_due = false;
        return true;
    }
    if (density(region) < marks->min_density && !region->marked) {
        return true;
    }
    ksm_region_pages(block, r, &first, &last);
    exact = split_only ? 1 : count_runs(block, first, last, rule);
    marks->vmas -= MIN(marks->vmas, region->runs * VMAS_PER_RUN);
    rule.coalesce = marks->vmas + exact * VMAS_PER_RUN > marks->vma_budget;
    if (rule.coalesce) {
        marks->limited = true;
        if (marks->vmas + VMAS_PER_RUN > marks->vma_budget) {
            marks->vmas += region->runs * VMAS_PER_RUN;
            return true;
        }
    }

    run_last = first;
    while (ksm_marks_next_run(block->pages, run_last, last, rule,
                              &run_first, &run_last)) {
        bool due = false;

        if (split_only) {
            run_last = run_first + 1;
        }
        for (size_t p = run_first; p < run_last && !due; p++) {
            due = !(block->pages[p] & KSM_PAGE_MARKED);
        }
        if (due) {
            if (!block->backend->merge(block, run_first, run_last)) {
                marks->vmas += region->runs * VMAS_PER_RUN;
                return false;
            }
            set_marked(marks, block, run_first, run_last, true);
        }
        if (rule.coalesce || split_only) {
            break;
        }
    }
    region->runs = rule.coalesce ? 1 : exact;
    marks->vmas += region->runs * VMAS_PER_RUN;
    if (region->quiet < KSM_MARKS_QUIET_PASSES) {
        /* Stale marks may become good ones again: ask once more later. */
        return true;
    }
    if (!rule.coalesce && !withdraw_stale(marks, block, first, last)) {
        return false;
    }
    region->marks_due = false;
    return true;
}
