/*
 * The runtime directory: one ksmtuned at a time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "runtime.h"

static bool runtime_fail(GError **error, const char *path, const char *what)
{
    int saved_errno = errno;

    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(saved_errno),
                "%s: can't %s: %s: run as root or give another --runtime-dir",
                path, what, g_strerror(saved_errno));
    return false;
}

static bool runtime_lock(int fd, const char *directory, GError **error)
{
    char text[32] = "";

    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK) {
            return runtime_fail(error, directory, "lock it");
        }
        if (pread(fd, text, sizeof(text) - 1, 0) < 0) {
            text[0] = '\0';
        }
        g_strstrip(text);
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_AGAIN,
                    "%s: another ksmtuned (pid %s) uses it: stop that one or "
                    "give another --runtime-dir", directory,
                    text[0] ? text : "not yet known");
        return false;
    }
    snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0 ||
        pwrite(fd, text, strlen(text), 0) != (ssize_t)strlen(text)) {
        /* On a full disk, settings can be restored all the same. */
        ksmtuned_log(KSMTUNED_LOG_WARNING,
                     "%s: can't write the process ID: %s: ksmctl will not find "
                     "this ksmtuned: make room there and start it again",
                     directory, g_strerror(errno));
    }
    return true;
}

/* Two would each put back what the other has set. */
static bool runtime_lock_sysfs(KsmtunedRuntime *runtime, const char *root,
                               GError **error)
{
    runtime->sysfs_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (runtime->sysfs_fd >= 0 &&
        flock(runtime->sysfs_fd, LOCK_EX | LOCK_NB) < 0 &&
        errno == EWOULDBLOCK) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_AGAIN,
                    "%s: another ksmtuned controls it: stop that one, there is "
                    "one KSM on a host", root);
        return false;
    }
    return true;
}

KsmtunedRuntime *ksmtuned_runtime_open(const char *path,
                                       const char *sysfs_root,
                                       GError **error)
{
    g_autofree char *lock_path = g_build_filename(path, "lock", NULL);
    KsmtunedRuntime *runtime;
    int fd;

    if (mkdir(path, 0755) < 0 && errno != EEXIST) {
        runtime_fail(error, path, "make the runtime directory");
        return NULL;
    }
    fd = open(lock_path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) {
        runtime_fail(error, lock_path, "open the lock file");
        return NULL;
    }
    if (!runtime_lock(fd, path, error)) {
        close(fd);
        return NULL;
    }
    runtime = g_new0(KsmtunedRuntime, 1);
    runtime->lock_fd = fd;
    runtime->state_path = g_build_filename(path, "ksmd-settings", NULL);
    runtime->socket_path = g_build_filename(path, "engine.sock", NULL);
    runtime->stats_path = g_build_filename(path, "stats.json", NULL);
    if (!runtime_lock_sysfs(runtime, sysfs_root, error)) {
        ksmtuned_runtime_close(runtime);
        return NULL;
    }
    return runtime;
}

void ksmtuned_runtime_close(KsmtunedRuntime *runtime)
{
    if (!runtime) {
        return;
    }
    close(runtime->lock_fd);
    if (runtime->sysfs_fd >= 0) {
        close(runtime->sysfs_fd);
    }
    g_free(runtime->state_path);
    g_free(runtime->socket_path);
    g_free(runtime->stats_path);
    g_free(runtime);
}
