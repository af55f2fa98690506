/*
 * Test of when ksmtuned wakes ksmd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Time, demand and ksmd are numbers here: nothing runs and nothing waits.
 */
#include <glib.h>
#include <string.h>

#include "policy-demand.h"

#define NS_PER_MS       UINT64_C(1000000)
/* After ksmd was told to rest. */
#define LATER_MS        100

typedef struct Host {
    KsmtunedDemandPolicy state;
    KsmtunedDemandReadings in;
    KsmtunedDemandDecision out;
} Host;

static void host_init(Host *host)
{
    memset(host, 0, sizeof(*host));
    host->in.now_ms = 1000000;
    host->in.ksmd_usable = true;
    host->in.progress_known = true;
    host->in.full_scans = 100;
}

/* Ask, and do what the policy says, as the tuner does. */
static void host_decide(Host *host)
{
    host->out = ksmtuned_policy_demand(&host->state, &host->in);
    if (host->out.end_service) {
        host->in.serving_pages = 0;
    }
    if (host->out.begin_service) {
        host->in.serving_pages += host->in.waiting_pages;
        host->in.waiting_pages = 0;
    }
    host->in.ksmd_runs = host->out.boost;
}

static void host_demand(Host *host, uint64_t pages)
{
    if (!host->in.waiting_pages) {
        host->in.oldest_ms = host->in.now_ms;
    }
    host->in.newest_ms = host->in.now_ms;
    host->in.waiting_pages += pages;
    host->in.marked_pages += pages;
}

static void host_pass(Host *host, int64_t ms)
{
    host->in.now_ms += ms;
}

/* Ask when both sides of all pairs had the time to be marked. */
static void host_gather(Host *host)
{
    host_pass(host, KSMTUNED_POLICY_GATHER_MS);
    host_decide(host);
}

/* ksmd completes a scan that takes @ms of its time. */
static void host_scan(Host *host, int64_t ms)
{
    host_pass(host, ms);
    host->in.full_scans++;
    host->in.progress++;
    host->in.ksmd_cpu_ns += ms * NS_PER_MS;
}

/* Serve all demand, each scan taking @ms; all pages but one in two merge. */
static void host_serve(Host *host, int64_t ms)
{
    unsigned i;

    host->in.merged_pages += host->in.serving_pages / 2;
    for (i = 0; i < KSMTUNED_POLICY_DEMAND_SCANS; i++) {
        g_assert_true(host->out.boost);
        host_scan(host, ms);
        host_decide(host);
    }
    g_assert_false(host->out.boost);
}

static void test_idle(void)
{
    Host host;

    host_init(&host);
    host_decide(&host);
    g_assert_false(host.out.boost);
    g_assert_cmpint(host.out.next_ms, ==, -1);
    g_assert_null(host.out.why);
}

static void test_unusable(void)
{
    Host host;

    host_init(&host);
    host.in.ksmd_usable = false;
    host_demand(&host, 100000);
    host_decide(&host);
    g_assert_false(host.out.boost);
    g_assert_false(host.out.begin_service);
    g_assert_cmpint(host.out.next_ms, ==, -1);
}

static void test_urgent(void)
{
    Host host;

    host_init(&host);
    host_demand(&host, KSMTUNED_POLICY_URGENT_PAGES / 2);
    host_pass(&host, KSMTUNED_POLICY_GATHER_MS - 1);
    host_demand(&host, KSMTUNED_POLICY_URGENT_PAGES / 2);
    host_decide(&host);
    g_assert_false(host.out.boost);
    /* The other side of the pairs may have come just now. */
    g_assert_cmpint(host.out.next_ms, ==, KSMTUNED_POLICY_GATHER_MS);
    host_gather(&host);
    g_assert_true(host.out.boost);
    g_assert_true(host.out.begin_service);
    g_assert_cmpint(host.out.next_ms, ==, KSMTUNED_POLICY_TICK_MS);
    host_serve(&host, 20);
    g_assert_true(host.out.end_service);
    g_assert_cmpint(host.out.next_ms, ==, -1);
}

