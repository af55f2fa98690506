/*
 * The connection of one engine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMTUNED_CLIENT_H
#define KSMTUNED_CLIENT_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "budgets.h"
#include "domains.h"
#include "poll.h"
#include "rules.h"
#include "stats.h"
#include "tuner.h"

typedef struct KsmtunedClient KsmtunedClient;

/* What the connections share; outlives them. */
typedef struct KsmtunedClientShared {
    const KsmtunedRules *rules;
    KsmtunedDomains *domains;
    KsmtunedTuner *tuner;
    KsmtunedBudgets *budgets;
    KsmtunedStats *stats;
    KsmtunedPoll *poll;
    const char *proc_root;
    const char *cgroup_root;
    uint32_t page_size;         /* the host's */
    uint64_t pages_max;         /* of one client: what the host can hold */
    /* @client is closed and about to be freed. */
    void (*closed)(KsmtunedClient *client, void *opaque);
    void *opaque;
} KsmtunedClientShared;

/* Takes over @fd, a connected, nonblocking stream socket. */
KsmtunedClient *ksmtuned_client_new(const KsmtunedClientShared *shared,
                                    int fd);
/* Close the connection and withdraw what was published; calls ->closed. */
void ksmtuned_client_close(KsmtunedClient *client);
/* Look again what its engine weighs against others. */
void ksmtuned_client_weigh(KsmtunedClient *client);
/* Refuse the connection with @reason and close it when that is sent. */
void ksmtuned_client_refuse(KsmtunedClient *client, const char *reason);

/* Appends what it last reported to @json; false: nothing yet. */
bool ksmtuned_client_report_json(const KsmtunedClient *client, GString *json);

/* A KsmtunedDomainTell whose member is a client. */
void ksmtuned_client_tell(void *client, const KsmFrameEntry *entry);
/* A KsmtunedBudgetSend. */
void ksmtuned_client_grant(void *client, const KsmFrameBudget *budget);

#endif
