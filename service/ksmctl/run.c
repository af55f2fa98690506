/*
 * ksmctl start, ksmctl stop
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdlib.h>

#include "command.h"
#include "limit.h"
#include "setting.h"

static const GOptionEntry no_options[] = {
    { NULL }
};

int ksmctl_start(const KsmctlCommand *command, KsmHost *host,
                 int argc, char **argv)
{
    KsmFigure limit;

    if (!ksmctl_options_parse(command, host, no_options, NULL, &argc, &argv)) {
        return KSMCTL_USAGE;
    }
    if (!ksmctl_limit_from_environment(&limit) ||
        !ksmctl_limit_apply(host, &limit) ||
        !ksmctl_set(host->sysfs_root, "run", "1")) {
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

int ksmctl_stop(const KsmctlCommand *command, KsmHost *host,
                int argc, char **argv)
{
    if (!ksmctl_options_parse(command, host, no_options, NULL, &argc, &argv)) {
        return KSMCTL_USAGE;
    }
    return ksmctl_set(host->sysfs_root, "run", "0") ? EXIT_SUCCESS :
                                                      EXIT_FAILURE;
}
