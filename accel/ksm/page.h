/*
 * What the engine remembers of a page: 8 bytes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A digest of 48 bits and 16 bits of state in one word.  Together with the 12
 * bytes of an index entry (subprojects/libksm/ksm-index.h) this keeps the
 * whole system within 24 bytes a tracked page.
 */
#ifndef ACCEL_KSM_PAGE_H
#define ACCEL_KSM_PAGE_H

#include "qemu/bitops.h"
#include "ksm-index.h"

/*
 * For what a page, or each of a region's pages, needs on the stack.  QEMU is
 * built to zero what is there (-ftrivial-auto-var-init), which would take as
 * long as to hash some pages.
 */
#if __has_attribute(uninitialized)
#define KSM_UNINITIALIZED   __attribute__((uninitialized))
#else
#define KSM_UNINITIALIZED
#endif

typedef uint64_t KsmPage;

#define KSM_PAGE_DIGEST     MAKE_64BIT_MASK(0, KSM_INDEX_DIGEST_BITS)
/* The digest is that of the page's contents when it was last read. */
#define KSM_PAGE_HASHED     BIT_ULL(48)
/* It read as the same twice, so the digest was submitted. */
#define KSM_PAGE_SUBMITTED  BIT_ULL(49)
/* The backend says that another page has this digest. */
#define KSM_PAGE_TWIN       BIT_ULL(50)
/* All bytes are 0.  Never submitted: every other zero page is a twin. */
#define KSM_PAGE_ZERO       BIT_ULL(51)
/* A zero page that is the kernel's shared one already: nothing to save. */
#define KSM_PAGE_ZEROPAGE   BIT_ULL(52)
/* The kernel may merge it: MADV_MERGEABLE. */
#define KSM_PAGE_MARKED     BIT_ULL(53)
/* Written since it was hashed, or to be hashed as if it were. */
#define KSM_PAGE_WRITTEN    BIT_ULL(54)
/*
 * Never read: that has met a hardware memory error, or the guest advises
 * against it.
 */
#define KSM_PAGE_EXCLUDED   BIT_ULL(55)
/* All of these flags. */
#define KSM_PAGE_FLAGS      MAKE_64BIT_MASK(KSM_INDEX_DIGEST_BITS, 8)
/* How many passes found it unwritten, or reading the same, up to 7. */
#define KSM_PAGE_AGE_SHIFT  56
#define KSM_PAGE_AGE_BITS   3
#define KSM_PAGE_AGE_MAX    7u
/* How often it was found written, up to 7; it cools in the long run. */
#define KSM_PAGE_HEAT_SHIFT 59
#define KSM_PAGE_HEAT_BITS  3
#define KSM_PAGE_HEAT_MAX   7u
#define KSM_PAGE_HEAT       MAKE_64BIT_MASK(KSM_PAGE_HEAT_SHIFT, \
                                            KSM_PAGE_HEAT_BITS)
/* Marked, for what it held before. */
#define KSM_PAGE_REUSED     BIT_ULL(63)
/* The guest says that it holds nothing; see KsmEngine.frees. */
#define KSM_PAGE_FREE       BIT_ULL(62)
/* A page of such heat is volatile: nothing is known of its contents. */
#define KSM_PAGE_VOLATILE   3u
/* One that is as hot as can be is looked at once in 1 << this seconds. */
#define KSM_PAGE_PAUSE_MAX_BITS 2u

static inline unsigned ksm_page_age(KsmPage page)
{
    return extract64(page, KSM_PAGE_AGE_SHIFT, KSM_PAGE_AGE_BITS);
}

static inline unsigned ksm_page_heat(KsmPage page)
{
    return extract64(page, KSM_PAGE_HEAT_SHIFT, KSM_PAGE_HEAT_BITS);
}

static inline KsmPage ksm_page_set_age(KsmPage page, unsigned age)
{
    return deposit64(page, KSM_PAGE_AGE_SHIFT, KSM_PAGE_AGE_BITS,
                     MIN(age, KSM_PAGE_AGE_MAX));
}

static inline KsmPage ksm_page_set_heat(KsmPage page, unsigned heat)
{
    return deposit64(page, KSM_PAGE_HEAT_SHIFT, KSM_PAGE_HEAT_BITS,
                     MIN(heat, KSM_PAGE_HEAT_MAX));
}

/*
 * A page of such @heat, which is volatile, is looked at once in so many
 * seconds, and has to rest for as long.
 */
static inline unsigned ksm_page_pause(unsigned heat)
{
    return 1u << MIN(heat - KSM_PAGE_VOLATILE, KSM_PAGE_PAUSE_MAX_BITS);
}

static inline KsmPage ksm_page_cooled(KsmPage page)
{
    unsigned heat = ksm_page_heat(page);

    return ksm_page_set_heat(page, heat - MIN(heat, 1));
}

/* A pass found @page written. */
static inline KsmPage ksm_page_written(KsmPage page)
{
    page = ksm_page_set_heat(page, ksm_page_heat(page) + 1);
    return (ksm_page_set_age(page, 0) | KSM_PAGE_WRITTEN) & ~KSM_PAGE_FREE;
}

/*
 * @page, which nobody watches, was read again.  One that is written all the
 * time may read the same now and then: that must not make it cool.
 */
static inline KsmPage ksm_page_reread(KsmPage page, bool same)
{
    return same ? ksm_page_cooled(page)
                : ksm_page_set_heat(page, ksm_page_heat(page) + 2);
}

/* @page, which waits to be hashed, has waited for one more pass. */
static inline KsmPage ksm_page_waited(KsmPage page)
{
    return ksm_page_set_age(page, ksm_page_age(page) + 1);
}

/* Its contents are not known for long enough to be submitted. */
static inline bool ksm_page_is_volatile(KsmPage page)
{
    return (page & KSM_PAGE_WRITTEN) ||
           (page & (KSM_PAGE_HASHED | KSM_PAGE_SUBMITTED)) == KSM_PAGE_HASHED;
}

/* Merging @page would save memory. */
static inline bool ksm_page_is_candidate(KsmPage page)
{
    return (page & KSM_PAGE_TWIN) ||
           (page & (KSM_PAGE_ZERO | KSM_PAGE_ZEROPAGE)) == KSM_PAGE_ZERO;
}

#endif
