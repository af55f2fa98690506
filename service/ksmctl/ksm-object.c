/*
 * QEMU's option for a ksm object: ksm,id=ksm0,NAME=VALUE...
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What was there and is not asked for stays, in its order, also what is not
 * known here.
 */
#include <json-glib/json-glib.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>

#include "ksm-object.h"

#define OBJECT_TYPE             "ksm"
#define OBJECT_TYPE_NAME        "qom-type"
/* The parser of json-glib calls itself for each bracket. */
#define OBJECT_JSON_BYTES_MAX   4096

typedef struct ObjectItem {
    char *name;
    char *value;                /* NULL: it has no '=' */
} ObjectItem;

struct KsmctlObject {
    GPtrArray *items;           /* of ObjectItem; the type is not in it */
};

/* As in qapi/ksm-common.json, and in the engine's checks. */
typedef struct ObjectProperty {
    const char *name;
    const char *words;          /* NULL: a number, or a text */
    uint64_t min, max;          /* 0, 0: a text */
} ObjectProperty;

static const ObjectProperty object_properties[] = {
    { "iothread" },
    { "backend", "auto ksmd ksmfs null" },
    { "rendezvous.type", "unix" },
    { "rendezvous.path" },
    { "run", "on off" },
    { "max-cpu-percent", NULL, 1, 100 },
    { "sleep-millisecs", NULL, 10, 3600000 },
    { "pages-to-scan", NULL, 0, INT64_MAX },
    { "stable-passes", NULL, 1, 7 },
    { "huge-split-threshold", NULL, 1, 512 },
    { "hints", "off io" },
    { "guest-hints", "on off" },
    { NULL }
};

static void object_item_free(ObjectItem *item)
{
    g_free(item->name);
    g_free(item->value);
    g_free(item);
}

static KsmctlObject *object_new_empty(void)
{
    KsmctlObject *object = g_new0(KsmctlObject, 1);

    object->items = g_ptr_array_new_with_free_func(
        (GDestroyNotify)object_item_free);
    return object;
}

static ObjectItem *object_find(const KsmctlObject *object, const char *name)
{
    guint i;

    for (i = 0; i < object->items->len; i++) {
        ObjectItem *item = g_ptr_array_index(object->items, i);

        if (!strcmp(item->name, name)) {
            return item;
        }
    }
    return NULL;
}

static void object_put(KsmctlObject *object, const char *name,
                       const char *value)
{
    ObjectItem *item = object_find(object, name);

    if (!item) {
        item = g_new0(ObjectItem, 1);
        item->name = g_strdup(name);
        g_ptr_array_add(object->items, item);
    }
    g_free(item->value);
    item->value = g_strdup(value);
}

static void object_drop(KsmctlObject *object, const char *name)
{
    ObjectItem *item = object_find(object, name);

    if (item) {
        g_ptr_array_remove(object->items, item);
    }
}

KsmctlObject *ksmctl_object_new(void)
{
    KsmctlObject *object = object_new_empty();

    object_put(object, "id", "ksm0");
    return object;
}

/* Up to the next single comma, which is skipped; NULL at the end. */
static char *object_next_item(const char **text)
{
    GString *item;

    if (!*text) {
        return NULL;
    }
    item = g_string_new(NULL);
    for (; **text; (*text)++) {
        if (**text == ',') {
            if ((*text)[1] != ',') {
                break;
            }
            (*text)++;
        }
        g_string_append_c(item, **text);
    }
    *text = **text ? *text + 1 : NULL;
    return g_string_free(item, FALSE);
}

KsmctlObject *ksmctl_object_parse(const char *option)
{
    g_autoptr(KsmctlObject) object = object_new_empty();
    g_autofree char *first = object_next_item(&option);
    g_autofree char *type = NULL;
    char *text;

    if (first && !strchr(first, '=')) {
        type = g_strdup(first);
    } else if (first) {
        /* QEMU takes the type anywhere. */
        g_autofree char *value = g_strdup(strchr(first, '=') + 1);

        *strchr(first, '=') = '\0';
        object_put(object, first, value);
    }
    while ((text = object_next_item(&option))) {
        char *equals = strchr(text, '=');

        if (equals) {
            *equals = '\0';
        }
        object_put(object, text, equals ? equals + 1 : NULL);
        g_free(text);
    }
    if (!type && object_find(object, OBJECT_TYPE_NAME)) {
        type = g_strdup(object_find(object, OBJECT_TYPE_NAME)->value);
        object_drop(object, OBJECT_TYPE_NAME);
    }
    return g_strcmp0(type, OBJECT_TYPE) ? NULL : g_steal_pointer(&object);
}

