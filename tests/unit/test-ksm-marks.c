/*
 * Test which pages are marked, and what the marks cost
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The backend here only takes down what it is told, page by page.
 */
#include "qemu/osdep.h"
#include "qemu/units.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "hw/boards.h"
#include "../../accel/ksm/backend.h"
#include "../../accel/ksm/marks.h"

#define REGIONS     32
#define LOTS        100000

typedef struct Fixture {
    KsmMarks marks;
    KsmBlockList blocks;
    KsmBlock *block;
    unsigned n;                 /* pages of a region */
} Fixture;

/* What the kernel was told of each page, and how often. */
static bool *advised;
static unsigned merges, unmerges;
/* Refuse so many calls, after so many that are not refused. */
static unsigned refuse, refuse_after;
/* Refuse each nth merge. */
static unsigned refuse_every;

static bool refused(void)
{
    if (refuse && refuse_after == 0) {
        refuse--;
        return true;
    }
    refuse_after -= refuse_after > 0;
    return refuse_every && merges % refuse_every == 0;
}

static bool note(KsmBlock *block, size_t first, size_t last, bool mergeable)
{
    g_assert_cmpuint(first, <, last);
    g_assert_cmpuint(last, <=, block->n_pages);
    if (refused()) {
        return false;
    }
    memset(advised + first, mergeable, last - first);
    return true;
}

static bool fake_merge(KsmBlock *block, size_t first, size_t last)
{
    merges++;
    return note(block, first, last, true);
}

static bool fake_unmerge(KsmBlock *block, size_t first, size_t last)
{
    unmerges++;
    return note(block, first, last, false);
}

static const KsmBackend fake = {
    .merge = fake_merge,
    .unmerge = fake_unmerge,
};

static const KsmBackend merges_nothing;

/* Nothing reads the memory, so there need be none. */
static void setup(Fixture *f, gconstpointer data)
{
    uint8_t *host = (uint8_t *)(uintptr_t)(64 * MiB);
    const uint64_t size = REGIONS * KSM_REGION_SIZE;

    f->n = KSM_REGION_SIZE / qemu_real_host_page_size();
    ksm_marks_init(&f->marks);
    f->marks.vma_budget = LOTS;
    QTAILQ_INIT(&f->blocks);
    f->block = ksm_block_new(host, size, size);
    ksm_block_start(f->block, 0);
    f->block->backend = &fake;
    QTAILQ_INSERT_TAIL(&f->blocks, f->block, next);
    advised = g_new0(bool, f->block->n_pages);
    merges = unmerges = refuse = refuse_after = refuse_every = 0;
}

static void teardown(Fixture *f, gconstpointer data)
{
    ksm_block_free(f->block);
    g_clear_pointer(&advised, g_free);
}

static void set_flag(Fixture *f, size_t page, KsmPage flag, bool on)
{
    KsmPage old = f->block->pages[page];

    ksm_block_set_page(f->block, page, on ? old | flag : old & ~flag);
}

/* Page @page gains a twin, or loses its last; its region is worth it. */
static void set_twin(Fixture *f, size_t page, bool twin)
{
    set_flag(f, page, KSM_PAGE_TWIN, twin);
    f->block->regions[ksm_block_region_of(f->block, page)].promoted = true;
}

static void set_twins(Fixture *f, size_t first, size_t n, bool twin)
{
    for (size_t p = first; p < first + n; p++) {
        set_twin(f, p, twin);
    }
}

/* @n twins in region @r that lie alone: no gap is short. */
static void scatter(Fixture *f, size_t r, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        set_twin(f, r * f->n + i * 10, true);
    }
}

/* What a pass does about marks; false: the kernel refused something. */
static bool pass(Fixture *f)
{
    bool ok = true;

    ksm_marks_begin(&f->marks, &f->blocks);
    for (size_t r = 0; r < f->block->n_regions; r++) {
        KsmRegion *region = &f->block->regions[r];

        region->quiet = MIN(region->quiet + 1, UINT8_MAX);
        if (!ksm_marks_admit(&f->marks, region)) {
            ok &= ksm_marks_withdraw(&f->marks, f->block, r);
            region->armed = false;
            continue;
        }
        region->armed = true;
        if (region->marks_due) {
            ok &= ksm_marks_update(&f->marks, f->block, r);
        }
    }
    return ok;
}

static void passes(Fixture *f, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        g_assert_true(pass(f));
    }
}

/*
 * Mappings that the kernel needs more than for untouched memory: one ends
 * wherever marked meets unmarked, or armed meets unarmed.
 */
