/*
 * ksmctl retune
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * On the system's D-Bus ksmtuned says that it has decided.  Where there is no
 * bus, or it isn't there, a signal does the same.
 */
#include <errno.h>
#include <gio/gio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "message.h"
#include "options.h"
#include "snapshot/stats-file.h"

#define BUS_NAME        "org.qemu.Ksmtuned1"
#define BUS_PATH        "/org/qemu/Ksmtuned1"
/* A hook of libvirt may wait for us. */
#define BUS_TIMEOUT_MS  1000

static bool retune_by_bus(void)
{
    g_autoptr(GDBusConnection) bus = g_bus_get_sync(G_BUS_TYPE_SYSTEM, NULL,
                                                    NULL);
    g_autoptr(GVariant) answer = NULL;

    if (bus) {
        answer = g_dbus_connection_call_sync(
            bus, BUS_NAME, BUS_PATH, BUS_NAME, "Retune", NULL, NULL,
            G_DBUS_CALL_FLAGS_NO_AUTO_START, BUS_TIMEOUT_MS, NULL, NULL);
    }
    return answer;
}

static bool retune_by_signal(const KsmHost *host)
{
    pid_t pid = ksm_stats_writer(host);
    g_autofree char *none = ksm_stats_no_writer(host);
    int fd = pid ? pidfd_open(pid, 0) : -1;
    int fault;

    /* A number may be used again, and any other process ended by the signal. */
    if (fd < 0 || ksm_stats_writer(host) != pid) {
        ksmctl_error("retune: %s", none);
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    fault = pidfd_send_signal(fd, SIGUSR1, NULL, 0) < 0 ? errno : 0;
    close(fd);
    if (fault) {
        ksmctl_error("retune: can't signal ksmtuned (pid %d): %s: run ksmctl "
                     "as root", (int)pid, g_strerror(fault));
    }
    return !fault;
}

int ksmctl_retune(const KsmctlCommand *command, KsmHost *host,
                  int argc, char **argv)
{
    const GOptionEntry entries[] = { { NULL } };

    if (!ksmctl_options_parse(command, host, entries, NULL, &argc, &argv)) {
        return KSMCTL_USAGE;
    }
    /* That on the bus has the usual directory. */
    if (!strcmp(host->runtime_dir, KSM_RUNTIME_DIR) && retune_by_bus()) {
        return EXIT_SUCCESS;
    }
    return retune_by_signal(host) ? EXIT_SUCCESS : EXIT_FAILURE;
}
