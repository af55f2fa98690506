/*
 * The KSM engine: its life, its slices of work, and the RAM it knows
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-events-ksm.h"
#include "qemu/guest-random.h"
#include "qemu/lockable.h"
#include "qemu/timer.h"
#include "exec/memory.h"
#include "migration/misc.h"
#include "system/runstate.h"
#include "engine.h"
#include "trace.h"

static int64_t now(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

static int64_t thread_cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec * NANOSECONDS_PER_SECOND + ts.tv_nsec;
}

void ksm_engine_kick(KsmEngine *e)
{
    timer_mod_anticipate_ns(e->timer, now());
}

bool ksm_engine_is_receiving(void)
{
    return runstate_check(RUN_STATE_INMIGRATE) ||
           migration_in_incoming_postcopy();
}

bool ksm_engine_is_paused(const KsmEngine *e)
{
    return e->yields || ksm_engine_is_receiving() ||
           ram_block_discard_is_disabled();
}

KsmFigures ksm_engine_figures(const KsmEngine *e)
{
    KsmFigures sum = e->removed;
    KsmBlock *block;

    QTAILQ_FOREACH(block, &e->blocks, next) {
        ksm_block_add_figures(block, &sum);
    }
    return sum;
}

static void disarm_all(KsmEngine *e)
{
    KsmBlock *block;

    if (!ksm_tracker_can_arm(&e->tracker)) {
        return;
    }
    /* Closing the userfaultfd unregisters everything at once. */
    ksm_tracker_close(&e->tracker);
    QTAILQ_FOREACH(block, &e->blocks, next) {
        for (size_t r = 0; r < block->n_regions; r++) {
            block->regions[r].armed = false;
            block->regions[r].due = 0;
        }
    }
}

static void open_tracker(KsmEngine *e)
{
    Error *err = NULL;

    g_clear_pointer(&e->tracker_message, g_free);
    if (!ksm_tracker_open(&e->tracker, &e->pagemap, &err)) {
        e->tracker_message = g_strdup(error_get_pretty(err));
        error_free(err);
    }
}

/* Runs in the IOThread: work for a slice, then sleep as long as is right. */
static void run_slice(void *opaque)
{
    KsmEngine *e = opaque;
    const int64_t cpu_start = thread_cpu_ns();
    int64_t start, t, wake, used;
    bool more, paused;

    qemu_mutex_lock(&e->lock);
    if (!e->prepared_thread) {
        ksm_hasher_prepare_thread();
        e->prepared_thread = true;
    }
    start = t = now();
    wake = ksm_budget_delay(&e->budget, t);
    if (wake) {
        timer_mod_ns(e->timer, t + wake);
        qemu_mutex_unlock(&e->lock);
        return;
    }
    paused = ksm_engine_is_paused(e);
    if (paused && e->phase != KSM_PHASE_IDLE) {
        ksm_pass_abandon(e);
    }
    do {
        more = ksm_rendezvous_run(&e->twins.rendezvous);
        for (int i = 0; !paused && i < 8 && t - start < KSM_SLICE_NS / 2; i++) {
            bool worked = ksm_pass_step(e, t);

            more |= worked;
            t = now();
            if (!worked) {
                break;
            }
        }
        t = now();
    } while (more && t - start < KSM_SLICE_NS / 2);

    used = thread_cpu_ns() - cpu_start;
    e->cpu_ns += used;
    ksm_budget_use(&e->budget, t, used);
    if (more) {
        wake = t + ksm_budget_delay(&e->budget, t);
    } else {
        wake = t + (int64_t)e->parameters.sleep_millisecs * SCALE_MS;
        if (!paused && e->parameters.run && e->phase == KSM_PHASE_IDLE) {
            wake = e->next_pass_ns;
        } else if (!paused && e->phase != KSM_PHASE_IDLE) {
            /* Waits for the socket, or for the next part of a pass. */
            wake = MIN(wake, MAX(e->next_pass_ns, t + 10 * SCALE_MS));
        }
        if (!e->twins.rendezvous.channel) {
            wake = MIN(wake, e->twins.rendezvous.retry_at_ns);
        }
        wake = MAX(wake, t + ksm_budget_delay(&e->budget, t));
    }
    timer_mod_ns(e->timer, wake);
    trace_ksm_engine_slice(used, more);
    qemu_mutex_unlock(&e->lock);
}

