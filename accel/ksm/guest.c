/*
 * What the guest advises: between the ksm-guest device and the engine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The device outlives ksm objects, and each new one is told what is in force.
 * Without one there is nobody who reads guest memory, but what is never to be
 * merged must not be merged by QEMU's own marks, either.
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/madvise.h"
#include "advice.h"
#include "guest.h"
#include "ksm.h"
#include "report.h"
#include "trace.h"

/* What is in force.  BQL. */
static KsmAdvisedRange *advised;
static size_t n_advised;
/* The last object went before all was carried out. */
static bool unfinished;

const KsmAdvisedRange *ksm_guest_advised(size_t *n)
{
    *n = n_advised;
    return advised;
}

void ksm_guest_end(bool done)
{
    unfinished = !done;
}

void ksm_guest_keep_apart(void)
{
    for (size_t i = 0; i < n_advised; i++) {
        if (advised[i].advice == KSM_ADVICE_NEVER) {
            /* Fails where the kernel has no KSM, or nothing was marked. */
            qemu_madvise(advised[i].host, advised[i].size,
                         QEMU_MADV_UNMERGEABLE);
        }
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
        ksm_guest_keep_apart();
        unfinished &= n > 0;
    }
}

bool ksm_guest_advice_is_done(void)
{
    KsmObject *ksm = ksm_object_get();

    if (!ksm) {
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
