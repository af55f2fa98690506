/*
 * A domain: engines that may learn of each other's pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib.h>
#include <limits.h>
#include <sys/random.h>

#include "domain.h"
#include "ksm-index.h"

/* A member that has left, and whose entries are being withdrawn. */
typedef struct DomainLeaver {
    KsmtunedDomain *domain;
    uint16_t id;
    unsigned part;              /* of the index, to go on with */
    guint source;
} DomainLeaver;

struct KsmtunedDomain {
    KsmtunedDomainTell *tell;
    KsmIndex *index;
    GPtrArray *members;         /* by number; NULL: not there */
    GHashTable *leavers;        /* DomainLeaver by number, which is taken */
    unsigned count;             /* of members that are there */
    uint64_t twins_told;
    uint8_t seed[KSM_WIRE_SEED_SIZE];
};

static void domain_leaver_free(gpointer opaque)
{
    DomainLeaver *leaver = opaque;

    g_source_remove(leaver->source);
    g_free(leaver);
}

KsmtunedDomain *ksmtuned_domain_new(KsmtunedDomainTell *tell)
{
    KsmtunedDomain *domain = g_new0(KsmtunedDomain, 1);

    domain->tell = tell;
    domain->index = ksm_index_new();
    domain->members = g_ptr_array_new();
    domain->leavers = g_hash_table_new_full(NULL, NULL, NULL,
                                            domain_leaver_free);
    if (getrandom(domain->seed, sizeof(domain->seed), 0) !=
        sizeof(domain->seed)) {
        g_error("getrandom: a seed that guests could guess is of no use");
    }
    return domain;
}

void ksmtuned_domain_free(KsmtunedDomain *domain)
{
    if (!domain) {
        return;
    }
    g_hash_table_destroy(domain->leavers);
    ksm_index_free(domain->index);
    g_ptr_array_free(domain->members, TRUE);
    g_free(domain);
}

const uint8_t *ksmtuned_domain_seed(const KsmtunedDomain *domain)
{
    return domain->seed;
}

bool ksmtuned_domain_join(KsmtunedDomain *domain, void *member, uint16_t *id)
{
    guint i;

    for (i = 0; i < domain->members->len; i++) {
        if (!domain->members->pdata[i] &&
            !g_hash_table_contains(domain->leavers, GUINT_TO_POINTER(i))) {
            break;
        }
    }
    if (i == KSMTUNED_DOMAIN_MEMBERS_MAX) {
        return false;
    }
    if (i == domain->members->len) {
        g_ptr_array_add(domain->members, member);
    } else {
        domain->members->pdata[i] = member;
    }
    *id = i;
    domain->count++;
    return true;
}

static void domain_tell(KsmtunedDomain *domain, uint16_t id, uint64_t digest,
                        uint32_t page, uint32_t flags)
{
    KsmFrameEntry entry = { .digest = digest, .page = page, .flags = flags };

    if (!domain->members->pdata[id]) {
        return;
    }
    if (flags & KSM_ENTRY_TWIN) {
        domain->twins_told++;
    }
    domain->tell(domain->members->pdata[id], &entry);
}

static void domain_orphan(uint64_t digest, KsmIndexRef ref, void *opaque)
{
    domain_tell(opaque, ref.client, digest, ref.page, 0);
}

static gboolean domain_withdraw_part(gpointer opaque)
{
    DomainLeaver *leaver = opaque;
    KsmtunedDomain *domain = leaver->domain;

    if (!ksm_index_withdraw_client(domain->index, leaver->id, leaver->part++,
                                   domain_orphan, domain)) {
        g_hash_table_remove(domain->leavers, GUINT_TO_POINTER(leaver->id));
    }
    return G_SOURCE_CONTINUE;
}

void ksmtuned_domain_leave(KsmtunedDomain *domain, uint16_t id)
{
    DomainLeaver *leaver = g_new0(DomainLeaver, 1);

    domain->members->pdata[id] = NULL;
    domain->count--;
    leaver->domain = domain;
    leaver->id = id;
    leaver->source = g_idle_add_full(G_PRIORITY_DEFAULT, domain_withdraw_part,
                                     leaver, NULL);
    g_hash_table_insert(domain->leavers, GUINT_TO_POINTER(id), leaver);
}

int ksmtuned_domain_publish(KsmtunedDomain *domain, uint16_t id,
                            const KsmFrameEntry *entry)
{
    uint64_t before = ksm_index_entries(domain->index);
    KsmIndexRef peer;
    unsigned twins;

    twins = ksm_index_publish(domain->index, entry->digest, id, entry->page,
                              &peer);
    if (twins) {
        domain_tell(domain, id, entry->digest, entry->page, KSM_ENTRY_TWIN);
    }
    if (twins == 1) {
        domain_tell(domain, peer.client, entry->digest, peer.page,
                    KSM_ENTRY_TWIN);
    }
    return ksm_index_entries(domain->index) - before;
}

int ksmtuned_domain_withdraw(KsmtunedDomain *domain, uint16_t id,
                             const KsmFrameEntry *entry)
{
    KsmIndexRef peer;
    unsigned twins;

    twins = ksm_index_withdraw(domain->index, entry->digest, id, entry->page,
                               &peer);
    if (twins == UINT_MAX) {
        return 0;
    }
    if (twins == 1) {
        domain_tell(domain, peer.client, entry->digest, peer.page, 0);
    }
    return -1;
}

void ksmtuned_domain_prefetch(const KsmtunedDomain *domain,
                              const KsmFrameEntry *entry)
{
    ksm_index_prefetch(domain->index, entry->digest);
}

KsmtunedDomainFigures ksmtuned_domain_figures(const KsmtunedDomain *domain)
{
    return (KsmtunedDomainFigures) {
        .members = domain->count,
        .entries = ksm_index_entries(domain->index),
        .shared = ksm_index_shared(domain->index),
        .bytes = ksm_index_bytes(domain->index),
        .twins_told = domain->twins_told,
    };
}
