/*
 * What ksmtuned.conf(5) sets
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib.h>
#include <string.h>

#include "host/assignments.h"
#include "host/number.h"
#include "log.h"
#include "settings.h"

/* So that no product of two settings and the size of memory can overflow. */
#define SETTINGS_NUMBER_MAX     1000000000

/* In percent of one. */
#define SETTINGS_CPU_MAX        1000000

typedef struct SettingsNumber {
    const char *key;
    size_t offset;              /* of an int64_t in KsmtunedSettings */
    int64_t value;              /* by default */
    int64_t least;
    int64_t most;
} SettingsNumber;

#define NUMBER(key, field, value, least, most) \
    { key, G_STRUCT_OFFSET(KsmtunedSettings, field), value, least, most }

static const SettingsNumber settings_numbers[] = {
    NUMBER("KSM_MONITOR_INTERVAL", monitor_interval_s, 60, 1, 86400),
    NUMBER("KSM_MAX_KERNEL_PAGES", max_kernel_pages, 0, 0, G_MAXINT64),
    NUMBER("KSM_RELEASE_AFTER", release_after_s, 600, 0, 86400),
    NUMBER("KSM_ENGINES_CPU", engines_cpu, -1, 0, SETTINGS_CPU_MAX),
    NUMBER("KSM_SLEEP_MSEC", classic.sleep_msec, 10, 0, 1000000),
    NUMBER("KSM_NPAGES_BOOST", classic.npages_boost, 300,
           -SETTINGS_NUMBER_MAX, SETTINGS_NUMBER_MAX),
    NUMBER("KSM_NPAGES_DECAY", classic.npages_decay, -50,
           -SETTINGS_NUMBER_MAX, SETTINGS_NUMBER_MAX),
    NUMBER("KSM_NPAGES_MIN", classic.npages_min, 64, 1, SETTINGS_NUMBER_MAX),
    NUMBER("KSM_NPAGES_MAX", classic.npages_max, 1250, 1, SETTINGS_NUMBER_MAX),
    NUMBER("KSM_THRES_COEF", classic.thres_coef, 20, 0, 100),
    NUMBER("KSM_THRES_CONST", classic.thres_const, 2048, 0,
           SETTINGS_NUMBER_MAX),
};

static const struct {
    const char *name;
    KsmtunedPolicyChoice choice;
    bool strict;
} settings_policies[] = {
    { "auto", KSMTUNED_POLICY_AUTO, false },
    { "demand", KSMTUNED_POLICY_DEMAND, false },
    { "classic", KSMTUNED_POLICY_CLASSIC, false },
    { "classic-strict", KSMTUNED_POLICY_CLASSIC, true },
    { "pressure", KSMTUNED_POLICY_PRESSURE, false },
};

/* Where values come from, for what is said of them. */
typedef struct SettingsSource {
    KsmtunedSettings *settings;
    const char *path;           /* NULL: the environment */
} SettingsSource;

static void G_GNUC_PRINTF(3, 4)
settings_warn(const SettingsSource *source, unsigned line, const char *format,
              ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, format);
    text = g_strdup_vprintf(format, ap);
    va_end(ap);
    if (source->path) {
        ksmtuned_log(KSMTUNED_LOG_WARNING, "%s:%u: %s", source->path, line,
                     text);
    } else {
        ksmtuned_log(KSMTUNED_LOG_WARNING, "environment: %s", text);
    }
}

static int64_t *settings_number(KsmtunedSettings *settings,
                                const SettingsNumber *number)
{
    return G_STRUCT_MEMBER_P(settings, number->offset);
}

static void settings_set_number(const SettingsSource *source,
                                const SettingsNumber *number,
                                const char *value, unsigned line)
{
    int64_t parsed;

    if (!ksm_number_parse(value, number->least, number->most, &parsed)) {
        int64_t now = *settings_number(source->settings, number);
        g_autofree char *stays = now < number->least ? g_strdup("unset") :
            g_strdup_printf("%" G_GINT64_FORMAT, now);

        settings_warn(source, line, "%s='%s' is not from %" G_GINT64_FORMAT
                      " to %" G_GINT64_FORMAT ": it stays %s", number->key,
                      value, number->least, number->most, stays);
        return;
    }
    *settings_number(source->settings, number) = parsed;
}

static void settings_set_policy(const SettingsSource *source,
                                const char *value, unsigned line)
{
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(settings_policies); i++) {
        if (!strcmp(value, settings_policies[i].name)) {
            source->settings->policy = settings_policies[i].choice;
            source->settings->classic.strict = settings_policies[i].strict;
            return;
        }
    }
    settings_warn(source, line, "KSM_POLICY='%s' is none of auto, demand, "
                  "classic, classic-strict and pressure: ignored", value);
}

/* False: there is no such key. */
static bool settings_set(const SettingsSource *source, const char *key,
                         const char *value, unsigned line)
{
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(settings_numbers); i++) {
        if (!strcmp(key, settings_numbers[i].key)) {
            if (value[0]) {
                settings_set_number(source, &settings_numbers[i], value, line);
            }
            return true;
        }
    }
    if (!strcmp(key, "KSM_POLICY")) {
        if (value[0]) {
            settings_set_policy(source, value, line);
        }
    } else if (!strcmp(key, "LOGFILE")) {
        g_free(source->settings->logfile);
        source->settings->logfile = value[0] ? g_strdup(value) : NULL;
    } else if (!strcmp(key, "DEBUG")) {
        /* As for a shell: anything, even 0. */
        source->settings->debug = value[0];
    } else {
        return false;
    }
    return true;
}

static void settings_assign(const char *key, const char *value, unsigned line,
                            void *opaque)
{
    const SettingsSource *source = opaque;

    if (!settings_set(source, key, value, line)) {
        settings_warn(source, line, "unknown key '%s': ignored", key);
    }
}

static void settings_no_assignment(const char *text, unsigned line,
                                   const char *reason, void *opaque)
{
    settings_warn(opaque, line, "%s: '%s' is ignored", reason, text);
}

static void settings_read_environment(KsmtunedSettings *settings)
{
    const SettingsSource source = { settings, NULL };
    const char *others[] = { "KSM_POLICY", "LOGFILE", "DEBUG" };
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(settings_numbers); i++) {
        const char *value = g_getenv(settings_numbers[i].key);

        if (value) {
            settings_set(&source, settings_numbers[i].key, value, 0);
        }
    }
    for (i = 0; i < G_N_ELEMENTS(others); i++) {
        const char *value = g_getenv(others[i]);

        if (value) {
            settings_set(&source, others[i], value, 0);
        }
    }
}

void ksmtuned_settings_read(KsmtunedSettings *settings, const char *path)
{
    SettingsSource source = { settings, path };
    g_autoptr(GError) error = NULL;
    size_t i;

    *settings = (KsmtunedSettings) { 0 };
    for (i = 0; i < G_N_ELEMENTS(settings_numbers); i++) {
        *settings_number(settings, &settings_numbers[i]) =
            settings_numbers[i].value;
    }
    settings_read_environment(settings);
    if (ksm_assignments_read(path, settings_assign, settings_no_assignment,
                             &source, &error)) {
        return;
    }
    if (g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
        ksmtuned_log(KSMTUNED_LOG_INFO, "%s is not there: defaults are used",
                     path);
    } else {
        ksmtuned_log(KSMTUNED_LOG_WARNING, "%s: defaults are used until it "
                     "can be read and ksmtuned is started again",
                     error->message);
    }
}

void ksmtuned_settings_clear(KsmtunedSettings *settings)
{
    g_clear_pointer(&settings->logfile, g_free);
}
