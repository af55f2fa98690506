/*
 * The domains, each made when its first engine comes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMTUNED_DOMAINS_H
#define KSMTUNED_DOMAINS_H

#include "domain.h"

typedef struct KsmtunedDomains KsmtunedDomains;

KsmtunedDomains *ksmtuned_domains_new(KsmtunedDomainTell *tell);
/* All members must have left. */
void ksmtuned_domains_free(KsmtunedDomains *domains);

KsmtunedDomain *ksmtuned_domains_get(KsmtunedDomains *domains,
                                     const char *name);

/* Of all together. */
KsmtunedDomainFigures ksmtuned_domains_figures(const KsmtunedDomains *domains);

#endif
