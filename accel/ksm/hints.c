/*
 * Hints of devices, acted on: pages are hashed and submitted at once, or never
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A disk read fills a page with what other guests may have read, too, and then
 * often leaves it alone.  So it need not rest for a pass, nor wait for one.
 * What a guest has given back is forgotten, and not read.
 *
 * The newest are taken first: when there are more than the engine may look at,
 * old ones have waited long enough to be found by a pass.
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/timer.h"
#include "migration/misc.h"
#include "collector.h"
#include "engine.h"
#include "hints.h"
#include "pass.h"
#include "promotion.h"
#include "ram.h"
#include "reader.h"
#include "trace.h"

/*
 * While hints come, they are looked for so often, and devices need not wake
 * anybody: these would do for each request, else.
 */
#define INTERVAL_MS     10
/* So many pages, and runs of pages, are looked at in one step. */
#define STEP_PAGES      KSM_BATCH_PAGES
#define STEP_RUNS       16
/*
 * What devices leave alone for so long is a cache, even if it has been refilled
 * often; buffers are filled all the time.
 */
#define REST_MS         2000

static void wake(void *opaque)
{
    ksm_engine_kick(opaque);
}

/* The guest has what it said to be free again: it may be written unseen. */
static int precopy_changes(NotifierWithReturn *n, void *opaque, Error **errp)
{
    KsmEngine *e = container_of(n, KsmEngine, precopy);
    const PrecopyNotifyData *data = opaque;

    if (data->reason == PRECOPY_NOTIFY_CLEANUP) {
        QEMU_LOCK_GUARD(&e->lock);
        e->frees = false;
    }
    return 0;
}

void ksm_hints_init(KsmEngine *e)
{
    e->hints.hints = g_new(KsmHint, KSM_HINT_STACK);
    e->hints.dropped_before = ksm_hint_dropped();
    e->precopy.notify = precopy_changes;
    precopy_add_notifier(&e->precopy);
    ksm_hints_apply(e);
}

void ksm_hints_apply(KsmEngine *e)
{
    const bool io = e->parameters.hints == KSM_HINTS_IO;

    ksm_hint_start(KSM_HINT_DISCARDED | KSM_HINT_FREE | KSM_HINT_EAGERLY |
                   (io ? KSM_HINT_DISK_READ : 0), wake, e);
}

void ksm_hints_cleanup(KsmEngine *e)
{
    precopy_remove_notifier(&e->precopy);
    g_free(e->hints.hints);
}

int64_t ksm_hints_next_ns(const KsmEngine *e)
{
    return !e->hints.n && ksm_hint_is_waiting() ? INT64_MAX
                                                : e->hints.next_ns;
}

/* Put what devices have given on top of what is there. */
static void take(KsmHintStack *stack)
{
    const unsigned most = KSM_HINT_STACK / 2;
    unsigned n;

    if (stack->n > most) {
        /* The oldest must go. */
        stack->dropped += stack->n - most;
        memmove(stack->hints, stack->hints + stack->n - most,
                most * sizeof(stack->hints[0]));
        stack->n = most;
    }
    n = ksm_hint_take(stack->hints + stack->n, KSM_HINT_STACK - stack->n);
    stack->taken += n;
    stack->n += n;
}

/* The newest hint, with older ones that it is side by side with. */
static KsmHint pop(KsmHintStack *stack)
{
    KsmHint hint = stack->hints[--stack->n];

    while (stack->n) {
        const KsmHint *older = &stack->hints[stack->n - 1];

        if (older->kind != hint.kind ||
            (char *)older->host + older->size != hint.host) {
            break;
        }
        hint.host = older->host;
        hint.size += older->size;
        stack->n--;
    }
    return hint;
}

/* The pages [*@first, *@last) that @hint is about, all of each; or NULL. */
static KsmBlock *find_pages(KsmEngine *e, KsmHint hint, size_t *first,
                            size_t *last)
{
    KsmBlock *block;

    QTAILQ_FOREACH(block, &e->blocks, next) {
        uint64_t start = (uintptr_t)hint.host - (uintptr_t)block->host;

        if (block->eligible && start < block->size) {
            uint64_t end = start + MIN(hint.size, block->size - start);

            *first = DIV_ROUND_UP(start, 1ul << block->page_bits);
            *last = end >> block->page_bits;
            return *first < *last ? block : NULL;
        }
    }
    /* A buffer of a device, or memory that has gone meanwhile. */
    return NULL;
}

/* Small pages are armed before they are read, even if that once was in vain. */
static void arm(KsmEngine *e, KsmBlock *block, size_t r)
{
    KsmRegion *region = &block->regions[r];
    const uint16_t due = region->due;

    region->tried = false;
    region->due = 0;
    if (!ksm_promotion_try(e, block, r)) {
        region->due = due;
    }
}

/*
 * A device has filled pages [@first, @last) of region @r.  Those that it had
 * left alone before are looked at, however hot they are.
 */
