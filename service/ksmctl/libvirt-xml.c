/*
 * ksmctl libvirt-xml
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <gio/gio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain-xml.h"
#include "message.h"
#include "options.h"
#include "virsh.h"

typedef struct XmlOptions {
    char *connect;
    char *file;
    char *emulator;
    gboolean remove;
    gboolean define;
    char *domain;               /* NULL: a file is given instead */
    char **properties;          /* ends with NULL */
} XmlOptions;

static bool xml_usage(const char *fault)
{
    ksmctl_error("libvirt-xml: %s: see ksmctl libvirt-xml --help", fault);
    return false;
}

/* Can XML hold @word? */
static bool xml_takes(const char *word)
{
    bool valid = g_utf8_validate(word, -1, NULL);

    for (; valid && *word; word = g_utf8_next_char(word)) {
        valid = !g_unichar_iscntrl(g_utf8_get_char(word));
    }
    return valid;
}

/* What is left of the arguments, of which the first is the command's name. */
static bool xml_options_take(XmlOptions *options, int argc, char **argv)
{
    int i = argc > 1 && !strcmp(argv[1], "--") ? 2 : 1;
    char **word;

    if (!options->file) {
        if (i == argc) {
            return xml_usage("DOMAIN is missing");
        }
        options->domain = argv[i++];
    } else if (options->define) {
        return xml_usage("--define needs DOMAIN, not --file");
    }
    options->properties = argv + i;
    if (options->remove && i < argc) {
        return xml_usage("--remove takes no properties");
    }
    if (options->emulator && (options->emulator[0] != '/' ||
                              !xml_takes(options->emulator))) {
        return xml_usage("--emulator has to be a path from /, in UTF-8");
    }
    for (word = options->properties; *word; word++) {
        if (!xml_takes(*word)) {
            return xml_usage("a property that is not UTF-8, or has a control "
                             "character");
        }
    }
    return true;
}

static char *xml_read_input(GError **error)
{
    g_autoptr(GIOChannel) channel = g_io_channel_unix_new(0);
    char *text = NULL;

    return g_io_channel_set_encoding(channel, NULL, error) ==
           G_IO_STATUS_NORMAL &&
           g_io_channel_read_to_end(channel, &text, NULL, error) ==
           G_IO_STATUS_NORMAL ? text : NULL;
}

static char *xml_read_file(const char *path, GError **error)
{
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, error) ? text : NULL;
}

/* Of what is to be defined with its passwords, which nobody else may see. */
static char *xml_read_domain(const XmlOptions *options, GError **error)
{
    const char *const arguments[] = {
        "dumpxml", "--inactive", "--domain", options->domain,
        options->define ? "--security-info" : NULL, NULL
    };

    return ksmctl_virsh(options->connect, arguments, NULL, error);
}

static char *xml_read(const XmlOptions *options, GError **error)
{
    if (!options->file) {
        return xml_read_domain(options, error);
    }
    return strcmp(options->file, "-") ? xml_read_file(options->file, error) :
                                        xml_read_input(error);
}

/* The caller frees what is returned. */
static char *xml_edit(const XmlOptions *options, const char *text,
                      GError **error)
{
    g_autoptr(KsmctlDomainXml) xml = ksmctl_domain_xml_parse(text, error);

    if (!xml) {
        return NULL;
    }
    if (options->remove) {
        ksmctl_domain_xml_remove_object(xml);
    } else if (!ksmctl_domain_xml_set_object(xml, options->properties,
                                             error)) {
        return NULL;
    }
    if (options->emulator) {
        ksmctl_domain_xml_set_emulator(xml, options->emulator);
    }
    return ksmctl_domain_xml_format(xml);
}

static bool xml_write(const XmlOptions *options, const char *text,
                      GError **error)
{
    const char *const arguments[] = {
        "define", "--validate", "--file", "/dev/stdin", NULL
    };
    g_autofree char *said = NULL;

    if (!options->define) {
        fputs(text, stdout);
        return true;
    }
    said = ksmctl_virsh(options->connect, arguments, text, error);
    return said;
}

/* Whoever has changed it meanwhile must not lose that. */
static bool xml_is_unchanged(const XmlOptions *options, const char *before,
                             GError **error)
{
    g_autofree char *now = NULL;

    if (!options->define) {
        return true;
    }
    now = xml_read(options, error);
    if (now && strcmp(now, before)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_BUSY, "somebody else has "
                    "changed it just now: try again");
    }
    return now && !strcmp(now, before);
}

static int xml_run(const XmlOptions *options)
{
    const char *name = options->file ? options->file : options->domain;
    g_autoptr(GError) error = NULL;
    g_autofree char *before = xml_read(options, &error);
    g_autofree char *after = before ? xml_edit(options, before, &error) : NULL;

    if (after && xml_is_unchanged(options, before, &error) &&
        xml_write(options, after, &error)) {
        return EXIT_SUCCESS;
    }
    ksmctl_error("libvirt-xml: %s: %s", name, error->message);
    return error->domain == G_OPTION_ERROR ? KSMCTL_USAGE : EXIT_FAILURE;
}

int ksmctl_libvirt_xml(const KsmctlCommand *command, KsmHost *host,
                       int argc, char **argv)
{
    XmlOptions options = { NULL };
    const GOptionEntry entries[] = {
        { "connect", 'c', 0, G_OPTION_ARG_STRING, &options.connect,
          "The libvirt to ask (default: virsh's)", "URI" },
        { "define", 0, 0, G_OPTION_ARG_NONE, &options.define,
          "Define the guest so, instead of printing", NULL },
        { "emulator", 0, 0, G_OPTION_ARG_FILENAME, &options.emulator,
          "The QEMU to run", "PATH" },
        { "file", 'f', 0, G_OPTION_ARG_FILENAME, &options.file,
          "Take XML from there instead of DOMAIN's; -: standard input",
          "PATH" },
        { "remove", 0, 0, G_OPTION_ARG_NONE, &options.remove,
          "Take the ksm object away", NULL },
        { NULL }
    };
    int status = KSMCTL_USAGE;

    if (ksmctl_options_parse(command, host, entries, NULL, &argc, &argv) &&
        xml_options_take(&options, argc, argv)) {
        status = xml_run(&options);
    }
    g_free(options.connect);
    g_free(options.emulator);
    g_free(options.file);
    return status;
}
