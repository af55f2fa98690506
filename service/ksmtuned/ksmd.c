/*
 * The kernel's ksmd, through /sys/kernel/mm/ksm
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Settings are changed only for the time of a boost.  The original ones are
 * kept in a state file that is there before the first change and goes after
 * the last one was undone: whoever finds it knows what to put back.  A setting
 * that no longer has the value of the boost was changed by someone else, whose
 * wish counts.
 *
 * max_page_sharing and merge_across_nodes are never touched: the kernel allows
 * that only while nothing is merged.
 */
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "host/ksmd-cpu.h"
#include "host/sysfs.h"
#include "ksmd.h"
#include "log.h"

#define STATE_GROUP     "original"

typedef struct KsmdSetting {
    const char *name;
    const char *boost;          /* its value while ksmd runs hard */
    bool optional;              /* not in all kernels */
} KsmdSetting;

/*
 * In the order in which a boost sets them; they are restored the other way
 * round.  An active advisor refuses pages_to_scan, so it goes first and comes
 * back last; "run" starts ksmd last and stops it first.
 */
static const KsmdSetting ksmd_settings[] = {
    { "advisor_mode", "none", true },
    { "smart_scan", "0", true },
    { "use_zero_pages", "1", true },
    { "pages_to_scan", "4096", false },
    { "sleep_millisecs", "0", false },
    { "run", "1", false },
};

struct KsmtunedKsmd {
    char *sysfs_root;
    char *proc_root;
    char *state_path;
    char *schedstat_path;       /* of ksmd, NULL if not found */
    bool schedstat_sought;
};

static char *ksmd_get(const KsmtunedKsmd *ksmd, const char *name)
{
    return ksm_sysfs_get(ksmd->sysfs_root, name);
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
    return ksm_sysfs_set(ksmd->sysfs_root, name, value, error);
}

KsmtunedKsmd *ksmtuned_ksmd_new(const char *sysfs_root, const char *proc_root,
                                const char *state_path)
{
    KsmtunedKsmd *ksmd = g_new0(KsmtunedKsmd, 1);

    ksmd->sysfs_root = g_strdup(sysfs_root);
    ksmd->proc_root = g_strdup(proc_root);
    ksmd->state_path = g_strdup(state_path);
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
    g_free(ksmd->schedstat_path);
    g_free(ksmd);
}

bool ksmtuned_ksmd_probe(KsmtunedKsmd *ksmd)
{
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(ksmd_settings); i++) {
        const KsmdSetting *setting = &ksmd_settings[i];
        g_autofree char *path = g_build_filename(ksmd->sysfs_root,
                                                 setting->name, NULL);

        if (access(path, R_OK | W_OK) == 0 ||
            (errno == ENOENT && setting->optional)) {
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

static bool ksmd_cpu_ns(KsmtunedKsmd *ksmd, uint64_t *cpu_ns)
{
    if (!ksmd->schedstat_sought) {
        ksmd->schedstat_sought = true;
        ksmd->schedstat_path = ksm_ksmd_find_schedstat(ksmd->proc_root);
    }
    return ksmd->schedstat_path &&
           ksm_ksmd_cpu_ns(ksmd->schedstat_path, cpu_ns);
}

bool ksmtuned_ksmd_runs(const KsmtunedKsmd *ksmd)
{
    g_autofree char *run = ksmd_get(ksmd, "run");

    return run && !strcmp(run, "1");
}

void ksmtuned_ksmd_read(KsmtunedKsmd *ksmd, KsmtunedKsmdReadings *readings)
{
    g_autofree char *scanned = ksmd_get(ksmd, "pages_scanned");
    bool cpu_known = ksmd_cpu_ns(ksmd, &readings->cpu_ns);

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

/* Write the state file: every setting as it is now. */
static bool ksmd_save(const KsmtunedKsmd *ksmd, GError **error)
{
    g_autoptr(GKeyFile) state = g_key_file_new();
    g_autofree char *text = NULL;
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(ksmd_settings); i++) {
        const KsmdSetting *setting = &ksmd_settings[i];
        g_autofree char *value = ksmd_get(ksmd, setting->name);

        if (value) {
            g_key_file_set_string(state, STATE_GROUP, setting->name, value);
        } else if (!setting->optional) {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT,
                        "can't read %s/%s", ksmd->sysfs_root, setting->name);
            return false;
        }
    }
    text = g_key_file_to_data(state, NULL, NULL);
    return g_file_set_contents_full(ksmd->state_path, text, -1,
                                    G_FILE_SET_CONTENTS_CONSISTENT |
                                    G_FILE_SET_CONTENTS_DURABLE, 0600, error);
}

bool ksmtuned_ksmd_boost(KsmtunedKsmd *ksmd, GError **error)
{
    size_t i;

    /* Where a restore failed, the file still has the original ones. */
    if (!ksmtuned_ksmd_is_changed(ksmd) && !ksmd_save(ksmd, error)) {
        return false;
    }
    for (i = 0; i < G_N_ELEMENTS(ksmd_settings); i++) {
        const KsmdSetting *setting = &ksmd_settings[i];
        g_autofree char *value = ksmd_get(ksmd, setting->name);

        if (!value || !strcmp(value, setting->boost)) {
            continue;
        }
        if (!ksmd_set(ksmd, setting->name, setting->boost, error)) {
            g_autoptr(GError) undo = NULL;

            if (!ksmtuned_ksmd_restore(ksmd, &undo)) {
                ksmtuned_log(KSMTUNED_LOG_ERROR, "%s", undo->message);
            }
            return false;
        }
    }
    return true;
}

static bool ksmd_restore_setting(const KsmtunedKsmd *ksmd,
                                 const KsmdSetting *setting,
                                 const char *original, GError **error)
{
    g_autofree char *value = ksmd_get(ksmd, setting->name);

    if (!value || strcmp(value, setting->boost) ||
        !strcmp(original, setting->boost)) {
        return true;
    }
    if (!strcmp(setting->name, "run") && !strcmp(original, "2")) {
        /* It was stopped.  Writing 2 again would unmerge all pages. */
        original = "0";
    }
    return ksmd_set(ksmd, setting->name, original, error);
}

bool ksmtuned_ksmd_restore(KsmtunedKsmd *ksmd, GError **error)
{
    g_autoptr(GKeyFile) state = g_key_file_new();
    size_t i;
    bool ok = true;

    if (!g_key_file_load_from_file(state, ksmd->state_path, G_KEY_FILE_NONE,
                                   error)) {
        g_prefix_error(error, "can't read the state file %s, remove it and "
                       "check the settings in %s: ", ksmd->state_path,
                       ksmd->sysfs_root);
        return false;
    }
    for (i = G_N_ELEMENTS(ksmd_settings); i-- > 0;) {
        const KsmdSetting *setting = &ksmd_settings[i];
        g_autofree char *original = NULL;

        original = g_key_file_get_string(state, STATE_GROUP, setting->name,
                                         NULL);
        /* Go on after an error: restore as much as can be. */
        if (original && !ksmd_restore_setting(ksmd, setting, original,
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
