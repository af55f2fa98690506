/*
 * The domains, each made when its first engine comes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib.h>

#include "domains.h"

struct KsmtunedDomains {
    KsmtunedDomainTell *tell;
    GHashTable *by_name;        /* of KsmtunedDomain */
};

KsmtunedDomains *ksmtuned_domains_new(KsmtunedDomainTell *tell)
{
    KsmtunedDomains *domains = g_new0(KsmtunedDomains, 1);

    domains->tell = tell;
    domains->by_name =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                              (GDestroyNotify)ksmtuned_domain_free);
    return domains;
}

void ksmtuned_domains_free(KsmtunedDomains *domains)
{
    if (domains) {
        g_hash_table_destroy(domains->by_name);
        g_free(domains);
    }
}

KsmtunedDomain *ksmtuned_domains_get(KsmtunedDomains *domains,
                                     const char *name)
{
    KsmtunedDomain *domain = g_hash_table_lookup(domains->by_name, name);

    if (!domain) {
        domain = ksmtuned_domain_new(domains->tell);
        g_hash_table_insert(domains->by_name, g_strdup(name), domain);
    }
    return domain;
}

KsmtunedDomainFigures ksmtuned_domains_figures(const KsmtunedDomains *domains)
{
    KsmtunedDomainFigures sum = { 0 };
    GHashTableIter iter;
    gpointer domain;

    g_hash_table_iter_init(&iter, domains->by_name);
    while (g_hash_table_iter_next(&iter, NULL, &domain)) {
        KsmtunedDomainFigures one = ksmtuned_domain_figures(domain);

        sum.members += one.members;
        sum.entries += one.entries;
        sum.shared += one.shared;
        sum.bytes += one.bytes;
        sum.twins_told += one.twins_told;
    }
    return sum;
}
