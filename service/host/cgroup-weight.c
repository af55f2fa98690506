/*
 * What a cgroup weighs against others
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/cgroup-weight.h"

#define WEIGHT_FILE     "cpu.weight"
#define WEIGHT_DEFAULT  100.0
#define WEIGHT_MOST     10000
#define PRODUCT_MOST    100.0

/* Not by who was given a part of the tree, and could make himself heavy. */
static bool weight_is_of_host(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && (st.st_uid == 0 || st.st_uid == geteuid());
}

static double weight_read(const char *directory)
{
    g_autofree char *path = g_build_filename(directory, WEIGHT_FILE, NULL);
    g_autofree char *text = NULL;
    guint64 weight;

    if (!weight_is_of_host(path) ||
        !g_file_get_contents(path, &text, NULL, NULL) ||
        !g_ascii_string_to_unsigned(g_strchomp(text), 10, 0, WEIGHT_MOST,
                                    &weight, NULL)) {
        return 1;
    }
    /* 0 is said of an idle one: cpu.idle. */
    return MAX(weight, 1) / WEIGHT_DEFAULT;
}

double ksm_cgroup_weight(const char *root, const char *cgroup)
{
    g_auto(GStrv) names = g_strsplit(cgroup ? cgroup : "", "/", -1);
    g_autofree char *directory = g_strdup(root);
    double product = 1;
    char **name;

    for (name = names; *name; name++) {
        char *inner = g_build_filename(directory, *name, NULL);

        if (**name) {
            product *= weight_read(inner);
        }
        g_free(directory);
        directory = inner;
    }
    return CLAMP(product, 1 / PRODUCT_MOST, PRODUCT_MOST);
}
