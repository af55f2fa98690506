/*
 * A pass: find what was written, hash what is stable, mark what has twins
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Small pages are armed first, and then read but once.  Huge ones start out
 * unarmed.  An unarmed region is read whole, at first in each pass, then less
 * and less often while nothing in it changes; a page that reads the same in
 * stable_passes passes after the first is submitted.  Once enough of a region's
 * pages have twins it is promoted: armed, so that from then on only written
 * pages are read, and its twins are marked.  So a huge page in which nothing
 * would merge is never split, nor kept from being made.
 */
#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "qapi/qapi-events-ksm.h"
#include "collector.h"
#include "hints.h"
#include "pass.h"
#include "promotion.h"
#include "ram.h"
#include "reader.h"
#include "reserve.h"
#include "spot-check.h"
#include "trace.h"

/* Withdraw so many pages at a time. */
#define WITHDRAW_PAGES      1024
/* sleep_millisecs << this, at most, while passes find few stable pages. */
#define BACKOFF_MAX         4
/* sleep_millisecs times this are between two rounds of spot checks. */
#define SPOT_SLEEPS         4
/* One answer is followed by others: so long after it, they are marked. */
#define ANSWERS_MS          100
/* Of so many regions, which is 1 GiB, those are found that have an answer. */
#define ANSWER_REGIONS      512

static void restart_phase(KsmEngine *e, KsmPhase phase)
{
    e->phase = phase;
    ksm_state_go_to(e, QTAILQ_FIRST(&e->blocks));
}

void ksm_pass_abandon(KsmEngine *e)
{
    if (e->phase == KSM_PHASE_MARK && !e->in_pass) {
        /* No pass is due that would do it instead. */
        e->next_mark_ns = e->pass_started_ns;
    }
    e->in_pass = false;
    e->read_waits = false;
    e->phase = KSM_PHASE_IDLE;
    e->at_block = NULL;
}

int64_t ksm_pass_next_ns(const KsmEngine *e)
{
    int64_t next = MIN(MIN(e->next_pass_ns, e->next_spot_ns),
                       ksm_hints_next_ns(e));

    return e->next_mark_ns ? MIN(e->next_mark_ns, next) : next;
}

void ksm_pass_answered(KsmEngine *e, int64_t now_ns)
{
    if (!e->next_mark_ns) {
        e->next_mark_ns = now_ns + ANSWERS_MS * SCALE_MS;
    }
}

/* The region to work on next; false at the end of the phase. */
static bool next_region(KsmEngine *e, KsmBlock **block, size_t *r)
{
    while (e->at_block && (!e->at_block->eligible ||
                           e->at_region >= e->at_block->n_regions)) {
        ksm_state_go_to(e, QTAILQ_NEXT(e->at_block, next));
    }
    *block = e->at_block;
    *r = e->at_region;
    return e->at_block != NULL;
}

/* MARK is of all regions then, else of those with answers only. */
static bool ends_pass(const KsmEngine *e)
{
    return e->in_pass && !e->read_waits;
}

/* The first region from @r on, of some, that is to be marked; else the next. */
static size_t next_answered(const KsmEngine *e, const KsmBlock *block, size_t r)
{
    const size_t end = ends_pass(e) ? r : MIN(r + ANSWER_REGIONS,
                                              block->n_regions);

    while (r < end && !block->regions[r].answered) {
        r++;
    }
    return r;
}

static void mark_phase(KsmEngine *e, KsmBlock *block, size_t r)
{
    KsmRegion *region;

    e->at_region = next_answered(e, block, r);
    if (e->at_region > r) {
        return;
    }
    e->at_region++;
    region = &block->regions[r];
    region->answered = false;
    region->quiet = MIN(region->quiet + ends_pass(e), UINT8_MAX);
    if (ksm_backend_tracks(block)) {
        /* Merged when it was submitted: there is nothing to mark. */
        return;
    }
    if (region->blanket) {
        if (!ksm_reserve_allows(e)) {
            return;
        }
        ksm_promotion_withdraw(e, block, r);
    }
    if (ksm_promotion_update(e, block, r) &&
        region->marks_due && !e->backend_message &&
        !ksm_marks_update(&e->marks, block, r)) {
        ksm_state_refused(e, errno);
    }
}

