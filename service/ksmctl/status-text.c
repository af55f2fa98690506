/*
 * ksmctl status for people
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <inttypes.h>
#include <stdio.h>

#include "printable.h"
#include "status.h"
#include "text.h"

static void text_mib_line(const char *label, KsmFigure bytes)
{
    g_autofree char *mib = ksmctl_text_mib(bytes);

    printf("%-18s %s%s\n", label, mib, bytes.known ? " MiB" : "");
}

static void text_ksmd_lines(const KsmSnapshot *snapshot,
                            const KsmHost *host)
{
    g_autofree char *percent = ksmctl_text_percent(snapshot);
    g_autofree char *root = ksmctl_printable(host->sysfs_root);

    printf("%-18s %s", "ksmd", ksmctl_text_run(snapshot->run));
    if (!snapshot->run.known) {
        printf(" (there is no KSM in %s)", root);
    }
    printf("\n%-18s %s%s", "CPU of ksmd", percent,
           snapshot->percent_known ? " % of a core" : "");
    if (snapshot->ksmd_cpu_ns.known) {
        printf(", %.2f s since boot", snapshot->ksmd_cpu_ns.value / 1e9);
    }
    printf("\n");
}

static void text_engines_line(const KsmEngines *engines)
{
    g_autofree char *text = ksmctl_text_engines(engines);

    printf("%-18s %s\n", "engines", text);
}

static void text_limit(KsmFigure limit)
{
    if (!limit.known) {
        printf(KSMCTL_UNKNOWN);
    } else if (!limit.value) {
        printf("unlimited");
    } else {
        printf("%" PRId64, limit.value);
    }
}

static void text_limit_of_ksm(KsmFigure limit, const char *where)
{
    if (limit.known) {
        printf("%-18s ", "max_kernel_pages");
        text_limit(limit);
        printf(" %s\n", where);
    }
}

/* In the kernel, as Linux 2.6.32 had it, else in ksmtuned, and of ksmfs. */
static void text_limits(const KsmSnapshot *snapshot)
{
    KsmFigure of_ksmtuned =
        snapshot->engines->daemon.figures[KSM_DAEMON_MAX_KERNEL_PAGES];
    guint i;

    text_limit_of_ksm(snapshot->max_kernel_pages, "in KSM");
    text_limit_of_ksm(of_ksmtuned, "in ksmtuned, for KSM");
    for (i = 0; i < snapshot->mounts->len; i++) {
        KsmMount *mount = g_ptr_array_index(snapshot->mounts, i);
        g_autofree char *where = ksmctl_printable(mount->path ? mount->path :
                                                  mount->device);

        printf("%-18s ", "max_kernel_pages");
        text_limit(mount->max_kernel_pages);
        printf(" on %s\n", where);
    }
    if (!snapshot->max_kernel_pages.known && !of_ksmtuned.known &&
        !snapshot->mounts->len) {
        printf("%-18s %s (this KSM has no limit, no ksmfs is mounted, and no "
               "ksmtuned runs)\n", "max_kernel_pages", KSMCTL_UNKNOWN);
    }
}

static void text_guest(const KsmGuest *guest)
{
    g_autofree char *resident = ksmctl_text_mib(ksm_guest_resident(guest));
    g_autofree char *saved = ksmctl_text_mib(ksm_guest_saved(guest));
    g_autofree char *profit = ksmctl_text_mib(ksm_guest_profit(guest));
    g_autofree char *ram = ksmctl_text_mib(ksm_guest_ram(guest));
    g_autofree char *breaks = ksmctl_text_rate(ksm_guest_cow_breaks(guest));
    g_autofree char *cpu = ksmctl_text_rate(ksm_guest_cpu(guest));
    g_autofree char *backends = ksmctl_text_backends(guest);
    g_autofree char *name = ksmctl_text_name(ksm_guest_name(guest));
    g_autofree char *limit = ksmctl_text_limit(guest);

    printf("%8ld %9s %9s %9s %9s %7s %5s %9s %10s  %s\n",
           (long)ksm_guest_pid(guest), resident, saved, profit, ram, breaks,
           cpu, ksmctl_text_engine(guest), backends, name);
    if (limit) {
        printf("%s\n", limit);
    }
}

static void text_guests(GPtrArray *guests)
{
    guint i;

    if (!guests->len) {
        printf("\nNo guests\n");
        return;
    }
    /* The name last: whatever it has, it moves no column. */
    printf("\nGuests, in MiB; writes to marked pages a second; CPU of the "
           "engine in %% of a core\n"
           "%8s %9s %9s %9s %9s %7s %5s %9s %10s  %s\n", "PID",
           "RESIDENT", "SAVED", "PROFIT", "RAM", "COW/S", "CPU", "ENGINE",
           "BACKEND", "NAME");
    for (i = 0; i < guests->len; i++) {
        text_guest(g_ptr_array_index(guests, i));
    }
}

static void text_mounts(GPtrArray *mounts)
{
    guint i;

    if (!mounts->len) {
        return;
    }
    printf("\nMounts of ksmfs, in MiB\n%8s %11s %11s %11s  %s\n", "DEVICE",
           "ALLOCATED", "USED", "SAVED", "PATH");
    for (i = 0; i < mounts->len; i++) {
        KsmMount *mount = g_ptr_array_index(mounts, i);
        g_autofree char *allocated =
            ksmctl_text_mib(ksm_pages_bytes(mount->pages_allocated));
        g_autofree char *used =
            ksmctl_text_mib(ksm_pages_bytes(mount->pages_used));
        g_autofree char *saved = ksmctl_text_mib(ksm_mount_saved(mount));
        g_autofree char *device = ksmctl_printable(mount->device);
        g_autofree char *path = ksmctl_text_name(mount->path);

        printf("%8s %11s %11s %11s  %s\n", device, allocated, used, saved,
               path);
    }
}

static void text_values(const char *root, KsmSysfsKind kind,
                        const char *heading)
{
    const KsmSysfsValue *value;

    for (value = ksm_sysfs_values; value->name; value++) {
        g_autofree char *text = value->kind == kind ?
                                ksm_sysfs_get(root, value->name) : NULL;
        g_autofree char *shown = NULL;

        if (!text) {
            continue;
        }
        if (heading) {
            printf("\n%s\n", heading);
            heading = NULL;
        }
        shown = ksmctl_printable(text);
        printf("%-34s %12s  %s\n", value->name, shown, value->meaning);
    }
}

void ksmctl_status_text(const KsmSnapshot *snapshot, const KsmHost *host)
{
    text_ksmd_lines(snapshot, host);
    text_mib_line("saved by KSM", snapshot->saved_bytes);
    text_mib_line("profit", snapshot->profit_bytes);
    text_limits(snapshot);
    text_engines_line(snapshot->engines);
    text_guests(snapshot->guests);
    text_mounts(snapshot->mounts);
    text_values(host->sysfs_root, KSM_SYSFS_SETTING, "Settings");
    text_values(host->sysfs_root, KSM_SYSFS_FIGURE, "Figures");
}