static unsigned mappings(Fixture *f)
{
    unsigned n = 0, before = 0;

    for (size_t p = 0; p < f->block->n_pages; p++) {
        size_t r = ksm_block_region_of(f->block, p);
        unsigned here = advised[p] | f->block->regions[r].armed << 1;

        n += here != before;
        before = here;
    }
    return n + (before != 0);
}

/* And they are no more than may be, nor than was thought. */
static void check_cost(Fixture *f)
{
    g_assert_cmpuint(mappings(f), <=, f->marks.vma_budget);
    g_assert_cmpuint(mappings(f), <=, f->marks.vmas);
}

/* How many of the pages [@first, @last) the kernel may merge. */
static unsigned count_advised(size_t first, size_t last)
{
    unsigned n = 0;

    for (size_t p = first; p < last; p++) {
        n += advised[p];
    }
    return n;
}

static unsigned advised_in(Fixture *f, size_t r)
{
    return count_advised(r * f->n, (r + 1) * f->n);
}

/* The records say what the kernel was told. */
static void check_records(Fixture *f)
{
    for (size_t p = 0; p < f->block->n_pages; p++) {
        g_assert_cmpint(!!(f->block->pages[p] & KSM_PAGE_MARKED), ==,
                        advised[p]);
    }
    for (size_t r = 0; r < f->block->n_regions; r++) {
        g_assert_cmpuint(f->block->regions[r].marked, ==, advised_in(f, r));
    }
}

/* Marked are the pages with a twin, and no others. */
static void check_exact(Fixture *f)
{
    for (size_t p = 0; p < f->block->n_pages; p++) {
        g_assert_cmpint(!!(f->block->pages[p] & KSM_PAGE_TWIN), ==,
                        advised[p]);
    }
    check_records(f);
}

static void test_limit(Fixture *f, gconstpointer data)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents("/proc/sys/vm/max_map_count", &text,
                                      NULL, NULL));
    ksm_marks_init(&f->marks);
    g_assert_cmpuint(f->marks.vma_budget, ==,
                     g_ascii_strtoull(text, NULL, 10) / 4);
}

/* Runs are maximal and in order, on pages of all kinds at random. */
static void test_next_run(Fixture *f, gconstpointer data)
{
    static const KsmPage kinds[] = {
        0, KSM_PAGE_TWIN, KSM_PAGE_ZERO, KSM_PAGE_ZERO | KSM_PAGE_ZEROPAGE,
        KSM_PAGE_HASHED, KSM_PAGE_MARKED, KSM_PAGE_TWIN | KSM_PAGE_WRITTEN,
    };
    KsmPage pages[64];

    for (int round = 0; round < 20000; round++) {
        bool wanted[ARRAY_SIZE(pages)], found[ARRAY_SIZE(pages)] = { };
        size_t n = g_test_rand_int_range(1, ARRAY_SIZE(pages) + 1);
        size_t first, last = 0, before = 0;
        bool zeros = round & 1;
        int kind = 0;

        for (size_t p = 0; p < n; p++) {
            if (g_test_rand_int_range(0, 3) == 0) {
                kind = g_test_rand_int_range(0, ARRAY_SIZE(kinds));
            }
            pages[p] = kinds[kind];
            wanted[p] = (pages[p] & KSM_PAGE_TWIN) ||
                        (zeros && pages[p] == KSM_PAGE_ZERO);
        }
        while (ksm_marks_next_run(pages, last, n, zeros, &first, &last)) {
            /* Two runs that touch would be one. */
            g_assert_cmpuint(first, >=, before + (before > 0));
            g_assert_cmpuint(first, <, last);
            g_assert_cmpuint(last, <=, n);
            before = last;
            memset(found + first, 1, last - first);
        }
        g_assert_cmpmem(found, n, wanted, n);
    }
}

/* Exactly the runs of twins are marked, each told once. */
static void test_exact_runs(Fixture *f, gconstpointer data)
{
    set_twins(f, 0, 1, true);
    set_twins(f, 10, 20, true);
    /* To the end of a region, and on in the next. */
    set_twins(f, f->n - 5, 10, true);
    set_twins(f, f->block->n_pages - 1, 1, true);
    passes(f, 1);
    check_exact(f);
    check_cost(f);
    g_assert_cmpuint(merges, ==, 5);
    g_assert_cmpuint(f->marks.marked, ==, 32);
    g_assert_false(f->marks.limited);

    /* Nothing to do: nothing is told. */
    passes(f, KSM_MARKS_QUIET_PASSES + 2);
    g_assert_cmpuint(merges, ==, 5);
    g_assert_cmpuint(unmerges, ==, 0);

    /* A run that grows is told anew; what was marked is not new. */
    set_twins(f, 30, 1, true);
    passes(f, 1);
    check_exact(f);
    check_cost(f);
    g_assert_cmpuint(merges, ==, 6);
    g_assert_cmpuint(f->marks.marked, ==, 33);
}