static void begin_pass(KsmEngine *e, int64_t now_ns)
{
    KsmBlock *block;

    QTAILQ_FOREACH(block, &e->blocks, next) {
        if (block->eligible && ksm_block_is_read_only(block)) {
            ksm_ram_stop_block(e, block);
            block->reason = KSM_INELIGIBLE_READ_ONLY;
        }
        if (!block->eligible && block->reason == KSM_INELIGIBLE_READ_ONLY &&
            !e->backend_message) {
            ksm_marks_whole(block);
        }
        if (!block->eligible && block->reason == KSM_INELIGIBLE_PINNED) {
            /* No pass would begin if it still were. */
            ksm_ram_start_block(e, block);
        }
    }
    e->in_pass = true;
    e->pass_started_ns = now_ns;
    e->seconds_before = e->seconds;
    e->seconds = now_ns / NANOSECONDS_PER_SECOND;
    e->pass_hashed = 0;
    e->batch_hashed = 0;
    e->pass_found = 0;
    e->pass_written = 0;
    e->refusals = 0;
    e->unread = false;
    restart_phase(e, KSM_PHASE_COLLECT);
}

static void sleep_until_spot_check(KsmEngine *e, int64_t now_ns)
{
    e->next_spot_ns = now_ns + SPOT_SLEEPS * SCALE_MS *
                               (int64_t)e->parameters.sleep_millisecs;
}

static void sleep_after_pass(KsmEngine *e, int64_t now_ns)
{
    if (e->pass_found > KSM_BUSY_PAGES) {
        ksm_spot_check_paid(e);
    }
    if (e->pass_found > KSM_BUSY_PAGES || e->pass_written > KSM_BUSY_PAGES ||
        e->unread) {
        e->backoff = 0;
    } else {
        e->backoff = MIN(e->backoff + 1, BACKOFF_MAX);
    }
    e->next_pass_ns = now_ns +
        ((int64_t)e->parameters.sleep_millisecs << e->backoff) * SCALE_MS;
    sleep_until_spot_check(e, now_ns);
}

/* Tell ksmtuned what ksmd is needed for, if that changed. */
static void demand(KsmEngine *e, uint64_t pages_marked)
{
    const uint64_t news = e->marks.marked + e->twins.again;

    if (news || pages_marked != e->demanded) {
        ksm_rendezvous_demand(&e->twins.rendezvous, news, pages_marked);
        e->demanded = pages_marked;
        e->marks.marked = 0;
        e->twins.again = 0;
    }
}

static void end_pass(KsmEngine *e, const KsmFigures *sum, int64_t now_ns)
{
    e->in_pass = false;
    e->full_scans++;
    e->last_pass_ns = now_ns - e->pass_started_ns;
    sleep_after_pass(e, now_ns);
    if (now_ns - e->last_event_ns >= NANOSECONDS_PER_SECOND) {
        qapi_event_send_ksm_pass_completed(e->id, e->full_scans,
                                           sum->pages_hashed);
        e->last_event_ns = now_ns;
    }
    trace_ksm_pass_end(e->full_scans, e->pass_hashed, e->last_pass_ns);
}

static void begin_marking(KsmEngine *e)
{
    restart_phase(e, KSM_PHASE_MARK);
    e->next_mark_ns = 0;
    if (ends_pass(e)) {
        ksm_marks_begin(&e->marks, &e->blocks);
    }
}

/* The phase goes on where it was interrupted. */
static void resume_phase(KsmEngine *e, KsmPhase phase, const KsmPlace *place)
{
    e->phase = phase;
    ksm_state_go_to(e, place->block);
    e->at_region = place->region;
}

