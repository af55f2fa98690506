/*
 * When ksmd is to run hard
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Theory of operation
 *
 * Each time ksmd is woken it walks over everything that is marked, to find a
 * few new pages: 410 us a page for 256 new twins beside 1 GiB of merged
 * memory, against 17 us when all of it was new (measured on Linux 6.18).  So
 * it is woken when
 *  - enough pages wait, compared with what it must walk ("urgent"), or
 *  - the oldest of a few has waited so long that the walk costs less than
 *    1/200 of a core, or 10 minutes, or
 *  - an engine has left, whose pages ksmd still remembers.
 *
 * What waits at that moment is served: ksmd runs until every page was visited
 * twice.  Ending earlier, when the count of merged pages stops growing, would
 * be wrong: a scan may begin behind the new pages, and the next one that
 * visits them only stores checksums.  What comes meanwhile waits for another
 * decision, so that an engine that marks all the time can't keep ksmd running
 * by that alone.
 *
 * A demand that brought nearly nothing (pages were written again, or their
 * digests were forged) makes later ones wait, however large they are: 5
 * seconds, and twice as long each time in a row, up to what few pages wait.
 * Where ksmd did not get to scan all of it, or served but a few pages or none,
 * that says nothing: later ones wait neither more nor less.
 *
 * While as many pages are shared as the administrator allows, none is served:
 * ksmd then only forgets those of engines that have left.
 */
#include <glib.h>

#include "policy-demand.h"

#define NS_PER_MS       1000000

int64_t ksmtuned_policy_demand_wait_ms(const KsmtunedDemandPolicy *state)
{
    uint64_t scans_ms = state->scan_cost_ns / NS_PER_MS *
                        KSMTUNED_POLICY_DEMAND_SCANS;
    uint64_t cost_ms;

    /* It is stopped at a tick, so it runs up to one longer than needed. */
    cost_ms = MIN(scans_ms, KSMTUNED_POLICY_WAIT_MAX_MS) +
              KSMTUNED_POLICY_TICK_MS;
    return CLAMP(cost_ms * KSMTUNED_POLICY_COST_FACTOR,
                 KSMTUNED_POLICY_WAIT_MIN_MS, KSMTUNED_POLICY_WAIT_MAX_MS);
}

/* What ksmd visits in a full scan. */
static uint64_t policy_walked_pages(const KsmtunedDemandReadings *r)
{
    return MAX(r->merged_pages, r->marked_pages);
}

static bool policy_is_many(const KsmtunedDemandReadings *r)
{
    return r->waiting_pages >= MAX(KSMTUNED_POLICY_URGENT_PAGES,
                                   policy_walked_pages(r) /
                                   KSMTUNED_POLICY_URGENT_PART);
}

static bool policy_engine_left(const KsmtunedDemandPolicy *state,
                               const KsmtunedDemandReadings *r)
{
    return r->departures != state->departures_seen;
}

/*
 * When the waiting pages are served.  Some of many may have waited long, which
 * is no reason to part the sides of pairs.
 */
static int64_t policy_due_ms(const KsmtunedDemandPolicy *state,
                             const KsmtunedDemandReadings *r)
{
    int64_t due_ms = policy_engine_left(state, r) ? r->now_ms :
                     r->oldest_ms + ksmtuned_policy_demand_wait_ms(state);
    int64_t gathered_ms;

    if (!policy_is_many(r)) {
        return due_ms;
    }
    gathered_ms = MIN(r->newest_ms + KSMTUNED_POLICY_GATHER_MS,
                      state->many_since_ms + KSMTUNED_POLICY_GATHER_MAX_MS);
    return MAX(gathered_ms, MIN(due_ms, state->patient_until_ms));
}

static void policy_note_many(KsmtunedDemandPolicy *state,
                             const KsmtunedDemandReadings *r)
{
    if (!policy_is_many(r)) {
        state->many_since_ms = 0;
    } else if (!state->many_since_ms) {
        state->many_since_ms = r->now_ms;
    }
}

