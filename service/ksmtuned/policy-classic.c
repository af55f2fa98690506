/*
 * How hard ksmd is to work, by the memory that guests have: ksmtuned's original
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All is in integers, and rounded down where the original does so.
 */
#include <glib.h>

#include "policy-classic.h"

/* The memory of the host for which KSM_SLEEP_MSEC is meant. */
#define CLASSIC_SLEEP_KIB       (16 * 1024 * 1024)
#define CLASSIC_SLEEP_MIN_MS    10

static int64_t classic_reserve_kib(const KsmtunedClassicSettings *settings,
                                   int64_t total_kib)
{
    int64_t least_kib = settings->strict ? settings->thres_const :
                                           settings->thres_const * 1024;

    return MAX(total_kib * settings->thres_coef / 100, least_kib);
}

/* The original asks for the lower limit first: it wins if they cross. */
static int64_t classic_limited(const KsmtunedClassicSettings *settings,
                               int64_t npages)
{
    if (npages < settings->npages_min) {
        return settings->npages_min;
    }
    return MIN(npages, settings->npages_max);
}

KsmtunedClassicDecision
ksmtuned_policy_classic(KsmtunedClassicPolicy *state,
                        const KsmtunedClassicSettings *settings,
                        const KsmtunedClassicReadings *r)
{
    KsmtunedClassicDecision decision = { 0 };
    int64_t reserve_kib = classic_reserve_kib(settings, r->total_kib);
    int64_t npages = state->npages;

    if (r->committed_kib + reserve_kib < r->total_kib &&
        r->free_kib > reserve_kib) {
        decision.why = "guests fit into memory";
        return decision;
    }
    if (r->free_kib < reserve_kib) {
        decision.why = "little memory is free";
        npages += settings->npages_boost;
    } else {
        decision.why = "guests would not fit into memory";
        npages += settings->npages_decay;
    }
    state->npages = classic_limited(settings, npages);
    decision.run = true;
    decision.pages_to_scan = state->npages;
    decision.sleep_millisecs = MAX(settings->sleep_msec * CLASSIC_SLEEP_KIB /
                                   r->total_kib, CLASSIC_SLEEP_MIN_MS);
    return decision;
}
