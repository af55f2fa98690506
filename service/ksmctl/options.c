/*
 * Options that all commands have
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * They may stand before the command or after it.
 */
#include "host/mounts.h"
#include "host/sysfs.h"
#include "message.h"
#include "options.h"

#define PROC_ROOT       "/proc"

static void option_replace(char **option, char *value)
{
    if (value) {
        g_free(*option);
        *option = value;
    }
}

/* Parse @context with the options of @host, which has those given before. */
static bool options_parse(GOptionContext *context, KsmctlHost *host,
                          int *argc, char ***argv)
{
    KsmctlHost given = { NULL };
    const GOptionEntry entries[] = {
        { "sysfs-root", 0, 0, G_OPTION_ARG_FILENAME, &given.sysfs_root,
          "Where KSM's files are (default: " KSM_SYSFS_ROOT ")", "DIR" },
        { "ksmfs-root", 0, 0, G_OPTION_ARG_FILENAME, &given.ksmfs_root,
          "Where those of ksmfs are (default: " KSM_MOUNTS_ROOT ")", "DIR" },
        { "proc-root", 0, 0, G_OPTION_ARG_FILENAME, &given.proc_root,
          "Where proc(5) is (default: " PROC_ROOT ")", "DIR" },
        { "runtime-dir", 0, 0, G_OPTION_ARG_FILENAME, &given.runtime_dir,
          "That of ksmtuned (default: " KSMCTL_RUNTIME_DIR ")", "DIR" },
        { NULL }
    };
    g_autoptr(GError) error = NULL;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, &error)) {
        ksmctl_error("%s: see --help", error->message);
        return false;
    }
    option_replace(&host->sysfs_root, given.sysfs_root);
    option_replace(&host->ksmfs_root, given.ksmfs_root);
    option_replace(&host->proc_root, given.proc_root);
    option_replace(&host->runtime_dir, given.runtime_dir);
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

bool ksmctl_options_parse_first(KsmctlHost *host, bool *version,
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

    host->sysfs_root = g_strdup(KSM_SYSFS_ROOT);
    host->ksmfs_root = g_strdup(KSM_MOUNTS_ROOT);
    host->proc_root = g_strdup(PROC_ROOT);
    host->runtime_dir = g_strdup(KSMCTL_RUNTIME_DIR);
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

bool ksmctl_options_parse(const KsmctlCommand *command, KsmctlHost *host,
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

void ksmctl_host_clear(KsmctlHost *host)
{
    g_free(host->sysfs_root);
    g_free(host->ksmfs_root);
    g_free(host->proc_root);
    g_free(host->runtime_dir);
}
