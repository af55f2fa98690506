/*
 * Which engines are let in, and into which domain
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <string.h>

#include "rules.h"

#define RULES_NAME_MAX          64
#define RULES_NAME_CHARACTERS   "abcdefghijklmnopqrstuvwxyz" \
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
#define RULES_SEPARATOR         ";"

struct KsmtunedRules {
    GPtrArray *list;            /* of KsmtunedRule */
};

static void rule_free(KsmtunedRule *rule)
{
    g_free(rule->domain);
    g_clear_pointer(&rule->cgroup.any, g_ptr_array_unref);
    g_clear_pointer(&rule->label.any, g_ptr_array_unref);
    g_free(rule);
}

static KsmtunedRules *rules_new(void)
{
    KsmtunedRules *rules = g_new0(KsmtunedRules, 1);

    rules->list = g_ptr_array_new_with_free_func((GDestroyNotify)rule_free);
    return rules;
}

void ksmtuned_rules_free(KsmtunedRules *rules)
{
    if (rules) {
        g_ptr_array_unref(rules->list);
        g_free(rules);
    }
}

static KsmtunedRule *rules_add(KsmtunedRules *rules, const char *domain)
{
    KsmtunedRule *rule = g_new0(KsmtunedRule, 1);

    rule->domain = g_strdup(domain);
    g_ptr_array_add(rules->list, rule);
    return rule;
}

static void patterns_set(KsmtunedPatterns *patterns, const char *value)
{
    g_auto(GStrv) words = g_strsplit(value, RULES_SEPARATOR, -1);
    char **word;

    patterns->any =
        g_ptr_array_new_with_free_func((GDestroyNotify)g_pattern_spec_free);
    for (word = words; *word; word++) {
        if (*g_strstrip(*word)) {
            g_ptr_array_add(patterns->any, g_pattern_spec_new(*word));
        }
    }
}

static bool patterns_match(const KsmtunedPatterns *patterns, const char *text)
{
    guint i;

    for (i = 0; text && i < patterns->any->len; i++) {
        if (g_pattern_spec_match_string(g_ptr_array_index(patterns->any, i),
                                        text)) {
            return true;
        }
    }
    return false;
}

static bool rule_fail(GError **error, const char *path, const char *domain,
                      const char *what, const char *way_out)
{
    g_set_error(error, G_KEY_FILE_ERROR, G_KEY_FILE_ERROR_INVALID_VALUE,
                "%s: [%s]: %s: %s", path, domain, what, way_out);
    return false;
}

static bool rule_set(KsmtunedRule *rule, const char *key, const char *value,
                     const char *path, GError **error)
{
    KsmtunedPatterns *patterns = NULL;

    if (strcmp(key, "Cgroup") == 0) {
        patterns = &rule->cgroup;
    } else if (strcmp(key, "Label") == 0) {
        patterns = &rule->label;
    } else {
        return rule_fail(error, path, rule->domain, key,
                         "not a key: use Cgroup or Label");
    }
    patterns_set(patterns, value);
    return patterns->any->len ||
           rule_fail(error, path, rule->domain, key,
                     "no pattern: name one, or * for any");
}

static bool rule_read(KsmtunedRule *rule, GKeyFile *file, const char *path,
                      GError **error)
{
    g_auto(GStrv) keys = g_key_file_get_keys(file, rule->domain, NULL, NULL);
    char **key;

    if (strlen(rule->domain) > RULES_NAME_MAX ||
        rule->domain[strspn(rule->domain, RULES_NAME_CHARACTERS)]) {
        return rule_fail(error, path, rule->domain, "not a domain's name",
                         "use up to 64 letters, digits, dots, dashes and _");
    }
    for (key = keys; *key; key++) {
        /* As it is: cgroups' names are full of backslashes. */
        g_autofree char *value = g_key_file_get_value(file, rule->domain, *key,
                                                      NULL);

        if (!rule_set(rule, *key, value, path, error)) {
            return false;
        }
    }
    return rule->cgroup.any || rule->label.any ||
           rule_fail(error, path, rule->domain, "says not who is in it",
                     "add Cgroup=* if all are");
}

static bool rules_read(KsmtunedRules *rules, GKeyFile *file, const char *path,
                       GError **error)
{
    g_auto(GStrv) domains = g_key_file_get_groups(file, NULL);
    char **domain;

    for (domain = domains; *domain; domain++) {
        if (!rule_read(rules_add(rules, *domain), file, path, error)) {
            return false;
        }
    }
    return true;
}

KsmtunedRules *ksmtuned_rules_read(const char *path, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    KsmtunedRules *rules = rules_new();
    g_autoptr(GError) reason = NULL;

    if (g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, &reason)) {
        if (!rules_read(rules, file, path, error)) {
            g_clear_pointer(&rules, ksmtuned_rules_free);
        }
    } else if (g_error_matches(reason, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
        /* It asks for nothing, so all meet it. */
        rules_add(rules, "default");
    } else {
        g_clear_pointer(&rules, ksmtuned_rules_free);
        g_set_error(error, reason->domain, reason->code,
                    "%s: %s: who may be in which domain is not known: mend it, "
                    "or remove it to have all in one", path, reason->message);
    }
    return rules;
}

const KsmtunedRule *ksmtuned_rules_find(const KsmtunedRules *rules,
                                        const KsmtunedPeer *peer)
{
    guint i;

    for (i = 0; i < rules->list->len; i++) {
        const KsmtunedRule *rule = g_ptr_array_index(rules->list, i);

        if ((!rule->cgroup.any ||
             patterns_match(&rule->cgroup, peer->cgroup)) &&
            (!rule->label.any || patterns_match(&rule->label, peer->label))) {
            return rule;
        }
    }
    return NULL;
}