/* In the end the kernel merges short gaps too, which the records don't tell. */
static void test_bridged(Fixture *f, gconstpointer data)
{
    set_twins(f, 10, 5, true);
    set_twins(f, 23, 5, true);      /* behind 8 others */
    set_twins(f, 37, 5, true);      /* behind 9 */
    set_twins(f, 47, 1, true);      /* behind 5: 13 of 16 pages in all */
    set_twins(f, 55, 1, true);      /* behind 7: too many */
    passes(f, KSM_MARKS_QUIET_PASSES - 1);
    check_exact(f);
    g_assert_cmpuint(f->marks.marked, ==, 17);
    passes(f, 1);
    g_assert_cmpuint(mappings(f), ==, 8);
    g_assert_cmpuint(count_advised(10, 28), ==, 18);
    g_assert_cmpuint(count_advised(28, 37), ==, 0);
    g_assert_cmpuint(count_advised(37, 48), ==, 11);
    g_assert_cmpuint(count_advised(48, 55), ==, 0);
    g_assert_cmpuint(f->block->regions[0].marked, ==, 17);
    g_assert_cmpuint(f->marks.marked, ==, 17);
    g_assert_cmpuint(unmerges, ==, 0);
    check_cost(f);

    /* One in a gap that gains a twin is new. */
    set_twin(f, 20, true);
    passes(f, 1);
    g_assert_cmpuint(f->marks.marked, ==, 18);
    g_assert_cmpuint(mappings(f), ==, 8);
    check_cost(f);
    /* One that loses it and gains it again, too. */
    set_twin(f, 20, false);
    passes(f, KSM_MARKS_QUIET_PASSES);
    g_assert_true(advised[20]);
    g_assert_cmpuint(f->block->regions[0].marked, ==, 17);
    set_twin(f, 20, true);
    passes(f, 1);
    g_assert_cmpuint(f->marks.marked, ==, 19);
    set_twin(f, 20, false);

    /* Without the runs on their sides they aren't merged any longer. */
    set_twins(f, 23, 5, false);
    passes(f, KSM_MARKS_QUIET_PASSES);
    g_assert_cmpuint(count_advised(10, 37), ==, 5);
    g_assert_cmpuint(count_advised(37, 48), ==, 11);
    check_cost(f);
    /* Nor is anything of a region that is withdrawn. */
    g_assert_true(ksm_marks_withdraw(&f->marks, f->block, 0));
    g_assert_cmpuint(advised_in(f, 0), ==, 0);
    check_records(f);
}

/* What is needed for exact runs is not taken by gaps. */
static void test_bridged_crowded(Fixture *f, gconstpointer data)
{
    for (size_t p = 0; p < 100; p += 2) {
        set_twins(f, p, 1, true);
    }
    passes(f, KSM_MARKS_QUIET_PASSES);
    g_assert_cmpuint(count_advised(0, 99), ==, 99);
    check_cost(f);
    f->marks.vma_budget = 150;
    for (size_t p = 0; p < 40; p += 2) {
        set_twins(f, p, 1, false);
    }
    passes(f, 1);
    check_exact(f);
    check_cost(f);
}

/* A region that was not promoted has no marks. */
static void test_promoted_only(Fixture *f, gconstpointer data)
{
    set_twins(f, 0, 3, true);
    f->block->regions[0].promoted = false;
    passes(f, 3);
    g_assert_cmpuint(merges, ==, 0);
    f->block->regions[0].promoted = true;
    passes(f, 1);
    check_exact(f);
}

