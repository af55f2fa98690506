/*
 * Memory that stays free while merged pages are given back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "reserve.h"

/* So much of it; and so long is a look at it good for. */
#define RESERVE     (256 * MiB)
#define LOOK_NS     (10 * SCALE_MS)

bool ksm_reserve_is_low(void)
{
    g_autofree char *text = NULL;
    const char *line;
    uint64_t kib;

    if (!g_file_get_contents("/proc/meminfo", &text, NULL, NULL)) {
        return false;
    }
    line = strstr(text, "MemAvailable:");
    return line &&
           qemu_strtou64(line + strlen("MemAvailable:"), &line, 10,
                         &kib) == 0 &&
           kib * KiB < RESERVE;
}

bool ksm_reserve_allows(KsmEngine *e)
{
    const int64_t now_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    if (!e->memory_looked_ns || now_ns - e->memory_looked_ns >= LOOK_NS) {
        e->memory_low = ksm_reserve_is_low();
        e->memory_looked_ns = now_ns;
    }
    return !e->memory_low;
}
