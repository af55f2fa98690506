/*
 * Runs ksmd as the policy decides
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Takes readings, asks the policy in force, does what it says and sets a timer
 * to when it wants to be asked again.  With the policy "demand" there is no
 * timer while nothing is pending.
 */
#include <stdio.h>

#include "commitment.h"
#include "host/memory.h"
#include "host/mounts.h"
#include "host/sysfs.h"
#include "log.h"
#include "policy-classic.h"
#include "policy-demand.h"
#include "policy-pressure.h"
#include "tuner.h"

/* What was lacking may be there again after this time. */
#define TUNER_RETRY_S           60

/* Decisions at the limit in which ksmd rests, for one in which it runs. */
#define TUNER_FULL_RESTS        9

/* While ksmd runs on demand. */
static const KsmtunedKsmdPlan tuner_boost_plan = {
    .values = {
        [KSMTUNED_KSMD_ADVISOR_MODE] = "none",
        [KSMTUNED_KSMD_SMART_SCAN] = "0",
        [KSMTUNED_KSMD_USE_ZERO_PAGES] = "1",
        [KSMTUNED_KSMD_PAGES_TO_SCAN] = "4096",
        [KSMTUNED_KSMD_SLEEP_MILLISECS] = "0",
        /* It never rests then: guests that have work to do come first. */
        [KSMTUNED_KSMD_NICE] = "10",
        [KSMTUNED_KSMD_RUN] = "1",
    },
};

struct KsmtunedTuner {
    KsmtunedTunerHost host;
    const KsmtunedSettings *settings;
    KsmtunedStats *stats;
    KsmtunedDemand demand;
    KsmtunedDemandPolicy demand_policy;
    KsmtunedClassicPolicy classic_policy;
    KsmtunedPressurePolicy pressure_policy;
    bool on_demand;             /* the policy in force */
    bool running;               /* a plan is in force in which ksmd runs */
    bool held;                  /* someone stopped it in mid-plan */
    unsigned full_rests;        /* decisions that found it full, in a row */
    uint64_t decisions;
    uint64_t wakeups;
    guint timer;
    guint retry;                /* ksmd can't be set until then */
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

static void tuner_touch_stats(KsmtunedTuner *tuner)
{
    if (tuner->stats) {
        ksmtuned_stats_touch(tuner->stats);
    }
}

/* The demand changed.  While ksmd runs for it, the next tick sees it. */
static void tuner_kick(KsmtunedTuner *tuner)
{
    if (tuner->on_demand ? !tuner->running :
        tuner->settings->policy == KSMTUNED_POLICY_AUTO) {
        tuner_run_after(tuner, 0);
    }
    tuner_touch_stats(tuner);
}

/* Without ksmd, too, engines on ksmfs can be told to give pages back. */
static bool tuner_may_decide(const KsmtunedTuner *tuner)
{
    return tuner->host.usable ||
           tuner->settings->policy == KSMTUNED_POLICY_PRESSURE;
}

static bool tuner_is_full(const KsmtunedTuner *tuner)
{
    int64_t limit = tuner->settings->max_kernel_pages;
    int64_t shared;

    return limit && ksm_sysfs_get_number(tuner->host.roots->sysfs_root,
                                         "pages_shared", &shared) &&
           shared >= limit;
}

static void tuner_read(KsmtunedTuner *tuner, KsmtunedDemandReadings *readings)
{
    KsmtunedDemandSum sum = ksmtuned_demand_sum(&tuner->demand);
    KsmtunedKsmdReadings ksmd = { 0 };

    if (tuner->host.usable) {
        ksmtuned_ksmd_read(tuner->host.ksmd, &ksmd);
    }
    *readings = (KsmtunedDemandReadings) {
        .now_ms = g_get_monotonic_time() / 1000,
        .ksmd_usable = tuner->host.usable,
        .ksmd_runs = ksmd.runs,
        .full = tuner_is_full(tuner),
        .progress_known = ksmd.progress_known,
        .progress = ksmd.progress,
        .full_scans = ksmd.full_scans,
        .merged_pages = ksmd.merged_pages,
        .ksmd_cpu_ns = ksmd.cpu_ns,
        .waiting_pages = sum.waiting_pages,
        .serving_pages = sum.serving_pages,
        .marked_pages = sum.marked_pages,
        .oldest_ms = sum.oldest_ms,
        .newest_ms = sum.newest_ms,
        .departures = tuner->demand.departures,
    };
}

static void tuner_cancel_retry(KsmtunedTuner *tuner)
{
    if (tuner->retry) {
        g_source_remove(tuner->retry);
        tuner->retry = 0;
        tuner->host.usable = true;
    }
}

static gboolean tuner_retry(gpointer opaque)
{
    KsmtunedTuner *tuner = opaque;

    tuner->retry = 0;
    tuner->host.usable = true;
    tuner_run(tuner);
    return G_SOURCE_REMOVE;
}

/* The state file needs them. */
static bool tuner_error_passes(const GError *error)
{
    return g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOSPC) ||
           g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOMEM) ||
           g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_MFILE) ||
           g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NFILE);
}

