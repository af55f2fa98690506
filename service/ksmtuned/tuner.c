/*
 * Runs ksmd as the policy decides
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Reads the clock, the demand and ksmd, asks the policy, does what it says and
 * sets a timer to when it wants to be asked again.  There is no timer while
 * nothing is pending.
 */
#include "log.h"
#include "policy-demand.h"
#include "tuner.h"

struct KsmtunedTuner {
    KsmtunedKsmd *ksmd;
    KsmtunedStats *stats;
    KsmtunedDemand demand;
    KsmtunedDemandPolicy policy;
    bool usable;
    bool boosted;               /* ksmd has the settings of a boost */
    uint64_t wakeups;
    guint timer;
};

static void tuner_run(KsmtunedTuner *tuner);

static gboolean tuner_timeout(gpointer opaque)
{
    KsmtunedTuner *tuner = opaque;

    tuner->timer = 0;
    tuner_run(tuner);
    return G_SOURCE_REMOVE;
}

static void tuner_run_after(KsmtunedTuner *tuner, int64_t ms)
{
    if (tuner->timer) {
        g_source_remove(tuner->timer);
        tuner->timer = 0;
    }
    if (ms >= 0) {
        tuner->timer = g_timeout_add(ms, tuner_timeout, tuner);
    }
}

/* The demand changed.  While ksmd runs, the next tick sees it. */
static void tuner_kick(KsmtunedTuner *tuner)
{
    if (!tuner->boosted) {
        tuner_run_after(tuner, 0);
    }
    if (tuner->stats) {
        ksmtuned_stats_touch(tuner->stats);
    }
}

static void tuner_read(KsmtunedTuner *tuner, KsmtunedDemandReadings *readings)
{
    KsmtunedDemandSum sum = ksmtuned_demand_sum(&tuner->demand);
    KsmtunedKsmdReadings ksmd = { 0 };

    if (tuner->usable) {
        ksmtuned_ksmd_read(tuner->ksmd, &ksmd);
    }
    *readings = (KsmtunedDemandReadings) {
        .now_ms = g_get_monotonic_time() / 1000,
        .ksmd_usable = tuner->usable,
        .ksmd_runs = ksmd.runs,
        .progress_known = ksmd.progress_known,
        .progress = ksmd.progress,
        .full_scans = ksmd.full_scans,
        .merged_pages = ksmd.merged_pages,
        .ksmd_cpu_ns = ksmd.cpu_ns,
        .waiting_pages = sum.waiting_pages,
        .serving_pages = sum.serving_pages,
        .marked_pages = sum.marked_pages,
        .oldest_ms = sum.oldest_ms,
        .departures = tuner->demand.departures,
    };
}

static void tuner_boost(KsmtunedTuner *tuner)
{
    g_autoptr(GError) error = NULL;

    if (ksmtuned_ksmd_boost(tuner->ksmd, &error)) {
        tuner->boosted = true;
        tuner->wakeups++;
        return;
    }
    ksmtuned_log(KSMTUNED_LOG_ERROR,
                 "can't wake ksmd: %s; engines only learn their twins until "
                 "ksmtuned is started again with the right to write there",
                 error->message);
    tuner->usable = false;
    tuner->policy = (KsmtunedDemandPolicy) { 0 };
}

/* What can't be put back now is put back with the next boost, or at the end. */
static bool tuner_restore(KsmtunedTuner *tuner)
{
    g_autoptr(GError) error = NULL;

    tuner->boosted = false;
    if (!ksmtuned_ksmd_restore(tuner->ksmd, &error)) {
        ksmtuned_log(KSMTUNED_LOG_ERROR,
                     "can't restore ksmd's settings: %s", error->message);
        return false;
    }
    return true;
}

static void tuner_run(KsmtunedTuner *tuner)
{
    KsmtunedDemandReadings readings;
    KsmtunedDemandDecision decision;

    tuner_read(tuner, &readings);
    decision = ksmtuned_policy_demand(&tuner->policy, &readings);
    if (decision.why) {
        ksmtuned_log(KSMTUNED_LOG_DEBUG, "ksmd %s: %s (%" G_GUINT64_FORMAT
                     " pages wait, %" G_GUINT64_FORMAT " served, %"
                     G_GUINT64_FORMAT " merged)",
                     decision.boost ? "runs" : "rests", decision.why,
                     readings.waiting_pages, readings.serving_pages,
                     readings.merged_pages);
    }
    if (decision.end_service) {
        ksmtuned_demand_end_service(&tuner->demand);
    }
    if (decision.begin_service) {
        ksmtuned_demand_begin_service(&tuner->demand);
    }
    if (decision.boost && !tuner->boosted) {
        tuner_boost(tuner);
    } else if (!decision.boost && tuner->boosted) {
        tuner_restore(tuner);
    }
    tuner_run_after(tuner, tuner->usable ? decision.next_ms : -1);
    if (tuner->stats && decision.why) {
        ksmtuned_stats_touch(tuner->stats);
    }
}

KsmtunedTuner *ksmtuned_tuner_new(KsmtunedKsmd *ksmd, bool usable)
{
    KsmtunedTuner *tuner = g_new0(KsmtunedTuner, 1);

    tuner->ksmd = ksmd;
    tuner->usable = usable;
    g_queue_init(&tuner->demand.demanders);
    return tuner;
}

bool ksmtuned_tuner_stop(KsmtunedTuner *tuner)
{
    tuner_run_after(tuner, -1);
    tuner->usable = false;
    return !ksmtuned_ksmd_is_changed(tuner->ksmd) || tuner_restore(tuner);
}

void ksmtuned_tuner_free(KsmtunedTuner *tuner)
{
    if (!tuner) {
        return;
    }
    ksmtuned_tuner_stop(tuner);
    g_queue_clear(&tuner->demand.demanders);
    g_free(tuner);
}

void ksmtuned_tuner_set_stats(KsmtunedTuner *tuner, KsmtunedStats *stats)
{
    tuner->stats = stats;
}

void ksmtuned_tuner_join(KsmtunedTuner *tuner, KsmtunedDemander *demander)
{
    ksmtuned_demand_join(&tuner->demand, demander);
}

void ksmtuned_tuner_leave(KsmtunedTuner *tuner, KsmtunedDemander *demander)
{
    ksmtuned_demand_leave(&tuner->demand, demander);
    tuner_kick(tuner);
}

void ksmtuned_tuner_demand(KsmtunedTuner *tuner, KsmtunedDemander *demander,
                           uint64_t marked, uint64_t total)
{
    ksmtuned_demand_add(&tuner->demand, demander, marked, total,
                        g_get_monotonic_time() / 1000);
    tuner_kick(tuner);
}

uint64_t ksmtuned_tuner_waiting_pages(const KsmtunedTuner *tuner)
{
    KsmtunedDemandSum sum = ksmtuned_demand_sum(&tuner->demand);

    return sum.waiting_pages + sum.serving_pages;
}

uint64_t ksmtuned_tuner_wakeups(const KsmtunedTuner *tuner)
{
    return tuner->wakeups;
}