/* The first region may begin in the middle of a huge page's memory. */
static void test_skewed(Fixture *f, gconstpointer data)
{
    const size_t page_size = qemu_real_host_page_size();
    uint8_t *host = f->block->host + 5 * page_size;
    const uint64_t size = 3 * KSM_REGION_SIZE;

    QTAILQ_REMOVE(&f->blocks, f->block, next);
    ksm_block_free(f->block);
    f->block = ksm_block_new(host, size, size);
    ksm_block_start(f->block, 0);
    f->block->backend = &fake;
    QTAILQ_INSERT_TAIL(&f->blocks, f->block, next);
    g_assert_cmpuint(f->block->n_regions, ==, 4);
    set_twins(f, 0, 1, true);
    set_twins(f, f->n - 6, 2, true);
    set_twins(f, 3 * f->n - 1, 1, true);
    passes(f, 1);
    for (size_t p = 0; p < f->block->n_pages; p++) {
        g_assert_cmpint(!!(f->block->pages[p] & KSM_PAGE_TWIN), ==,
                        advised[p]);
    }
    g_assert_cmpuint(f->block->regions[0].marked, ==, 2);
    check_cost(f);
}

/* A region whose exact runs would cost too much is marked whole. */
static void test_whole(Fixture *f, gconstpointer data)
{
    f->marks.vma_budget = 12;
    scatter(f, 0, 3);
    scatter(f, 1, 50);
    for (int i = 0; i < 3; i++) {
        passes(f, 1);
        g_assert_cmpuint(advised_in(f, 0), ==, 3);
        g_assert_cmpuint(advised_in(f, 1), ==, f->n);
        g_assert_true(f->marks.limited);
        check_records(f);
        check_cost(f);
        passes(f, KSM_MARKS_QUIET_PASSES);
    }
    /* With room again, a change brings exact runs back. */
    f->marks.vma_budget = LOTS;
    set_twin(f, f->n + 505, true);
    passes(f, KSM_MARKS_QUIET_PASSES + 1);
    check_exact(f);
    check_cost(f);
    g_assert_false(f->marks.limited);
}

/* The guest wants the pages [@first, @last) of one region kept apart. */
static void exclude(Fixture *f, size_t first, size_t last)
{
    const size_t r = ksm_block_region_of(f->block, first);
    KsmRegion *region = &f->block->regions[r];

    set_twins(f, first, last - first, false);
    if (!region->advised) {
        region->advised = g_new0(KsmAdvisedPages, 1);
    }
    bitmap_set(region->advised->never, first - r * f->n, last - first);
    g_assert_true(ksm_marks_exclude(&f->marks, f->block, first, last));
    g_assert_cmpuint(count_advised(first, last), ==, 0);
    check_cost(f);
}

/* Excluded pages lose their marks at once, and are no gap to be bridged. */
static void test_excluded(Fixture *f, gconstpointer data)
{
    set_twins(f, 0, 20, true);
    set_twins(f, f->n, 20, true);
    passes(f, 1);
    exclude(f, 5, 10);
    g_assert_cmpuint(advised_in(f, 0), ==, 15);
    check_records(f);
    /* In the other region the same gap is one. */
    set_twins(f, f->n + 5, 5, false);
    passes(f, KSM_MARKS_QUIET_PASSES + 1);
    g_assert_cmpuint(advised_in(f, 0), ==, 15);
    g_assert_cmpuint(count_advised(5, 10), ==, 0);
    g_assert_cmpuint(advised_in(f, 1), ==, 20);
    check_cost(f);
}

/* Nor are they marked with the whole region, whatever mappings there are. */
static void test_excluded_whole(Fixture *f, gconstpointer data)
{
    f->marks.vma_budget = 12;
    scatter(f, 0, 3);
    scatter(f, 1, 50);
    passes(f, 1);
    g_assert_cmpuint(advised_in(f, 1), ==, f->n);
    exclude(f, f->n + 20, f->n + 21);
    for (int i = 0; i < 3; i++) {
        passes(f, KSM_MARKS_QUIET_PASSES);
        g_assert_cmpuint(advised_in(f, 0), ==, 3);
        g_assert_cmpuint(advised_in(f, 1), ==, 0);
        check_records(f);
        check_cost(f);
    }
    f->marks.vma_budget = LOTS;
    set_twin(f, f->n + 505, true);
    passes(f, KSM_MARKS_QUIET_PASSES + 1);
    check_exact(f);
    check_cost(f);
}

/* However many are excluded one by one: then all of the region is. */
static void test_excluded_many(Fixture *f, gconstpointer data)
{
    set_twins(f, 0, f->n, true);
    passes(f, 1);
    f->marks.vma_budget = 64;
    for (size_t p = 1; p < f->n; p += 2) {
        exclude(f, p, p + 1);
    }
    g_assert_cmpuint(advised_in(f, 0), ==, 0);
    passes(f, KSM_MARKS_QUIET_PASSES + 1);
    check_cost(f);
}

