/*
 * The files that a process has mapped, from /proc/PID/maps
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdio.h>

#include "mappings.h"

/* "start-end rights offset major:minor inode path", in hexadecimal. */
static bool mapping_is_of_device(const char *line, const char *device)
{
    unsigned major, minor;
    g_autofree char *name = NULL;

    if (sscanf(line, "%*s %*s %*s %x:%x", &major, &minor) != 2) {
        return false;
    }
    name = g_strdup_printf("%u:%u", major, minor);
    return g_str_equal(name, device);
}

char *ksm_mappings_read(const char *proc_root, pid_t pid)
{
    g_autofree char *number = g_strdup_printf("%ld", (long)pid);
    g_autofree char *path = g_build_filename(proc_root, number, "maps", NULL);
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text;
}

bool ksm_mappings_have_device(const char *mappings, const char *device)
{
    g_auto(GStrv) lines = g_strsplit(mappings, "\n", -1);
    char **line;

    for (line = lines; *line; line++) {
        if (mapping_is_of_device(*line, device)) {
            return true;
        }
    }
    return false;
}
