/*
 * All that the engine remembers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Locks: the engine's lock protects all of its state.  The IOThread holds it
 * for one slice of at most a millisecond; others for what they look up or
 * change.  The IOThread never takes the BQL, so the lock may be taken with the
 * BQL held, and one may wait for the IOThread then.
 */
#ifndef ACCEL_KSM_STATE_H
#define ACCEL_KSM_STATE_H

#include "block/aio.h"
#include "hw/ksm-hint.h"
#include "qemu/notify.h"
#include "qemu/thread.h"
#include "system/ksm.h"
#include "backend.h"
#include "budget.h"
#include "hasher.h"
#include "marks.h"
#include "tracker.h"

typedef struct KsmParameters {
    KsmBackendType backend;
    bool run;
    uint32_t max_cpu_percent;
    uint32_t sleep_millisecs;
    uint64_t pages_to_scan;         /* 0: no limit */
    uint32_t stable_passes;
    uint32_t huge_split_threshold;
    KsmHints hints;
    bool guest_hints;
} KsmParameters;

/* All regions are gone through once in each phase. */
typedef enum KsmPhase {
    KSM_PHASE_IDLE,                 /* between two passes */
    KSM_PHASE_SPOT_CHECK,           /* there, too: was much written? */
    KSM_PHASE_COLLECT,              /* what was written */
    KSM_PHASE_READ,                 /* hash and submit */
    KSM_PHASE_MARK,                 /* act on answers; between passes, too */
    KSM_PHASE_UNMERGE,              /* instead of passes */
} KsmPhase;

/* Where a phase goes on. */
typedef struct KsmPlace {
    KsmBlock *block;                /* NULL: it is done */
    size_t region;
} KsmPlace;

/* Hints that wait: a stack, since the newest are acted on first. */
#define KSM_HINT_STACK          8192

typedef struct KsmHintStack {
    KsmHint *hints;                 /* [KSM_HINT_STACK], oldest first */
    unsigned n;
    int64_t next_ns;                /* when to take more of them */
    uint64_t taken;
    uint64_t dropped;               /* of those, as they were too many */
    uint64_t dropped_before;        /* by devices, for other objects */
    uint64_t pages;                 /* hashed because of hints, */
    uint64_t pages_freed;           /* or forgotten */
} KsmHintStack;

/* What the guest advises, and how far that is carried out. */
typedef struct KsmAdviceState {
    KsmAdvisedRange *ranges;        /* in order, and not overlapping */
    size_t n_ranges;
    bool due;                       /* not all of it is carried out */
    bool fresh;                     /* there are records that know nothing */
    bool parting;                   /* records know all; pages are parted */
    KsmPlace place;                 /* where either goes on */
    size_t page;                    /* of a block that is not worked on */
    bool never;                     /* some of that block is never merged */
    const KsmBackend *former;       /* may have merged some; else NULL */
} KsmAdviceState;

/* Who wants the guest to have all of its pages again. */
#define KSM_UNMERGE_USER        1u  /* by ksm-unmerge */
#define KSM_UNMERGE_KSMTUNED    2u
#define KSM_UNMERGE_SNAPSHOT    4u