/* Regions far apart, of which every other is worth marking. */
static void scatter_regions(Fixture *f, unsigned n)
{
    for (size_t r = 0; r < n; r++) {
        /* Dense ones are anywhere. */
        scatter(f, r * 2, (r * 7 + 3) % n * 3 + 2);
    }
}

/* Region @r is of small pages, and is armed if there are mappings for that. */
static bool take(Fixture *f, size_t r)
{
    KsmRegion *region = &f->block->regions[r];

    region->promoted = true;
    region->armed = ksm_marks_admit(&f->marks, region) &&
                    ksm_marks_take(&f->marks, f->block, r);
    region->promoted = region->armed;
    return region->armed;
}

/* Before anything is known to be alike: as many are armed as there is room. */
static void test_taken(Fixture *f, gconstpointer data)
{
    unsigned n = 0;

    f->marks.vma_budget = 11;
    /* Two each, as long as they lie alone. */
    for (size_t r = 1; r < REGIONS; r += 2) {
        n += take(f, r);
        check_cost(f);
    }
    g_assert_cmpuint(n, ==, 5);
    g_assert_true(f->marks.limited);
    /* One between two makes one mapping of three; one beside costs nothing. */
    g_assert_true(take(f, 2));
    g_assert_cmpuint(f->marks.vmas, ==, 8);
    g_assert_true(take(f, 0));
    g_assert_cmpuint(f->marks.vmas, ==, 8);
    check_cost(f);
    g_assert_true(take(f, 20));
    g_assert_false(take(f, 23));
    check_cost(f);
    /* It is told until all find room. */
    passes(f, 1);
    g_assert_true(f->marks.limited);
    passes(f, 1);
    g_assert_false(f->marks.limited);
    check_cost(f);
}

/* What is alike comes before what was only armed. */
static void test_taken_yields(Fixture *f, gconstpointer data)
{
    f->marks.vma_budget = 10;
    for (size_t r = 1; r < 10; r += 2) {
        g_assert_true(take(f, r));
    }
    passes(f, 1);
    set_twins(f, 20 * f->n, 100, true);
    passes(f, 1);
    check_cost(f);
    g_assert_cmpuint(count_advised(20 * f->n, 20 * f->n + 100), ==, 100);
    g_assert_false(f->block->regions[1].armed);
}

/* If not even arming all regions is possible, the densest are. */
static void test_densest(Fixture *f, gconstpointer data)
{
    scatter_regions(f, REGIONS / 2);
    f->marks.vma_budget = REGIONS / 2;
    for (int i = 0; i < 3; i++) {
        unsigned sparsest = UINT_MAX, densest_left_out = 0, armed = 0;

        passes(f, 1);
        for (size_t r = 0; r < REGIONS; r++) {
            const KsmRegion *region = &f->block->regions[r];

            if (region->armed) {
                sparsest = MIN(sparsest, region->twins);
                armed++;
            } else {
                densest_left_out = MAX(densest_left_out, region->twins);
                g_assert_cmpuint(advised_in(f, r), ==, 0);
            }
        }
        g_assert_cmpuint(sparsest, >, densest_left_out);
        /* At two mappings each, most of the budget is used. */
        g_assert_cmpuint(armed * 2, >=, f->marks.vma_budget * 3 / 4);
        g_assert_true(f->marks.limited);
        check_records(f);
        check_cost(f);
        passes(f, KSM_MARKS_QUIET_PASSES);
    }
}

/* The cut moves down only when there is room again: marks don't come and go. */
static void test_cut_is_sticky(Fixture *f, gconstpointer data)
{
    unsigned cut, sparsest = 0;

    scatter_regions(f, REGIONS / 2);
    f->marks.vma_budget = REGIONS - 1;
    passes(f, 1);
    cut = f->marks.min_density;
    g_assert_cmpuint(cut, >, 2);
    while (f->block->regions[sparsest].twins != 2) {
        sparsest++;
    }
    g_assert_cmpuint(advised_in(f, sparsest), ==, 0);

    /* One comes and goes: those near the cut don't care. */
    for (int i = 0; i < 20; i++) {
        f->block->regions[0].promoted = i & 1;
        unmerges = 0;
        passes(f, 1);
        g_assert_cmpuint(f->marks.min_density, ==, cut);
        g_assert_true(f->marks.limited);
        g_assert_cmpuint(unmerges, <=, 1);
        check_cost(f);
    }
    /* Of half as many there is room for all. */
    for (size_t r = 0; r < REGIONS; r++) {
        f->block->regions[r].promoted &= r >= REGIONS / 2;
    }
    passes(f, 2);
    g_assert_cmpuint(f->marks.min_density, ==, 1);
    g_assert_true(f->block->regions[sparsest].armed);
    check_cost(f);
}

