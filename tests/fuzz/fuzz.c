/*
 * What fuzzed programs have in common
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fuzz.h"

/* More than there are directories below each other. */
#define REMOVE_FDS      16

static char *fuzz_root;

static int fuzz_remove_entry(const char *path, const struct stat *info,
                             int type, struct FTW *place)
{
    return remove(path);
}

static void fuzz_remove_root(void)
{
    nftw(fuzz_root, fuzz_remove_entry, REMOVE_FDS, FTW_DEPTH | FTW_PHYS);
    g_free(fuzz_root);
}

const char *fuzz_directory(void)
{
    g_autoptr(GError) error = NULL;

    if (!fuzz_root) {
        fuzz_root = g_dir_make_tmp("ksm-fuzz-XXXXXX", &error);
        g_assert_no_error(error);
        atexit(fuzz_remove_root);
    }
    return fuzz_root;
}

char *fuzz_path(const char *name)
{
    return g_build_filename(fuzz_directory(), name, NULL);
}

/* g_file_set_contents() would sync it to the disk each time. */
void fuzz_write(const char *name, const void *data, size_t size)
{
    g_autofree char *path = fuzz_path(name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0) {
        g_autofree char *directory = g_path_get_dirname(path);

        g_assert_cmpint(errno, ==, ENOENT);
        g_assert_cmpint(g_mkdir_with_parents(directory, 0755), ==, 0);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    }
    g_assert_cmpint(write(fd, data, size), ==, size);
    close(fd);
}

void fuzz_remove(const char *name)
{
    g_autofree char *path = fuzz_path(name);

    g_assert_true(unlink(path) == 0 || errno == ENOENT);
}

unsigned fuzz_open_fds(void)
{
    g_autoptr(GDir) directory = g_dir_open("/proc/self/fd", 0, NULL);
    unsigned fds = 0;

    while (g_dir_read_name(directory)) {
        fds++;
    }
    return fds;
}

void fuzz_check_json(const char *text)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autoptr(GError) error = NULL;

    json_parser_load_from_data(parser, text, -1, &error);
    g_assert_no_error(error);
    g_assert_true(JSON_NODE_HOLDS_OBJECT(json_parser_get_root(parser)));
}