/*
 * Answers of the rendezvous, and the state of its connection; in a slice.
 */
static void rendezvous_wake(void *opaque)
{
    ksm_engine_kick(opaque);
}

static void rendezvous_connected(void *opaque,
                                 const uint8_t seed[KSM_WIRE_SEED_SIZE])
{
    KsmEngine *e = opaque;
    KsmBlock *block;

    if (!ksm_hasher_has_seed(&e->hasher, seed)) {
        ksm_hasher_seed(&e->hasher, seed);
        QTAILQ_FOREACH(block, &e->blocks, next) {
            for (size_t r = 0; r < block->n_regions; r++) {
                block->regions[r].reseed = true;
            }
        }
    }
    ksm_twins_use_own(&e->twins, false);
    /* A new ksmtuned knows of no marks: all are news to it. */
    e->marks.marked = ksm_engine_figures(e).pages_marked;
    e->next_pass_ns = 0;
}

static void rendezvous_lost(void *opaque, const char *message)
{
    KsmEngine *e = opaque;

    ksm_twins_use_own(&e->twins, true);
    qapi_event_send_ksm_backend_lost(e->id, message);
}

static void rendezvous_answer(void *opaque, uint32_t page, uint64_t digest,
                              bool twin)
{
    KsmEngine *e = opaque;

    ksm_twins_answer(&e->twins, page, digest, twin);
    if (twin && e->phase == KSM_PHASE_IDLE && e->backoff) {
        /* Marks are due: don't sleep as if nothing happened. */
        e->backoff = 0;
        e->next_pass_ns = MIN(e->next_pass_ns, now() +
            (int64_t)e->parameters.sleep_millisecs * SCALE_MS);
    }
}

static const KsmRendezvousEvents rendezvous_events = {
    .wake = rendezvous_wake,
    .connected = rendezvous_connected,
    .lost = rendezvous_lost,
    .answer = rendezvous_answer,
};

/*
 * RAM; with the BQL held.
 */
static KsmBlock *find_block(KsmEngine *e, void *host)
{
    KsmBlock *block;

    QTAILQ_FOREACH(block, &e->blocks, next) {
        if (block->host == host) {
            return block;
        }
    }
    return NULL;
}

void ksm_engine_disarm(KsmEngine *e, KsmBlock *block, size_t r, size_t end)
{
    while (r < end) {
        size_t from = r, size;
        uint8_t *host;

        /* A run of armed regions at a time. */
        while (r < end && block->regions[r].armed) {
            block->regions[r++].armed = false;
        }
        if (r > from) {
            size = ksm_regions_memory(block, from, r, &host);
            ksm_tracker_disarm(&e->tracker, host, size);
        } else {
            r++;
        }
    }
}

/* Where those of @blocks end that have a page numbered [@at, @at + @n). */
static uint64_t numbered_to(const KsmBlockList *blocks, uint64_t at, uint64_t n)
{
    uint64_t end = at;
    KsmBlock *block;

    QTAILQ_FOREACH(block, blocks, next) {
        uint64_t first = block->first;
        uint64_t last = first + block->max_size / qemu_real_host_page_size();

        if (block->pages && first < at + n && at < last) {
            end = MAX(end, last);
        }
    }
    return end;
}

