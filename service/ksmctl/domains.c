/*
 * ksmctl domains
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Those of ksmtuned are named by its rules, and each ksmfs is one: the guests
 * that have mapped files of it, seen by the device that its mount has.
 */
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "host/mappings.h"
#include "host/mounts.h"
#include "json.h"
#include "message.h"
#include "printable.h"
#include "snapshot/guests.h"
#include "text.h"

typedef struct Domain {
    const KsmMount *mount;      /* NULL: one of ksmtuned */
    const char *name;           /* of that; NULL: it has no engine, or is old */
    GPtrArray *guests;          /* of KsmGuest */
} Domain;

typedef struct Domains {
    KsmEngines *engines;
    GPtrArray *guests;          /* of KsmGuest: all */
    GPtrArray *mounts;          /* of KsmMount */
    GPtrArray *list;            /* of Domain */
    GPtrArray *unread;          /* those of whom no mappings are known */
} Domains;

static void domain_free(Domain *domain)
{
    g_ptr_array_unref(domain->guests);
    g_free(domain);
}

static void domains_add(Domains *domains, const KsmMount *mount,
                        const char *name)
{
    Domain *domain = g_new0(Domain, 1);

    domain->mount = mount;
    domain->name = name;
    domain->guests = g_ptr_array_new();
    g_ptr_array_add(domains->list, domain);
}

static void domain_add_guest(Domain *domain, KsmGuest *guest,
                             const char *mappings)
{
    bool is_in = domain->mount ?
                 mappings && ksm_mappings_have_device(mappings,
                                                      domain->mount->device) :
                 guest->engine && g_strcmp0(guest->engine->domain,
                                            domain->name) == 0;

    if (is_in) {
        g_ptr_array_add(domain->guests, guest);
    }
}

static void domains_add_guest(Domains *domains, KsmGuest *guest,
                              const KsmHost *host)
{
    g_autofree char *mappings =
        domains->mounts->len ? ksm_mappings_read(host->proc_root,
                                                 ksm_guest_pid(guest)) :
                               NULL;
    guint i;

    if (!mappings && domains->mounts->len) {
        g_ptr_array_add(domains->unread, guest);
    }
    for (i = 0; i < domains->list->len; i++) {
        domain_add_guest(g_ptr_array_index(domains->list, i), guest, mappings);
    }
}

static int domain_compare_names(gconstpointer a, gconstpointer b)
{
    return g_strcmp0(*(char *const *)a, *(char *const *)b);
}

static gboolean domain_names_equal(gconstpointer a, gconstpointer b)
{
    return g_strcmp0(a, b) == 0;
}

static void domains_add_of_ksmtuned(Domains *domains)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    guint i;

    for (i = 0; i < domains->engines->list->len; i++) {
        KsmEngine *engine = g_ptr_array_index(domains->engines->list, i);

        if (!g_ptr_array_find_with_equal_func(names, engine->domain,
                                              domain_names_equal, NULL)) {
            g_ptr_array_add(names, engine->domain);
        }
    }
    g_ptr_array_sort(names, domain_compare_names);
    for (i = 0; i < names->len; i++) {
        domains_add(domains, NULL, g_ptr_array_index(names, i));
    }
    if (!names->len) {
        domains_add(domains, NULL, NULL);
    }
}

static void domains_find(Domains *domains, const KsmHost *host)
{
    guint i;

    domains->engines = ksm_engines_read(host);
    domains->guests = ksm_guests_find(host, domains->engines);
    domains->mounts = ksm_mounts_find(host->ksmfs_root, host->proc_root);
    domains->list =
        g_ptr_array_new_with_free_func((GDestroyNotify)domain_free);
    domains->unread = g_ptr_array_new();
    domains_add_of_ksmtuned(domains);
    for (i = 0; i < domains->mounts->len; i++) {
        domains_add(domains, g_ptr_array_index(domains->mounts, i), NULL);
    }
    for (i = 0; i < domains->guests->len; i++) {
        domains_add_guest(domains, g_ptr_array_index(domains->guests, i),
                          host);
    }
}

static void domains_clear(Domains *domains)
{
    g_ptr_array_unref(domains->unread);
    g_ptr_array_unref(domains->list);
    g_ptr_array_unref(domains->mounts);
    g_ptr_array_unref(domains->guests);
    ksm_engines_free(domains->engines);
}