/* Pages that come all the time are gathered, and not for ever. */
static void test_gather(void)
{
    Host host;
    int64_t begin_ms;

    host_init(&host);
    begin_ms = host.in.now_ms;
    do {
        host_demand(&host, 1000);
        host_decide(&host);
        g_assert_false(host.out.boost);
        host_pass(&host, KSMTUNED_POLICY_GATHER_MS - 1);
        host_decide(&host);
    } while (!host.out.boost);
    g_assert_cmpint(host.in.now_ms - begin_ms, >=,
                    KSMTUNED_POLICY_GATHER_MAX_MS);
    g_assert_cmpint(host.in.now_ms - begin_ms, <,
                    KSMTUNED_POLICY_GATHER_MAX_MS + KSMTUNED_POLICY_GATHER_MS);
}

/* The other side of the pairs is waited for, whatever has waited before. */
static void check_gathers(Host *host)
{
    host_decide(host);
    g_assert_false(host->out.boost);
    g_assert_cmpint(host->out.next_ms, ==, KSMTUNED_POLICY_GATHER_MS);
    host_pass(host, KSMTUNED_POLICY_GATHER_MS - 1);
    host_demand(host, 10000);
    host_decide(host);
    g_assert_false(host->out.boost);
    host_gather(host);
    g_assert_true(host->out.boost);
    g_assert_cmpuint(host->in.serving_pages, >=, 20000);
}

/* A page that waits for others, as some always do, ends no gathering. */
static void test_gather_old_page(void)
{
    static const int64_t waited_ms[] = {
        KSMTUNED_POLICY_GATHER_MAX_MS + 1000,
        /* It would be served alone now, or in an instant. */
        KSMTUNED_POLICY_WAIT_MIN_MS - 1,
        KSMTUNED_POLICY_WAIT_MIN_MS,
    };
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(waited_ms); i++) {
        Host host;

        host_init(&host);
        host_demand(&host, 1);
        host_decide(&host);
        host_pass(&host, waited_ms[i]);
        host_demand(&host, 10000);
        check_gathers(&host);
    }
}

/* Nor does an engine that leaves. */
static void test_gather_departure(void)
{
    Host host;

    host_init(&host);
    host.in.departures = 1;
    host_demand(&host, 10000);
    check_gathers(&host);
    g_assert_cmpstr(host.out.why, ==, "an engine has left");
}

/* Nor pages that were many, and are served now. */
static void test_gather_anew(void)
{
    Host host;

    host_init(&host);
    host_demand(&host, 10000);
    host_decide(&host);
    host_gather(&host);
    g_assert_true(host.out.boost);
    host_demand(&host, 10000);
    host.in.merged_pages = 10000;
    host_scan(&host, 10);
    host_decide(&host);
    host_scan(&host, 10);
    host_decide(&host);
    host_pass(&host, KSMTUNED_POLICY_GATHER_MAX_MS - KSMTUNED_POLICY_GATHER_MS);
    host_demand(&host, 10000);
    host_scan(&host, 10);
    host_decide(&host);
    g_assert_true(host.out.end_service);
    g_assert_false(host.out.boost);
    host_pass(&host, host.out.next_ms);
    host_decide(&host);
    g_assert_true(host.out.boost);
}

/* Nor pages that were many, and were given back. */
static void test_gather_again(void)
{
    Host host;

    host_init(&host);
    host_demand(&host, 10000);
    host_decide(&host);
    host.in.waiting_pages = 1;
    host_decide(&host);
    host_pass(&host, KSMTUNED_POLICY_GATHER_MAX_MS);
    host_demand(&host, 10000);
    check_gathers(&host);
}

/* Two scans aren't enough, even if nothing is merged in the second. */
static void test_three_scans(void)
{
    Host host;

    host_init(&host);
    host_demand(&host, 1000);
    host_gather(&host);
    host_scan(&host, 100);
    host_decide(&host);
    host_scan(&host, 100);
    host_decide(&host);
    g_assert_true(host.out.boost);
    g_assert_false(host.out.end_service);
    host_scan(&host, 100);
    host_decide(&host);
    g_assert_false(host.out.boost);
    g_assert_true(host.out.end_service);
}