typedef struct KsmEngine {
    QemuMutex lock;
    const char *id;
    AioContext *ctx;
    QEMUTimer *timer;               /* QEMU_CLOCK_REALTIME, in @ctx */
    RAMBlockNotifier notifier;

    /* The rest is protected by @lock. */
    KsmParameters parameters;
    KsmPagemap pagemap;
    KsmTracker tracker;
    char *tracker_message;          /* why it can't track; NULL if it can */
    char *backend_message;          /* why nothing can be merged; or NULL */
    KsmHasher hasher;
    KsmTwins twins;
    KsmMarks marks;
    KsmBudget budget;
    KsmFrameBudget granted;         /* by ksmtuned */
    KsmBlockList blocks;
    KsmBlockList leaving;           /* records that are yet to be withdrawn */
    KsmFigures removed;             /* cumulative, of blocks that are gone */
    KsmAdviceState advice;
    KsmHintStack hints;
    bool hinted;                    /* the last step was one of hints */
    bool frees;                     /* KSM_PAGE_FREE means something */
    NotifierWithReturn precopy;     /* migration ends, and that with it */
    bool late;                      /* QEMU has marked RAM that is added now */

    KsmPhase phase;
    KsmBlock *at_block;             /* where the phase goes on; NULL: done */
    size_t at_region;
    size_t at_page;                 /* in mid-region; 0: at its start */
    int64_t pass_started_ns;        /* QEMU_CLOCK_REALTIME, as all times */
    int64_t next_pass_ns;
    int64_t next_mark_ns;           /* 0: nothing was answered */
    int64_t next_spot_ns;
    uint64_t spot_rounds;           /* of spot checks between passes */
    unsigned spot_skip;             /* so many of them are left out now, */
    unsigned spot_vain;             /* and so many if the next is in vain */
    KsmPlace spot_place;            /* where a round was interrupted */
    bool in_pass;
    bool read_waits;                /* READ goes on after MARK, from here: */
    KsmPlace read_place;
    uint64_t seconds;               /* of the clock, when the pass began, */
    uint64_t seconds_before;        /* and when the one before it did */
    uint64_t pass_hashed;
    uint64_t pass_found;            /* pages that were found stable, */
    uint64_t pass_written;          /* or written, and are not volatile */
    uint64_t batch_hashed;          /* since the last pause in mid-pass */
    bool unread;                    /* the pass found new pages to read again */
    uint64_t refusals;              /* by the kernel, since a pass began */
    uint64_t refused_pass;          /* so many when all was last marked */
    int refused;                    /* the last errno of them */
    unsigned backoff;               /* sleep_millisecs << backoff */
    bool prepared_thread;
    unsigned unmerging;             /* for whom: KSM_UNMERGE_*; 0: it isn't */
    bool memory_low;                /* and waits for memory, as withdrawal */
    int64_t memory_looked_ns;       /* when that was found; 0: never */
    unsigned yields;                /* others that need userfaultfd */
    bool snapshot;                  /* all memory is write-protected, or soon */
    int64_t last_event_ns;
    uint64_t demanded;              /* marked pages that ksmtuned knows of */
    KsmFrameReport reported;        /* the last that ksmtuned was told, */
    int64_t reported_ns;            /* and when; 0: nothing */
    int64_t report_due_ns;          /* when to look next for news to tell */

    uint64_t full_scans;
    uint64_t cow_breaks;
    uint64_t cpu_ns;
    bool owns_thread;               /* nobody else works in the IOThread, */
    int64_t thread_cpu_ns;          /* which had used so much when last asked */
    uint64_t last_pass_ns;
} KsmEngine;

/* Have the kernel arm, merge or split so many at once: a slice is short. */
#define KSM_BATCH_PAGES         128

/* May it merge?  Not if it is off, or ksmtuned has pages given back. */
static inline bool ksm_state_runs(const KsmEngine *engine)
{
    return engine->parameters.run &&
           !(engine->granted.flags & KSM_BUDGET_RELEASE);
}

/* The most of a CPU that it may use now, in thousandths. */
static inline unsigned ksm_state_permille(const KsmEngine *engine)
{
    unsigned own = engine->parameters.max_cpu_percent * 10;

    /* What a person waits for is no matter of ksmtuned's. */
    return engine->unmerging & KSM_UNMERGE_USER ?
           own : MIN(own, engine->granted.cpu_permille);
}

/*
 * Is it region @r's turn in this pass, for what is done once in @pause seconds?
 * The turns of others are in other seconds.
 */
static inline bool ksm_state_is_turn(const KsmEngine *engine, size_t r,
                                     unsigned pause)
{
    return (engine->seconds + r) / pause !=
           (engine->seconds_before + r) / pause;
}

/* Does the guest say that @page holds nothing?  Then nobody reads it. */
static inline bool ksm_state_is_free(const KsmEngine *engine, KsmPage page)
{
    return (page & KSM_PAGE_FREE) && engine->frees;
}

/* Is this pass the first one that begins in its second? */
static inline bool ksm_state_is_slow(const KsmEngine *engine)
{
    return ksm_state_is_turn(engine, 0, 1);
}

/*
 * Does this pass look at @page of region @r?  At a volatile one only now and
 * then: that it is written is known, and to arm it costs the guest a fault.
 */
static inline bool ksm_state_looks_at(const KsmEngine *engine, size_t r,
                                      KsmPage page)
{
    const unsigned heat = ksm_page_heat(page);

    return heat < KSM_PAGE_VOLATILE ||
           ksm_state_is_turn(engine, r, ksm_page_pause(heat));
}

/* The phase goes on at the start of @block; NULL: it is done. */
static inline void ksm_state_go_to(KsmEngine *engine, KsmBlock *block)
{
    engine->at_block = block;
    engine->at_region = 0;
    engine->at_page = 0;
}

/*
 * The next pages [*@first, *@last) of region @r, of which @most are worked on
 * at once.  The step goes on with the region until at_page is 0.
 */
static inline void ksm_state_next_pages(KsmEngine *engine,
                                        const KsmBlock *block, size_t r,
                                        size_t most, size_t *first,
                                        size_t *last)
{
    size_t end;

    ksm_region_pages(block, r, first, &end);
    if (engine->at_page) {
        /* The block may have shrunk since. */
        *first = MIN(engine->at_page, end);
    }
    *last = *first + MIN(most, end - *first);
    engine->at_page = *last < end ? *last : 0;
}

/* The kernel refused what was asked for memory: query-ksm tells.  Lock. */
static inline void ksm_state_refused(KsmEngine *engine, int error)
{
    engine->refused = error;
    engine->refusals++;
}

#endif
