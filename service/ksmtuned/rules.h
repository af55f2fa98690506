/*
 * Which engines are let in, and into which domain
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMTUNED_RULES_H
#define KSMTUNED_RULES_H

#include <glib.h>
#include <stdbool.h>

#include "peer.h"

typedef struct KsmtunedRules KsmtunedRules;

#define KSMTUNED_PRIORITY       100     /* by default */

typedef struct KsmtunedRule {
    char *name;
    char *domain;
    unsigned priority;          /* of its engines, in comparison */
    char **cgroup;              /* patterns, of which any is met; or NULL */
    char **label;
} KsmtunedRule;

/*
 * Those of file @path, see ksmtuned-domains.conf(5).  NULL, with the reason in
 * @error, if anything in it is wrong: what was meant to keep guests apart must
 * not be taken for less.
 */
KsmtunedRules *ksmtuned_rules_read(const char *path, GError **error);
/* All are let into one domain. */
KsmtunedRules *ksmtuned_rules_of_all(void);
void ksmtuned_rules_free(KsmtunedRules *rules);

/* The first that @peer meets; NULL: it isn't let in. */
const KsmtunedRule *ksmtuned_rules_find(const KsmtunedRules *rules,
                                        const KsmtunedPeer *peer);

#endif
