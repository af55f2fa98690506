/*
 * libvirt, by its program virsh
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Whoever administers libvirt has it, and it knows how to connect; its library
 * would be one more that ksmctl can't start without.
 */
#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "virsh.h"

#define VIRSH   "virsh"

static char **virsh_command(const char *uri, const char *const *arguments)
{
    GPtrArray *words = g_ptr_array_new();

    g_ptr_array_add(words, g_strdup(VIRSH));
    if (uri) {
        g_ptr_array_add(words, g_strdup_printf("--connect=%s", uri));
    }
    for (; *arguments; arguments++) {
        g_ptr_array_add(words, g_strdup(*arguments));
    }
    g_ptr_array_add(words, NULL);
    return (char **)g_ptr_array_free(words, FALSE);
}

/* It may say several lines, the first of which is what has failed. */
static void virsh_fail(GError **error, char *said)
{
    const char *text = g_strchomp(said);

    if (g_str_has_prefix(text, "error: ")) {
        text += strlen("error: ");
    }
    g_strdelimit(said, "\n", ' ');
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "virsh: %s",
                *text ? text : "it has failed, and doesn't say why");
}

/*
 * A file with @input for its standard input, which it need not read; -1, with
 * errno: there can be none.  Nobody else sees it, as it may hold passwords.
 */
static int virsh_input(const char *input)
{
    int fd = memfd_create("ksmctl", MFD_CLOEXEC);
    size_t size = strlen(input);

    if (fd >= 0 && (write(fd, input, size) != (ssize_t)size ||
                    lseek(fd, 0, SEEK_SET) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

char *ksmctl_virsh(const char *uri, const char *const *arguments,
                   const char *input, GError **error)
{
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(
        G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE);
    g_auto(GStrv) command = virsh_command(uri, arguments);
    g_autoptr(GSubprocess) process = NULL;
    g_autofree char *output = NULL;
    g_autofree char *said = NULL;

    if (input) {
        int fd = virsh_input(input);

        if (fd < 0) {
            g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                        "can't hold the XML: %s", g_strerror(errno));
            return NULL;
        }
        g_subprocess_launcher_take_stdin_fd(launcher, fd);
    }
    process = g_subprocess_launcher_spawnv(launcher,
                                           (const char *const *)command,
                                           error);
    if (!process) {
        g_prefix_error(error, "install virsh, or give --file: ");
        return NULL;
    }
    if (!g_subprocess_communicate_utf8(process, NULL, NULL, &output, &said,
                                       error)) {
        return NULL;
    }
    if (!g_subprocess_get_successful(process)) {
        virsh_fail(error, said);
        return NULL;
    }
    return g_steal_pointer(&output);
}
