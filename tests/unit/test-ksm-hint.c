/*
 * Test the rings through which devices tell of memory that they have filled
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/thread.h"
#include "hw/ksm-hint.h"

#define PAGE    4096u
/* As in ksm-hint.c. */
#define RING    4096u
#define THREADS 4
#define HINTS   200000u

static int wakes;

static void count_wake(void *opaque)
{
    qatomic_inc((int *)opaque);
}

static void start(void)
{
    wakes = 0;
    ksm_hint_start(KSM_HINT_DISK_READ | KSM_HINT_FREE, count_wake, &wakes);
}

/* The @i-th page of memory that nobody looks at. */
static void *page(uintptr_t i)
{
    return (void *)((i + 1) * PAGE);
}

static void give(uintptr_t i)
{
    struct iovec iov = { page(i), PAGE };

    ksm_hint_disk_read(&iov, 1);
}

static void take_all(void)
{
    KsmHint hints[64];

    while (ksm_hint_take(hints, ARRAY_SIZE(hints))) {
        /* Not wanted. */
    }
}

static void test_order(void)
{
    KsmHint hints[8];
    struct iovec iov[] = {
        { page(1), PAGE }, { page(7), 16 }, { page(2), 3 * PAGE },
        { page(9), 0 },
    };

    start();
    give(0);
    ksm_hint_disk_read(iov, ARRAY_SIZE(iov));
    give(5);
    g_assert_cmpuint(ksm_hint_take(hints, 2), ==, 2);
    g_assert_true(hints[0].host == page(0));
    g_assert_true(hints[1].host == page(1));
    g_assert_cmpuint(ksm_hint_take(hints, ARRAY_SIZE(hints)), ==, 2);
    g_assert_true(hints[0].host == page(2));
    g_assert_cmpuint(hints[0].size, ==, 3 * PAGE);
    g_assert_true(hints[1].host == page(5));
    g_assert_cmpuint(ksm_hint_take(hints, ARRAY_SIZE(hints)), ==, 0);
    ksm_hint_stop();
}

static void test_kinds(void)
{
    KsmHint hints[4];

    start();
    give(0);
    ksm_hint_range(KSM_HINT_DISCARDED, page(1), PAGE);
    ksm_hint_range(KSM_HINT_FREE, page(2), PAGE);
    g_assert_cmpuint(ksm_hint_take(hints, ARRAY_SIZE(hints)), ==, 2);
    g_assert_cmpint(hints[0].kind, ==, KSM_HINT_DISK_READ);
    g_assert_cmpint(hints[1].kind, ==, KSM_HINT_FREE);
    ksm_hint_stop();
    give(0);
    ksm_hint_range(KSM_HINT_FREE, page(2), PAGE);
    g_assert_cmpuint(ksm_hint_take(hints, ARRAY_SIZE(hints)), ==, 0);
}

static void test_full(void)
{
    const uint64_t before = ksm_hint_dropped();
    g_autofree KsmHint *hints = g_new(KsmHint, 2 * RING);

    start();
    for (uintptr_t i = 0; i < RING + 10; i++) {
        give(i);
    }
    g_assert_cmpuint(ksm_hint_dropped() - before, ==, 10);
    g_assert_cmpuint(ksm_hint_take(hints, 2 * RING), ==, RING);
    for (uintptr_t i = 0; i < RING; i++) {
        g_assert_true(hints[i].host == page(i));
    }
    /* There is room again, also across the end of the ring. */
    for (uintptr_t i = 0; i < RING / 2 + 1; i++) {
        give(i);
    }
    g_assert_cmpuint(ksm_hint_take(hints, 2 * RING), ==, RING / 2 + 1);
    g_assert_cmpuint(ksm_hint_dropped() - before, ==, 10);
    ksm_hint_stop();
}

static void test_wake(void)
{
    struct iovec small = { page(0), PAGE - 1 };

    start();
    give(0);
    g_assert_cmpint(wakes, ==, 0);
    /* Something is there: it can't wait. */
    g_assert_false(ksm_hint_wait());
    g_assert_false(ksm_hint_is_waiting());
    take_all();
    g_assert_true(ksm_hint_wait());
    g_assert_true(ksm_hint_is_waiting());
    ksm_hint_disk_read(&small, 1);
    g_assert_cmpint(wakes, ==, 0);
    give(1);
    give(2);
    g_assert_cmpint(wakes, ==, 1);
    g_assert_false(ksm_hint_is_waiting());
    take_all();
    ksm_hint_stop();
}

static void *give_one(void *opaque)
{
    give(0);
    return NULL;
}

/* A thread goes with its ring: what was in it is dropped. */
static void test_thread_exits(void)
{
    const uint64_t before = ksm_hint_dropped();
    QemuThread thread;
    KsmHint hint;

    start();
    qemu_thread_create(&thread, "giver", give_one, NULL, QEMU_THREAD_JOINABLE);
    qemu_thread_join(&thread);
    g_assert_cmpuint(ksm_hint_take(&hint, 1), ==, 0);
    g_assert_cmpuint(ksm_hint_dropped() - before, ==, 1);
    ksm_hint_stop();
}

typedef struct Giver {
    QemuThread thread;
    uintptr_t first;
    bool end;               /* all that it gave was taken or dropped */
} Giver;

static void *give_many(void *opaque)
{
    Giver *giver = opaque;

    for (uintptr_t i = 0; i < HINTS; i++) {
        give(giver->first + i);
    }
    while (!qatomic_read(&giver->end)) {
        g_usleep(1000);
    }
    return NULL;
}

/*
 * Threads give while one takes, and waits for what is next: each hint is taken
 * once or dropped, those of a thread in order, and no wait is for ever.
 */
static void test_threads(void)
{
    const uint64_t before = ksm_hint_dropped();
    Giver givers[THREADS] = { 0 };
    uintptr_t next[THREADS];
    uint64_t taken = 0;
    bool waits = false;

    start();
    for (int t = 0; t < THREADS; t++) {
        next[t] = givers[t].first = (uintptr_t)t * HINTS;
        qemu_thread_create(&givers[t].thread, "giver", give_many, &givers[t],
                           QEMU_THREAD_JOINABLE);
    }
    while (taken + ksm_hint_dropped() - before < THREADS * HINTS) {
        KsmHint hints[100];
        size_t n;

        if (waits && ksm_hint_is_waiting()) {
            continue;
        }
        n = ksm_hint_take(hints, ARRAY_SIZE(hints));
        for (size_t i = 0; i < n; i++) {
            uintptr_t number = (uintptr_t)hints[i].host / PAGE - 1;
            int t = number / HINTS;

            g_assert_cmpuint(number, >=, next[t]);
            g_assert_cmpuint(hints[i].size, ==, PAGE);
            next[t] = number + 1;
        }
        taken += n;
        waits = !n && ksm_hint_wait();
    }
    g_assert_cmpuint(taken, >, 0);
    for (int t = 0; t < THREADS; t++) {
        qatomic_set(&givers[t].end, true);
        qemu_thread_join(&givers[t].thread);
    }
    g_assert_cmpuint(taken + ksm_hint_dropped() - before, ==, THREADS * HINTS);
    ksm_hint_stop();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ksm/hint/order", test_order);
    g_test_add_func("/ksm/hint/kinds", test_kinds);
    g_test_add_func("/ksm/hint/full", test_full);
    g_test_add_func("/ksm/hint/wake", test_wake);
    g_test_add_func("/ksm/hint/thread_exits", test_thread_exits);
    g_test_add_func("/ksm/hint/threads", test_threads);
    return g_test_run();
}
