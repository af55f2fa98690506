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
#include "advice.h"
#include "backend.h"
#include "guest.h"
#include "ksm.h"
#include "report.h"
#include "reserve.h"
#include "trace.h"

/*
 * The BQL is held so long at a time, about, and for a tenth of all time at
 * most.  What failed is tried again later.
 */
#define SLICE_NS    (20 * SCALE_MS)
#define REST_SLICES 9
#define RETRY_NS    NANOSECONDS_PER_SECOND

/* What is in force.  BQL. */
static KsmAdvisedRange *advised;
static size_t n_advised;

/* While there is no object: what is not kept apart yet that should be. */
static struct {
    QEMUTimer *timer;
    bool due;
    size_t i;               /* of what is advised: done up to here, */
    size_t at;              /* and so many bytes of this one */
    int64_t until_ns;       /* the BQL is left alone */
} parting;

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
    return ksm_backend_unmark(host, size);
}

/* Goes on with the next of what is advised.  False: it is refused. */
static bool part_next(int64_t until_ns)
{
    const KsmAdvisedRange *range = &advised[parting.i];
    KsmBlock *block = range->advice == KSM_ADVICE_NEVER
        ? ksm_block_containing(range->host) : NULL;
    bool ok = true;

    /* If it has gone, that will be told. */
    if (block) {
        const KsmBackend *backend = ksm_backend_find(KSM_BACKEND_TYPE_AUTO,
                                                     block);
        do {
            const size_t size = MIN(KSM_REGION_SIZE, range->size - parting.at);

            ok = part(block, backend, range->host + parting.at, size);
            parting.at += ok ? size : 0;
        } while (ok && parting.at < range->size &&
                 qemu_clock_get_ns(QEMU_CLOCK_REALTIME) < until_ns);
        ksm_block_free(block);
    }
    if (!block || parting.at == range->size) {
        parting.i++;
        parting.at = 0;
    }
    return ok;
}

static void keep_apart_some(void *unused)
{
    const int64_t begin_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    int64_t now_ns = begin_ns;
    bool ok = !ksm_reserve_is_low();

    while (ok && parting.i < n_advised && now_ns - begin_ns < SLICE_NS) {
        ok = part_next(begin_ns + SLICE_NS);
        now_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    }
    parting.due = parting.i < n_advised;
    parting.until_ns = now_ns + (now_ns - begin_ns) * REST_SLICES;
    if (parting.due) {
        timer_mod_ns(parting.timer, ok ? parting.until_ns : now_ns + RETRY_NS);
    }
}

void ksm_guest_keep_apart(void)
{
    if (!parting.timer) {
        parting.timer = timer_new_ns(QEMU_CLOCK_REALTIME, keep_apart_some,
                                     NULL);
    }
    parting.due = n_advised > 0;
    parting.i = 0;
    parting.at = 0;
    if (qemu_clock_get_ns(QEMU_CLOCK_REALTIME) >= parting.until_ns) {
        keep_apart_some(NULL);
    } else {
        timer_mod_ns(parting.timer, parting.until_ns);
    }
}

void ksm_guest_hand_over(void)
{
    parting.due = false;
    if (parting.timer) {
        timer_del(parting.timer);
    }
}

bool ksm_guest_has_never(const uint8_t *host, size_t size)
{
    return ksm_advice_find_never(advised, n_advised, host, host + size);
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
        ksm_guest_keep_apart();
    }
}

bool ksm_guest_advice_is_done(void)
{
    KsmObject *ksm = ksm_object_get();

    return ksm ? ksm_advice_is_done(&ksm->engine) : !parting.due;
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
