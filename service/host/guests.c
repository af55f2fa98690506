/*
 * The QEMU processes of the host, from /proc
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdio.h>
#include <string.h>

#include "guests.h"
#include "memory.h"

static char *guest_file(const char *proc_root, const char *pid,
                        const char *name, gsize *size)
{
    g_autofree char *path = g_build_filename(proc_root, pid, name, NULL);
    char *text = NULL;

    g_file_get_contents(path, &text, size, NULL);
    return text;
}

static bool guest_is_qemu(const char *program)
{
    g_autofree char *name = g_path_get_basename(program);

    return g_str_has_prefix(name, "qemu-system") ||
           !strcmp(name, "qemu-kvm") || !strcmp(name, "kvm");
}

/* The next of the arguments that /proc has, each of which ends with NUL. */
static const char *guest_next_argument(const char *argument, const char *end)
{
    argument += strlen(argument) + 1;
    return argument < end ? argument : NULL;
}

/* The name in "guest=NAME,debug-threads=on" or "NAME,process=..." */
static char *guest_name_of_option(const char *option)
{
    g_auto(GStrv) parts = g_strsplit(option, ",", -1);
    char **part;

    for (part = parts; *part; part++) {
        if (g_str_has_prefix(*part, "guest=")) {
            return g_strdup(*part + strlen("guest="));
        }
    }
    return parts[0] && !strchr(parts[0], '=') ? g_strdup(parts[0]) : NULL;
}

static char *guest_name(const char *arguments, const char *end)
{
    const char *argument;

    for (argument = arguments; argument;
         argument = guest_next_argument(argument, end)) {
        if (!strcmp(argument, "-name") || !strcmp(argument, "--name")) {
            argument = guest_next_argument(argument, end);
            return argument ? guest_name_of_option(argument) : NULL;
        }
    }
    return NULL;
}

static char *guest_command_line(const char *arguments, gsize size)
{
    char *text = g_malloc(size + 1);
    gsize i;

    for (i = 0; i < size; i++) {
        text[i] = arguments[i] ? arguments[i] : ' ';
    }
    text[size] = '\0';
    return g_strchomp(text);
}

/* "size resident shared ...", in pages. */
static void guest_read_resident(KsmGuest *guest, const char *proc_root,
                                const char *pid)
{
    g_autofree char *text = guest_file(proc_root, pid, "statm", NULL);
    unsigned long pages = 0;

    guest->resident_known = text && sscanf(text, "%*u %lu", &pages) == 1;
    guest->resident_kib = (uint64_t)pages * ksm_page_size() / 1024;
}

static void guest_merging_line(KsmGuestMerging *merging, const char *name,
                               const char *value)
{
    if (!strcmp(name, "ksm_merging_pages")) {
        merging->known = true;
        merging->merging_pages = g_ascii_strtoull(value, NULL, 10);
    } else if (!strcmp(name, "ksm_zero_pages")) {
        merging->zero_known = true;
        merging->zero_pages = g_ascii_strtoull(value, NULL, 10);
    } else if (!strcmp(name, "ksm_process_profit")) {
        merging->profit_known = true;
        merging->profit_bytes = g_ascii_strtoll(value, NULL, 10);
    }
}

/* In lines of ksm_stat; older kernels have but a file with the first of it. */
static KsmGuestMerging guest_merging(const char *proc_root, const char *pid)
{
    KsmGuestMerging merging = { 0 };
    g_autofree char *text = guest_file(proc_root, pid, "ksm_stat", NULL);
    g_autofree char *pages = NULL;
    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
    char **line;

    for (line = lines; *line; line++) {
        char *space = strchr(*line, ' ');

        if (space) {
            *space = '\0';
            guest_merging_line(&merging, *line, space + 1);
        }
    }
    if (!merging.known) {
        pages = guest_file(proc_root, pid, "ksm_merging_pages", NULL);
        if (pages) {
            guest_merging_line(&merging, "ksm_merging_pages", pages);
        }
    }
    return merging;
}

static KsmGuest *guest_read(const char *proc_root, const char *pid)
{
    gsize size = 0;
    g_autofree char *arguments = guest_file(proc_root, pid, "cmdline", &size);
    KsmGuest *guest;

    /* A kernel thread has none. */
    if (!arguments || !size || !guest_is_qemu(arguments)) {
        return NULL;
    }
    guest = g_new0(KsmGuest, 1);
    guest->pid = g_ascii_strtoull(pid, NULL, 10);
    guest->name = guest_name(arguments, arguments + size);
    guest->command_line = guest_command_line(arguments, size);
    guest_read_resident(guest, proc_root, pid);
    guest->merging = guest_merging(proc_root, pid);
    return guest;
}

void ksm_guest_free(KsmGuest *guest)
{
    g_free(guest->name);
    g_free(guest->command_line);
    g_free(guest);
}

static int guest_compare(gconstpointer a, gconstpointer b)
{
    const KsmGuest *one = *(KsmGuest *const *)a;
    const KsmGuest *other = *(KsmGuest *const *)b;

    return (one->pid > other->pid) - (one->pid < other->pid);
}

GPtrArray *ksm_guests_find(const char *proc_root)
{
    GPtrArray *guests =
        g_ptr_array_new_with_free_func((GDestroyNotify)ksm_guest_free);
    g_autoptr(GDir) proc = g_dir_open(proc_root, 0, NULL);
    const char *pid;

    while (proc && (pid = g_dir_read_name(proc))) {
        KsmGuest *guest = g_ascii_isdigit(pid[0]) ?
                          guest_read(proc_root, pid) : NULL;

        if (guest) {
            g_ptr_array_add(guests, guest);
        }
    }
    g_ptr_array_sort(guests, guest_compare);
    return guests;
}