static void tuner_give_up(KsmtunedTuner *tuner, const GError *error)
{
    bool passes = tuner_error_passes(error);

    ksmtuned_log(KSMTUNED_LOG_ERROR,
                 "can't set ksmd: %s; engines only learn their twins until %s",
                 error->message, passes ?
                 "it is tried again, in a minute or with a retune" :
                 "ksmtuned is started again with the right to write there");
    tuner->host.usable = false;
    tuner->running = false;
    tuner->demand_policy = (KsmtunedDemandPolicy) { 0 };
    if (passes) {
        tuner->retry = g_timeout_add_seconds(TUNER_RETRY_S, tuner_retry,
                                             tuner);
    }
}

static void tuner_apply(KsmtunedTuner *tuner, const KsmtunedKsmdPlan *plan,
                        bool runs)
{
    g_autoptr(GError) error = NULL;

    if (ksmtuned_ksmd_apply(tuner->host.ksmd, plan, &error)) {
        tuner->wakeups += runs && !tuner->running;
        tuner->running = runs;
    } else {
        tuner_give_up(tuner, error);
    }
}

/* What can't be put back now is put back with the next plan, or at the end. */
static bool tuner_restore(KsmtunedTuner *tuner)
{
    g_autoptr(GError) error = NULL;

    tuner->running = false;
    if (!ksmtuned_ksmd_restore(tuner->host.ksmd, &error)) {
        ksmtuned_log(KSMTUNED_LOG_ERROR,
                     "can't restore ksmd's settings: %s", error->message);
        return false;
    }
    return true;
}

static int64_t tuner_run_demand(KsmtunedTuner *tuner)
{
    KsmtunedDemandReadings readings;
    KsmtunedDemandDecision decision;

    tuner_read(tuner, &readings);
    tuner->decisions++;
    decision = ksmtuned_policy_demand(&tuner->demand_policy, &readings);
    if (decision.why) {
        ksmtuned_log(KSMTUNED_LOG_DEBUG, "ksmd %s: %s (%" G_GUINT64_FORMAT
                     " pages wait, %" G_GUINT64_FORMAT " served, %"
                     G_GUINT64_FORMAT " merged)",
                     decision.boost ? "runs" : "rests", decision.why,
                     readings.waiting_pages, readings.serving_pages,
                     readings.merged_pages);
        tuner_touch_stats(tuner);
    }
    if (decision.end_service) {
        ksmtuned_demand_end_service(&tuner->demand);
    }
    if (decision.boost && !tuner->running) {
        tuner_apply(tuner, &tuner_boost_plan, true);
    } else if (!decision.boost && tuner->running) {
        tuner_restore(tuner);
    }
    /* Where ksmd can't be set, they wait on. */
    if (decision.begin_service && tuner->running) {
        ksmtuned_demand_begin_service(&tuner->demand);
    }
    return decision.next_ms;
}

/*
 * The original writes what it decides, whoever else has written there.  We
 * leave ksmd in peace when somebody stops it, and stop only what we started.
 */
static void tuner_follow(KsmtunedTuner *tuner, const KsmtunedPace *pace)
{
    bool strict = tuner->settings->classic.strict;
    char pages[32], sleep[32];
    const KsmtunedKsmdPlan stop = {
        .values = { [KSMTUNED_KSMD_RUN] = "0" },
    };
    const KsmtunedKsmdPlan run = {
        .values = {
            [KSMTUNED_KSMD_ADVISOR_MODE] = "none",
            [KSMTUNED_KSMD_PAGES_TO_SCAN] = pages,
            [KSMTUNED_KSMD_SLEEP_MILLISECS] = sleep,
            [KSMTUNED_KSMD_RUN] = "1",
        },
    };

    if (!pace->run) {
        tuner->held = false;
        if (strict) {
            tuner_apply(tuner, &stop, false);
        } else if (tuner->running) {
            tuner_restore(tuner);
        }
        return;
    }
    if (!strict && tuner->running && !ksmtuned_ksmd_runs(tuner->host.ksmd)) {
        ksmtuned_log(KSMTUNED_LOG_INFO, "someone else stopped ksmd: it rests "
                     "until memory is short again, or a retune");
        tuner_restore(tuner);
        tuner->held = true;
    }
    if (!tuner->held) {
        snprintf(pages, sizeof(pages), "%" G_GINT64_FORMAT,
                 pace->pages_to_scan);
        snprintf(sleep, sizeof(sleep), "%" G_GINT64_FORMAT,
                 pace->sleep_millisecs);
        tuner_apply(tuner, &run, true);
    }
}

