/*
 * What the guest advises: between the ksm-guest device and the engine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The device outlives ksm objects, and each new one is told what is in force.
 * Without one there is nobody who reads guest memory.  But what is never to be
 * merged must not be merged by marks that QEMU made or an object left behind,
 * nor by other guests with what they have of ours in their index: so it is kept
 * apart here.
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/timer.h"
#include "system/runstate.h"
#include "advice.h"
#include "backend.h"
#include "guest.h"
#include "ksm.h"
#include "report.h"
#include "reserve.h"
#include "trace.h"

/* What failed is tried again when the guest asks, but so seldom. */
#define RETRY_NS    NANOSECONDS_PER_SECOND

/* What is in force.  BQL. */
static KsmAdvisedRange *advised;
static size_t n_advised;
/* There is no object, and not all is kept apart that should be. */
static bool unfinished;
static int64_t retry_ns;

const KsmAdvisedRange *ksm_guest_advised(size_t *n)
{
    *n = n_advised;
    return advised;
}

/* Some memory of @block, which @backend would serve if it isn't NULL. */
static bool part(KsmBlock *block, const KsmBackend *backend, uint8_t *host,
                 size_t size)
{
    if (backend && backend->split) {
        const size_t first = (host - block->host) >> block->page_bits;

        return backend->split(block, first,
                              first + (size >> block->page_bits));
    }
    return ksm_advice_unmark(host, size);
}

static bool part_range(const KsmAdvisedRange *range)
{
    KsmBlock *block = ksm_block_containing(range->host);
    const KsmBackend *backend;
    bool ok = true;

    if (!block) {
        /* It has gone, and that will be told. */
        return true;
    }
    backend = ksm_backend_find(KSM_BACKEND_TYPE_AUTO, block);
    for (size_t at = 0; ok && at < range->size; at += KSM_REGION_SIZE) {
        ok = !ksm_reserve_is_low() &&
             part(block, backend, range->host + at,
                  MIN(KSM_REGION_SIZE, range->size - at));
    }
    ksm_block_free(block);
    return ok;
}

static void keep_apart(void)
{
    unfinished = false;
    for (size_t i = 0; i < n_advised && !unfinished; i++) {
        unfinished = advised[i].advice == KSM_ADVICE_NEVER &&
                     !part_range(&advised[i]);
    }
    retry_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + RETRY_NS;
}

void ksm_guest_take_over(bool done)
{
    unfinished = !done;
    retry_ns = 0;
    /* What goes with QEMU in a moment needn't take more memory for that. */
    if (!done && !runstate_check(RUN_STATE_SHUTDOWN)) {
        keep_apart();
    }
}

bool ksm_guest_may_advise(void)
{
    KsmObject *ksm = ksm_object_get();

    return ksm && ksm->engine.parameters.guest_hints;
}

static bool is_in_force(const KsmAdvisedRange *ranges, size_t n)
{
    if (n != n_advised) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (ranges[i].host != advised[i].host ||
            ranges[i].size != advised[i].size ||
            ranges[i].advice != advised[i].advice) {
            return false;
        }
    }
    return true;
}

void ksm_guest_advise(const KsmAdvisedRange *ranges, size_t n)
{
    KsmObject *ksm = ksm_object_get();

    if (is_in_force(ranges, n)) {
        return;
    }
    g_free(advised);
    advised = g_memdup2(ranges, n * sizeof(ranges[0]));
    n_advised = n;
    trace_ksm_guest_advise(n);
    if (ksm) {
        ksm_engine_advise(&ksm->engine, advised, n);
    } else {
        keep_apart();
    }
}

bool ksm_guest_advice_is_done(void)
{
    KsmObject *ksm = ksm_object_get();

    if (!ksm) {
        if (unfinished && qemu_clock_get_ns(QEMU_CLOCK_REALTIME) >= retry_ns) {
            keep_apart();
        }
        return !unfinished;
    }
    QEMU_LOCK_GUARD(&ksm->engine.lock);
    return ksm_advice_is_done(&ksm->engine);
}

uint64_t ksm_guest_saved(void)
{
    KsmObject *ksm = ksm_object_get();
    int64_t merged;
    uint64_t pages = 0, on_ksmfs = KSM_REPORT_UNKNOWN;

    if (ksm_report_process_stat("ksm_merging_pages", &merged)) {
        pages = merged;
    }
    if (ksm) {
        QEMU_LOCK_GUARD(&ksm->engine.lock);
        on_ksmfs = ksm_report_ksmfs_sharing(&ksm->engine);
    }
    if (on_ksmfs != KSM_REPORT_UNKNOWN) {
        pages += on_ksmfs;
    }
    return pages * qemu_real_host_page_size();
}
