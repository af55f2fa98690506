/*
 * The host's memory, from /proc/meminfo
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <string.h>
#include <unistd.h>

#include "memory.h"

/* More than any host has: what is not true can't overflow, either. */
#define MEMORY_KIB_MAX          (UINT64_C(1) << 50)

int64_t ksm_page_size(void)
{
    return sysconf(_SC_PAGESIZE);
}

bool ksm_memory_read(const char *proc_root, KsmMemory *memory, GError **error)
{
    g_autofree char *path = g_build_filename(proc_root, "meminfo", NULL);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    char **line;

    *memory = (KsmMemory) { 0 };
    if (!g_file_get_contents(path, &text, NULL, error)) {
        return false;
    }
    lines = g_strsplit(text, "\n", -1);
    for (line = lines; *line; line++) {
        char *colon = strchr(*line, ':');
        uint64_t kib;

        if (!colon) {
            continue;
        }
        *colon = '\0';
        kib = MIN(g_ascii_strtoull(colon + 1, NULL, 10), MEMORY_KIB_MAX);
        if (!strcmp(*line, "MemTotal")) {
            memory->total_kib = kib;
        } else if (!strcmp(*line, "MemFree") || !strcmp(*line, "Buffers") ||
                   !strcmp(*line, "Cached")) {
            memory->unused_kib += kib;
        } else if (!strcmp(*line, "MemAvailable")) {
            memory->available_kib = kib;
        } else if (!strcmp(*line, "SwapTotal")) {
            memory->swap_total_kib = kib;
        }
    }
    if (!memory->total_kib) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "%s: no MemTotal", path);
        return false;
    }
    return true;
}

bool ksm_memory_stall(const char *proc_root, int64_t *stall)
{
    g_autofree char *path = g_build_filename(proc_root, "pressure", "memory",
                                             NULL);
    g_autofree char *text = NULL;
    const char *found;
    double percent;

    *stall = 0;
    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return false;
    }
    /* "some avg10=1.23 avg60=..." is its first line. */
    found = strstr(text, "some avg10=");
    if (!found) {
        return false;
    }
    percent = g_ascii_strtod(found + strlen("some avg10="), NULL);
    if (percent > 0) {
        *stall = MIN(percent, 100) * 100 + 0.5;
    }
    return true;
}
