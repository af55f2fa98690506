/*
 * Which engines are let in, and into which domain
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <fnmatch.h>
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
    g_strfreev(rule->cgroup);
    g_strfreev(rule->label);
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

/* @value's words; NULL: there are none. */
static char **patterns_parse(const char *value)
{
    g_auto(GStrv) words = g_strsplit(value, RULES_SEPARATOR, -1);
    g_autoptr(GPtrArray) patterns = g_ptr_array_new_with_free_func(g_free);
    char **word;

    for (word = words; *word; word++) {
        if (*g_strstrip(*word)) {
            g_ptr_array_add(patterns, g_strdup(*word));
        }
    }
    if (!patterns->len) {
        return NULL;
    }
    g_ptr_array_add(patterns, NULL);
    return (char **)g_ptr_array_steal(patterns, NULL);
}

/* By bytes: a cgroup's name may be anything. */
static bool patterns_match(char **patterns, const char *text)
{
    for (; text && *patterns; patterns++) {
        if (fnmatch(*patterns, text, FNM_NOESCAPE) == 0) {
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

static bool rule_set_patterns(const KsmtunedRule *rule, char ***patterns,
                              const char *key, const char *value,
                              GError **error)
{
    *patterns = patterns_parse(value);
    return *patterns ||
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
    return rule->cgroup || rule->label ||
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

/* What @line names: a group with its bracket, or a key; NULL: neither. */
static char *rules_name_in(const char *line)
{
    const char *end = *line == '[' ? strchr(line, ']') : strchr(line, '=');

    return *line == '#' || !end ? NULL :
           g_strchomp(g_strndup(line, end - line));
}

/* GKeyFile takes the last of several, and languages in brackets. */
static bool rules_check_names(const char *text, GError **error)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autoptr(GHashTable) groups =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GHashTable) keys =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    guint i;

    for (i = 0; lines[i]; i++) {
        g_autofree char *name = rules_name_in(g_strstrip(lines[i]));
        bool group = name && *name == '[';
        const char *fault = NULL;

        if (!name) {
            continue;
        }
        if (group) {
            g_hash_table_remove_all(keys);
        } else if (strchr(name, '[')) {
            fault = "use no [] in a key";
        }
        if (!g_hash_table_add(group ? groups : keys, g_steal_pointer(&name))) {
            fault = "it is there twice: put patterns into one, divided by ;";
        }
        if (fault) {
            g_set_error(error, G_KEY_FILE_ERROR, G_KEY_FILE_ERROR_PARSE,
                        "line %u: '%s': %s", i + 1, lines[i], fault);
            return false;
        }
    }
    return true;
}

static bool rules_load(KsmtunedRules *rules, const char *path, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autofree char *text = NULL;
    gsize size;

    return g_file_get_contents(path, &text, &size, error) &&
           g_key_file_load_from_data(file, text, size, G_KEY_FILE_NONE,
                                     error) &&
           rules_check_names(text, error) &&
           rules_parse(rules, file, error);
}

KsmtunedRules *ksmtuned_rules_read(const char *path, GError **error)
{
    KsmtunedRules *rules = rules_new();
    g_autoptr(GError) reason = NULL;

    if (rules_load(rules, path, &reason)) {
        return rules;
    }
    ksmtuned_rules_free(rules);
    g_set_error(error, reason->domain, reason->code,
                "%s: %s", path, reason->message);
    return NULL;
}

KsmtunedRules *ksmtuned_rules_of_all(void)
{
    KsmtunedRules *rules = rules_new();

    /* It asks for nothing, so all meet it. */
    rules_add(rules, "default");
    return rules;
}

const KsmtunedRule *ksmtuned_rules_find(const KsmtunedRules *rules,
                                        const KsmtunedPeer *peer)
{
    guint i;

    for (i = 0; i < rules->list->len; i++) {
        const KsmtunedRule *rule = g_ptr_array_index(rules->list, i);

        if ((!rule->cgroup || patterns_match(rule->cgroup, peer->cgroup)) &&
            (!rule->label || patterns_match(rule->label, peer->label))) {
            return rule;
        }
    }
    return NULL;
}