/* What is many is measured by what ksmd must walk. */
static void test_many(void)
{
    Host host;

    host_init(&host);
    host.in.merged_pages = 262144;
    host_demand(&host, 262144 / KSMTUNED_POLICY_URGENT_PART - 1);
    host_gather(&host);
    g_assert_false(host.out.boost);
    host_demand(&host, 1);
    host_gather(&host);
    g_assert_true(host.out.boost);

    host_init(&host);
    host.in.marked_pages = 262144;
    host_demand(&host, 1000);
    host_gather(&host);
    g_assert_false(host.out.boost);
}

static void test_few_wait(void)
{
    Host host;
    int64_t wait_ms;

    host_init(&host);
    host_demand(&host, 1);
    host_decide(&host);
    g_assert_false(host.out.boost);
    wait_ms = host.out.next_ms;
    g_assert_cmpint(wait_ms, ==, KSMTUNED_POLICY_WAIT_MIN_MS);
    host_pass(&host, wait_ms - 1);
    /* Later pages don't make the first wait longer. */
    host_demand(&host, 1);
    host_decide(&host);
    g_assert_false(host.out.boost);
    g_assert_cmpint(host.out.next_ms, ==, 1);
    host_pass(&host, 1);
    host_decide(&host);
    g_assert_true(host.out.boost);
    g_assert_cmpuint(host.in.serving_pages, ==, 2);
}

/* A trickle of new pages costs at most 1/200 of a core, at any scan's cost. */
static void test_cost(void)
{
    static const int64_t scan_ms[] = { 1, 35, 100, 900 };
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(scan_ms); i++) {
        Host host;
        uint64_t begin_ns;
        int64_t begin_ms;
        unsigned round;

        host_init(&host);
        host_demand(&host, 300);
        host_gather(&host);
        host_serve(&host, scan_ms[i]);
        begin_ns = host.in.ksmd_cpu_ns;
        begin_ms = host.in.now_ms;
        for (round = 0; round < 20; round++) {
            host_demand(&host, 10);
            host_decide(&host);
            g_assert_false(host.out.boost);
            host_pass(&host, host.out.next_ms);
            host_decide(&host);
            host_serve(&host, scan_ms[i]);
        }
        g_assert_cmpfloat((double)(host.in.ksmd_cpu_ns - begin_ns), <=,
                          (host.in.now_ms - begin_ms) * NS_PER_MS / 200.0);
        g_assert_cmpint(ksmtuned_policy_demand_wait_ms(&host.state), <=,
                        KSMTUNED_POLICY_WAIT_MAX_MS);
    }
}

/* What a scan took that merged much is not what the next will cost. */
static void test_merging_scans(void)
{
    const uint64_t pages = 1 << 20;
    Host host;
    unsigned i;

    host_init(&host);
    host_demand(&host, pages);
    host_gather(&host);
    for (i = 0; i < KSMTUNED_POLICY_DEMAND_SCANS; i++) {
        g_assert_true(host.out.boost);
        host.in.merged_pages += pages / 4;
        host_scan(&host, 5000);
        host_decide(&host);
    }
    g_assert_cmpuint(host.state.scan_cost_ns, ==,
                     pages * KSMTUNED_POLICY_WALK_NS);
    g_assert_cmpint(ksmtuned_policy_demand_wait_ms(&host.state), <,
                    KSMTUNED_POLICY_WAIT_MAX_MS / 4);
    /* One that merged little tells. */
    host_demand(&host, 10);
    host_pass(&host, KSMTUNED_POLICY_WAIT_MAX_MS);
    host_decide(&host);
    host_serve(&host, 400);
    g_assert_cmpuint(host.state.scan_cost_ns, ==, 400 * NS_PER_MS);
}

static void test_cost_limit(void)
{
    KsmtunedDemandPolicy state = { .scan_cost_ns = UINT64_MAX };

    g_assert_cmpint(ksmtuned_policy_demand_wait_ms(&state), ==,
                    KSMTUNED_POLICY_WAIT_MAX_MS);
}

