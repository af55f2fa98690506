/*
 * Memory merging: what the rest of QEMU calls
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * See docs/devel/ksm.rst.  Without a ksm object nothing here changes what QEMU
 * does.
 */
#ifndef SYSTEM_KSM_H
#define SYSTEM_KSM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Guest RAM [@host, @host + @size) may be merged (@merge), or not.  Without a
 * ksm object this is MADV_MERGEABLE or MADV_UNMERGEABLE; with one, the object
 * marks only what has a twin, and only the latter is advised at once.
 *
 * Returns what qemu_madvise() does.  BQL.
 */
int ksm_ram_madvise(void *host, size_t size, bool merge);

/*
 * The caller needs userfaultfd on guest RAM, where there can be only one:
 * yield() returns when the ksm object has none; it takes none until resume()
 * was called as often.  Any thread.
 */
void ksm_tracker_yield(void);
void ksm_tracker_resume(void);

/*
 * All guest RAM is about to be write-protected by userfaultfd, which the kernel
 * forgets of pages that it merges.  begin() returns when nothing can be merged
 * any more, which takes memory for what was, or is bound to fail.  ready() then
 * says which; if it returns false, the reason was reported.  end() as often as
 * you like.  In any thread, begin() without BQL.
 */
void ksm_snapshot_begin(void);
bool ksm_snapshot_ready(void);
void ksm_snapshot_end(void);

/*
 * What a guest advises of its own memory, for the ksm-guest device: see
 * docs/specs/ksm-guest.rst.  BQL.
 */
typedef enum KsmAdvice {
    KSM_ADVICE_NONE,
    KSM_ADVICE_NEVER,           /* merge it with nothing */
    KSM_ADVICE_EAGERLY,         /* look at it now; is not in force later */
    KSM_ADVICE_VOLATILE,        /* don't look at it */
    KSM_ADVICE__MAX,
} KsmAdvice;

/* The memory [@host, @host + @size), of whole pages. */
typedef struct KsmAdvisedRange {
    uint8_t *host;
    size_t size;
    KsmAdvice advice;           /* KSM_ADVICE_NEVER or KSM_ADVICE_VOLATILE */
} KsmAdvisedRange;

/* Is there a ksm object, and does its user want to hear of it? */
bool ksm_guest_may_advise(void);
/*
 * This is what the guest advises from now on, and nothing else.  The @n ranges
 * are in order, and don't overlap.  Also without a ksm object: it may come.
 */
void ksm_guest_advise(const KsmAdvisedRange *ranges, size_t n);
/* Is all of that carried out? */
bool ksm_guest_advice_is_done(void);
/* What merging saves of this process's memory, in bytes. */
uint64_t ksm_guest_saved(void);

#endif