static void end_marking(KsmEngine *e, int64_t now_ns)
{
    if (ends_pass(e)) {
        KsmFigures sum = ksm_ram_figures(e);

        demand(e, sum.pages_marked);
        e->refused_pass = e->refusals;
        e->phase = KSM_PHASE_IDLE;
        end_pass(e, &sum, now_ns);
        return;
    }
    /* To count all would take longer; the end of the pass does. */
    demand(e, e->demanded + e->marks.marked);
    if (!e->read_waits) {
        e->phase = KSM_PHASE_IDLE;
        return;
    }
    e->read_waits = false;
    /* READ is to get on, however long MARK takes. */
    e->next_mark_ns = e->next_mark_ns ? now_ns : 0;
    resume_phase(e, KSM_PHASE_READ, &e->read_place);
}

/*
 * To read all of a large guest takes minutes.  What is answered meanwhile is
 * marked: other engines have marked the other side of the pairs.
 */
static bool interrupt_reading(KsmEngine *e, int64_t now_ns)
{
    if (!e->next_mark_ns || e->at_page ||
        now_ns - e->next_mark_ns < NANOSECONDS_PER_SECOND) {
        return false;
    }
    e->read_waits = true;
    e->read_place = (KsmPlace) { e->at_block, e->at_region };
    begin_marking(e);
    return true;
}

/* Much was written, by the looks of it: a pass is to begin. */
static void hasten_pass(KsmEngine *e)
{
    e->phase = KSM_PHASE_IDLE;
    e->next_pass_ns = 0;
    e->backoff = 0;
}

/* The round that was interrupted goes on, or another one begins. */
static void begin_spot_check(KsmEngine *e, int64_t now_ns)
{
    sleep_until_spot_check(e, now_ns);
    if (e->spot_place.block) {
        resume_phase(e, KSM_PHASE_SPOT_CHECK, &e->spot_place);
    } else if (ksm_spot_check_begin(e)) {
        restart_phase(e, KSM_PHASE_SPOT_CHECK);
    }
    e->spot_place.block = NULL;
}

/* While no pass is made: begin what is due, or go on.  False: nothing is. */
static bool begin_phase(KsmEngine *e, int64_t now_ns)
{
    const bool pass = now_ns >= e->next_pass_ns;
    const bool mark = e->next_mark_ns && now_ns >= e->next_mark_ns;

    if (e->phase == KSM_PHASE_SPOT_CHECK && (pass || mark)) {
        e->spot_place = (KsmPlace) { e->at_block, e->at_region };
    }
    if (pass) {
        begin_pass(e, now_ns);
    } else if (mark) {
        begin_marking(e);
    } else if (e->phase == KSM_PHASE_IDLE && now_ns >= e->next_spot_ns) {
        begin_spot_check(e, now_ns);
    }
    return e->phase != KSM_PHASE_IDLE;
}

/* All regions were gone through in this phase. */
static void end_phase(KsmEngine *e, int64_t now_ns)
{
    switch (e->phase) {
    case KSM_PHASE_SPOT_CHECK:
        e->phase = KSM_PHASE_IDLE;
        break;
    case KSM_PHASE_COLLECT:
        restart_phase(e, KSM_PHASE_READ);
        break;
    case KSM_PHASE_READ:
        begin_marking(e);
        break;
    default:
        end_marking(e, now_ns);
        break;
    }
}

/*
 * Merged pages of the region get memory of their own.  Returns false if there
 * are more of them.
 */
static bool split(KsmEngine *e, KsmBlock *block, size_t r)
{
    size_t first, last;

    ksm_state_next_pages(e, block, r, KSM_BATCH_PAGES, &first, &last);
    if (!block->backend->split(block, first, last)) {
        ksm_state_refused(e, errno);
        return !e->at_page;
    }
    /* Should passes run again, all of it is submitted again. */
    for (size_t p = first; p < last; p++) {
        KsmPage page = block->pages[p];

        if (page & KSM_PAGE_HASHED) {
            ksm_block_set_page(block, p, KSM_PAGE_WRITTEN |
                ksm_page_set_age(0, KSM_PAGE_AGE_MAX));
            block->regions[r].pending = true;
        }
    }
    return !e->at_page;
}

