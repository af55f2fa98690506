/*
 * The kernel's ksmd, through /sys/kernel/mm/ksm
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The original settings are kept in a state file that is there before the
 * first change and goes after the last one was undone: whoever finds it knows
 * what to put back.  A setting that has none of the values that we gave it was
 * changed by someone else, whose wish counts.
 *
 * The priority of ksmd's process is kept like one of them.
 *
 * max_page_sharing and merge_across_nodes are never touched: the kernel allows
 * that only while nothing is merged.
 */
#include <errno.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/ksmd-process.h"
#include "host/sysfs.h"
#include "ksmd.h"
#include "log.h"

#define STATE_ORIGINAL  "original"
/* What we have set, or were about to: a list for each. */
#define STATE_SET       "set"

/*
 * In the order in which they are set; they are restored the other way round.
 * An active advisor refuses pages_to_scan, so it goes first and comes back
 * last; "run" starts ksmd last and stops it first.
 */
static const struct {
    const char *name;
    bool optional;              /* not in all kernels */
} ksmd_settings[KSMTUNED_KSMD_SETTINGS] = {
    [KSMTUNED_KSMD_ADVISOR_MODE] = { "advisor_mode", true },
    [KSMTUNED_KSMD_SMART_SCAN] = { "smart_scan", true },
    [KSMTUNED_KSMD_USE_ZERO_PAGES] = { "use_zero_pages", true },
    [KSMTUNED_KSMD_PAGES_TO_SCAN] = { "pages_to_scan", false },
    [KSMTUNED_KSMD_SLEEP_MILLISECS] = { "sleep_millisecs", false },
    [KSMTUNED_KSMD_NICE] = { "nice", true },
    [KSMTUNED_KSMD_RUN] = { "run", false },
};

struct KsmtunedKsmd {
    char *sysfs_root;
    char *proc_root;
    char *state_path;
    pid_t process;              /* 0: it can't be seen */
};

static bool ksmd_is_nice(const char *name)
{
    return !strcmp(name, ksmd_settings[KSMTUNED_KSMD_NICE].name);
}

static char *ksmd_get_nice(const KsmtunedKsmd *ksmd)
{
    int nice;

    /* Elsewhere are the files of a host that is made up. */
    return ksmd->process && !strcmp(ksmd->sysfs_root, KSM_SYSFS_ROOT) &&
           ksm_ksmd_nice(ksmd->process, &nice) ?
           g_strdup_printf("%d", nice) : NULL;
}

static bool ksmd_set_nice(const KsmtunedKsmd *ksmd, const char *value,
                          GError **error)
{
    if (!ksm_ksmd_set_nice(ksmd->process, atoi(value))) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "can't set the priority of ksmd, process %d, to nice %s: "
                    "%s", (int)ksmd->process, value, g_strerror(errno));
        return false;
    }
    return true;
}

static char *ksmd_get(const KsmtunedKsmd *ksmd, const char *name)
{
    return ksmd_is_nice(name) ? ksmd_get_nice(ksmd) :
                                ksm_sysfs_get(ksmd->sysfs_root, name);
}

static uint64_t ksmd_get_number(const KsmtunedKsmd *ksmd, const char *name)
{
    int64_t number;

    ksm_sysfs_get_number(ksmd->sysfs_root, name, &number);
    return number;
}

static bool ksmd_set(const KsmtunedKsmd *ksmd, const char *name,
                     const char *value, GError **error)
{
    return ksmd_is_nice(name) ? ksmd_set_nice(ksmd, value, error) :
           ksm_sysfs_set(ksmd->sysfs_root, name, value, error);
}

KsmtunedKsmd *ksmtuned_ksmd_new(const char *sysfs_root, const char *proc_root,
                                const char *state_path)
{
    KsmtunedKsmd *ksmd = g_new0(KsmtunedKsmd, 1);

    ksmd->sysfs_root = g_strdup(sysfs_root);
    ksmd->proc_root = g_strdup(proc_root);
    ksmd->state_path = g_strdup(state_path);
    ksmd->process = ksm_ksmd_find(proc_root);
    return ksmd;
}

