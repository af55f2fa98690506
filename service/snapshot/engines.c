/*
 * The engines that are connected to ksmtuned, from its statistics
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What they say of themselves is not trusted: whatever is not as it should be
 * is not known.
 */
#include <string.h>

#include "engines.h"
#include "host/memory.h"
#include "stats-file.h"

#define NS_PER_US       1000.0

const char *const ksm_engine_figure_names[KSM_ENGINE_FIGURES] = {
    [KSM_ENGINE_RAM_BYTES] = "ram_bytes",
    [KSM_ENGINE_FULL_SCANS] = "full_scans",
    [KSM_ENGINE_PAGES_HASHED] = "pages_hashed",
    [KSM_ENGINE_PAGES_TWINS] = "pages_twins",
    [KSM_ENGINE_PAGES_ZERO] = "pages_zero",
    [KSM_ENGINE_PAGES_MARKED] = "pages_marked",
    [KSM_ENGINE_KSMFS_SHARING_PAGES] = "ksmfs_sharing_pages",
    [KSM_ENGINE_COW_BREAKS] = "cow_breaks",
    [KSM_ENGINE_CPU_NS] = "cpu_ns",
    [KSM_ENGINE_METADATA_BYTES] = "metadata_bytes",
};

/* Any other would not fit where they are shown. */
const char *const ksm_engine_states[] = {
    "running", "idle", "stopped", "yielded", NULL
};
const char *const ksm_engine_backends[] = {
    "ksmd", "ksmfs", "null", NULL
};

/* NULL: they aren't there, or one of them is no backend. */
static GPtrArray *engine_read_backends(JsonObject *object)
{
    JsonArray *array = ksm_stats_array(object, "backends");
    g_autoptr(GPtrArray) backends = g_ptr_array_new();
    guint i;

    for (i = 0; array && i < json_array_get_length(array); i++) {
        JsonNode *node = json_array_get_element(array, i);
        const char *text = JSON_NODE_HOLDS_VALUE(node) ?
                           json_node_get_string(node) : NULL;
        const char *backend = ksm_stats_word(ksm_engine_backends, text);

        if (!backend) {
            return NULL;
        }
        if (!g_ptr_array_find(backends, backend, NULL)) {
            g_ptr_array_add(backends, (gpointer)backend);
        }
    }
    return array ? g_steal_pointer(&backends) : NULL;
}

static void engine_free(KsmEngine *engine)
{
    g_free(engine->name);
    g_free(engine->domain);
    g_clear_pointer(&engine->backends, g_ptr_array_unref);
    g_free(engine->limit);
    g_free(engine);
}

/* NULL: whose it is, it doesn't say. */
static KsmEngine *engine_read(JsonObject *object)
{
    KsmFigure pid = ksm_stats_figure(object, "pid", 1, G_MAXINT32);
    /* In bytes, and added to others, they still are a number. */
    int64_t max = G_MAXINT64 / 4 / ksm_page_size();
    KsmEngine *engine;
    int i;

    if (!pid.known) {
        return NULL;
    }
    engine = g_new0(KsmEngine, 1);
    engine->pid = pid.value;
    engine->name = g_strdup(ksm_stats_string(object, "name"));
    engine->domain = g_strdup(ksm_stats_string(object, "domain"));
    engine->state = ksm_stats_word(ksm_engine_states,
                                   ksm_stats_string(object, "state"));
    engine->backends = engine_read_backends(object);
    engine->limit = g_strdup(ksm_stats_string(object, "limit"));
    engine->reported_ms = ksm_stats_figure(object, "reported_ms", 0,
                                           G_MAXINT64 / 1000);
    for (i = 0; i < KSM_ENGINE_FIGURES; i++) {
        const char *name = ksm_engine_figure_names[i];

        engine->figures[i] =
            ksm_stats_figure(object, name, 0,
                             i == KSM_ENGINE_KSMFS_SHARING_PAGES ?
                             max : G_MAXINT64);
    }
    return engine;
}