/* The lowest number that leaves room for @block's pages, or false. */
static bool number_pages(KsmEngine *e, const KsmBlock *block, uint32_t *first)
{
    uint64_t n = block->max_size / qemu_real_host_page_size();
    uint64_t at, end = 0;

    do {
        at = end;
        end = MAX(numbered_to(&e->blocks, at, n),
                  numbered_to(&e->leaving, at, n));
    } while (end != at);
    *first = at;
    return at + n <= UINT32_MAX;
}

void ksm_engine_start_block(KsmEngine *e, KsmBlock *block)
{
    uint32_t first;

    if (!ksm_block_is_eligible(block)) {
        return;
    }
    block->backend = ksm_backend_find(e->parameters.backend, block);
    if (!block->backend) {
        return;
    }
    if (!number_pages(e, block, &first)) {
        block->reason = KSM_INELIGIBLE_TOO_LARGE;
        return;
    }
    ksm_block_start(block, first);
    for (size_t r = 0; block->blanket && r < block->n_regions; r++) {
        block->regions[r].blanket = true;
    }
    trace_ksm_engine_start_block(block->host, block->size);
}

void ksm_engine_stop_block(KsmEngine *e, KsmBlock *block)
{
    KsmBlock *leaving;

    ksm_pass_skip(e, block);
    if (block->eligible) {
        ksm_engine_disarm(e, block, 0, block->n_regions);
        leaving = ksm_block_leave(block);
        QTAILQ_INSERT_TAIL(&e->leaving, leaving, next);
    }
}

static void ram_added(RAMBlockNotifier *n, void *host, size_t size,
                      size_t max_size)
{
    KsmEngine *e = container_of(n, KsmEngine, notifier);
    KsmBlock *block = ksm_block_new(host, size, max_size);

    QEMU_LOCK_GUARD(&e->lock);
    QTAILQ_INSERT_TAIL(&e->blocks, block, next);
    block->merge = ksm_block_merge_enabled(host);
    block->blanket = e->late && !e->backend_message;
    ksm_engine_start_block(e, block);
}

static void ram_removed(RAMBlockNotifier *n, void *host, size_t size,
                        size_t max_size)
{
    KsmEngine *e = container_of(n, KsmEngine, notifier);
    KsmBlock *block;

    QEMU_LOCK_GUARD(&e->lock);
    block = find_block(e, host);
    if (block) {
        ksm_engine_stop_block(e, block);
        QTAILQ_REMOVE(&e->blocks, block, next);
        block->whole = false;
        ksm_block_add_figures(block, &e->removed);
        ksm_block_free(block);
    }
}

static void ram_resized(RAMBlockNotifier *n, void *host, size_t old_size,
                        size_t new_size)
{
    KsmEngine *e = container_of(n, KsmEngine, notifier);
    KsmBlock *block;

    QEMU_LOCK_GUARD(&e->lock);
    block = find_block(e, host);
    if (!block) {
        return;
    }
    for (size_t p = new_size / qemu_real_host_page_size();
         p < block->n_pages; p++) {
        ksm_backend_withdraw(&e->twins, block, p);
    }
    ksm_block_resize(block, new_size);
}

void ksm_engine_set_merge(KsmEngine *e, void *host, bool merge)
{
    KsmBlock *block;

    QEMU_LOCK_GUARD(&e->lock);
    block = find_block(e, host);
    if (!block || block->merge == merge) {
        return;
    }
    block->merge = merge;
    /* QEMU takes its own mark away when it is told to. */
    block->blanket &= merge;
    ksm_engine_stop_block(e, block);
    ksm_engine_start_block(e, block);
}

/*
 * Commands
 */
void ksm_engine_scan(KsmEngine *e)
{
    WITH_QEMU_LOCK_GUARD(&e->lock) {
        e->next_pass_ns = 0;
    }
    ksm_engine_kick(e);
}

void ksm_engine_unmerge(KsmEngine *e)
{
    WITH_QEMU_LOCK_GUARD(&e->lock) {
        e->parameters.run = false;
        e->unmerging = true;
        ksm_pass_abandon(e);
    }
    ksm_engine_kick(e);
}