void ksmtuned_ksmd_free(KsmtunedKsmd *ksmd)
{
    if (!ksmd) {
        return;
    }
    g_free(ksmd->sysfs_root);
    g_free(ksmd->proc_root);
    g_free(ksmd->state_path);
    g_free(ksmd);
}

bool ksmtuned_ksmd_probe(KsmtunedKsmd *ksmd)
{
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(ksmd_settings); i++) {
        g_autofree char *path = g_build_filename(ksmd->sysfs_root,
                                                 ksmd_settings[i].name, NULL);

        if (access(path, R_OK | W_OK) == 0 ||
            (errno == ENOENT && ksmd_settings[i].optional)) {
            continue;
        }
        ksmtuned_log(KSMTUNED_LOG_WARNING,
                     "%s: %s: ksmd can't be controlled, engines only learn "
                     "their twins; %s", path, g_strerror(errno),
                     errno == ENOENT ?
                     "mount sysfs and boot a kernel with CONFIG_KSM=y" :
                     "run ksmtuned as root, with a writable /sys");
        return false;
    }
    return true;
}

bool ksmtuned_ksmd_runs(const KsmtunedKsmd *ksmd)
{
    g_autofree char *run = ksmd_get(ksmd, "run");

    return run && !strcmp(run, "1");
}

void ksmtuned_ksmd_read(KsmtunedKsmd *ksmd, KsmtunedKsmdReadings *readings)
{
    g_autofree char *scanned = ksmd_get(ksmd, "pages_scanned");
    bool cpu_known = ksmd->process &&
                     ksm_ksmd_cpu_ns(ksmd->proc_root, ksmd->process,
                                     &readings->cpu_ns);

    if (!cpu_known) {
        /* During a boost ksmd does nothing but run. */
        readings->cpu_ns = g_get_monotonic_time() * 1000;
    }
    /* pages_scanned exists since Linux 6.6. */
    readings->progress_known = scanned || cpu_known;
    readings->progress = scanned ? g_ascii_strtoull(scanned, NULL, 10) :
                         cpu_known ? readings->cpu_ns : 0;
    readings->runs = ksmtuned_ksmd_runs(ksmd);
    readings->full_scans = ksmd_get_number(ksmd, "full_scans");
    readings->merged_pages = ksmd_get_number(ksmd, "pages_sharing") +
                             ksmd_get_number(ksmd, "ksm_zero_pages");
}

bool ksmtuned_ksmd_is_changed(const KsmtunedKsmd *ksmd)
{
    return g_file_test(ksmd->state_path, G_FILE_TEST_EXISTS);
}

static GKeyFile *ksmd_load(const KsmtunedKsmd *ksmd, GError **error)
{
    g_autoptr(GKeyFile) state = g_key_file_new();

    if (!g_key_file_load_from_file(state, ksmd->state_path, G_KEY_FILE_NONE,
                                   error)) {
        g_prefix_error(error, "can't read the state file %s, remove it and "
                       "check the settings in %s: ", ksmd->state_path,
                       ksmd->sysfs_root);
        return NULL;
    }
    return g_steal_pointer(&state);
}

/*
 * Note that @name, now @value, is to be @wanted.  The value that it has now
 * stays in the list if it is of ours: the write may never come about.
 */
static void ksmd_note(GKeyFile *state, const char *name, const char *value,
                      const char *wanted)
{
    const char *values[] = { wanted, value };
    g_auto(GStrv) ours = g_key_file_get_string_list(state, STATE_SET, name,
                                                    NULL, NULL);
    bool both = ours && strcmp(value, wanted) &&
                g_strv_contains((const char *const *)ours, value);

    if (!g_key_file_has_key(state, STATE_ORIGINAL, name, NULL)) {
        g_key_file_set_string(state, STATE_ORIGINAL, name, value);
    }
    g_key_file_set_string_list(state, STATE_SET, name, values,
                               both ? 2 : 1);
}

