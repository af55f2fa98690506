/*
 * When ksmd is to run hard
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A pure function: it reads nothing but its arguments and changes nothing but
 * the state that it is given.
 */
#ifndef KSMTUNED_POLICY_DEMAND_H
#define KSMTUNED_POLICY_DEMAND_H

#include <stdbool.h>
#include <stdint.h>

/* Between two looks at ksmd while it runs hard. */
#define KSMTUNED_POLICY_TICK_MS         50
/* ksmd is woken soon for so many pages, or 1/16 of what it must walk. */
#define KSMTUNED_POLICY_URGENT_PAGES    256
#define KSMTUNED_POLICY_URGENT_PART     16
/*
 * But not before none has come for so long: the pages of a pair are marked by
 * two engines, one after the other, and one page alone merges nothing.  Nor is
 * it worth a walk each time while engines are in mid-pass.
 */
#define KSMTUNED_POLICY_GATHER_MS       500
/* Pages that come all the time are not waited for longer, once many wait. */
#define KSMTUNED_POLICY_GATHER_MAX_MS   5000
/* A demand was worth it if one in so many of its pages is merged. */
#define KSMTUNED_POLICY_WORTH_PART      8
/*
 * After one that was not, many pages wait at least so long; twice as long after
 * each further one in a row, but no longer than few pages do.
 */
#define KSMTUNED_POLICY_PATIENCE_MS     5000
/*
 * Fewer pages wait so long: at least 10 s, and 200 times what waking ksmd
 * costs, so that it takes at most 1/200 of a core in the long run; but at most
 * 10 minutes, so more where a scan takes more than a second.
 */
#define KSMTUNED_POLICY_WAIT_MIN_MS     10000
#define KSMTUNED_POLICY_WAIT_MAX_MS     600000
#define KSMTUNED_POLICY_COST_FACTOR     200
/*
 * The first visit to a page stores its checksum, the second merges it.  ksmd
 * goes on where it last stopped, so full_scans must advance by 3 to be sure of
 * two visits to every page.
 */
#define KSMTUNED_POLICY_DEMAND_SCANS    3
/*
 * What such a scan costs is known of the last one.  But one in which more than
 * 1/64 of what it walks was merged took time for that: of its time, no more
 * counts than so much a page, which is more than a walk alone takes.
 */
#define KSMTUNED_POLICY_MERGING_PART    64
#define KSMTUNED_POLICY_WALK_NS         150
/* After an engine has left, ksmd forgets its pages. */
#define KSMTUNED_POLICY_CLEANUP_SCANS   2
/* ksmd has nothing to do when it makes no progress for so long, */
#define KSMTUNED_POLICY_STALL_MS        3000
/* or for so long where only full scans show progress. */
#define KSMTUNED_POLICY_BLIND_STALL_MS  600000
/* Someone else stopped ksmd: respect it for so long. */
#define KSMTUNED_POLICY_HOLD_MS         60000

/* As many pages are shared as may be: look again after so long. */
#define KSMTUNED_POLICY_FULL_MS         10000
/* And so long after it last ran, whether they still are. */
#define KSMTUNED_POLICY_FULL_CLEAN_MS   600000

typedef struct KsmtunedDemandReadings {
    int64_t now_ms;             /* monotonic */
    bool ksmd_usable;           /* KSM is there and may be set */
    bool ksmd_runs;             /* its "run" is 1 */
    bool full;                  /* as many pages are shared as may be */
    bool progress_known;        /* @progress is of use */
    uint64_t progress;          /* changes while ksmd works; any unit */
    uint64_t full_scans;
    uint64_t merged_pages;      /* pages_sharing + ksm_zero_pages */
    uint64_t ksmd_cpu_ns;
    uint64_t waiting_pages;     /* marked, neither served nor being served */
    uint64_t serving_pages;
    uint64_t marked_pages;      /* by all engines, merged or not */
    int64_t oldest_ms;          /* when the oldest waiting pages came, */
    int64_t newest_ms;          /* and the last */
    uint64_t departures;        /* engines with marked pages that left, ever */
} KsmtunedDemandReadings;

/* Carried from one decision to the next; all zero at first. */
typedef struct KsmtunedDemandPolicy {
    bool boosting;
    uint64_t scans_end;         /* done when full_scans gets here */
    uint64_t scans_seen;
    uint64_t cpu_seen_ns;       /* ksmd_cpu_ns when it got to scans_seen, */
    uint64_t merged_seen_pages; /* and what was merged */
    uint64_t progress_seen;
    int64_t progress_ms;        /* when ksmd last made progress */
    uint64_t merged_begin_pages;    /* when its present task began, */
    uint64_t merged_before_pages;   /* and when the waiting may have come */
    uint64_t scan_cost_ns;      /* ksmd's CPU time for its next full scan */
    uint64_t departures_seen;
    int64_t many_since_ms;      /* many pages wait; 0: few do */
    int64_t patience_ms;        /* 0: the last demand was worth it */
    int64_t patient_until_ms;   /* until then no demand is urgent */
    int64_t ended_ms;           /* when it was last told to rest */
    int64_t hold_until_ms;      /* until then ksmd isn't woken at all */
} KsmtunedDemandPolicy;

typedef struct KsmtunedDemandDecision {
    bool boost;                 /* ksmd is to run hard now */
    bool end_service;           /* the pages being served are done; */
    bool begin_service;         /* then: serve the pages that wait */
    /* Decide again after this, or -1: when demand or departures change. */
    int64_t next_ms;
    const char *why;            /* for the log; static, NULL: no change */
} KsmtunedDemandDecision;

KsmtunedDemandDecision ksmtuned_policy_demand(KsmtunedDemandPolicy *state,
                                        const KsmtunedDemandReadings *readings);

/* How long a few pages wait for others. */
int64_t ksmtuned_policy_demand_wait_ms(const KsmtunedDemandPolicy *state);

#endif
