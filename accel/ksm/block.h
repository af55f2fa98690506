/*
 * A RAMBlock as the engine works on it: its pages and regions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Everything here is protected by the engine's lock (state.h).  A KsmBlock
 * lives from ram_block_added to ram_block_removed.  QEMU frees a block's
 * memory after the latter returned, and the IOThread holds the lock whenever
 * it looks at memory, so no reference to the MemoryRegion is needed: one held
 * across slices would keep ram_block_removed from ever being called.
 */
#ifndef ACCEL_KSM_BLOCK_H
#define ACCEL_KSM_BLOCK_H

#include "exec/ramlist.h"
#include "qapi/qapi-types-ksm.h"
#include "qemu/bitmap.h"
#include "qemu/queue.h"
#include "hasher.h"

/*
 * A region is the memory that one huge page covers: 2 MiB.  It is the unit of
 * work, and of the decision to leave a huge page whole.
 */
#define KSM_REGION_BITS     21
#define KSM_REGION_SIZE     (1ul << KSM_REGION_BITS)
/* Pages of a region where host pages are smallest. */
#define KSM_REGION_MAX_PAGES 512

/* An unarmed region is read at least once in so many passes. */
#define KSM_READ_INTERVAL_MAX   64
/*
 * An armed one too: writes by DMA into pinned pages can be missed.  Slow
 * passes: that others are closer together is no reason to read more.  A backend
 * that tracks misses none, but may have refused pages: any passes then.
 */
#define KSM_REHASH_INTERVAL     256

/* What the guest advises of the pages of a region; bit 0 is its first one. */
typedef struct KsmAdvisedPages {
    DECLARE_BITMAP(never, KSM_REGION_MAX_PAGES);    /* to be merged */
    DECLARE_BITMAP(rewritten, KSM_REGION_MAX_PAGES);    /* all the time */
    /* Of those never to be merged: they have memory of their own. */
    DECLARE_BITMAP(apart, KSM_REGION_MAX_PAGES);
    /* They were excluded before, for a memory error. */
    DECLARE_BITMAP(poisoned, KSM_REGION_MAX_PAGES);
    uint16_t n_never;
    uint16_t n_rewritten;
} KsmAdvisedPages;

/* What devices have filled of a region; bit 0 is its first page. */
typedef struct KsmFilledPages {
    int64_t last_ms;            /* when they last did so: QEMU_CLOCK_REALTIME */
    /* Since they had left it alone: */
    DECLARE_BITMAP(filled, KSM_REGION_MAX_PAGES);
} KsmFilledPages;

typedef struct KsmRegion {
    KsmAdvisedPages *advised;   /* NULL: nothing.  See advice.c. */
    KsmFilledPages *filled;     /* NULL: nothing, ever.  See hints.c. */
    /* Pages with these flags: what the page records say, counted. */
    uint16_t twins;
    uint16_t zeros;
    uint16_t zeropages;
    uint16_t submitted;
    uint16_t unstable;      /* see ksm_page_is_volatile() */
    uint16_t marked;
    uint16_t vmas;          /* mappings that its marks may cost */
    /* Passes until all of the region is read again; if settled, slow ones. */
    uint16_t due;
    /* Passes between two such reads of an unarmed region: a power of 2. */
    uint16_t interval;
    /* Passes since twins, zeros or marks changed, up to 255. */
    uint8_t quiet;
    /*
     * Seconds between spot checks in passes, less one: a power of 2 less one.
     * Unless it is 0, there are none between passes.  See spot-check.c.
     */
    uint8_t restless;
    bool huge:1;            /* one huge page backs it, as last seen */
    bool was_huge:1;        /* one did, ever */
    bool tried:1;           /* armed as it is of small pages, once */
    bool promoted:1;        /* enough twins: its pages may be marked */
    bool armed:1;           /* the tracker watches it; implies promoted */
    bool settled:1;         /* all was read again since; valid while armed */
    bool pending:1;         /* pages wait to be hashed; only while armed */
    bool resubmit:1;        /* digests must be submitted again */
    bool answered:1;        /* a page has gained or lost twins since MARK */
    bool marks_due:1;       /* marks may not match twins and zeros */
    bool blanket:1;         /* has a mark that the engine didn't make */
    bool whole:1;           /* marked whole, for want of mappings */
    bool bridged:1;         /* gaps between its marks may be marked as well */
    bool reseed:1;          /* digests are of another seed */
} KsmRegion;

