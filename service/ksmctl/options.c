/*
 * Options that all commands have
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * They may stand before the command or after it.
 */
#include "message.h"
#include "options.h"

/* Parse @context with the options of @host, which has those given before. */
static bool options_parse(GOptionContext *context, KsmHost *host,
                          int *argc, char ***argv)
{
    g_autoptr(GError) error = NULL;

    if (!ksm_host_parse_options(host, context, argc, argv, &error)) {
        ksmctl_error("%s: see --help", error->message);
        return false;
    }
    return true;
}

static char *options_list_commands(void)
{
    GString *list = g_string_new("Commands:\n");
    const KsmctlCommand *command;

    for (command = ksmctl_commands; command->name; command++) {
        g_string_append_printf(list, "  %-11s %s\n", command->name,
                               command->summary);
    }
    g_string_append(list, "\nksmctl COMMAND --help says more.");
    return g_string_free(list, FALSE);
}

bool ksmctl_options_parse_first(KsmHost *host, bool *version,
                                int *argc, char ***argv)
{
    gboolean asked = FALSE;
    const GOptionEntry entries[] = {
        { "version", 0, 0, G_OPTION_ARG_NONE, &asked,
          "Print the version and exit", NULL },
        { NULL }
    };
    g_autoptr(GOptionContext) context =
        g_option_context_new("COMMAND [ARGUMENT...]");
    g_autofree char *list = options_list_commands();

    ksm_host_init(host);
    g_option_context_set_strict_posix(context, TRUE);
    g_option_context_set_summary(context, "Starts, stops, shows and tunes the "
                                 "merging of identical pages.");
    g_option_context_set_description(context, list);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!options_parse(context, host, argc, argv)) {
        return false;
    }
    *version = asked;
    return true;
}

bool ksmctl_options_parse(const KsmctlCommand *command, KsmHost *host,
                          const GOptionEntry *entries, void *opaque,
                          int *argc, char ***argv)
{
    g_autofree char *program = g_strdup_printf("ksmctl %s", command->name);
    g_autoptr(GOptionContext) context = NULL;
    bool takes_words = command->arguments[0] &&
                       !g_str_has_prefix(command->arguments, "[");

    context = g_option_context_new(takes_words ? command->arguments : NULL);
    g_option_context_set_summary(context, command->summary);
    g_set_prgname(program);
    g_option_context_set_main_group(context,
                                    g_option_group_new(NULL, NULL, NULL,
                                                       opaque, NULL));
    g_option_context_add_main_entries(context, entries, NULL);
    if (!options_parse(context, host, argc, argv)) {
        return false;
    }
    if (*argc > 1 && !takes_words) {
        ksmctl_error("%s: '%s': not an option: see ksmctl %s --help",
                     command->name, (*argv)[1], command->name);
        return false;
    }
    return true;
}
