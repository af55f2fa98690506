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

/* Patterns of one key; a rule without that key has none. */
typedef struct KsmtunedPatterns {
    GPtrArray *any;             /* of GPatternSpec; NULL: not asked for */
} KsmtunedPatterns;

#define KSMTUNED_PRIORITY       100     /* by default */

typedef struct KsmtunedRule {
    char *name;
    char *domain;
    unsigned priority;          /* of its engines, in comparison */
    KsmtunedPatterns cgroup;
    KsmtunedPatterns label;
} KsmtunedRule;

/*
 * Those of file @path, see ksmtuned-domains.conf(5).  Where there is no such
 * file all are let into one domain.  NULL, with the reason in @error, if
 * anything in it is wrong: what was meant to keep guests apart must not be
 * taken for less.
 */
KsmtunedRules *ksmtuned_rules_read(const char *path, GError **error);
void ksmtuned_rules_free(KsmtunedRules *rules);

/* The first that @peer meets; NULL: it isn't let in. */
const KsmtunedRule *ksmtuned_rules_find(const KsmtunedRules *rules,
                                        const KsmtunedPeer *peer);

#endif