/* Write to the state file what is to be changed, and what it was. */
static bool ksmd_save(const KsmtunedKsmd *ksmd, const KsmtunedKsmdPlan *plan,
                      GError **error)
{
    g_autoptr(GKeyFile) state = NULL;
    g_autofree char *before = NULL;
    g_autofree char *text = NULL;
    size_t i;

    /* Where a restore failed, the file still has the original ones. */
    state = ksmtuned_ksmd_is_changed(ksmd) ? ksmd_load(ksmd, error) :
                                             g_key_file_new();
    if (!state) {
        return false;
    }
    before = g_key_file_to_data(state, NULL, NULL);
    for (i = 0; i < KSMTUNED_KSMD_SETTINGS; i++) {
        g_autofree char *value = NULL;

        if (!plan->values[i]) {
            continue;
        }
        value = ksmd_get(ksmd, ksmd_settings[i].name);
        if (value) {
            ksmd_note(state, ksmd_settings[i].name, value, plan->values[i]);
        } else if (!ksmd_settings[i].optional) {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT,
                        "can't read %s/%s", ksmd->sysfs_root,
                        ksmd_settings[i].name);
            return false;
        }
    }
    text = g_key_file_to_data(state, NULL, NULL);
    return !strcmp(text, before) ||
           g_file_set_contents_full(ksmd->state_path, text, -1,
                                    G_FILE_SET_CONTENTS_CONSISTENT |
                                    G_FILE_SET_CONTENTS_DURABLE, 0600, error);
}

bool ksmtuned_ksmd_apply(KsmtunedKsmd *ksmd, const KsmtunedKsmdPlan *plan,
                         GError **error)
{
    size_t i;

    if (!ksmd_save(ksmd, plan, error)) {
        return false;
    }
    for (i = 0; i < KSMTUNED_KSMD_SETTINGS; i++) {
        g_autofree char *value = plan->values[i] ?
                                 ksmd_get(ksmd, ksmd_settings[i].name) : NULL;

        if (!value || !strcmp(value, plan->values[i])) {
            continue;
        }
        if (!ksmd_set(ksmd, ksmd_settings[i].name, plan->values[i], error)) {
            g_autoptr(GError) undo = NULL;

            if (!ksmtuned_ksmd_restore(ksmd, &undo)) {
                ksmtuned_log(KSMTUNED_LOG_ERROR, "%s", undo->message);
            }
            return false;
        }
    }
    return true;
}

static bool ksmd_restore_setting(const KsmtunedKsmd *ksmd, GKeyFile *state,
                                 const char *name, GError **error)
{
    g_autofree char *value = ksmd_get(ksmd, name);
    g_autofree char *original = g_key_file_get_string(state, STATE_ORIGINAL,
                                                      name, NULL);
    g_auto(GStrv) ours = g_key_file_get_string_list(state, STATE_SET, name,
                                                    NULL, NULL);

    if (!value || !original || !ours || !strcmp(value, original) ||
        !g_strv_contains((const char *const *)ours, value)) {
        return true;
    }
    /* It was stopped.  Writing 2 again would unmerge all pages. */
    return ksmd_set(ksmd, name, !strcmp(name, "run") &&
                    !strcmp(original, "2") ? "0" : original, error);
}

bool ksmtuned_ksmd_restore(KsmtunedKsmd *ksmd, GError **error)
{
    g_autoptr(GKeyFile) state = ksmd_load(ksmd, error);
    size_t i;
    bool ok = true;

    if (!state) {
        return false;
    }
    for (i = KSMTUNED_KSMD_SETTINGS; i-- > 0;) {
        /* Go on after an error: restore as much as can be. */
        if (!ksmd_restore_setting(ksmd, state, ksmd_settings[i].name,
                                  ok ? error : NULL)) {
            ok = false;
        }
    }
    if (ok && g_unlink(ksmd->state_path) < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "can't remove the state file %s: %s", ksmd->state_path,
                    g_strerror(errno));
        ok = false;
    }
    return ok;
}
