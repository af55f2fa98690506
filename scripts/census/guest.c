/*
 * A guest: its process, and the files of that in /proc
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Its directory is opened once.  Reading takes a while: when a guest ends,
 * another process may get its number, but not what is open.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "guest.h"

CensusGuest *census_guest_new(KsmProcess *process)
{
    CensusGuest *guest = g_new0(CensusGuest, 1);
    int pool;

    guest->process = process;
    guest->directory = -1;
    for (pool = 0; pool < CENSUS_POOLS; pool++) {
        guest->zero_frames[pool] = g_array_new(false, false, sizeof(uint64_t));
    }
    return guest;
}

void census_guest_free(CensusGuest *guest)
{
    int pool;

    for (pool = 0; pool < CENSUS_POOLS; pool++) {
        g_array_unref(guest->zero_frames[pool]);
    }
    if (guest->directory >= 0) {
        close(guest->directory);
    }
    g_free(guest->path);
    ksm_process_free(guest->process);
    g_free(guest);
}

bool census_guest_find(CensusGuest *guest, const char *proc_root,
                       GError **error)
{
    guest->path = g_strdup_printf("%s/%ld", proc_root,
                                  (long)guest->process->pid);
    guest->directory = open(guest->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return guest->directory >= 0 ||
           census_guest_fail(guest, "open", "", errno, error);
}

int census_guest_open(const CensusGuest *guest, const char *name,
                      GError **error)
{
    int fd = openat(guest->directory, name, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        census_guest_fail(guest, "open", name, errno, error);
    }
    return fd;
}

bool census_guest_fail(const CensusGuest *guest, const char *what,
                       const char *name, int number, GError **error)
{
    /* A kernel may lack just this file; each process has that one. */
    if (number == ESRCH ||
        (number == ENOENT && faccessat(guest->directory, "stat", F_OK, 0))) {
        return census_guest_ended(error);
    }
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(number),
                "can't %s %s/%s: %s", what, guest->path, name,
                g_strerror(number));
    return false;
}

bool census_guest_ended(GError **error)
{
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT, "it ended while it "
                "was read: it is left out");
    return false;
}
