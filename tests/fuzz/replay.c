/*
 * Inputs that fuzzing has found, once more and without libFuzzer
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Usage: fuzz-TARGET FILE|DIRECTORY...
 */
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

static void replay_file(const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    g_autofree uint8_t *exact = NULL;
    gsize size;

    /* Named before it aborts. */
    printf("# %s\n", path);
    fflush(stdout);
    g_file_get_contents(path, &text, &size, &error);
    g_assert_no_error(error);
    /* GLib puts a NUL behind it. */
    exact = g_memdup2(text, size);
    LLVMFuzzerTestOneInput(exact, size);
}

/* How many files there were. */
static unsigned replay(const char *path)
{
    g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
    const char *name;
    unsigned files = 0;

    if (!directory) {
        replay_file(path);
        return 1;
    }
    while ((name = g_dir_read_name(directory))) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        files += replay(file);
    }
    return files;
}

int main(int argc, char **argv)
{
    unsigned files = 0;
    int i;

    for (i = 1; i < argc; i++) {
        files += replay(argv[i]);
    }
    printf("# %u inputs\n", files);
    return files ? EXIT_SUCCESS : EXIT_FAILURE;
}
