/*
 * The KSM engine: its life and its slices of work
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-events-ksm.h"
#include "qemu/guest-random.h"
#include "qemu/lockable.h"
#include "qemu/timer.h"
#include "advice.h"
#include "engine.h"
#include "hints.h"
#include "pass.h"
#include "pause.h"
#include "ram.h"
#include "report.h"
#include "trace.h"

/* Most steps take a fraction of what it takes to look at the socket. */
#define SLICE_STEPS     64

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

static void disarm_all(KsmEngine *e)
{
    KsmBlock *block;

    if (!ksm_tracker_can_arm(&e->tracker)) {
        return;
    }
    /* Closing the userfaultfd unregisters everything at once. */
    ksm_tracker_close(&e->tracker);
    QTAILQ_FOREACH(block, &e->blocks, next) {
        if (block->eligible && ksm_backend_tracks(block)) {
            continue;
        }
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
    int64_t start, t, wake, cpu_start, used;
    bool more, paused, withdraws;

    qemu_mutex_lock(&e->lock);
    /* What it took to get here is the engine's, too, if the thread is. */
    cpu_start = e->owns_thread ? e->thread_cpu_ns : thread_cpu_ns();
    if (!e->prepared_thread) {
        ksm_hasher_prepare_thread();
        e->prepared_thread = true;
    }
    start = t = now();
    e->budget.permille = ksm_state_permille(e);
    /* Someone waits for a snapshot to begin: no budget for that. */
    withdraws = e->unmerging & KSM_UNMERGE_SNAPSHOT;
    wake = withdraws ? 0 : ksm_budget_delay(&e->budget, t);
    if (wake) {
        timer_mod_ns(e->timer, t + wake);
        qemu_mutex_unlock(&e->lock);
        return;
    }
    paused = ksm_pause_is_due(e);
    if (paused && !withdraws && e->phase != KSM_PHASE_IDLE) {
        ksm_pass_abandon(e);
    }
    do {
        more = ksm_rendezvous_run(&e->twins.rendezvous);
        for (int i = 0; i < SLICE_STEPS && t - start < KSM_SLICE_NS / 2; i++) {
            /* The guest relies on it. */
            bool worked = ksm_advice_step(e);

            if (withdraws || !(paused || ksm_advice_is_fresh(e))) {
                worked |= ksm_pass_step(e, t);
            }
            more |= worked;
            t = now();
            withdraws = e->unmerging & KSM_UNMERGE_SNAPSHOT;
            if (!worked) {
                break;
            }
        }
        t = now();
    } while (more && t - start < KSM_SLICE_NS / 2);
    ksm_report(e, t);

    e->thread_cpu_ns = thread_cpu_ns();
    used = e->thread_cpu_ns - cpu_start;
    e->cpu_ns += used;
    ksm_budget_use(&e->budget, t, used);
    if (more) {
        wake = t + (withdraws ? 0 : ksm_budget_delay(&e->budget, t));
    } else {
        wake = t + (int64_t)e->parameters.sleep_millisecs * SCALE_MS;
        if (!paused && ksm_state_runs(e) && e->phase == KSM_PHASE_IDLE) {
            wake = ksm_pass_next_ns(e);
        } else if (!paused && e->phase != KSM_PHASE_IDLE) {
            /* Waits for the socket, or for the next part of a pass. */
            wake = MIN(wake, MAX(e->next_pass_ns, t + 10 * SCALE_MS));
        }
        if (!e->twins.rendezvous.channel) {
            wake = MIN(wake, e->twins.rendezvous.retry_at_ns);
        }
        if (!paused && !QTAILQ_EMPTY(&e->leaving)) {
            /* For the socket, too: no pass begins before. */
            wake = t + 10 * SCALE_MS;
        }
        if (!ksm_advice_is_done(e)) {
            wake = MIN(wake, t + 10 * SCALE_MS);
        }
        wake = MAX(wake, t + ksm_budget_delay(&e->budget, t));
    }
    timer_mod_ns(e->timer, wake);
    trace_ksm_engine_slice(used, more);
    qemu_mutex_unlock(&e->lock);
}

/* All that is merged or marked, in slices; what the engine did is over. */
static void start_unmerging(KsmEngine *e, unsigned why)
{
    e->unmerging |= why;
    e->refusals = 0;
    ksm_pass_abandon(e);
}

static void grant(KsmEngine *e, const KsmFrameBudget *budget)
{
    bool released = e->granted.flags & KSM_BUDGET_RELEASE;
    bool release = budget->flags & KSM_BUDGET_RELEASE;

    e->granted = *budget;
    if (release && !released) {
        start_unmerging(e, KSM_UNMERGE_KSMTUNED);
    } else if (released && !release) {
        e->unmerging &= ~KSM_UNMERGE_KSMTUNED;
        e->next_pass_ns = 0;
    }
    trace_ksm_engine_budget(budget->cpu_permille, budget->flags);
}

/* What holds as long as ksmtuned says nothing else. */
static const KsmFrameBudget unlimited = { .cpu_permille = KSM_BUDGET_CPU_MAX };

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
            if (block->hasher) {
                continue;
            }
            for (size_t r = 0; r < block->n_regions; r++) {
                block->regions[r].reseed = true;
            }
        }
    }
    ksm_twins_use_own(&e->twins, false);
    /* A new ksmtuned knows of no marks: all are news to it. */
    e->marks.marked = ksm_ram_figures(e).pages_marked;
    e->reported_ns = 0;
    e->report_due_ns = 0;
    e->next_pass_ns = 0;
}