void ksm_engine_yield(KsmEngine *e)
{
    QEMU_LOCK_GUARD(&e->lock);
    if (e->yields++ == 0) {
        ksm_pass_abandon(e);
        disarm_all(e);
    }
}

void ksm_engine_resume(KsmEngine *e)
{
    WITH_QEMU_LOCK_GUARD(&e->lock) {
        /* A failed start of a snapshot is followed by its stop all the same. */
        if (e->yields && --e->yields == 0) {
            open_tracker(e);
        }
    }
    ksm_engine_kick(e);
}

bool ksm_engine_start(KsmEngine *e, const char *id, AioContext *ctx,
                      const SocketAddress *rendezvous, Error **errp)
{
    uint8_t seed[KSM_SEED_SIZE];
    Error *err = NULL;

    if (!ksm_pagemap_open(&e->pagemap, errp)) {
        return false;
    }
    if (qemu_guest_getrandom(seed, sizeof(seed), errp) < 0 ||
        !ksm_rendezvous_init(&e->twins.rendezvous, ctx, rendezvous,
                             &rendezvous_events, e, errp)) {
        ksm_pagemap_close(&e->pagemap);
        return false;
    }
    qemu_mutex_init(&e->lock);
    QTAILQ_INIT(&e->blocks);
    QTAILQ_INIT(&e->leaving);
    e->id = id;
    e->ctx = ctx;
    e->late = true;
    e->budget.percent = e->parameters.max_cpu_percent;
    e->budget.filled_at_ns = now();
    ksm_hasher_seed(&e->hasher, seed);
    ksm_twins_init(&e->twins, &e->blocks);
    ksm_marks_init(&e->marks);
    open_tracker(e);
    if (!ksm_backend_available(e->parameters.backend, &err)) {
        e->backend_message = g_strdup(error_get_pretty(err));
        error_free(err);
    }
    ksm_hasher_install_sigbus();
    e->timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, run_slice, e);
    e->notifier = (RAMBlockNotifier) {
        .ram_block_added = ram_added,
        .ram_block_removed = ram_removed,
        .ram_block_resized = ram_resized,
    };
    ram_block_notifier_add(&e->notifier);
    e->late = false;
    ksm_engine_kick(e);
    return true;
}

typedef struct StopRequest {
    KsmEngine *engine;
    QemuEvent done;
} StopRequest;

/* In the IOThread: no slice runs, and none will. */
static void stop_in_iothread(void *opaque)
{
    StopRequest *request = opaque;
    KsmEngine *e = request->engine;

    timer_free(e->timer);
    ksm_rendezvous_cleanup(&e->twins.rendezvous);
    qemu_event_set(&request->done);
}

static void free_blocks(KsmBlockList *blocks)
{
    KsmBlock *block, *next;

    QTAILQ_FOREACH_SAFE(block, blocks, next, next) {
        QTAILQ_REMOVE(blocks, block, next);
        ksm_block_free(block);
    }
}

void ksm_engine_stop(KsmEngine *e)
{
    StopRequest request = { .engine = e };

    ram_block_notifier_remove(&e->notifier);
    qemu_event_init(&request.done, false);
    aio_bh_schedule_oneshot(e->ctx, stop_in_iothread, &request);
    qemu_event_wait(&request.done);
    qemu_event_destroy(&request.done);

    ksm_hasher_remove_sigbus();
    ksm_tracker_close(&e->tracker);
    ksm_pagemap_close(&e->pagemap);
    /* Marks stay as they are; so does what was merged. */
    free_blocks(&e->blocks);
    free_blocks(&e->leaving);
    ksm_twins_cleanup(&e->twins);
    g_free(e->tracker_message);
    g_free(e->backend_message);
    qemu_mutex_destroy(&e->lock);
}
