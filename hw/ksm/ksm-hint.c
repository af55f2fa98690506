/*
 * Hints: what devices know about guest memory before the ksm object does
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A ring has one thread that puts hints in, which alone changes its head, and
 * one that takes them out, which alone changes its tail.  Both only grow.
 */
#include "qemu/osdep.h"
#include "qemu/coroutine-tls.h"
#include "qemu/lockable.h"
#include "qemu/notify.h"
#include "qemu/queue.h"
#include "qemu/thread.h"
#include "hw/ksm-hint.h"

/*
 * Hints that a thread gives between two times that they are taken: enough for
 * 10 ms of a disk that fills pages side by side nowhere, with 1.6 GB/s.
 */
#define RING_SIZE   4096
QEMU_BUILD_BUG_ON(RING_SIZE & (RING_SIZE - 1));
/* No page is smaller.  A device's own headers are, also those of writes. */
#define HINT_MIN    4096

typedef struct HintRing {
    QLIST_ENTRY(HintRing) next;     /* @rings_lock */
    Notifier exit;                  /* of its thread */
    unsigned long dropped;          /* written by its thread */
    uint32_t head;                  /* written by its thread */
    uint32_t tail;                  /* written with @rings_lock */
    KsmHint hints[RING_SIZE];
} HintRing;

unsigned ksm_hint_wanted;
static bool waiting;                /* @wake_fn is to be called */

/* Rings come and go with it held; nobody who gives a hint waits for it. */
static QemuMutex rings_lock;
/* The rest with @rings_lock held. */
static QLIST_HEAD(, HintRing) rings = QLIST_HEAD_INITIALIZER(rings);
static uint64_t dropped;            /* by threads that are gone */

/* With @wake_lock held, so that it is not called after ksm_hint_stop(). */
static QemuMutex wake_lock;
static void (*wake_fn)(void *opaque);
static void *wake_opaque;

QEMU_DEFINE_STATIC_CO_TLS(HintRing *, ring)

static void thread_exits(Notifier *n, void *unused)
{
    HintRing *ring = container_of(n, HintRing, exit);

    set_ring(NULL);
    WITH_QEMU_LOCK_GUARD(&rings_lock) {
        dropped += ring->dropped + (ring->head - ring->tail);
        QLIST_REMOVE(ring, next);
    }
    g_free(ring);
}

static HintRing *new_ring(void)
{
    HintRing *ring = g_new0(HintRing, 1);

    ring->exit.notify = thread_exits;
    qemu_thread_atexit_add(&ring->exit);
    WITH_QEMU_LOCK_GUARD(&rings_lock) {
        QLIST_INSERT_HEAD(&rings, ring, next);
    }
    set_ring(ring);
    return ring;
}

static void wake(void)
{
    /* Most find that somebody else has. */
    if (qatomic_read(&waiting) && qatomic_xchg(&waiting, false)) {
        QEMU_LOCK_GUARD(&wake_lock);
        if (wake_fn) {
            wake_fn(wake_opaque);
        }
    }
}

void ksm_hint_put(KsmHintKind kind, const struct iovec *iov, unsigned niov)
{
    HintRing *ring = get_ring() ?: new_ring();
    const uint32_t before = ring->head;
    uint32_t head = before;
    /* Pairs with the release in take_of(): what was there is taken. */
    const uint32_t end = qatomic_load_acquire(&ring->tail) + RING_SIZE;

    for (unsigned i = 0; i < niov; i++) {
        if (iov[i].iov_len < HINT_MIN) {
            continue;
        }
        if (head == end) {
            qatomic_set(&ring->dropped, ring->dropped + 1);
            continue;
        }
        ring->hints[head++ % RING_SIZE] =
            (KsmHint) { iov[i].iov_base, iov[i].iov_len, kind };
    }
    if (head == before) {
        return;
    }
    /* Pairs with the acquire in take_of(): what is taken is there. */
    qatomic_store_release(&ring->head, head);
    /* Pairs with that in ksm_hint_wait(), which is woken or sees the hint. */
    smp_mb();
    wake();
}

/* Takes up to @n hints of one ring.  @rings_lock. */
static size_t take_of(HintRing *ring, KsmHint *hints, size_t n)
{
    uint32_t tail = ring->tail;

    n = MIN(n, qatomic_load_acquire(&ring->head) - tail);
    for (size_t i = 0; i < n; i++) {
        hints[i] = ring->hints[tail++ % RING_SIZE];
    }
    qatomic_store_release(&ring->tail, tail);
    return n;
}

size_t ksm_hint_take(KsmHint *hints, size_t n)
{
    HintRing *ring;
    size_t taken = 0;

    QEMU_LOCK_GUARD(&rings_lock);
    QLIST_FOREACH(ring, &rings, next) {
        taken += take_of(ring, hints + taken, n - taken);
    }
    return taken;
}

bool ksm_hint_wait(void)
{
    HintRing *ring;
    bool empty = true;

    qatomic_set(&waiting, true);
    /* Pairs with that in ksm_hint_put(): one of the two sees the other. */
    smp_mb();
    WITH_QEMU_LOCK_GUARD(&rings_lock) {
        QLIST_FOREACH(ring, &rings, next) {
            empty &= qatomic_read(&ring->head) == ring->tail;
        }
    }
    if (!empty) {
        qatomic_set(&waiting, false);
    }
    return empty;
}

bool ksm_hint_is_waiting(void)
{
    return qatomic_read(&waiting);
}

void ksm_hint_start(unsigned kinds, void (*wake)(void *opaque), void *opaque)
{
    WITH_QEMU_LOCK_GUARD(&wake_lock) {
        wake_fn = wake;
        wake_opaque = opaque;
    }
    qatomic_set(&ksm_hint_wanted, kinds);
}

void ksm_hint_stop(void)
{
    qatomic_set(&ksm_hint_wanted, 0);
    QEMU_LOCK_GUARD(&wake_lock);
    wake_fn = NULL;
}

uint64_t ksm_hint_dropped(void)
{
    HintRing *ring;
    uint64_t sum;

    QEMU_LOCK_GUARD(&rings_lock);
    sum = dropped;
    QLIST_FOREACH(ring, &rings, next) {
        sum += qatomic_read(&ring->dropped);
    }
    return sum;
}

static void __attribute__((constructor)) ksm_hint_init(void)
{
    qemu_mutex_init(&rings_lock);
    qemu_mutex_init(&wake_lock);
}
