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
#define RULES_PRIORITY_MAX      10000
#define RULES_SEPARATOR         ";"

struct KsmtunedRules {
    GPtrArray *list;            /* of KsmtunedRule */
};

static void rule_free(KsmtunedRule *rule)
{
    g_free(rule->name);
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

static KsmtunedRule *rules_add(KsmtunedRules *rules, const char *name)
{
    KsmtunedRule *rule = g_new0(KsmtunedRule, 1);

    rule->name = g_strdup(name);
    rule->domain = g_strdup(name);
    rule->priority = KSMTUNED_PRIORITY;
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

static bool rule_fail(const KsmtunedRule *rule, GError **error,
                      const char *what, const char *way_out)
{
    g_set_error(error, G_KEY_FILE_ERROR, G_KEY_FILE_ERROR_INVALID_VALUE,
                "[%s]: %s: %s", rule->name, what, way_out);
    return false;
}

static bool rule_set_patterns(const KsmtunedRule *rule,
                              KsmtunedPatterns *patterns, const char *key,
                              const char *value, GError **error)
{
    patterns_set(patterns, value);
    return patterns->any->len ||
           rule_fail(rule, error, key, "no pattern: name one, or * for any");
}

static bool rule_set_domain(KsmtunedRule *rule, const char *value,
                            GError **error)
{
    g_free(rule->domain);
    rule->domain = g_strdup(value);
    if (!*value || strlen(value) > RULES_NAME_MAX ||
        value[strspn(value, RULES_NAME_CHARACTERS)]) {
        return rule_fail(rule, error, value, "not a domain's name: use up to "
                         "64 letters, digits, dots, dashes and _");
    }
    return true;
}

static bool rule_set_priority(KsmtunedRule *rule, const char *value,
                              GError **error)
{
    guint64 priority;

    if (!g_ascii_string_to_unsigned(value, 10, 1, RULES_PRIORITY_MAX,
                                    &priority, NULL)) {
        return rule_fail(rule, error, value,
                         "not a Priority: use a number from 1 to 10000");
    }
    rule->priority = priority;
    return true;
}

static bool rule_set(KsmtunedRule *rule, const char *key, const char *value,
                     GError **error)
{
    if (strcmp(key, "Cgroup") == 0) {
        return rule_set_patterns(rule, &rule->cgroup, key, value, error);
    } else if (strcmp(key, "Label") == 0) {
        return rule_set_patterns(rule, &rule->label, key, value, error);
    } else if (strcmp(key, "Domain") == 0) {
        return rule_set_domain(rule, value, error);
    } else if (strcmp(key, "Priority") == 0) {
        return rule_set_priority(rule, value, error);
    }
    return rule_fail(rule, error, key,
                     "not a key: use Cgroup, Label, Domain or Priority");
}

static bool rule_read(KsmtunedRule *rule, GKeyFile *file, GError **error)
{
    g_auto(GStrv) keys = g_key_file_get_keys(file, rule->name, NULL, NULL);
    char **key;

    if (!rule_set_domain(rule, rule->name, error)) {
        return false;
    }
    for (key = keys; *key; key++) {
        /* As it is: cgroups' names are full of backslashes. */
        g_autofree char *value = g_key_file_get_value(file, rule->name, *key,
                                                      NULL);

        if (!rule_set(rule, *key, value, error)) {
            return false;
        }
    }
    return rule->cgroup.any || rule->label.any ||
           rule_fail(rule, error, "says not who is meant",
                     "add Cgroup=* if all are");
}

static bool rules_parse(KsmtunedRules *rules, GKeyFile *file, GError **error)
{
    g_auto(GStrv) names = g_key_file_get_groups(file, NULL);
    char **name;

    for (name = names; *name; name++) {
        if (!rule_read(rules_add(rules, *name), file, error)) {
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

    if (g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, &reason) &&
        rules_parse(rules, file, &reason)) {
        return rules;
    }
    if (g_error_matches(reason, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
        /* It asks for nothing, so all meet it. */
        rules_add(rules, "default");
        return rules;
    }
    ksmtuned_rules_free(rules);
    g_set_error(error, reason->domain, reason->code,
                "%s: %s: who may be in which domain is not known: mend it, or "
                "remove it to have all in one", path, reason->message);
    return NULL;
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