static KsmtunedPace tuner_ask_classic(KsmtunedTuner *tuner,
                                      const KsmMemory *memory)
{
    const KsmtunedClassicSettings *settings = &tuner->settings->classic;
    const KsmtunedClassicReadings readings = {
        .total_kib = memory->total_kib,
        .free_kib = settings->strict || !memory->available_kib ?
                    memory->unused_kib : memory->available_kib,
        .committed_kib = ksmtuned_committed_kib(tuner->host.roots->proc_root,
                                                tuner->host.roots->sysfs_root,
                                                settings->strict),
    };
    KsmtunedPace pace = ksmtuned_policy_classic(&tuner->classic_policy,
                                                settings, &readings);

    ksmtuned_log(KSMTUNED_LOG_DEBUG, "classic: %s (%" G_GINT64_FORMAT
                 " KiB of %" G_GINT64_FORMAT " committed, %" G_GINT64_FORMAT
                 " free)", pace.why, readings.committed_kib,
                 readings.total_kib, readings.free_kib);
    return pace;
}

static int64_t tuner_kib(KsmFigure bytes)
{
    return bytes.known ? bytes.value / 1024 : 0;
}

/* By KSM and on all ksmfs. */
static int64_t tuner_merged_kib(const KsmtunedTuner *tuner)
{
    const KsmHost *roots = tuner->host.roots;
    g_autoptr(GPtrArray) mounts = ksm_mounts_find(roots->ksmfs_root,
                                                  roots->proc_root);
    int64_t kib = tuner_kib(ksm_sysfs_saved(roots->sysfs_root));
    guint i;

    for (i = 0; i < mounts->len; i++) {
        kib += tuner_kib(ksm_mount_saved(g_ptr_array_index(mounts, i)));
    }
    return kib;
}

static KsmtunedPace tuner_ask_pressure(KsmtunedTuner *tuner,
                                       const KsmMemory *memory)
{
    const KsmtunedPressureSettings settings = {
        .classic = &tuner->settings->classic,
        .release_after_ms = tuner->settings->release_after_s * 1000,
    };
    KsmtunedPressureReadings readings = {
        .now_ms = g_get_monotonic_time() / 1000,
        .total_kib = memory->total_kib,
        .available_kib = memory->available_kib ? memory->available_kib :
                                                 memory->unused_kib,
        .merged_kib = tuner_merged_kib(tuner),
    };
    KsmtunedPace pace;

    ksm_memory_stall(tuner->host.roots->proc_root, &readings.stall);
    pace = ksmtuned_policy_pressure(&tuner->pressure_policy, &settings,
                                    &readings);
    ksmtuned_budgets_release(tuner->host.budgets,
                             tuner->pressure_policy.released);
    ksmtuned_log(KSMTUNED_LOG_DEBUG, "pressure: %s (%" G_GINT64_FORMAT
                 " KiB of %" G_GINT64_FORMAT " available; %" G_GINT64_FORMAT
                 ".%02d %% stalled)", pace.why, readings.available_kib,
                 readings.total_kib, readings.stall / 100,
                 (int)(readings.stall % 100));
    return pace;
}

/*
 * The original knows no limit.  At it ksmd rests, but for one decision of a
 * few: it counts pages of guests that have left until it looks for them.
 */
static void tuner_admit(KsmtunedTuner *tuner, KsmtunedPace *pace)
{
    if (!pace->run || !tuner_is_full(tuner)) {
        tuner->full_rests = 0;
        return;
    }
    pace->run = tuner->full_rests++ == TUNER_FULL_RESTS;
    if (pace->run) {
        tuner->full_rests = 0;
    }
    ksmtuned_log(KSMTUNED_LOG_DEBUG, "as many pages are shared as may be: ksmd "
                 "%s", pace->run ? "looks whether they still are" : "rests");
}