/* However twins come and go, marks cost no more than the budget. */
static void test_turnover(Fixture *f, gconstpointer data)
{
    f->marks.vma_budget = 400;
    for (int i = 0; i < 1000; i++) {
        /* Each region has few twins, now here, now there. */
        for (size_t r = 0; r < f->block->n_regions; r++) {
            size_t first = r * f->n;

            set_twin(f, first + g_test_rand_int_range(0, f->n), true);
            while (f->block->regions[r].twins > 2) {
                set_twin(f, first + g_test_rand_int_range(0, f->n), false);
            }
        }
        passes(f, g_test_rand_int_range(0, 20) ? 1 : KSM_MARKS_QUIET_PASSES);
        check_cost(f);
    }
}

/* So do bridges, as twins come and go on their sides and in them. */
static void test_bridges_turn_over(Fixture *f, gconstpointer data)
{
    for (int i = 0; i < 3000; i++) {
        if (i % 100 == 0) {
            f->marks.vma_budget = g_test_rand_int_range(50, 1000);
        }
        for (size_t r = 0; r < 8; r++) {
            size_t p = r * f->n + g_test_rand_int_range(0, 100);
            bool on = g_test_rand_int_range(0, 100) < 10 + i / 30;

            set_twins(f, p, g_test_rand_int_range(0, 8), on);
        }
        passes(f, g_test_rand_int_range(0, 3) ? 1 : KSM_MARKS_QUIET_PASSES);
        if (i % 100 > 50) {
            /* A whole region costs one more when its neighbour changes. */
            g_assert_cmpuint(mappings(f), <=, f->marks.vma_budget + 8);
            g_assert_cmpuint(mappings(f), <=, f->marks.vmas + 8);
        }
    }
}

/* What was marked before the kernel refused more costs, too. */
static void test_refused_cost(Fixture *f, gconstpointer data)
{
    f->marks.vma_budget = 30;
    refuse_every = 6;
    for (size_t r = 0; r < 8; r++) {
        scatter(f, r, 6);
    }
    for (int i = 0; i < 8; i++) {
        pass(f);
        check_cost(f);
    }
}

/* Exact runs of sparse regions don't keep a dense one from being marked. */
static void test_dense_newcomer(Fixture *f, gconstpointer data)
{
    f->marks.vma_budget = 40;
    for (size_t r = 0; r < REGIONS / 2; r += 2) {
        scatter(f, r, 2);
    }
    passes(f, 1);
    scatter(f, REGIONS - 2, 50);
    passes(f, KSM_MARKS_QUIET_PASSES);
    g_assert_cmpuint(advised_in(f, REGIONS - 2), >=, 200);
    check_cost(f);
}

/* Nor do they use the mappings that armed regions need. */
static void test_armed_late(Fixture *f, gconstpointer data)
{
    f->marks.vma_budget = 100;
    scatter(f, 0, 49);
    passes(f, KSM_MARKS_QUIET_PASSES + 1);
    for (size_t r = 2; r < REGIONS; r += 2) {
        set_twin(f, r * f->n + 5, true);
    }
    passes(f, 2);
    check_cost(f);
}

/* Dense regions that come late are marked: exact runs make room. */
static void test_dense_late(Fixture *f, gconstpointer data)
{
    f->marks.vma_budget = 64;
    for (size_t r = 0; r < 10; r++) {
        scatter(f, r, 3);
    }
    passes(f, KSM_MARKS_QUIET_PASSES + 1);
    g_assert_false(f->marks.limited);
    for (size_t r = 11; r < REGIONS; r += 2) {
        set_twins(f, r * f->n, 400, true);
    }
    passes(f, 4);
    for (size_t r = 11; r < REGIONS; r += 2) {
        g_assert_cmpuint(advised_in(f, r), >=, 400);
    }
    check_cost(f);
    g_assert_cmpuint(f->marks.vmas, <=, f->marks.vma_budget);
}