static void note_filled(KsmBlock *block, size_t r, size_t first, size_t last)
{
    KsmRegion *region = &block->regions[r];
    KsmFilledPages *filled = region->filled;
    const int64_t now_ms = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    size_t base, ignored;

    if (!filled) {
        filled = region->filled = g_new0(KsmFilledPages, 1);
    } else if (now_ms - filled->last_ms >= REST_MS) {
        bitmap_zero(filled->filled, KSM_REGION_MAX_PAGES);
    }
    filled->last_ms = now_ms;
    ksm_region_pages(block, r, &base, &ignored);
    for (size_t p = first; p < last; p++) {
        const KsmPage page = block->pages[p];

        if (!test_and_set_bit(p - base, filled->filled) &&
            ksm_page_heat(page) >= KSM_PAGE_VOLATILE - 1) {
            ksm_block_set_page(block, p, ksm_page_set_heat(
                                             page, KSM_PAGE_VOLATILE - 2));
        }
    }
}

/* Pages [@first, @last) of region @r are likely to have twins. */
static void read_now(KsmEngine *e, KsmBlock *block, size_t r, size_t first,
                     size_t last, KsmHintKind kind)
{
    KsmRegion *region = &block->regions[r];

    if (region->reseed || region->resubmit) {
        /* The next pass has to begin with all of it. */
        return;
    }
    note_filled(block, r, first, last);
    if (!region->armed) {
        arm(e, block, r);
    }
    if (region->armed && kind == KSM_HINT_DISK_READ) {
        ksm_collector_note(e, block, first, last);
    } else if (region->armed) {
        /* A guest may ask for it as often as it likes, without any write. */
        ksm_collector_look(e, block, first, last);
    }
    e->hints.pages += ksm_reader_hinted(e, block, r, first, last);
}

/* Pages [@first, @last) of region @r hold nothing. */
static void forget(KsmEngine *e, KsmBlock *block, size_t r, size_t first,
                   size_t last, bool resident)
{
    KsmRegion *region = &block->regions[r];

    if (resident && region->armed) {
        /* What was written before is of no interest. */
        ksm_collector_rearm(e, block, first, last);
    }
    for (size_t p = first; p < last; p++) {
        ksm_ram_forget(e, block, p);
        if (resident && !(block->pages[p] & KSM_PAGE_EXCLUDED)) {
            ksm_block_set_page(block, p, block->pages[p] | KSM_PAGE_FREE);
        }
    }
    e->frees |= resident;
    e->hints.pages_freed += last - first;
    if (region->promoted && !region->submitted && !region->zeros &&
        !region->unstable) {
        /* Nothing is left that it is tracked and marked for. */
        region->quiet = KSM_MARKS_QUIET_PASSES;
        region->answered = true;
        ksm_pass_answered(e, qemu_clock_get_ns(QEMU_CLOCK_REALTIME));
    }
}

static void act(KsmEngine *e, KsmBlock *block, size_t r, size_t first,
                size_t last, KsmHintKind kind)
{
    switch (kind) {
    case KSM_HINT_DISK_READ:
    case KSM_HINT_EAGERLY:
        read_now(e, block, r, first, last, kind);
        break;
    case KSM_HINT_DISCARDED:
    case KSM_HINT_FREE:
        forget(e, block, r, first, last, kind == KSM_HINT_FREE);
        break;
    }
}

/* Act on the newest hint, or part of it.  Returns how many pages that took. */
static size_t act_on_newest(KsmEngine *e)
{
    KsmHint hint = pop(&e->hints);
    size_t first, last, r, end, region_first;
    KsmBlock *block = find_pages(e, hint, &first, &last);

    if (!block) {
        return 0;
    }
    r = ksm_block_region_of(block, first);
    ksm_region_pages(block, r, &region_first, &end);
    end = MIN(MIN(end, last), first + STEP_PAGES);
    if (end < last) {
        /* The rest is the newest now, in the place of what it is of. */
        e->hints.hints[e->hints.n++] = (KsmHint) {
            ksm_block_page_host(block, end), (last - end) << block->page_bits,
            hint.kind
        };
    }
    act(e, block, r, first, end, hint.kind);
    trace_ksm_hints_act(ksm_block_page_host(block, first), end - first,
                        hint.kind);
    return end - first;
}

bool ksm_hints_wait(const KsmEngine *e)
{
    return e->hints.n && !ksm_rendezvous_is_congested(&e->twins.rendezvous);
}

bool ksm_hints_step(KsmEngine *e, int64_t now_ns)
{
    KsmHintStack *stack = &e->hints;
    size_t pages = 0;

    if (now_ns >= stack->next_ns && !ksm_hint_is_waiting()) {
        take(stack);
        stack->next_ns = now_ns + INTERVAL_MS * SCALE_MS;
        if (!stack->n) {
            ksm_hint_wait();
        }
    }
    if (!ksm_hints_wait(e)) {
        return false;
    }
    for (int i = 0; i < STEP_RUNS && stack->n && pages < STEP_PAGES; i++) {
        pages += act_on_newest(e);
    }
    return true;
}

KsmHintFigures ksm_hints_figures(const KsmEngine *e)
{
    return (KsmHintFigures) {
        .taken = e->hints.taken,
        .dropped = e->hints.dropped +
                   (ksm_hint_dropped() - e->hints.dropped_before),
        .pages_hashed = e->hints.pages,
        .pages_freed = e->hints.pages_freed,
    };
}
