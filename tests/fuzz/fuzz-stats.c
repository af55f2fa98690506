/*
 * Any file in the place of ksmtuned's statistics, read by ksmctl
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Input is what the file holds at first and then, the part behind a form feed
 * if there is one, a moment later.
 */
#include <glib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "shown.h"

/* A host with nothing but a ksmtuned: this process. */
static void host_make(KsmHost *host)
{
    g_autofree char *pid = g_strdup_printf("%d", (int)getpid());
    g_autofree char *command = g_build_filename("proc", pid, "comm", NULL);

    host->sysfs_root = fuzz_path("ksm");
    host->ksmfs_root = fuzz_path("ksmfs");
    host->proc_root = fuzz_path("proc");
    host->runtime_dir = g_strdup(fuzz_directory());
    fuzz_write("lock", pid, strlen(pid));
    fuzz_write(command, "ksmtuned\n", strlen("ksmtuned\n"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static KsmHost host;
    const uint8_t *later = size ? memchr(data, '\f', size) : NULL;
    size_t first_size = later ? (size_t)(later - data) : size;
    KsmMeter meter = { 0 };

    if (!host.runtime_dir) {
        host_make(&host);
    }
    fuzz_write("stats.json", data, first_size);
    meter.engines = ksm_engines_read(&host);
    if (later) {
        fuzz_write("stats.json", later + 1, size - first_size - 1);
    }
    fuzz_check_shown(&host, &meter);
    ksm_meter_clear(&meter);
    return 0;
}