static void text_title(const Domain *domain, const Domains *domains)
{
    const KsmMount *mount = domain->mount;
    g_autofree char *where = NULL;

    if (mount) {
        where = ksmctl_printable(mount->path ? mount->path : mount->device);
        printf("ksmfs on %s\n", where);
    } else if (domain->name) {
        where = ksmctl_printable(domain->name);
        printf("ksmtuned, domain %s\n", where);
    } else {
        where = ksmctl_text_engines(domains->engines);
        printf("ksmtuned, engines: %s\n", where);
    }
}

static void text_guests(const GPtrArray *guests)
{
    guint i;

    for (i = 0; i < guests->len; i++) {
        KsmGuest *guest = g_ptr_array_index(guests, i);
        g_autofree char *name = ksmctl_text_name(ksm_guest_name(guest));

        printf("%8ld  %s\n", (long)ksm_guest_pid(guest), name);
    }
}

static void text_domain(const Domain *domain, const Domains *domains)
{
    text_title(domain, domains);
    text_guests(domain->guests);
}

static void text_unread(const GPtrArray *unread)
{
    if (!unread->len) {
        return;
    }
    printf("\nIn which ksmfs these are is not known, as their /proc/PID/maps "
           "can't be read:\nrun ksmctl as root\n");
    text_guests(unread);
}

static void domains_text(const Domains *domains)
{
    guint i;

    for (i = 0; i < domains->list->len; i++) {
        if (i) {
            putchar('\n');
        }
        text_domain(g_ptr_array_index(domains->list, i), domains);
    }
    text_unread(domains->unread);
}

static void json_guests(KsmctlJson *json, const char *name,
                        const GPtrArray *guests)
{
    guint i;

    ksmctl_json_open(json, name, '[');
    for (i = 0; i < guests->len; i++) {
        KsmGuest *guest = g_ptr_array_index(guests, i);
        const char *called = ksm_guest_name(guest);

        ksmctl_json_open(json, NULL, '{');
        ksmctl_json_figure(json, "pid",
                           (KsmFigure) { true, ksm_guest_pid(guest) });
        if (called) {
            ksmctl_json_string(json, "name", called);
        }
        ksmctl_json_close(json, '}');
    }
    ksmctl_json_close(json, ']');
}

static void json_domain(KsmctlJson *json, const Domain *domain)
{
    const KsmMount *mount = domain->mount;

    ksmctl_json_open(json, NULL, '{');
    ksmctl_json_string(json, "of", mount ? "ksmfs" : "ksmtuned");
    if (mount) {
        ksmctl_json_string(json, "device", mount->device);
    }
    if (domain->name) {
        ksmctl_json_string(json, "name", domain->name);
    }
    if (mount && mount->path) {
        ksmctl_json_string(json, "path", mount->path);
    }
    json_guests(json, "guests", domain->guests);
    ksmctl_json_close(json, '}');
}

static void domains_json(const Domains *domains)
{
    KsmctlJson json;
    guint i;

    ksmctl_json_init(&json);
    ksmctl_json_open(&json, NULL, '{');
    if (domains->engines->fault) {
        ksmctl_json_string(&json, "engines_fault", domains->engines->fault);
    }
    ksmctl_json_open(&json, "domains", '[');
    for (i = 0; i < domains->list->len; i++) {
        json_domain(&json, g_ptr_array_index(domains->list, i));
    }
    ksmctl_json_close(&json, ']');
    if (domains->unread->len) {
        json_guests(&json, "unknown", domains->unread);
    }
    ksmctl_json_close(&json, '}');
    puts(json.text->str);
    ksmctl_json_clear(&json);
}

int ksmctl_domains(const KsmctlCommand *command, KsmHost *host,
                   int argc, char **argv)
{
    gboolean json = FALSE;
    const GOptionEntry entries[] = {
        { "json", 0, 0, G_OPTION_ARG_NONE, &json,
          "Print a JSON object, on one line", NULL },
        { NULL }
    };
    Domains domains;

    if (!ksmctl_options_parse(command, host, entries, NULL, &argc, &argv)) {
        return KSMCTL_USAGE;
    }
    domains_find(&domains, host);
    if (json) {
        domains_json(&domains);
    } else {
        domains_text(&domains);
    }
    domains_clear(&domains);
    return ksmctl_flush() ? EXIT_SUCCESS : EXIT_FAILURE;
}
