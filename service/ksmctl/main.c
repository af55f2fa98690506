/*
 * ksmctl: KSM of a host, by hand
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "message.h"
#include "options.h"

static const KsmctlCommand *command_find(const char *name)
{
    const KsmctlCommand *command;

    for (command = ksmctl_commands; command->name; command++) {
        if (!strcmp(command->name, name)) {
            return command;
        }
    }
    return NULL;
}

static char *command_names(void)
{
    GString *names = g_string_new(NULL);
    const KsmctlCommand *command;

    for (command = ksmctl_commands; command->name; command++) {
        g_string_append_printf(names, "%s%s", names->len ? ", " : "",
                               command->name);
    }
    return g_string_free(names, FALSE);
}

static int command_run(KsmHost *host, int argc, char **argv)
{
    const KsmctlCommand *command = argc > 1 ? command_find(argv[1]) : NULL;
    g_autofree char *names = NULL;

    if (command) {
        return command->run(command, host, argc - 1, argv + 1);
    }
    names = command_names();
    if (argc > 1) {
        ksmctl_error("'%s': no command: one of %s; see --help", argv[1],
                     names);
    } else {
        ksmctl_error("a command is missing: one of %s; see --help", names);
    }
    return KSMCTL_USAGE;
}

int main(int argc, char **argv)
{
    KsmHost host = { NULL };
    bool version = false;
    int status;

    setlocale(LC_CTYPE, "");
    if (!ksmctl_options_parse_first(&host, &version, &argc, &argv)) {
        status = KSMCTL_USAGE;
    } else if (version) {
        printf("ksmctl %s\n", KSM_SERVICES_VERSION);
        status = EXIT_SUCCESS;
    } else {
        status = command_run(&host, argc, argv);
    }
    if (!ksmctl_flush() && status == EXIT_SUCCESS) {
        status = EXIT_FAILURE;
    }
    ksm_host_clear(&host);
    return status;
}