typedef struct KsmBackend KsmBackend;

typedef struct KsmBlock {
    QTAILQ_ENTRY(KsmBlock) next;
    uint8_t *host;
    unsigned page_bits;     /* of the host: 1 << this is its size */
    uint64_t size;          /* used length in bytes */
    uint64_t max_size;
    /* Why it is not tracked; valid while !eligible. */
    bool eligible;
    bool merge;             /* mem-merge= and merge= allow it */
    bool blanket;           /* QEMU or the kernel marked all of it */
    bool whole;             /* we did; only while !eligible */
    KsmIneligible reason;
    const KsmBackend *backend;      /* of a block that is or was eligible */
    void *attached;         /* the backend's own; only while attached */
    KsmHasher *hasher;      /* of the backend; NULL: the engine's */

    /* The rest is set while eligible. */
    size_t n_pages;         /* of the used length */
    size_t n_regions;
    unsigned skew;          /* pages from the first region's start to host */
    uint32_t first;         /* the backend's number of page 0 */
    KsmPage *pages;         /* [max_size / host page], zero pages at first */
    KsmRegion *regions;     /* [regions of max_size] */
    KsmFigures figures;     /* the cumulative ones */
} KsmBlock;

typedef QTAILQ_HEAD(, KsmBlock) KsmBlockList;

KsmBlock *ksm_block_new(void *host, uint64_t size, uint64_t max_size);
/* A new one for the RAMBlock that has memory at @host, or NULL.  BQL. */
KsmBlock *ksm_block_containing(const uint8_t *host);
void ksm_block_free(KsmBlock *block);

/* Allocate, or drop, the records of an eligible block's pages. */
void ksm_block_start(KsmBlock *block, uint32_t first);
void ksm_block_stop(KsmBlock *block);
/* The used length changed; pages beyond it are forgotten. */
void ksm_block_resize(KsmBlock *block, uint64_t size);

/*
 * Move the records of an eligible @block into a block of their own, which has
 * no memory: what was submitted is still to be withdrawn.  Stops @block.
 */
KsmBlock *ksm_block_leave(KsmBlock *block);

/*
 * Why @block can't be merged by any backend.  Returns false and sets
 * block->reason; backends add their own reasons.  Any thread.
 */
bool ksm_block_is_eligible(KsmBlock *block);
/*
 * It is neither shared nor of a file.  Returns false and sets block->reason.
 */
bool ksm_block_is_private(KsmBlock *block);
/* The file that shared memory is of, and where in it; -1 if there is none. */
int ksm_block_shared_fd(const KsmBlock *block, uint64_t *offset);
/* It is a ROM: RAMBlocks become one after they are added.  Any thread. */
bool ksm_block_is_read_only(const KsmBlock *block);
/* What mem-merge= and merge= say of the block now.  BQL. */
bool ksm_block_merge_enabled(void *host);
/* A sentence for a person, with the way out. */
char *ksm_block_ineligible_message(const KsmBlock *block,
                                   KsmIneligible reason);
/* Its name now: a RAMBlock is named after it is added.  BQL; free it. */
char *ksm_block_name(const KsmBlock *block);

/* Pages [*first, *last) of region @r. */
void ksm_region_pages(const KsmBlock *block, size_t r, size_t *first,
                      size_t *last);
/* The memory of regions [@r, @end), which are not none: its size. */
size_t ksm_regions_memory(const KsmBlock *block, size_t r, size_t end,
                          uint8_t **host);
static inline size_t ksm_block_region_of(const KsmBlock *block, size_t page)
{
    return (page + block->skew) >> (KSM_REGION_BITS - block->page_bits);
}

static inline uint8_t *ksm_block_page_host(const KsmBlock *block, size_t page)
{
    return block->host + (page << block->page_bits);
}

/*
 * Set a page's record and keep its region's counts right.  The only way to
 * change a record.
 */
void ksm_block_set_page(KsmBlock *block, size_t page, KsmPage value);

/* Bytes of records held. */
size_t ksm_block_metadata(const KsmBlock *block);
/* All figures of @block are added to @sum. */
void ksm_block_add_figures(const KsmBlock *block, KsmFigures *sum);

#endif