/* Pages that come while others are served wait for their own scans. */
static void test_meanwhile(void)
{
    Host host;

    host_init(&host);
    host_demand(&host, 1000);
    host_gather(&host);
    host_scan(&host, KSMTUNED_POLICY_GATHER_MS / 2);
    host_demand(&host, 1000);
    host.in.merged_pages = 500;
    host_decide(&host);
    host_scan(&host, KSMTUNED_POLICY_GATHER_MS / 2);
    host_decide(&host);
    host_scan(&host, KSMTUNED_POLICY_GATHER_MS / 2);
    host_decide(&host);
    g_assert_true(host.out.boost);
    g_assert_true(host.out.end_service);
    g_assert_true(host.out.begin_service);
    g_assert_cmpuint(host.in.serving_pages, ==, 1000);
    host_serve(&host, 100);
    g_assert_cmpint(host.out.next_ms, ==, -1);
}

/* An engine that marks a page now and then doesn't keep ksmd running. */
static void test_meanwhile_few(void)
{
    Host host;

    host_init(&host);
    host_demand(&host, 1000);
    host_gather(&host);
    host_scan(&host, 100);
    host_demand(&host, 10);
    host.in.merged_pages = 500;
    host_decide(&host);
    host_scan(&host, 100);
    host_decide(&host);
    host_scan(&host, 100);
    host_decide(&host);
    g_assert_false(host.out.boost);
    g_assert_cmpuint(host.in.waiting_pages, ==, 10);
    g_assert_cmpint(host.out.next_ms, >, 0);
}

/* Pages that are merged while they still wait were not in vain. */
static void test_merged_meanwhile(void)
{
    Host host;
    unsigned i;

    host_init(&host);
    host_demand(&host, 1000);
    host_gather(&host);
    host_demand(&host, 1000);
    host.in.merged_pages = 1000;
    for (i = 0; i < 2 * KSMTUNED_POLICY_DEMAND_SCANS; i++) {
        g_assert_true(host.out.boost);
        host_scan(&host, KSMTUNED_POLICY_GATHER_MS / 2);
        host_decide(&host);
    }
    g_assert_false(host.out.boost);
    host_demand(&host, 1000);
    host_gather(&host);
    g_assert_true(host.out.boost);
    host.in.merged_pages += 1000;
    host_serve(&host, 10);

    /* Also if ksmd has rested since. */
    host_demand(&host, 1000);
    host_gather(&host);
    host_pass(&host, 10);
    host_demand(&host, 1000);
    host.in.merged_pages += 1500;
    host_serve(&host, 10);
    host_gather(&host);
    g_assert_true(host.out.boost);
    while (host.out.boost) {
        host_scan(&host, 10);
        host_decide(&host);
    }
    host_demand(&host, 1000);
    host_gather(&host);
    g_assert_true(host.out.boost);
    /* But these are. */
    host_demand(&host, 1000);
    while (host.out.boost) {
        host_scan(&host, KSMTUNED_POLICY_GATHER_MS / 2);
        host_decide(&host);
    }
    host_demand(&host, 1000);
    host_gather(&host);
    g_assert_false(host.out.boost);
}

/* Serve what waits, in its time, and merge none: how long must many wait? */
static int64_t host_serve_in_vain(Host *host)
{
    while (!host->out.boost) {
        host_pass(host, host->out.next_ms);
        host_decide(host);
    }
    while (host->out.boost) {
        host_scan(host, 100);
        host_decide(host);
    }
    host_pass(host, LATER_MS);
    host_demand(host, 100000);
    host_decide(host);
    return LATER_MS + host->out.next_ms;
}

