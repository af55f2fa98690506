/*
 * How hard ksmd is to work, by how short memory is right now
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib.h>

#include "policy-pressure.h"

/* From 0 with all of the reserve to 100 with half of it. */
static int64_t pressure_of_memory(const KsmtunedPressureReadings *r,
                                  int64_t reserve_kib)
{
    int64_t missing_kib = reserve_kib - r->available_kib;

    return CLAMP(missing_kib * 200 / MAX(reserve_kib, 1), 0, 100);
}

/* From 0 below the first stalls to 100. */
static int64_t pressure_of_stalls(const KsmtunedPressureReadings *r)
{
    if (r->stall < KSMTUNED_PRESSURE_STALL) {
        return 0;
    }
    return MIN(r->stall * 100 / KSMTUNED_PRESSURE_STALL_FULL, 100);
}

static bool pressure_is_off(const KsmtunedPressureReadings *r,
                            int64_t reserve_kib)
{
    return r->available_kib >= reserve_kib * KSMTUNED_PRESSURE_PLENTY / 100 &&
           r->stall < KSMTUNED_PRESSURE_STALL;
}

static void pressure_decide_release(KsmtunedPressurePolicy *state,
                                    const KsmtunedPressureReadings *r,
                                    int64_t reserve_kib, int64_t after_ms)
{
    int64_t wanted = state->released ? KSMTUNED_PRESSURE_REMERGE :
                                       KSMTUNED_PRESSURE_RELEASE;
    int64_t left_kib = state->released ? r->available_kib :
                                         r->available_kib - r->merged_kib;

    if (!state->decided || !after_ms || r->stall >= KSMTUNED_PRESSURE_STALL ||
        left_kib < reserve_kib * wanted / 100) {
        state->decided = true;
        state->needed_ms = r->now_ms;
        state->released = false;
    } else if (r->now_ms - state->needed_ms >= after_ms) {
        state->released = true;
    }
}

KsmtunedPace
ksmtuned_policy_pressure(KsmtunedPressurePolicy *state,
                         const KsmtunedPressureSettings *pressure_settings,
                         const KsmtunedPressureReadings *r)
{
    const KsmtunedClassicSettings *settings = pressure_settings->classic;
    KsmtunedPace pace = { 0 };
    int64_t reserve_kib = ksmtuned_policy_classic_reserve_kib(settings,
                                                              r->total_kib);
    int64_t memory = pressure_of_memory(r, reserve_kib);
    int64_t stalls = pressure_of_stalls(r);
    int64_t least = MIN(settings->npages_min, settings->npages_max);

    pressure_decide_release(state, r, reserve_kib,
                            pressure_settings->release_after_ms);
    if (!pressure_is_off(r, reserve_kib)) {
        state->short_ms = r->now_ms;
    }
    if (r->available_kib < reserve_kib || stalls) {
        state->working = true;
        pace.why = stalls > memory ? "processes wait for memory" :
                                     "little memory is available";
    } else if (state->working &&
               r->now_ms - state->short_ms >= KSMTUNED_PRESSURE_PLENTY_MS) {
        state->working = false;
        pace.why = "memory is plentiful again";
    } else {
        pace.why = state->working ? "memory was short a moment ago" :
                                    "enough memory is available";
    }
    pace.run = state->working;
    pace.pages_to_scan = least + (settings->npages_max - least) *
                                 MAX(memory, stalls) / 100;
    pace.sleep_millisecs =
        ksmtuned_policy_classic_sleep_ms(settings, r->total_kib);
    return pace;
}
