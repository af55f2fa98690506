/*
 * What the engines want of ksmd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An engine's figures are clamped to what it has marked at all: only pages
 * that are marked can be merged, and sums can't wrap.
 */
#include "demand.h"

/* Pages are news if they are so much of those that wait. */
#define NEWS_PART   16

void ksmtuned_demand_join(KsmtunedDemand *demand, KsmtunedDemander *demander)
{
    g_queue_push_tail(&demand->demanders, demander);
}

void ksmtuned_demand_leave(KsmtunedDemand *demand, KsmtunedDemander *demander)
{
    if (g_queue_remove(&demand->demanders, demander) && demander->demanded) {
        demand->departures++;
    }
}

void ksmtuned_demand_add(KsmtunedDemand *demand, KsmtunedDemander *demander,
                         uint64_t marked, uint64_t total, int64_t now_ms)
{
    if (demander->marked_pages && !total) {
        /* It gave all of its pages back: the kernel still counts them. */
        demand->departures++;
    }
    demander->marked_pages = total;
    demander->serving_pages = MIN(demander->serving_pages, total);
    if (!demander->waiting_pages && marked) {
        demander->oldest_ms = now_ms;
    }
    /* A few more are no reason to let many wait. */
    if (marked &&
        marked >= ksmtuned_demand_sum(demand).waiting_pages / NEWS_PART) {
        demand->newest_ms = now_ms;
    }
    demander->waiting_pages = MIN(demander->waiting_pages + marked,
                                  total - demander->serving_pages);
    if (marked) {
        demander->demanded = true;
    }
}

void ksmtuned_demand_begin_service(KsmtunedDemand *demand)
{
    GList *item;

    for (item = demand->demanders.head; item; item = item->next) {
        KsmtunedDemander *demander = item->data;

        demander->serving_pages += demander->waiting_pages;
        demander->waiting_pages = 0;
    }
}

void ksmtuned_demand_end_service(KsmtunedDemand *demand)
{
    GList *item;

    for (item = demand->demanders.head; item; item = item->next) {
        KsmtunedDemander *demander = item->data;

        demander->serving_pages = 0;
    }
}

KsmtunedDemandSum ksmtuned_demand_sum(const KsmtunedDemand *demand)
{
    KsmtunedDemandSum sum = { .newest_ms = demand->newest_ms };
    GList *item;

    for (item = demand->demanders.head; item; item = item->next) {
        const KsmtunedDemander *demander = item->data;

        sum.serving_pages += demander->serving_pages;
        sum.marked_pages += demander->marked_pages;
        if (demander->waiting_pages) {
            if (!sum.waiting_pages || demander->oldest_ms < sum.oldest_ms) {
                sum.oldest_ms = demander->oldest_ms;
            }
            sum.waiting_pages += demander->waiting_pages;
        }
    }
    return sum;
}