/* Many pages that never merge can't keep ksmd busy. */
static void test_futile(void)
{
    Host host;
    int64_t wait_ms, patience_ms = KSMTUNED_POLICY_PATIENCE_MS;
    int i;

    host_init(&host);
    host_demand(&host, 100000);
    host_decide(&host);
    for (i = 0; i < 10; i++) {
        g_assert_cmpint(host_serve_in_vain(&host), ==, patience_ms);
        /* Twice as long each time, but no longer than few pages wait. */
        wait_ms = ksmtuned_policy_demand_wait_ms(&host.state);
        patience_ms = MIN(2 * patience_ms, wait_ms);
    }
    g_assert_cmpint(wait_ms, >=, 3 * 100 * 200);
    g_assert_cmpint(patience_ms, ==, wait_ms);
    /* Until some merge. */
    host_pass(&host, patience_ms);
    host_decide(&host);
    host_serve(&host, 100);
    host_pass(&host, LATER_MS);
    host_demand(&host, 100000);
    host_decide(&host);
    g_assert_cmpint(host.out.next_ms, ==, KSMTUNED_POLICY_GATHER_MS);
    g_assert_cmpint(host_serve_in_vain(&host), ==,
                    KSMTUNED_POLICY_PATIENCE_MS);
}

/* An engine leaves, and so many pages are served along. */
static void host_clean_up(Host *host, uint64_t pages)
{
    host->in.waiting_pages = 0;
    host_demand(host, pages);
    host->in.departures++;
    host_decide(host);
    g_assert_true(host->out.boost);
    g_assert_cmpuint(host->in.serving_pages, ==, pages);
    while (host->out.boost) {
        host_scan(host, 100);
        host_decide(host);
    }
    host_demand(host, 100000);
    host_decide(host);
}

/* Nor can those who leave, or mark next to nothing, in between. */
static void test_futile_remembered(void)
{
    Host host;

    host_init(&host);
    host_demand(&host, 100000);
    host_decide(&host);
    g_assert_cmpint(host_serve_in_vain(&host), ==,
                    KSMTUNED_POLICY_PATIENCE_MS);
    host_clean_up(&host, 0);
    g_assert_cmpint(host_serve_in_vain(&host), ==,
                    2 * KSMTUNED_POLICY_PATIENCE_MS);
    host_clean_up(&host, KSMTUNED_POLICY_WORTH_PART - 1);
    g_assert_cmpint(host_serve_in_vain(&host), ==,
                    4 * KSMTUNED_POLICY_PATIENCE_MS);
}

/* Other pages than before, in their place. */
static void host_mark_again(Host *host)
{
    host_demand(host, 1000);
    host->in.marked_pages = 1000;
}

/* Those whom ksmd did not get to serve were not in vain. */
static void test_not_served(void)
{
    Host host;
    int i;

    host_init(&host);
    host_mark_again(&host);
    host_decide(&host);
    host_gather(&host);
    host_serve(&host, 1000);
    host_mark_again(&host);
    host_decide(&host);
    host_gather(&host);
    for (i = 0; i < 10; i++) {
        g_assert_true(host.out.boost);
        host.in.ksmd_runs = false;
        host_decide(&host);
        g_assert_false(host.out.boost);
        host_mark_again(&host);
        host_pass(&host, KSMTUNED_POLICY_HOLD_MS);
        host_decide(&host);
    }
    for (i = 0; i < 10; i++) {
        g_assert_true(host.out.boost);
        host.in.full = true;
        host_decide(&host);
        g_assert_false(host.out.boost);
        host_mark_again(&host);
        host.in.full = false;
        host_pass(&host, KSMTUNED_POLICY_FULL_MS);
        host_decide(&host);
    }
    for (i = 0; i < 10; i++) {
        g_assert_true(host.out.boost);
        host_pass(&host, KSMTUNED_POLICY_STALL_MS);
        host_decide(&host);
        g_assert_false(host.out.boost);
        host_mark_again(&host);
        host_decide(&host);
        host_gather(&host);
    }
}

/* ksmd drops stale pages while it merges new ones: that was not in vain. */
static void test_not_futile(void)
{
    Host host;

    host_init(&host);
    host.in.merged_pages = 15000;
    host_demand(&host, 20000);
    host_gather(&host);
    host_scan(&host, 100);
    host.in.merged_pages = 0;
    host_decide(&host);
    host_scan(&host, 100);
    host.in.merged_pages = 4500;
    host_decide(&host);
    host_scan(&host, 100);
    host_decide(&host);
    g_assert_false(host.out.boost);
    host_demand(&host, 9000);
    host_gather(&host);
    g_assert_true(host.out.boost);
}

