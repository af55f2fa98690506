/*
 * A domain: engines that may learn of each other's pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Its seed makes the digest function of its engines.  Engines in a domain
 * trust each other: "has a twin" tells that another one has such a page.
 */
#ifndef KSMTUNED_DOMAIN_H
#define KSMTUNED_DOMAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ksm-wire.h"

typedef struct KsmtunedDomain KsmtunedDomain;

typedef struct KsmtunedDomainFigures {
    unsigned members;
    uint64_t entries;           /* pages held in the index */
    uint64_t shared;            /* digests that two pages or more have */
    uint64_t bytes;             /* of memory, for the index */
    uint64_t twins_told;        /* entries told to have a twin, ever */
} KsmtunedDomainFigures;

/* More guests than a host runs; each costs some memory for its frames. */
#define KSMTUNED_DOMAIN_MEMBERS_MAX 4096

/* Tell @member of a twin that one of its pages got or lost.  Must not fail. */
typedef void KsmtunedDomainTell(void *member, const KsmFrameEntry *entry);

KsmtunedDomain *ksmtuned_domain_new(KsmtunedDomainTell *tell);
/* All members must have left. */
void ksmtuned_domain_free(KsmtunedDomain *domain);

const uint8_t *ksmtuned_domain_seed(const KsmtunedDomain *domain);

/* Stores @member's number in @id; false if the domain is full. */
bool ksmtuned_domain_join(KsmtunedDomain *domain, void *member, uint16_t *id);
/* The main loop withdraws all that @id published, in many small steps. */
void ksmtuned_domain_leave(KsmtunedDomain *domain, uint16_t id);

/*
 * One page of member @id, checked.  Returns by how many the number of entries
 * held for @id changed: a page beyond the candidates of its digest isn't held.
 */
int ksmtuned_domain_publish(KsmtunedDomain *domain, uint16_t id,
                            const KsmFrameEntry *entry);
int ksmtuned_domain_withdraw(KsmtunedDomain *domain, uint16_t id,
                             const KsmFrameEntry *entry);

/* Soon it will be published or withdrawn; changes nothing. */
void ksmtuned_domain_prefetch(const KsmtunedDomain *domain,
                              const KsmFrameEntry *entry);

KsmtunedDomainFigures ksmtuned_domain_figures(const KsmtunedDomain *domain);

#endif
