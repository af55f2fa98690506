/*
 * Test of what ksmtuned knows of the engines' demand
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <time.h>

#include "demand.h"

/* Of several domains, and what one of them sends. */
#define CROWD           16384
#define FRAMES          65536

static void test_sum(void)
{
    KsmtunedDemand demand = { .demanders = G_QUEUE_INIT };
    KsmtunedDemander a = { 0 }, b = { 0 };
    KsmtunedDemandSum sum;

    ksmtuned_demand_join(&demand, &a);
    ksmtuned_demand_join(&demand, &b);
    ksmtuned_demand_add(&demand, &a, 100, 300, 10);
    ksmtuned_demand_add(&demand, &b, 50, 50, 20);
    sum = ksmtuned_demand_sum(&demand);
    g_assert_cmpuint(sum.waiting_pages, ==, 150);
    g_assert_cmpuint(sum.marked_pages, ==, 350);
    g_assert_cmpint(sum.oldest_ms, ==, 10);
    g_assert_cmpint(sum.newest_ms, ==, 20);

    ksmtuned_demand_begin_service(&demand);
    ksmtuned_demand_add(&demand, &a, 1, 301, 30);
    sum = ksmtuned_demand_sum(&demand);
    g_assert_cmpuint(sum.serving_pages, ==, 150);
    g_assert_cmpuint(sum.waiting_pages, ==, 1);
    g_assert_cmpint(sum.oldest_ms, ==, 30);
    g_assert_cmpint(sum.newest_ms, ==, 30);

    ksmtuned_demand_end_service(&demand);
    sum = ksmtuned_demand_sum(&demand);
    g_assert_cmpuint(sum.serving_pages, ==, 0);
    ksmtuned_demand_leave(&demand, &a);
    g_assert_cmpuint(demand.departures, ==, 1);
    sum = ksmtuned_demand_sum(&demand);
    g_assert_cmpuint(sum.waiting_pages, ==, 0);
    ksmtuned_demand_leave(&demand, &b);
}

/* What an engine claims is no more than what it has marked. */
static void test_clamped(void)
{
    KsmtunedDemand demand = { .demanders = G_QUEUE_INIT };
    KsmtunedDemander a = { 0 };

    ksmtuned_demand_join(&demand, &a);
    ksmtuned_demand_add(&demand, &a, UINT64_MAX, 7, 10);
    g_assert_cmpuint(ksmtuned_demand_sum(&demand).waiting_pages, ==, 7);
    ksmtuned_demand_add(&demand, &a, 0, 0, 20);
    g_assert_cmpuint(ksmtuned_demand_sum(&demand).waiting_pages, ==, 0);
    /* It has given all back. */
    g_assert_cmpuint(demand.departures, ==, 1);
    ksmtuned_demand_leave(&demand, &a);
}

/* Nor is it any news if no page of it can wait. */
static void test_no_news(void)
{
    KsmtunedDemand demand = { .demanders = G_QUEUE_INIT };
    KsmtunedDemander a = { 0 }, b = { 0 };

    ksmtuned_demand_join(&demand, &a);
    ksmtuned_demand_join(&demand, &b);
    ksmtuned_demand_add(&demand, &a, 100, 100, 10);
    ksmtuned_demand_add(&demand, &b, UINT64_MAX, 0, 20);
    g_assert_cmpint(ksmtuned_demand_sum(&demand).newest_ms, ==, 10);
    ksmtuned_demand_add(&demand, &b, UINT64_MAX, 5, 30);
    g_assert_cmpint(ksmtuned_demand_sum(&demand).newest_ms, ==, 10);
    g_assert_cmpuint(ksmtuned_demand_sum(&demand).waiting_pages, ==, 105);
    ksmtuned_demand_begin_service(&demand);
    ksmtuned_demand_add(&demand, &a, UINT64_MAX, 100, 40);
    g_assert_cmpint(ksmtuned_demand_sum(&demand).newest_ms, ==, 10);
    ksmtuned_demand_leave(&demand, &a);
    ksmtuned_demand_leave(&demand, &b);
}

/* CPU time for one engine's frames. */
static clock_t time_frames(KsmtunedDemand *demand, KsmtunedDemander *demander)
{
    clock_t begin = clock();
    unsigned i;

    for (i = 0; i < FRAMES; i++) {
        ksmtuned_demand_add(demand, demander, 1, FRAMES, i + 1);
    }
    return clock() - begin;
}

/* Who sends many frames does not make us look at all others for each. */
static void test_crowd(void)
{
    g_autofree KsmtunedDemander *crowd = g_new0(KsmtunedDemander, CROWD);
    KsmtunedDemand demand = { .demanders = G_QUEUE_INIT };
    clock_t alone;
    unsigned i;

    ksmtuned_demand_join(&demand, &crowd[0]);
    alone = time_frames(&demand, &crowd[0]);
    for (i = 1; i < CROWD; i++) {
        ksmtuned_demand_join(&demand, &crowd[i]);
    }
    g_assert_cmpint(time_frames(&demand, &crowd[0]), <,
                    CLOCKS_PER_SEC / 10 + 100 * alone);
    for (i = 0; i < CROWD; i++) {
        ksmtuned_demand_leave(&demand, &crowd[i]);
    }
    g_assert_cmpuint(ksmtuned_demand_sum(&demand).waiting_pages, ==, 0);
}

/* A trickle is no reason to let many pages wait longer. */
static void test_trickle(void)
{
    KsmtunedDemand demand = { .demanders = G_QUEUE_INIT };
    KsmtunedDemander a = { 0 }, b = { 0 };
    unsigned i;

    ksmtuned_demand_join(&demand, &a);
    ksmtuned_demand_join(&demand, &b);
    ksmtuned_demand_add(&demand, &a, 10000, 10000, 10);
    for (i = 1; i < 10; i++) {
        ksmtuned_demand_add(&demand, &b, 1, i, 10 + 100 * i);
        ksmtuned_demand_add(&demand, &a, 1, 10000 + i, 10 + 100 * i);
    }
    g_assert_cmpint(ksmtuned_demand_sum(&demand).newest_ms, ==, 10);
    ksmtuned_demand_add(&demand, &b, 1000, 1010, 2000);
    g_assert_cmpint(ksmtuned_demand_sum(&demand).newest_ms, ==, 2000);
    ksmtuned_demand_leave(&demand, &a);
    ksmtuned_demand_leave(&demand, &b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ksm-demand/sum", test_sum);
    g_test_add_func("/ksm-demand/clamped", test_clamped);
    g_test_add_func("/ksm-demand/no-news", test_no_news);
    g_test_add_func("/ksm-demand/trickle", test_trickle);
    g_test_add_func("/ksm-demand/crowd", test_crowd);
    return g_test_run();
}
