/*
 * ksmctl tune
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "host/sysfs.h"
#include "message.h"
#include "setting.h"

typedef struct TuneChange {
    char *name;
    char *value;
    char *before;
} TuneChange;

static void tune_change_free(TuneChange *change)
{
    g_free(change->name);
    g_free(change->value);
    g_free(change->before);
    g_free(change);
}

/* Starting and stopping are commands of their own. */
static bool tune_may_set(const KsmSysfsValue *value)
{
    return value->kind == KSM_SYSFS_SETTING && strcmp(value->name, "run");
}

/* Those that this kernel has. */
static char *tune_names(const char *root)
{
    GString *names = g_string_new(NULL);
    const KsmSysfsValue *value;

    for (value = ksm_sysfs_values; value->name; value++) {
        g_autofree char *now = tune_may_set(value) ?
                               ksm_sysfs_get(root, value->name) : NULL;

        if (now) {
            g_string_append_printf(names, "%s%s", names->len ? ", " : "",
                                   value->name);
        }
    }
    return g_string_free(names, FALSE);
}

/* Why @name can't be set; NULL: it can. */
static const char *tune_fault(const char *name)
{
    const KsmSysfsValue *value;

    if (!strcmp(name, "run")) {
        return "is what ksmctl start, stop and unmerge set";
    }
    for (value = ksm_sysfs_values; value->name; value++) {
        if (!strcmp(value->name, name)) {
            return tune_may_set(value) ? NULL :
                   "is a figure, which only the kernel sets";
        }
    }
    return "is no setting of KSM";
}

/* NULL: @argument can't be done, which was said; the exit status is @status. */
static TuneChange *tune_parse(const char *root, const char *argument,
                              int *status)
{
    const char *equals = strchr(argument, '=');
    g_autofree char *name = NULL;
    g_autofree char *before = NULL;
    g_autofree char *names = NULL;
    const char *fault;
    TuneChange *change;

    *status = KSMCTL_USAGE;
    if (!equals || equals == argument || !equals[1]) {
        ksmctl_error("tune: '%s': not NAME=VALUE: as in pages_to_scan=1000",
                     argument);
        return NULL;
    }
    name = g_strndup(argument, equals - argument);
    fault = tune_fault(name);
    before = fault ? NULL : ksm_sysfs_get(root, name);
    if (!before) {
        *status = fault ? KSMCTL_USAGE : EXIT_FAILURE;
        names = tune_names(root);
        ksmctl_error("tune: '%s' %s; nothing was changed; there is: %s", name,
                     fault ? fault : "is not in this kernel",
                     names[0] ? names :
                     "none, boot a kernel with CONFIG_KSM=y");
        return NULL;
    }
    change = g_new0(TuneChange, 1);
    change->name = g_steal_pointer(&name);
    change->value = g_strdup(equals + 1);
    change->before = g_steal_pointer(&before);
    return change;
}

/* Put back, the last first, what was before the first @done of @changes. */
static void tune_undo(const char *root, GPtrArray *changes, guint done)
{
    while (done-- > 0) {
        TuneChange *change = g_ptr_array_index(changes, done);

        ksmctl_set(root, change->name, change->before);
    }
}

static int tune_apply(const char *root, GPtrArray *changes)
{
    guint i;

    for (i = 0; i < changes->len; i++) {
        TuneChange *change = g_ptr_array_index(changes, i);

        if (!ksmctl_set(root, change->name, change->value)) {
            tune_undo(root, changes, i);
            return EXIT_FAILURE;
        }
    }
    return EXIT_SUCCESS;
}

int ksmctl_tune(const KsmctlCommand *command, KsmHost *host,
                int argc, char **argv)
{
    const GOptionEntry entries[] = { { NULL } };
    g_autoptr(GPtrArray) changes =
        g_ptr_array_new_with_free_func((GDestroyNotify)tune_change_free);
    int i, status;

    if (!ksmctl_options_parse(command, host, entries, NULL, &argc, &argv)) {
        return KSMCTL_USAGE;
    }
    if (argc < 2) {
        ksmctl_error("tune: NAME=VALUE is missing: see ksmctl tune --help");
        return KSMCTL_USAGE;
    }
    for (i = 1; i < argc; i++) {
        TuneChange *change = tune_parse(host->sysfs_root, argv[i], &status);

        if (!change) {
            return status;
        }
        g_ptr_array_add(changes, change);
    }
    return tune_apply(host->sysfs_root, changes);
}