void ksmctl_object_free(KsmctlObject *object)
{
    if (object) {
        g_ptr_array_unref(object->items);
        g_free(object);
    }
}

bool ksmctl_object_is_json(const char *option)
{
    g_autoptr(JsonParser) parser = NULL;
    JsonNode *root;

    if (option[0] != '{' || strlen(option) > OBJECT_JSON_BYTES_MAX) {
        return false;
    }
    parser = json_parser_new_immutable();
    if (!json_parser_load_from_data(parser, option, -1, NULL)) {
        return false;
    }
    root = json_parser_get_root(parser);
    return root && JSON_NODE_HOLDS_OBJECT(root) &&
           !g_strcmp0(json_object_get_string_member_with_default(
                          json_node_get_object(root), OBJECT_TYPE_NAME, NULL),
                      OBJECT_TYPE);
}

static char *object_names(void)
{
    GString *names = g_string_new(NULL);
    const ObjectProperty *property;

    for (property = object_properties; property->name; property++) {
        g_string_append_printf(names, "%s%s", names->len ? ", " : "",
                               property->name);
    }
    return g_string_free(names, FALSE);
}

static const ObjectProperty *object_property(const char *name)
{
    const ObjectProperty *property;

    for (property = object_properties; property->name; property++) {
        if (!strcmp(property->name, name)) {
            return property;
        }
    }
    return NULL;
}

/* NULL: @property takes @value; else what it takes, and the caller frees it. */
static char *object_fault(const ObjectProperty *property, const char *value)
{
    if (property->words) {
        g_auto(GStrv) words = g_strsplit(property->words, " ", -1);
        g_autofree char *list = g_strjoinv(", ", words);

        return g_strv_contains((const char *const *)words, value) ? NULL :
               words[1] ? g_strdup_printf("one of %s", list) :
               g_steal_pointer(&list);
    }
    if (property->max) {
        return g_ascii_string_to_unsigned(value, 10, property->min,
                                          property->max, NULL, NULL) ? NULL :
               g_strdup_printf("a number from %" G_GUINT64_FORMAT " to %"
                               G_GUINT64_FORMAT, property->min,
                               property->max);
    }
    if (!strcmp(property->name, "rendezvous.path")) {
        size_t max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

        return value[0] == '/' && strlen(value) <= max ? NULL :
               g_strdup_printf("a path from / of at most %zu bytes", max);
    }
    return NULL;
}

bool ksmctl_object_set(KsmctlObject *object, const char *argument,
                       GError **error)
{
    const char *equals = strchr(argument, '=');
    g_autofree char *name = equals ? g_strndup(argument, equals - argument) :
                                     g_strdup(argument);
    const ObjectProperty *property = object_property(name);
    g_autofree char *fault = NULL;

    if (!equals || !property) {
        g_autofree char *names = object_names();

        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "'%s': %s: as in max-cpu-percent=20; there is: %s",
                    argument, equals ? "the ksm object has no such property" :
                                       "not NAME=VALUE", names);
        return false;
    }
    if (!equals[1]) {
        object_drop(object, name);
        return true;
    }
    fault = object_fault(property, equals + 1);
    if (fault) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "'%s': %s has to be %s", argument, name, fault);
        return false;
    }
    if (!strcmp(name, "rendezvous.path")) {
        /* QEMU wants to be told. */
        object_put(object, "rendezvous.type", "unix");
    }
    object_put(object, name, equals + 1);
    return true;
}

bool ksmctl_object_check(const KsmctlObject *object, GError **error)
{
    ObjectItem *type = object_find(object, "rendezvous.type");

    if (type && !g_strcmp0(type->value, "unix") &&
        !object_find(object, "rendezvous.path")) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "rendezvous.type=unix without a path: give "
                    "rendezvous.path=, or rendezvous.type= for the default");
        return false;
    }
    return true;
}

static void object_append_escaped(GString *text, const char *part)
{
    for (; *part; part++) {
        g_string_append(text, *part == ',' ? "," : "");
        g_string_append_c(text, *part);
    }
}

char *ksmctl_object_format(const KsmctlObject *object)
{
    GString *text = g_string_new(OBJECT_TYPE);
    guint i;

    for (i = 0; i < object->items->len; i++) {
        ObjectItem *item = g_ptr_array_index(object->items, i);

        g_string_append_c(text, ',');
        object_append_escaped(text, item->name);
        if (item->value) {
            g_string_append_c(text, '=');
            object_append_escaped(text, item->value);
        }
    }
    return g_string_free(text, FALSE);
}