/* A step of what was asked for, whoever did. */
static bool unmerge_step(KsmEngine *e)
{
    KsmBlock *block;
    size_t r;

    if (!ksm_reserve_allows(e) || !next_region(e, &block, &r)) {
        if (!e->memory_low) {
            e->unmerging = 0;
            QTAILQ_FOREACH(block, &e->blocks, next) {
                ksm_marks_withdraw_whole(block);
            }
        }
        ksm_pass_abandon(e);
        e->refused_pass = e->refusals;
        demand(e, ksm_ram_figures(e).pages_marked);
        return false;
    }
    if (!block->backend->split) {
        ksm_promotion_withdraw(e, block, r);
    } else if (!split(e, block, r)) {
        return true;
    }
    e->at_region++;
    return true;
}

/* Some of what blocks submitted that are gone. */
static bool withdraw_step(KsmEngine *e)
{
    KsmBlock *block = QTAILQ_FIRST(&e->leaving);

    if (ksm_rendezvous_is_congested(&e->twins.rendezvous)) {
        return false;
    }
    for (int i = 0; block->n_pages && i < WITHDRAW_PAGES; i++) {
        ksm_backend_withdraw(&e->twins, block, --block->n_pages);
    }
    if (!block->n_pages) {
        QTAILQ_REMOVE(&e->leaving, block, next);
        ksm_block_free(block);
    }
    return true;
}

/* A step of the phase that a pass, or what is done between two, is in. */
static bool phase_step(KsmEngine *e, int64_t now_ns)
{
    KsmBlock *block;
    size_t r;

    if ((e->phase == KSM_PHASE_IDLE || e->phase == KSM_PHASE_SPOT_CHECK) &&
        !begin_phase(e, now_ns)) {
        return false;
    }
    if (e->phase == KSM_PHASE_READ && interrupt_reading(e, now_ns)) {
        return true;
    }
    if (!next_region(e, &block, &r)) {
        end_phase(e, now_ns);
        return e->phase != KSM_PHASE_IDLE;
    }
    /* These have something to tell ksmtuned. */
    if ((e->phase == KSM_PHASE_COLLECT || e->phase == KSM_PHASE_READ) &&
        ksm_rendezvous_is_congested(&e->twins.rendezvous)) {
        return false;
    }
    switch (e->phase) {
    case KSM_PHASE_SPOT_CHECK:
        if (ksm_spot_check_some(e, block, &e->at_region)) {
            hasten_pass(e);
        }
        break;
    case KSM_PHASE_COLLECT:
        ksm_collector_step(e, block, r);
        break;
    case KSM_PHASE_READ:
        if (e->parameters.pages_to_scan &&
            e->batch_hashed >= e->parameters.pages_to_scan) {
            if (now_ns < e->next_pass_ns) {
                return false;
            }
            e->batch_hashed = 0;
        }
        e->at_region += ksm_reader_step(e, block, r);
        if (e->parameters.pages_to_scan &&
            e->batch_hashed >= e->parameters.pages_to_scan) {
            e->next_pass_ns = now_ns +
                (int64_t)e->parameters.sleep_millisecs * SCALE_MS;
        }
        break;
    case KSM_PHASE_MARK:
        mark_phase(e, block, r);
        break;
    default:
        g_assert_not_reached();
    }
    return true;
}

bool ksm_pass_step(KsmEngine *e, int64_t now_ns)
{
    if (!QTAILQ_EMPTY(&e->leaving)) {
        return withdraw_step(e);
    }
    if (e->unmerging) {
        if (e->phase != KSM_PHASE_UNMERGE) {
            restart_phase(e, KSM_PHASE_UNMERGE);
        }
        return unmerge_step(e);
    }
    if (!ksm_state_runs(e)) {
        ksm_pass_abandon(e);
        return false;
    }
    if (e->phase == KSM_PHASE_UNMERGE) {
        /* Who wanted it wants it no more. */
        ksm_pass_abandon(e);
    }
    /* Hints and passes take turns: neither is to wait for all of the other. */
    e->hinted = !e->hinted && ksm_hints_step(e, now_ns);
    return e->hinted || phase_step(e, now_ns) || ksm_hints_wait(e);
}