static void test_cleanup(void)
{
    Host host;

    host_init(&host);
    host.in.departures = 1;
    host_decide(&host);
    g_assert_true(host.out.boost);
    host_scan(&host, 10);
    host_decide(&host);
    g_assert_true(host.out.boost);
    host_scan(&host, 10);
    host_decide(&host);
    g_assert_false(host.out.boost);
    /* Once. */
    host_decide(&host);
    g_assert_false(host.out.boost);
    g_assert_cmpint(host.out.next_ms, ==, -1);
}

/* What waits is served along, also if it were to be patient. */
static void test_cleanup_serves(void)
{
    Host host;

    host_init(&host);
    host.in.departures = 1;
    host_demand(&host, 10);
    host_decide(&host);
    g_assert_true(host.out.boost);
    g_assert_cmpuint(host.in.serving_pages, ==, 10);
    while (host.out.boost) {
        host_scan(&host, 10);
        host_decide(&host);
    }
    host_demand(&host, 10000);
    host_decide(&host);
    host_gather(&host);
    g_assert_false(host.out.boost);
    host.in.departures++;
    host_decide(&host);
    g_assert_true(host.out.boost);
    g_assert_cmpuint(host.in.serving_pages, ==, 10000);
    /* It was worth it, so nobody has to be patient any more. */
    host_serve(&host, 10);
    host_demand(&host, 10000);
    host_decide(&host);
    host_gather(&host);
    g_assert_true(host.out.boost);
}

/* An engine leaves just before ksmd is done: two more scans. */
static void test_cleanup_while_running(void)
{
    Host host;

    host_init(&host);
    host_demand(&host, 1000);
    host_gather(&host);
    host_scan(&host, 10);
    host_decide(&host);
    host_scan(&host, 10);
    host.in.departures++;
    host_decide(&host);
    host_scan(&host, 10);
    host_decide(&host);
    g_assert_true(host.out.boost);
    host_scan(&host, 10);
    host_decide(&host);
    g_assert_false(host.out.boost);
}

/* The last engine has gone: ksmd has nothing to walk, and no scan ends. */
static void test_stall(void)
{
    Host host;

    host_init(&host);
    host.in.departures = 1;
    host_decide(&host);
    host_pass(&host, KSMTUNED_POLICY_STALL_MS - 1);
    host_decide(&host);
    g_assert_true(host.out.boost);
    host.in.progress++;
    host_pass(&host, KSMTUNED_POLICY_STALL_MS - 1);
    host_decide(&host);
    g_assert_true(host.out.boost);
    host_pass(&host, KSMTUNED_POLICY_STALL_MS);
    host_decide(&host);
    g_assert_false(host.out.boost);
    g_assert_cmpint(host.out.next_ms, ==, -1);
}

/* Where only full scans show progress, a long one is no stall. */
static void test_stall_blind(void)
{
    Host host;

    host_init(&host);
    host.in.progress_known = false;
    host_demand(&host, 1000);
    host_gather(&host);
    host_pass(&host, KSMTUNED_POLICY_STALL_MS * 10);
    host_decide(&host);
    g_assert_true(host.out.boost);
    host_pass(&host, KSMTUNED_POLICY_BLIND_STALL_MS);
    host_decide(&host);
    g_assert_false(host.out.boost);
}

/* The administrator stops ksmd: it isn't started again at once. */
static void test_hold(void)
{
    Host host;

    host_init(&host);
    host_demand(&host, 1000);
    host_gather(&host);
    host.in.ksmd_runs = false;
    host_decide(&host);
    g_assert_false(host.out.boost);
    host_demand(&host, 100000);
    host_decide(&host);
    g_assert_false(host.out.boost);
    g_assert_cmpint(host.out.next_ms, ==, KSMTUNED_POLICY_HOLD_MS);
    host_pass(&host, KSMTUNED_POLICY_HOLD_MS);
    host_decide(&host);
    g_assert_true(host.out.boost);
}

