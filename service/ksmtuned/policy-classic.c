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

int64_t
ksmtuned_policy_classic_reserve_kib(const KsmtunedClassicSettings *settings,
                                    int64_t total_kib)
{
    int64_t least_kib = settings->strict ? settings->thres_const :
                                           settings->thres_const * 1024;

    return MAX(total_kib * settings->thres_coef / 100, least_kib);
}

int64_t
ksmtuned_policy_classic_sleep_ms(const KsmtunedClassicSettings *settings,
                                 int64_t total_kib)
{
    return MAX(settings->sleep_msec * CLASSIC_SLEEP_KIB / total_kib,
               CLASSIC_SLEEP_MIN_MS);
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

KsmtunedPace ksmtuned_policy_classic(KsmtunedClassicPolicy *state,
                                     const KsmtunedClassicSettings *settings,
                                     const KsmtunedClassicReadings *r)
{
    KsmtunedPace pace = { 0 };
    int64_t reserve_kib = ksmtuned_policy_classic_reserve_kib(settings,
                                                              r->total_kib);
    int64_t npages = state->npages;

    if (r->committed_kib + reserve_kib < r->total_kib &&
        r->free_kib > reserve_kib) {
        pace.why = "guests fit into memory";
        return pace;
    }
    if (r->free_kib < reserve_kib) {
        pace.why = "little memory is free";
        npages += settings->npages_boost;
    } else {
        pace.why = "guests would not fit into memory";
        npages += settings->npages_decay;
    }
    state->npages = classic_limited(settings, npages);
    pace.run = true;
    pace.pages_to_scan = state->npages;
    pace.sleep_millisecs = ksmtuned_policy_classic_sleep_ms(settings,
                                                            r->total_kib);
    return pace;
}