/* By the host's memory. */
static int64_t tuner_run_by_memory(KsmtunedTuner *tuner)
{
    bool by_pressure = tuner->settings->policy == KSMTUNED_POLICY_PRESSURE;
    int64_t interval_ms = tuner->settings->monitor_interval_s * 1000;
    g_autoptr(GError) error = NULL;
    KsmMemory memory;
    KsmtunedPace pace;

    if (!ksm_memory_read(tuner->host.roots->proc_root, &memory, &error)) {
        ksmtuned_log(KSMTUNED_LOG_WARNING, "%s: ksmd stays as it is",
                     error->message);
        return interval_ms;
    }
    tuner->decisions++;
    pace = by_pressure ? tuner_ask_pressure(tuner, &memory) :
                         tuner_ask_classic(tuner, &memory);
    if (!tuner->host.usable) {
        return MIN(interval_ms, KSMTUNED_PRESSURE_REST_MS);
    }
    if (!tuner->settings->classic.strict) {
        tuner_admit(tuner, &pace);
    }
    tuner_follow(tuner, &pace);
    if (pace.run) {
        ksmtuned_log(KSMTUNED_LOG_DEBUG, "ksmd runs: %" G_GINT64_FORMAT
                     " pages, then %" G_GINT64_FORMAT " ms",
                     pace.pages_to_scan, pace.sleep_millisecs);
    } else {
        ksmtuned_log(KSMTUNED_LOG_DEBUG, "ksmd rests");
    }
    tuner_touch_stats(tuner);
    if (!by_pressure) {
        return interval_ms;
    }
    return MIN(interval_ms, pace.run ? KSMTUNED_PRESSURE_TICK_MS :
                                       KSMTUNED_PRESSURE_REST_MS);
}

/* Another policy comes into force: nothing of the last one stays. */
static void tuner_change_policy(KsmtunedTuner *tuner, bool on_demand)
{
    if (tuner->running) {
        tuner_restore(tuner);
    }
    ksmtuned_log(KSMTUNED_LOG_DEBUG, "policy: %s",
                 on_demand ? "demand" : "classic");
    tuner->on_demand = on_demand;
    tuner->classic_policy = (KsmtunedClassicPolicy) { 0 };
    tuner->held = false;
    tuner_touch_stats(tuner);
}

static void tuner_run(KsmtunedTuner *tuner)
{
    bool automatic = tuner->settings->policy == KSMTUNED_POLICY_AUTO;
    bool engines = !g_queue_is_empty(&tuner->demand.demanders);
    int64_t next_ms;

    if (automatic && engines && !tuner->on_demand) {
        tuner_change_policy(tuner, true);
    }
    if (tuner->on_demand) {
        next_ms = tuner_run_demand(tuner);
        if (automatic && !engines && next_ms < 0) {
            /* ksmd has cleaned up behind the last engine. */
            tuner_change_policy(tuner, false);
            next_ms = tuner->settings->monitor_interval_s * 1000;
        }
    } else {
        next_ms = tuner_run_by_memory(tuner);
    }
    tuner_run_after(tuner, tuner_may_decide(tuner) ? next_ms : -1);
}

KsmtunedTuner *ksmtuned_tuner_new(const KsmtunedTunerHost *host,
                                  const KsmtunedSettings *settings)
{
    KsmtunedTuner *tuner = g_new0(KsmtunedTuner, 1);

    tuner->host = *host;
    tuner->settings = settings;
    tuner->host.usable = host->usable;
    tuner->on_demand = settings->policy == KSMTUNED_POLICY_AUTO ||
                       settings->policy == KSMTUNED_POLICY_DEMAND;
    g_queue_init(&tuner->demand.demanders);
    if (tuner_may_decide(tuner)) {
        /* Decisions begin an interval after the start, as the original's. */
        tuner_run_after(tuner, tuner->on_demand ? 0 :
                        settings->monitor_interval_s * 1000);
    }
    return tuner;
}

bool ksmtuned_tuner_stop(KsmtunedTuner *tuner)
{
    tuner_run_after(tuner, -1);
    tuner_cancel_retry(tuner);
    tuner->host.usable = false;
    return !ksmtuned_ksmd_is_changed(tuner->host.ksmd) || tuner_restore(tuner);
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

void ksmtuned_tuner_retune(KsmtunedTuner *tuner)
{
    tuner->held = false;
    tuner_cancel_retry(tuner);
    if (tuner_may_decide(tuner)) {
        tuner_run(tuner);
    }
}

void ksmtuned_tuner_set_stats(KsmtunedTuner *tuner, KsmtunedStats *stats)
{
    tuner->stats = stats;
}

void ksmtuned_tuner_join(KsmtunedTuner *tuner, KsmtunedDemander *demander)
{
    ksmtuned_demand_join(&tuner->demand, demander);
    tuner_kick(tuner);
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

const char *ksmtuned_tuner_policy(const KsmtunedTuner *tuner)
{
    if (tuner->on_demand) {
        return "demand";
    }
    if (tuner->settings->policy == KSMTUNED_POLICY_PRESSURE) {
        return "pressure";
    }
    return tuner->settings->classic.strict ? "classic-strict" : "classic";
}

uint64_t ksmtuned_tuner_decisions(const KsmtunedTuner *tuner)
{
    return tuner->decisions;
}

uint64_t ksmtuned_tuner_wakeups(const KsmtunedTuner *tuner)
{
    return tuner->wakeups;
}
