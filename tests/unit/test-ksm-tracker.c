/*
 * Test the tracker of written pages, against the running kernel
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qemu/bitops.h"
#include "../../accel/ksm/tracker.h"

#define PAGES 1024

typedef struct Fixture {
    KsmPagemap pagemap;
    KsmTracker tracker;
    size_t page_size;
    uint8_t *memory;        /* NULL: skip */
} Fixture;

static void setup(Fixture *f, gconstpointer data)
{
    Error *err = NULL;

    f->page_size = qemu_real_host_page_size();
    ksm_pagemap_open(&f->pagemap, &error_abort);
    if (!ksm_tracker_open(&f->tracker, &f->pagemap, &err)) {
        g_test_skip(error_get_pretty(err));
        error_free(err);
        return;
    }
    f->memory = mmap(NULL, PAGES * f->page_size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert_true(f->memory != MAP_FAILED);
    madvise(f->memory, PAGES * f->page_size, MADV_NOHUGEPAGE);
}

static void teardown(Fixture *f, gconstpointer data)
{
    if (f->memory) {
        munmap(f->memory, PAGES * f->page_size);
        ksm_tracker_close(&f->tracker);
    }
    ksm_pagemap_close(&f->pagemap);
}

static void write_page(Fixture *f, size_t page, uint8_t value)
{
    f->memory[page * f->page_size] = value;
}

/*
 * Collects what was written into an array of a byte a page, and arms it again;
 * returns how many pages that are.
 */
static unsigned collect(Fixture *f, uint8_t written[PAGES])
{
    uint64_t at = (uintptr_t)f->memory, end = at + PAGES * f->page_size;
    KsmPageRange ranges[KSM_TRACKER_RANGES];
    unsigned count = 0;

    memset(written, 0, PAGES);
    while (at < end) {
        int n = ksm_tracker_written(&f->tracker, at, end, ranges, &at);

        g_assert_cmpint(n, >=, 0);
        for (int i = 0; i < n; i++) {
            for (uint64_t a = ranges[i].start; a < ranges[i].end;
                 a += f->page_size) {
                written[(a - (uintptr_t)f->memory) / f->page_size] = 1;
                count++;
            }
            g_assert_cmpint(ksm_tracker_rearm(&f->tracker, ranges[i].start,
                                              ranges[i].end), ==, 0);
        }
        if (n < KSM_TRACKER_RANGES) {
            break;
        }
    }
    return count;
}

static unsigned resident(Fixture *f)
{
    KsmPageRange ranges[PAGES];
    uint64_t start = (uintptr_t)f->memory, next;
    unsigned count = 0;
    int n = ksm_pagemap_present(&f->pagemap, start,
                                start + PAGES * f->page_size, ranges, PAGES,
                                &next);

    for (int i = 0; i < n; i++) {
        count += (ranges[i].end - ranges[i].start) / f->page_size;
    }
    return count;
}

/* Exactly what was written is found, once. */
static void test_exact(Fixture *f, gconstpointer data)
{
    uint8_t expected[PAGES], found[PAGES];

    if (!f->memory) {
        return;
    }
    for (size_t p = 0; p < PAGES; p++) {
        write_page(f, p, 1);
    }
    g_assert_cmpint(ksm_tracker_arm(&f->tracker, f->memory,
                                    PAGES * f->page_size), ==, 0);
    g_assert_cmpuint(collect(f, found), ==, 0);
    for (int round = 0; round < 100; round++) {
        memset(expected, 0, sizeof(expected));
        for (int i = 0; i < round * 7; i++) {
            size_t p = g_test_rand_int_range(0, PAGES);

            write_page(f, p, round);
            expected[p] = 1;
        }
        collect(f, found);
        g_assert_cmpmem(expected, sizeof(expected), found, sizeof(found));
        g_assert_cmpuint(collect(f, found), ==, 0);
    }
}

/* What is not armed again is found again, and nothing besides. */
static void test_left_unarmed(Fixture *f, gconstpointer data)
{
    uint64_t start = (uintptr_t)f->memory, next;
    KsmPageRange ranges[KSM_TRACKER_RANGES];

    if (!f->memory) {
        return;
    }
    for (size_t p = 0; p < 10; p++) {
        write_page(f, p, 1);
    }
    ksm_tracker_arm(&f->tracker, f->memory, PAGES * f->page_size);
    write_page(f, 4, 2);
    write_page(f, 5, 2);
    for (int round = 0; round < 3; round++) {
        g_assert_cmpint(ksm_tracker_written(&f->tracker, start,
                                            start + PAGES * f->page_size,
                                            ranges, &next), ==, 1);
        g_assert_cmpuint(ranges[0].start, ==, start + 4 * f->page_size);
        g_assert_cmpuint(ranges[0].end, ==, start + 6 * f->page_size);
    }
    g_assert_cmpint(ksm_tracker_rearm(&f->tracker, start + 4 * f->page_size,
                                      start + 5 * f->page_size), ==, 0);
    g_assert_cmpint(ksm_tracker_written(&f->tracker, start,
                                        start + PAGES * f->page_size, ranges,
                                        &next), ==, 1);
    g_assert_cmpuint(ranges[0].start, ==, start + 5 * f->page_size);
}

/* The kernel's own writes, as those of read(2), are tracked too. */
static void test_kernel_writes(Fixture *f, gconstpointer data)
{
    uint8_t found[PAGES];
    int fd;

    if (!f->memory) {
        return;
    }
    write_page(f, 5, 1);
    ksm_tracker_arm(&f->tracker, f->memory, PAGES * f->page_size);
    fd = open("/dev/zero", O_RDONLY);
    g_assert_cmpint(read(fd, f->memory + 5 * f->page_size, 10), ==, 10);
    close(fd);
    g_assert_cmpuint(collect(f, found), ==, 1);
    g_assert_cmpuint(found[5], ==, 1);
}

/*
 * Holes stay holes; what fills them later is found, and a hole that was made,
 * once.
 */
static void test_holes(Fixture *f, gconstpointer data)
{
    uint8_t found[PAGES];

    if (!f->memory) {
        return;
    }
    write_page(f, 0, 1);
    ksm_tracker_arm(&f->tracker, f->memory, PAGES * f->page_size);
    g_assert_cmpuint(collect(f, found), ==, 0);
    g_assert_cmpuint(resident(f), ==, 1);
    write_page(f, 100, 1);
    g_assert_cmpuint(collect(f, found), ==, 1);
    g_assert_cmpuint(found[100], ==, 1);
    madvise(f->memory, f->page_size, MADV_DONTNEED);
    g_assert_cmpuint(collect(f, found), ==, 1);
    g_assert_cmpuint(found[0], ==, 1);
    g_assert_cmpuint(collect(f, found), ==, 0);
    g_assert_cmpuint(resident(f), ==, 1);
    /* Nor are they if nothing is left, and perhaps no page table. */
    madvise(f->memory, PAGES * f->page_size, MADV_DONTNEED);
    collect(f, found);
    g_assert_cmpuint(collect(f, found), ==, 0);
    g_assert_cmpuint(resident(f), ==, 0);
    write_page(f, 0, 1);
    g_assert_cmpuint(collect(f, found), ==, 1);
    g_assert_cmpuint(found[0], ==, 1);
}

/* One userfaultfd at a time: the second is refused, until a disarm. */
static void test_exclusive(Fixture *f, gconstpointer data)
{
    const size_t size = PAGES * f->page_size;
    KsmTracker other;

    if (!f->memory) {
        return;
    }
    ksm_tracker_open(&other, &f->pagemap, &error_abort);
    g_assert_cmpint(ksm_tracker_arm(&f->tracker, f->memory, size), ==, 0);
    g_assert_cmpint(ksm_tracker_arm(&other, f->memory, size), ==, -EBUSY);
    g_assert_cmpint(ksm_tracker_disarm(&f->tracker, f->memory, size), ==, 0);
    g_assert_cmpint(ksm_tracker_arm(&other, f->memory, size), ==, 0);
    ksm_tracker_close(&other);
    g_assert_cmpint(ksm_tracker_arm(&f->tracker, f->memory, size), ==, 0);
}

/* Older kernels tell residency only: both ways see the same. */
static void test_older_kernel(Fixture *f, gconstpointer data)
{
    unsigned with_scan;
    KsmTracker tracker;
    Error *err = NULL;

    if (!f->memory) {
        return;
    }
    for (size_t p = 0; p < PAGES; p += 3) {
        write_page(f, p, 1);
    }
    with_scan = resident(f);
    f->pagemap.has_scan = false;
    g_assert_cmpuint(resident(f), ==, with_scan);
    g_assert_cmpuint(with_scan, ==, DIV_ROUND_UP(PAGES, 3));
    g_assert_false(ksm_tracker_open(&tracker, &f->pagemap, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "6.7"));
    g_assert_false(ksm_tracker_can_arm(&tracker));
    error_free(err);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name) \
    g_test_add("/ksm/tracker/" #name, Fixture, NULL, setup, \
               test_ ## name, teardown)
    ADD(exact);
    ADD(left_unarmed);
    ADD(kernel_writes);
    ADD(holes);
    ADD(exclusive);
    ADD(older_kernel);
    return g_test_run();
}