static void rendezvous_lost(void *opaque, const char *message)
{
    KsmEngine *e = opaque;

    ksm_twins_use_own(&e->twins, true);
    grant(e, &unlimited);
    qapi_event_send_ksm_backend_lost(e->id, message);
}

static void rendezvous_answer(void *opaque, uint32_t page, uint64_t digest,
                              bool twin)
{
    KsmEngine *e = opaque;

    if (ksm_twins_answer(&e->twins, page, digest, twin) && twin) {
        ksm_pass_answered(e, now());
    }
}

static void rendezvous_budget(void *opaque, const KsmFrameBudget *budget)
{
    grant(opaque, budget);
}

static const KsmRendezvousEvents rendezvous_events = {
    .wake = rendezvous_wake,
    .connected = rendezvous_connected,
    .lost = rendezvous_lost,
    .answer = rendezvous_answer,
    .budget = rendezvous_budget,
};

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
        start_unmerging(e, KSM_UNMERGE_USER);
    }
    ksm_engine_kick(e);
}

void ksm_engine_advise(KsmEngine *e, const KsmAdvisedRange *ranges, size_t n)
{
    g_autofree KsmAdvisedRange *copy = g_memdup2(ranges,
                                                 n * sizeof(ranges[0]));

    WITH_QEMU_LOCK_GUARD(&e->lock) {
        copy = ksm_advice_set(e, copy, n);
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

static void reopen_tracker(KsmEngine *e)
{
    if (!e->yields && !e->snapshot) {
        open_tracker(e);
    }
}

void ksm_engine_resume(KsmEngine *e)
{
    WITH_QEMU_LOCK_GUARD(&e->lock) {
        /* Who yields to nobody was made meanwhile. */
        e->yields -= MIN(e->yields, 1);
        reopen_tracker(e);
    }
    ksm_engine_kick(e);
}

void ksm_engine_begin_snapshot(KsmEngine *e)
{
    WITH_QEMU_LOCK_GUARD(&e->lock) {
        e->snapshot = true;
        start_unmerging(e, KSM_UNMERGE_SNAPSHOT);
        disarm_all(e);
    }
    ksm_engine_kick(e);
}

void ksm_engine_end_snapshot(KsmEngine *e)
{
    WITH_QEMU_LOCK_GUARD(&e->lock) {
        if (!e->snapshot) {
            return;
        }
        e->snapshot = false;
        /* If it has ended before all was withdrawn. */
        e->unmerging &= ~KSM_UNMERGE_SNAPSHOT;
        reopen_tracker(e);
    }
    ksm_engine_kick(e);
}

bool ksm_engine_snapshot_ready(KsmEngine *e, bool *done, bool *memory_low)
{
    QEMU_LOCK_GUARD(&e->lock);
    *done = !(e->unmerging & KSM_UNMERGE_SNAPSHOT);
    *memory_low = e->memory_low;
    return !e->snapshot || !*done || !ksm_ram_figures(e).pages_marked;
}

bool ksm_engine_start(KsmEngine *e, const char *id, AioContext *ctx,
                      bool owns_thread, const SocketAddress *rendezvous,
                      const KsmAdvisedRange *advised, size_t n_advised,
                      Error **errp)
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
    e->owns_thread = owns_thread;
    e->granted = unlimited;
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
    /* Before it hears of RAM. */
    ksm_advice_set(e, g_memdup2(advised, n_advised * sizeof(advised[0])),
                   n_advised);
    e->timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, run_slice, e);
    ksm_ram_watch(e);
    ksm_hints_init(e);
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
        if (block->eligible) {
            ksm_backend_detach(block);
        }
        ksm_block_free(block);
    }
}

void ksm_engine_stop(KsmEngine *e)
{
    StopRequest request = { .engine = e };

    ksm_ram_unwatch(e);
    ksm_hint_stop();
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
    ksm_hints_cleanup(e);
    ksm_advice_cleanup(e);
    g_free(e->tracker_message);
    g_free(e->backend_message);
    qemu_mutex_destroy(&e->lock);
}