/* When there is room again, what was marked whole is marked exactly. */
static void test_exact_again(Fixture *f, gconstpointer data)
{
    f->marks.vma_budget = 64;
    for (size_t r = 0; r < 10; r++) {
        scatter(f, r, 3);
    }
    scatter(f, 20, 50);
    passes(f, KSM_MARKS_QUIET_PASSES * 2);
    g_assert_true(f->marks.limited);
    for (size_t p = 20 * f->n; p < 21 * f->n; p++) {
        set_twin(f, p, false);
    }
    for (size_t r = 5; r < 10; r++) {
        for (size_t p = r * f->n; p < (r + 1) * f->n; p++) {
            set_twin(f, p, false);
        }
    }
    passes(f, KSM_MARKS_QUIET_PASSES * 6);
    check_exact(f);
    g_assert_false(f->marks.limited);
}

/*
 * A zero page that ksmd has merged is the kernel's shared one: its mark stays,
 * since taking it away would give the page memory of its own again.
 */
static void test_merged_zeros(Fixture *f, gconstpointer data)
{
    for (size_t p = 0; p < 20; p++) {
        set_flag(f, p, KSM_PAGE_ZERO, true);
    }
    f->block->regions[0].promoted = true;
    passes(f, 1);
    g_assert_cmpuint(advised_in(f, 0), ==, 20);
    for (size_t p = 0; p < 20; p++) {
        set_flag(f, p, KSM_PAGE_ZEROPAGE, true);
    }
    passes(f, KSM_MARKS_QUIET_PASSES * 3);
    g_assert_cmpuint(advised_in(f, 0), ==, 20);
    g_assert_cmpuint(unmerges, ==, 0);
    check_cost(f);
}

/* A mark outlives its page's twin for some passes, and no longer. */
static void test_stale(Fixture *f, gconstpointer data)
{
    set_twins(f, 10, 20, true);
    passes(f, 1);

    /* It comes back in time: nothing was told. */
    set_twins(f, 15, 10, false);
    passes(f, KSM_MARKS_QUIET_PASSES - 1);
    g_assert_cmpuint(unmerges, ==, 0);
    set_twins(f, 15, 10, true);
    passes(f, KSM_MARKS_QUIET_PASSES * 2);
    g_assert_cmpuint(unmerges, ==, 0);
    check_exact(f);

    /* It doesn't: it alone is withdrawn. */
    set_twins(f, 15, 10, false);
    passes(f, KSM_MARKS_QUIET_PASSES - 1);
    g_assert_true(advised[15]);
    passes(f, 1);
    g_assert_cmpuint(unmerges, ==, 1);
    check_exact(f);

    /* Nor do the others. */
    set_twins(f, 10, 20, false);
    passes(f, KSM_MARKS_QUIET_PASSES);
    check_exact(f);
    g_assert_cmpuint(f->block->regions[0].marked, ==, 0);
    check_cost(f);
}

/* What the kernel refuses is not marked, and tried again. */
static void test_refused_merge(Fixture *f, gconstpointer data)
{
    set_twins(f, 0, 4, true);
    set_twins(f, 10, 4, true);
    set_twins(f, f->n, 4, true);
    refuse = 4;
    refuse_after = 1;
    for (int i = 0; i < 2; i++) {
        g_assert_false(pass(f));
        check_records(f);
        g_assert_cmpuint(f->marks.marked, ==, 4);
        g_assert_true(f->block->regions[0].marks_due);
    }
    passes(f, 1);
    check_exact(f);
    g_assert_cmpuint(f->marks.marked, ==, 12);
    check_cost(f);
}

/* So does what stays marked against our will. */
static void test_refused_unmerge(Fixture *f, gconstpointer data)
{
    set_twins(f, 10, 4, true);
    set_twins(f, 20, 4, true);
    passes(f, 1);
    refuse = 2;
    g_assert_false(ksm_marks_withdraw(&f->marks, f->block, 0));
    g_assert_cmpuint(f->block->regions[0].marked, ==, 8);
    check_cost(f);
    set_twins(f, 10, 4, false);
    passes(f, KSM_MARKS_QUIET_PASSES - 1);
    g_assert_false(pass(f));
    check_records(f);
    g_assert_true(advised[10]);
    passes(f, 1);
    check_exact(f);
}