/* A full scan was done, or some. */
static void policy_note_scan(KsmtunedDemandPolicy *state,
                             const KsmtunedDemandReadings *r)
{
    const uint64_t walked_pages = policy_walked_pages(r);
    uint64_t cost_ns = (r->ksmd_cpu_ns - state->cpu_seen_ns) /
                       (r->full_scans - state->scans_seen);

    if (r->merged_pages > state->merged_seen_pages +
                          walked_pages / KSMTUNED_POLICY_MERGING_PART) {
        cost_ns = MIN(cost_ns, walked_pages * KSMTUNED_POLICY_WALK_NS);
    }
    state->scan_cost_ns = cost_ns;
    state->scans_seen = r->full_scans;
    state->cpu_seen_ns = r->ksmd_cpu_ns;
    state->merged_seen_pages = r->merged_pages;
}

/* Note ksmd's progress since the last decision. */
static void policy_follow(KsmtunedDemandPolicy *state,
                          const KsmtunedDemandReadings *r)
{
    if (r->full_scans != state->scans_seen) {
        policy_note_scan(state, r);
        state->progress_ms = r->now_ms;
    }
    if (r->progress != state->progress_seen) {
        state->progress_seen = r->progress;
        state->progress_ms = r->now_ms;
    }
    /* It also forgets what processes that are gone had merged. */
    state->merged_begin_pages = MIN(state->merged_begin_pages,
                                    r->merged_pages);
    state->merged_before_pages = MIN(state->merged_before_pages,
                                     r->merged_pages);
}

static void policy_begin(KsmtunedDemandPolicy *state,
                         const KsmtunedDemandReadings *r, unsigned scans)
{
    if (!state->boosting) {
        state->scans_seen = r->full_scans;
        state->cpu_seen_ns = r->ksmd_cpu_ns;
        state->merged_seen_pages = r->merged_pages;
        state->progress_seen = r->progress;
    }
    state->progress_ms = r->now_ms;
    /* What came while ksmd last ran, that may have merged at once. */
    state->merged_before_pages =
        state->boosting || r->oldest_ms <= state->ended_ms ?
        state->merged_begin_pages : r->merged_pages;
    state->boosting = true;
    state->many_since_ms = 0;
    state->scans_end = r->full_scans + scans;
    state->merged_begin_pages = r->merged_pages;
}

/* All that was served is scanned: was it in vain? */
static void policy_judge(KsmtunedDemandPolicy *state,
                         const KsmtunedDemandReadings *r)
{
    uint64_t worth_pages = r->serving_pages / KSMTUNED_POLICY_WORTH_PART;

    if (!worth_pages) {
        /* Too few to tell; a clean-up serves none. */
        return;
    }
    if (r->merged_pages - state->merged_before_pages >= worth_pages) {
        state->patience_ms = 0;
    } else {
        state->patience_ms = CLAMP(2 * state->patience_ms,
                                   KSMTUNED_POLICY_PATIENCE_MS,
                                   ksmtuned_policy_demand_wait_ms(state));
    }
    state->patient_until_ms = r->now_ms + state->patience_ms;
}

/* End ksmd's present task if it is over, and say why; NULL: it isn't. */
static const char *policy_end(KsmtunedDemandPolicy *state,
                              const KsmtunedDemandReadings *r)
{
    int64_t stall_ms = r->progress_known ? KSMTUNED_POLICY_STALL_MS :
                                           KSMTUNED_POLICY_BLIND_STALL_MS;

    if (!r->ksmd_runs) {
        state->hold_until_ms = r->now_ms + KSMTUNED_POLICY_HOLD_MS;
        return "someone else stopped it";
    }
    if (r->full && r->serving_pages) {
        return "as many pages are shared as may be";
    }
    if (r->full_scans >= state->scans_end) {
        policy_judge(state, r);
        return "all marked pages are scanned";
    }
    if (r->now_ms - state->progress_ms >= stall_ms) {
        return "it has nothing to scan";
    }
    return NULL;
}

