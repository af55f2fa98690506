/*
 * The QEMU processes of the host, from /proc
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "processes.h"

static char *process_file(const char *proc_root, const char *pid,
                          const char *name, gsize *size)
{
    g_autofree char *path = g_build_filename(proc_root, pid, name, NULL);
    char *text = NULL;

    g_file_get_contents(path, &text, size, NULL);
    return text;
}

static bool process_is_qemu(const char *program)
{
    g_autofree char *name = g_path_get_basename(program);

    return g_str_has_prefix(name, "qemu-system") ||
           !strcmp(name, "qemu-kvm") || !strcmp(name, "kvm");
}

/* The next of the arguments that /proc has, each of which ends with NUL. */
static const char *process_next_argument(const char *argument, const char *end)
{
    argument += strlen(argument) + 1;
    return argument < end ? argument : NULL;
}

/* The name in "guest=NAME,debug-threads=on" or "NAME,process=..." */
static char *process_name_of_option(const char *option)
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

/* What follows -@option, or --@option, from @argument on; NULL: nothing. */
static const char *process_option(const char *argument, const char *end,
                                  const char *option)
{
    for (; argument; argument = process_next_argument(argument, end)) {
        if (argument[0] == '-' &&
            !strcmp(argument + (argument[1] == '-' ? 2 : 1), option)) {
            return process_next_argument(argument, end);
        }
    }
    return NULL;
}

static char *process_name(const char *arguments, const char *end)
{
    const char *option = process_option(arguments, end, "name");

    return option ? process_name_of_option(option) : NULL;
}

static char *process_uuid(const char *arguments, const char *end)
{
    const char *option = process_option(arguments, end, "uuid");

    return option && g_uuid_string_is_valid(option) ?
           g_ascii_strdown(option, -1) : NULL;
}

/* "ksm,id=..." or '{"qom-type": "ksm", ...}' */
static bool process_object_is_engine(const char *option)
{
    g_autofree char *json = NULL;
    g_auto(GStrv) words = NULL;

    if (option[0] != '{') {
        return g_str_has_prefix(option, "ksm,");
    }
    words = g_strsplit_set(option, " \t\r\n", -1);
    json = g_strjoinv(NULL, words);
    return strstr(json, "\"qom-type\":\"ksm\"") != NULL;
}

static bool process_has_engine(const char *arguments, const char *end)
{
    const char *option = arguments;

    while ((option = process_option(option, end, "object"))) {
        if (process_object_is_engine(option)) {
            return true;
        }
    }
    return false;
}

static char *process_command_line(const char *arguments, gsize size)
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
static void process_read_resident(KsmProcess *process, const char *proc_root,
                                  const char *pid)
{
    g_autofree char *text = process_file(proc_root, pid, "statm", NULL);
    unsigned long pages = 0;

    process->resident_known = text && sscanf(text, "%*u %lu", &pages) == 1;
    process->resident_kib = (uint64_t)pages * ksm_page_size() / 1024;
}

static void process_merging_line(KsmProcessMerging *merging, const char *name,
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
static KsmProcessMerging process_merging(const char *proc_root, const char *pid)
{
    KsmProcessMerging merging = { 0 };
    g_autofree char *text = process_file(proc_root, pid, "ksm_stat", NULL);
    g_autofree char *pages = NULL;
    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
    char **line;

    for (line = lines; *line; line++) {
        char *space = strchr(*line, ' ');

        if (space) {
            *space = '\0';
            process_merging_line(&merging, *line, space + 1);
        }
    }
    if (!merging.known) {
        pages = process_file(proc_root, pid, "ksm_merging_pages", NULL);
        if (pages) {
            process_merging_line(&merging, "ksm_merging_pages", pages);
        }
    }
    return merging;
}

/* NULL: there is none, or @is_wanted says no to its program's name. */
static KsmProcess *process_read(const char *proc_root, const char *pid,
                                bool (*is_wanted)(const char *program))
{
    gsize size = 0;
    g_autofree char *arguments = process_file(proc_root, pid, "cmdline", &size);
    KsmProcess *process;

    /* A kernel thread has none. */
    if (!arguments || !size || (is_wanted && !is_wanted(arguments))) {
        return NULL;
    }
    process = g_new0(KsmProcess, 1);
    process->pid = g_ascii_strtoull(pid, NULL, 10);
    process->name = process_name(arguments, arguments + size);
    process->uuid = process_uuid(arguments, arguments + size);
    process->has_engine = process_has_engine(arguments, arguments + size);
    process->command_line = process_command_line(arguments, size);
    process_read_resident(process, proc_root, pid);
    process->merging = process_merging(proc_root, pid);
    return process;
}

void ksm_process_free(KsmProcess *process)
{
    g_free(process->name);
    g_free(process->uuid);
    g_free(process->command_line);
    g_free(process);
}

/* /proc doesn't list threads, and yet has their directories. */
static pid_t process_of_thread(const char *proc_root, pid_t thread)
{
    g_autofree char *number = g_strdup_printf("%ld", (long)thread);
    g_autofree char *status = process_file(proc_root, number, "status", NULL);
    g_auto(GStrv) lines = g_strsplit(status ? status : "", "\n", -1);
    long pid = thread;
    char **line;

    for (line = lines; *line; line++) {
        sscanf(*line, "Tgid: %ld", &pid);
    }
    return pid;
}

KsmProcess *ksm_process_find(const char *proc_root, pid_t pid)
{
    g_autofree char *number =
        g_strdup_printf("%ld", (long)process_of_thread(proc_root, pid));

    return process_read(proc_root, number, NULL);
}

static int process_compare(gconstpointer a, gconstpointer b)
{
    const KsmProcess *one = *(KsmProcess *const *)a;
    const KsmProcess *other = *(KsmProcess *const *)b;

    return (one->pid > other->pid) - (one->pid < other->pid);
}

GPtrArray *ksm_processes_find(const char *proc_root)
{
    GPtrArray *processes =
        g_ptr_array_new_with_free_func((GDestroyNotify)ksm_process_free);
    g_autoptr(GDir) proc = g_dir_open(proc_root, 0, NULL);
    const char *pid;

    while (proc && (pid = g_dir_read_name(proc))) {
        KsmProcess *process = g_ascii_isdigit(pid[0]) ?
                              process_read(proc_root, pid, process_is_qemu) :
                              NULL;

        if (process) {
            g_ptr_array_add(processes, process);
        }
    }
    g_ptr_array_sort(processes, process_compare);
    return processes;
}
