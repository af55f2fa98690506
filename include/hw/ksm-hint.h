/*
 * Hints: what devices know about guest memory before the ksm object does
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A block device knows which pages a disk read has filled.  Where guests have
 * images in common, other guests have read the same.  So these pages are worth
 * a look at once, while others have to rest first.  And those that a guest has
 * given back, as to a balloon, are worth none.
 *
 * A hint changes when a page is looked at, never what is merged: that is
 * compared.  One that is lost, late or wrong costs time only.
 *
 * Each thread that gives hints has a ring of its own.  AioContexts are run by
 * one thread each, and so a device's requests complete without a lock, nor
 * does a full ring make them wait: it drops the hint, and counts it.
 */
#ifndef HW_KSM_HINT_H
#define HW_KSM_HINT_H

#include "qemu/atomic.h"

typedef enum KsmHintKind {
    KSM_HINT_DISK_READ = 1, /* a disk read has filled it */
    KSM_HINT_DISCARDED = 2, /* it has no memory any more */
    /* The guest says that it is free, while it migrates: it may be reused. */
    KSM_HINT_FREE = 4,
    /* The guest advises to merge it eagerly. */
    KSM_HINT_EAGERLY = 8,
} KsmHintKind;

/* The memory [@host, @host + @size), of guest RAM or not. */
typedef struct KsmHint {
    void *host;
    size_t size;
    KsmHintKind kind;
} KsmHint;

/*
 * For devices
 */

/* Which kinds somebody wants.  Read without a lock; else private. */
extern unsigned ksm_hint_wanted;

/* Private: hints of one kind. */
void ksm_hint_put(KsmHintKind kind, const struct iovec *iov, unsigned niov);

/*
 * A disk read has filled the @niov buffers of @iov, or part of them if it has
 * failed.  Buffers smaller than a page are left out.  Any thread.
 */
static inline void ksm_hint_disk_read(const struct iovec *iov, unsigned niov)
{
    if (unlikely(qatomic_read(&ksm_hint_wanted) & KSM_HINT_DISK_READ)) {
        ksm_hint_put(KSM_HINT_DISK_READ, iov, niov);
    }
}

/* A hint of @kind, of one range.  Any thread. */
static inline void ksm_hint_range(KsmHintKind kind, void *host, size_t size)
{
    if (unlikely(qatomic_read(&ksm_hint_wanted) & kind)) {
        const struct iovec iov = { host, size };

        ksm_hint_put(kind, &iov, 1);
    }
}

/*
 * For who acts on them: one thread at a time
 */

/*
 * Hints of @kinds are wanted until ksm_hint_stop(), after which nobody calls
 * @wake any more.  @wake may be called in any thread, with any locks held.
 */
void ksm_hint_start(unsigned kinds, void (*wake)(void *opaque), void *opaque);
void ksm_hint_stop(void);

/*
 * Take hints that have been given, up to @n and each thread's in the order in
 * which it gave them.  Returns their number.
 */
size_t ksm_hint_take(KsmHint *hints, size_t n);

/*
 * Nothing was left to take: @wake is to be called, once, when there is.  False
 * if there is by now.
 */
bool ksm_hint_wait(void);
/* Is it yet to be called? */
bool ksm_hint_is_waiting(void);

/* How many were dropped, ever, as a ring was full.  Any thread. */
uint64_t ksm_hint_dropped(void);

#endif