/* While as many pages are shared as may be, nothing is served. */
static void test_full(void)
{
    Host host;

    host_init(&host);
    host_demand(&host, 1000);
    host_gather(&host);
    g_assert_true(host.out.boost);
    host.in.full = true;
    host_decide(&host);
    g_assert_false(host.out.boost);
    g_assert_true(host.out.end_service);
    host_demand(&host, 100000);
    host_pass(&host, KSMTUNED_POLICY_FULL_CLEAN_MS - 1);
    host_decide(&host);
    g_assert_false(host.out.boost);
    g_assert_cmpint(host.out.next_ms, ==, KSMTUNED_POLICY_FULL_MS);
    /* They may be of other guests, which have left. */
    host_pass(&host, 1);
    host_decide(&host);
    g_assert_true(host.out.boost);
    g_assert_false(host.out.begin_service);
    host.in.full_scans += KSMTUNED_POLICY_CLEANUP_SCANS;
    host_decide(&host);
    g_assert_false(host.out.boost);
    /* What an engine that has left had merged is forgotten nevertheless. */
    host.in.departures++;
    host_decide(&host);
    g_assert_true(host.out.boost);
    host_decide(&host);
    g_assert_true(host.out.boost);
    host.in.full_scans += KSMTUNED_POLICY_CLEANUP_SCANS;
    host_decide(&host);
    g_assert_false(host.out.boost);
    host.in.full = false;
    host_pass(&host, KSMTUNED_POLICY_FULL_MS);
    host_decide(&host);
    g_assert_true(host.out.boost);
}

/* The same state and readings give the same decision. */
static void test_pure(void)
{
    Host a, b;

    host_init(&a);
    host_demand(&a, 1000);
    b = a;
    host_decide(&a);
    host_decide(&b);
    g_assert_cmpmem(&a.state, sizeof(a.state), &b.state, sizeof(b.state));
    g_assert_cmpint(a.out.next_ms, ==, b.out.next_ms);
    g_assert_cmpint(a.out.boost, ==, b.out.boost);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ksm-policy/idle", test_idle);
    g_test_add_func("/ksm-policy/unusable", test_unusable);
    g_test_add_func("/ksm-policy/urgent", test_urgent);
    g_test_add_func("/ksm-policy/gather", test_gather);
    g_test_add_func("/ksm-policy/gather-old-page", test_gather_old_page);
    g_test_add_func("/ksm-policy/gather-departure", test_gather_departure);
    g_test_add_func("/ksm-policy/gather-anew", test_gather_anew);
    g_test_add_func("/ksm-policy/gather-again", test_gather_again);
    g_test_add_func("/ksm-policy/three-scans", test_three_scans);
    g_test_add_func("/ksm-policy/many", test_many);
    g_test_add_func("/ksm-policy/few-wait", test_few_wait);
    g_test_add_func("/ksm-policy/cost", test_cost);
    g_test_add_func("/ksm-policy/merging-scans", test_merging_scans);
    g_test_add_func("/ksm-policy/cost-limit", test_cost_limit);
    g_test_add_func("/ksm-policy/meanwhile", test_meanwhile);
    g_test_add_func("/ksm-policy/meanwhile-few", test_meanwhile_few);
    g_test_add_func("/ksm-policy/merged-meanwhile", test_merged_meanwhile);
    g_test_add_func("/ksm-policy/futile", test_futile);
    g_test_add_func("/ksm-policy/futile-remembered", test_futile_remembered);
    g_test_add_func("/ksm-policy/not-served", test_not_served);
    g_test_add_func("/ksm-policy/not-futile", test_not_futile);
    g_test_add_func("/ksm-policy/cleanup", test_cleanup);
    g_test_add_func("/ksm-policy/cleanup-serves", test_cleanup_serves);
    g_test_add_func("/ksm-policy/cleanup-while-running",
                    test_cleanup_while_running);
    g_test_add_func("/ksm-policy/stall", test_stall);
    g_test_add_func("/ksm-policy/stall-blind", test_stall_blind);
    g_test_add_func("/ksm-policy/hold", test_hold);
    g_test_add_func("/ksm-policy/full", test_full);
    g_test_add_func("/ksm-policy/pure", test_pure);
    return g_test_run();
}