static int engine_compare(gconstpointer a, gconstpointer b)
{
    const KsmEngine *one = *(KsmEngine *const *)a;
    const KsmEngine *other = *(KsmEngine *const *)b;

    return (one->pid > other->pid) - (one->pid < other->pid);
}

/* The first of each process. */
static void engines_read_list(KsmEngines *engines, JsonArray *array)
{
    g_autoptr(GHashTable) pids = g_hash_table_new(NULL, NULL);
    guint i;

    for (i = 0; i < json_array_get_length(array); i++) {
        JsonNode *node = json_array_get_element(array, i);
        KsmEngine *engine = JSON_NODE_HOLDS_OBJECT(node) ?
                            engine_read(json_node_get_object(node)) : NULL;

        if (engine && g_hash_table_add(pids, GINT_TO_POINTER(engine->pid))) {
            g_ptr_array_add(engines->list, engine);
        } else if (engine) {
            engine_free(engine);
        }
    }
    g_ptr_array_sort(engines->list, engine_compare);
}

KsmEngines *ksm_engines_read(const KsmHost *host)
{
    KsmEngines *engines = g_new0(KsmEngines, 1);
    g_autoptr(JsonObject) stats =
        ksm_stats_read(host, &engines->at_us, &engines->fault);
    JsonArray *array = stats ? ksm_stats_array(stats, "engines") : NULL;

    engines->list = g_ptr_array_new_with_free_func(
        (GDestroyNotify)engine_free);
    if (stats) {
        ksm_daemon_read(&engines->daemon, stats);
    }
    if (array) {
        engines_read_list(engines, array);
    } else if (stats) {
        engines->fault = g_strdup_printf(
            "ksmtuned lists no engines in %s: restart it, as it is older than "
            "this program", host->runtime_dir);
    }
    return engines;
}

void ksm_engines_free(KsmEngines *engines)
{
    if (engines) {
        g_ptr_array_unref(engines->list);
        g_free(engines->fault);
        g_free(engines);
    }
}

KsmEngine *ksm_engines_lookup(const KsmEngines *engines, pid_t pid)
{
    guint low = 0;
    guint high = engines->list->len;

    while (low < high) {
        guint middle = low + (high - low) / 2;
        KsmEngine *engine = g_ptr_array_index(engines->list, middle);

        if (engine->pid == pid) {
            return engine;
        } else if (engine->pid < pid) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* How much @which has grown, for each of @units.  It never shrinks. */
static KsmRate engine_rate(const KsmEngine *engine,
                           const KsmEngine *before,
                           KsmEngineFigure which, double units)
{
    KsmFigure now = engine->figures[which];
    KsmFigure then = before->figures[which];

    if (!now.known || !then.known || now.value < then.value) {
        return (KsmRate) { false };
    }
    return (KsmRate) { true, (now.value - then.value) / units };
}

static void engine_measure(KsmEngine *engine, const KsmEngine *before,
                           double us)
{
    if (engine->reported_ms.known && before->reported_ms.known) {
        us = (engine->reported_ms.value - before->reported_ms.value) * 1000.0;
        if (us == 0) {
            engine->cow_breaks_per_second = before->cow_breaks_per_second;
            engine->cpu_percent = before->cpu_percent;
        }
    }
    if (us > 0) {
        engine->cow_breaks_per_second =
            engine_rate(engine, before, KSM_ENGINE_COW_BREAKS,
                        us / G_USEC_PER_SEC);
        engine->cpu_percent =
            engine_rate(engine, before, KSM_ENGINE_CPU_NS,
                        us * NS_PER_US / 100);
    }
}

void ksm_engines_measure(KsmEngines *engines,
                         const KsmEngines *before)
{
    double us = engines->at_us - before->at_us;
    guint i;

    for (i = 0; i < engines->list->len; i++) {
        KsmEngine *engine = g_ptr_array_index(engines->list, i);
        KsmEngine *then = ksm_engines_lookup(before, engine->pid);

        if (then) {
            engine_measure(engine, then, us);
        }
    }
}