/* How many scans those that wait, or left, need now; 0 if none. */
static unsigned policy_scans_to_serve(const KsmtunedDemandPolicy *state,
                                      const KsmtunedDemandReadings *r,
                                      const char **why)
{
    bool left = policy_engine_left(state, r);

    if (r->waiting_pages ? r->now_ms < policy_due_ms(state, r) : !left) {
        return 0;
    }
    *why = left ? "an engine has left" :
           policy_is_many(r) && r->now_ms >= state->patient_until_ms ?
           "many pages wait" : "pages have waited long";
    return r->waiting_pages ? KSMTUNED_POLICY_DEMAND_SCANS :
                              KSMTUNED_POLICY_CLEANUP_SCANS;
}

/* None is served; but the limit may not be reached any more. */
static unsigned policy_scans_at_limit(const KsmtunedDemandPolicy *state,
                                      const KsmtunedDemandReadings *r,
                                      const char **why)
{
    if (r->waiting_pages &&
        r->now_ms - state->ended_ms >= KSMTUNED_POLICY_FULL_CLEAN_MS) {
        *why = "pages of guests that left may count as shared";
        return KSMTUNED_POLICY_CLEANUP_SCANS;
    }
    if (policy_engine_left(state, r)) {
        *why = "an engine has left";
        return KSMTUNED_POLICY_CLEANUP_SCANS;
    }
    return 0;
}

/* How many scans are needed now for a task not yet begun; 0 if none. */
static unsigned policy_scans_needed(const KsmtunedDemandPolicy *state,
                                    const KsmtunedDemandReadings *r,
                                    const char **why)
{
    if (r->now_ms < state->hold_until_ms) {
        return 0;
    }
    return r->full ? policy_scans_at_limit(state, r, why) :
                     policy_scans_to_serve(state, r, why);
}

/* When to decide again while ksmd rests. */
static int64_t policy_rest_ms(const KsmtunedDemandPolicy *state,
                              const KsmtunedDemandReadings *r)
{
    int64_t at_ms;

    if (!r->waiting_pages && !policy_engine_left(state, r)) {
        return -1;
    }
    at_ms = r->waiting_pages ? policy_due_ms(state, r) : r->now_ms;
    if (r->full) {
        at_ms = MAX(at_ms, r->now_ms + KSMTUNED_POLICY_FULL_MS);
    }
    at_ms = MAX(at_ms, state->hold_until_ms);
    return MAX(at_ms - r->now_ms, 1);
}

KsmtunedDemandDecision ksmtuned_policy_demand(KsmtunedDemandPolicy *state,
                                        const KsmtunedDemandReadings *r)
{
    KsmtunedDemandDecision decision = { .next_ms = -1 };
    bool boosted = state->boosting;
    unsigned scans;

    policy_note_many(state, r);
    if (!r->ksmd_usable) {
        /* Nobody can serve the demand: it waits, without a timer. */
        decision.end_service = state->boosting;
        state->boosting = false;
        state->departures_seen = r->departures;
        return decision;
    }

    if (boosted) {
        const char *end;

        policy_follow(state, r);
        end = policy_end(state, r);
        if (!end) {
            if (policy_engine_left(state, r)) {
                /* The same scans forget its pages, if there are enough. */
                state->departures_seen = r->departures;
                state->scans_end = MAX(state->scans_end, r->full_scans +
                                       KSMTUNED_POLICY_CLEANUP_SCANS);
            }
            decision.boost = true;
            decision.next_ms = KSMTUNED_POLICY_TICK_MS;
            return decision;
        }
        state->ended_ms = r->now_ms;
        decision.end_service = true;
        decision.why = end;
    }

    scans = policy_scans_needed(state, r, &decision.why);
    if (scans) {
        policy_begin(state, r, scans);
        state->departures_seen = r->departures;
        decision.boost = true;
        decision.begin_service = !r->full;
        decision.next_ms = KSMTUNED_POLICY_TICK_MS;
        return decision;
    }
    state->boosting = false;
    decision.next_ms = policy_rest_ms(state, r);
    return decision;
}
