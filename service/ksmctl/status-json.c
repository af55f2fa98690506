/*
 * ksmctl status for programs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdio.h>

#include "host/memory.h"
#include "json.h"
#include "status.h"

static void json_host(KsmctlJson *json, const KsmSnapshot *snapshot)
{
    KsmFigure page_size = { true, ksm_page_size() };

    ksmctl_json_figure(json, "page_size", page_size);
    if (snapshot->run.known) {
        ksmctl_json_boolean(json, "ksmd_running", snapshot->run.value == 1);
    }
    ksmctl_json_figure(json, "saved_bytes", snapshot->saved_bytes);
    ksmctl_json_figure(json, "profit_bytes", snapshot->profit_bytes);
    if (snapshot->percent_known) {
        ksmctl_json_decimal(json, "ksmd_cpu_percent", snapshot->ksmd_percent);
    }
    ksmctl_json_figure(json, "ksmd_cpu_ns", snapshot->ksmd_cpu_ns);
    if (snapshot->engines->fault) {
        ksmctl_json_string(json, "engines_fault", snapshot->engines->fault);
    }
}

static void json_rate(KsmctlJson *json, const char *name, KsmRate rate)
{
    if (rate.known) {
        ksmctl_json_decimal(json, name, rate.value);
    }
}

static void json_engine_figures(KsmctlJson *json, const KsmEngine *engine)
{
    guint i;

    if (engine->backends) {
        ksmctl_json_open(json, "backends", '[');
        for (i = 0; i < engine->backends->len; i++) {
            ksmctl_json_string(json, NULL,
                               g_ptr_array_index(engine->backends, i));
        }
        ksmctl_json_close(json, ']');
    }
    json_rate(json, "cow_breaks_per_second", engine->cow_breaks_per_second);
    json_rate(json, "cpu_percent", engine->cpu_percent);
    for (i = 0; i < KSM_ENGINE_FIGURES; i++) {
        ksmctl_json_figure(json, ksm_engine_figure_names[i],
                           engine->figures[i]);
    }
    if (engine->domain) {
        ksmctl_json_string(json, "domain", engine->domain);
    }
    if (engine->limit) {
        ksmctl_json_string(json, "limit", engine->limit);
    }
}

/* Nothing where it isn't known whether there is one. */
static void json_engine(KsmctlJson *json, const KsmGuest *guest)
{
    if (!guest->engine && !guest->engine_state) {
        return;
    }
    ksmctl_json_open(json, "engine", '{');
    if (guest->engine_state) {
        ksmctl_json_string(json, "state", guest->engine_state);
    }
    if (guest->engine) {
        json_engine_figures(json, guest->engine);
    }
    ksmctl_json_close(json, '}');
}

static void json_guest(KsmctlJson *json, const KsmGuest *guest)
{
    const KsmProcessMerging *merging = &guest->process->merging;
    const char *name = ksm_guest_name(guest);

    ksmctl_json_open(json, NULL, '{');
    ksmctl_json_figure(json, "pid",
                       (KsmFigure) { true, ksm_guest_pid(guest) });
    if (name) {
        ksmctl_json_string(json, "name", name);
    }
    ksmctl_json_figure(json, "resident_bytes", ksm_guest_resident(guest));
    ksmctl_json_figure(json, "saved_bytes", ksm_guest_saved(guest));
    ksmctl_json_figure(json, "profit_bytes", ksm_guest_profit(guest));
    ksmctl_json_figure(json, "ksm_merging_pages", (KsmFigure) {
                       merging->known, merging->merging_pages });
    ksmctl_json_figure(json, "ksm_zero_pages", (KsmFigure) {
                       merging->zero_known, merging->zero_pages });
    json_engine(json, guest);
    ksmctl_json_close(json, '}');
}

static void json_mount(KsmctlJson *json, const KsmMount *mount)
{
    ksmctl_json_open(json, NULL, '{');
    ksmctl_json_string(json, "device", mount->device);
    if (mount->path) {
        ksmctl_json_string(json, "path", mount->path);
    }
    ksmctl_json_figure(json, "allocated_bytes",
                       ksm_pages_bytes(mount->pages_allocated));
    ksmctl_json_figure(json, "used_bytes", ksm_pages_bytes(mount->pages_used));
    ksmctl_json_figure(json, "saved_bytes", ksm_mount_saved(mount));
    ksmctl_json_figure(json, "max_kernel_pages", mount->max_kernel_pages);
    ksmctl_json_close(json, '}');
}

/* Numbers are numbers; advisor_mode is none. */
static void json_values(KsmctlJson *json, const char *root)
{
    const KsmSysfsValue *value;

    for (value = ksm_sysfs_values; value->name; value++) {
        g_autofree char *text = ksm_sysfs_get(root, value->name);
        KsmFigure figure = ksm_sysfs_figure(root, value->name);

        if (figure.known) {
            ksmctl_json_figure(json, value->name, figure);
        } else if (text) {
            ksmctl_json_string(json, value->name, text);
        }
    }
}

void ksmctl_status_json(const KsmSnapshot *snapshot, const KsmHost *host)
{
    KsmctlJson json;
    guint i;

    ksmctl_json_init(&json);
    ksmctl_json_open(&json, NULL, '{');
    json_host(&json, snapshot);
    ksmctl_json_open(&json, "guests", '[');
    for (i = 0; i < snapshot->guests->len; i++) {
        json_guest(&json, g_ptr_array_index(snapshot->guests, i));
    }
    ksmctl_json_close(&json, ']');
    ksmctl_json_open(&json, "ksmfs", '[');
    for (i = 0; i < snapshot->mounts->len; i++) {
        json_mount(&json, g_ptr_array_index(snapshot->mounts, i));
    }
    ksmctl_json_close(&json, ']');
    ksmctl_json_open(&json, "values", '{');
    json_values(&json, host->sysfs_root);
    ksmctl_json_close(&json, '}');
    ksmctl_json_close(&json, '}');
    puts(json.text->str);
    ksmctl_json_clear(&json);
}