/* All of a region's marks are withdrawn at once, whoever made them. */
static void test_withdraw(Fixture *f, gconstpointer data)
{
    set_twins(f, 10, 4, true);
    set_twins(f, 30, 4, true);
    set_twins(f, f->n, 4, true);
    passes(f, KSM_MARKS_QUIET_PASSES);
    g_assert_true(ksm_marks_withdraw(&f->marks, f->block, 0));
    g_assert_cmpuint(unmerges, ==, 1);
    g_assert_cmpuint(advised_in(f, 0), ==, 0);
    g_assert_cmpuint(advised_in(f, 1), ==, 4);
    check_records(f);
    check_cost(f);
    /* A region without marks has nothing to withdraw. */
    g_assert_true(ksm_marks_withdraw(&f->marks, f->block, 0));
    g_assert_true(ksm_marks_withdraw(&f->marks, f->block, 2));
    g_assert_cmpuint(unmerges, ==, 1);
    /* But for QEMU's own mark on all of it. */
    f->block->regions[2].blanket = true;
    g_assert_true(ksm_marks_withdraw(&f->marks, f->block, 2));
    g_assert_cmpuint(unmerges, ==, 2);
    g_assert_false(f->block->regions[2].blanket);
    /* Twins that are still there are marked again. */
    passes(f, 1);
    check_exact(f);
}

/* Zero pages count and are marked, but for those that cost nothing. */
static void test_zeros(Fixture *f, gconstpointer data)
{
    for (size_t p = 0; p < 20; p++) {
        set_flag(f, p, KSM_PAGE_ZERO, true);
    }
    for (size_t p = 5; p < 8; p++) {
        set_flag(f, p, KSM_PAGE_ZEROPAGE, true);
    }
    f->block->regions[0].promoted = true;
    passes(f, 1);
    for (size_t p = 0; p < f->n; p++) {
        g_assert_cmpint(advised[p], ==, p < 5 || (p >= 8 && p < 20));
    }
    check_records(f);
}

/* A huge page is split by its first merge: zero pages need no marks then. */
static void test_huge(Fixture *f, gconstpointer data)
{
    for (size_t r = 0; r < 2; r++) {
        f->block->regions[r].huge = f->block->regions[r].promoted = true;
        for (size_t p = 0; p < f->n; p++) {
            set_flag(f, r * f->n + p, KSM_PAGE_ZERO, true);
        }
    }
    set_flag(f, f->n + 7, KSM_PAGE_ZERO, false);
    set_twins(f, f->n + 7, 1, true);
    passes(f, 1);
    g_assert_cmpuint(advised_in(f, 0), ==, 1);
    g_assert_cmpuint(advised_in(f, 1), ==, 1);
    g_assert_true(advised[f->n + 7]);
    check_records(f);
    check_cost(f);
}

/* A backend that merges nothing has no marks. */
static void test_merges_nothing(Fixture *f, gconstpointer data)
{
    f->block->backend = &merges_nothing;
    set_twins(f, 0, 100, true);
    f->block->regions[1].blanket = true;
    passes(f, KSM_MARKS_QUIET_PASSES + 1);
    g_assert_cmpuint(f->block->regions[0].marked, ==, 0);
    g_assert_true(ksm_marks_withdraw(&f->marks, f->block, 1));
    g_assert_false(f->block->regions[1].blanket);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name) \
    g_test_add("/ksm/marks/" #name, Fixture, NULL, setup, \
               test_ ## name, teardown)
    ADD(limit);
    ADD(next_run);
    ADD(exact_runs);
    ADD(bridged);
    ADD(bridged_crowded);
    ADD(promoted_only);
    ADD(skewed);
    ADD(whole);
    ADD(excluded);
    ADD(excluded_whole);
    ADD(excluded_many);
    ADD(taken);
    ADD(taken_yields);
    ADD(densest);
    ADD(cut_is_sticky);
    ADD(turnover);
    ADD(bridges_turn_over);
    ADD(refused_cost);
    ADD(dense_newcomer);
    ADD(armed_late);
    ADD(dense_late);
    ADD(exact_again);
    ADD(merged_zeros);
    ADD(stale);
    ADD(refused_merge);
    ADD(refused_unmerge);
    ADD(withdraw);
    ADD(zeros);
    ADD(huge);
    ADD(merges_nothing);
    return g_test_run();
}

/*
 * What block.c needs of QEMU for RAMBlocks, of which there are none here.
 */
RAMList ram_list;
MachineState *current_machine;

bool machine_mem_merge(MachineState *machine)
{
    g_assert_not_reached();
}

const char *memory_region_name(const MemoryRegion *mr)
{
    g_assert_not_reached();
}

Object *memory_region_owner(MemoryRegion *mr)
{
    g_assert_not_reached();
}

size_t qemu_ram_pagesize(RAMBlock *block)
{
    g_assert_not_reached();
}

bool ram_block_discard_is_disabled(void)
{
    g_assert_not_reached();
}
