/*
 * Files of shell assignments, as in /etc/default and /etc/sysconfig
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <string.h>

#include "assignments.h"

/* More than this is no file of settings. */
#define ASSIGNMENTS_BYTES_MAX   (1024 * 1024)

static bool assignment_is_name(const char *word, size_t length)
{
    size_t i;

    if (!length || g_ascii_isdigit(word[0])) {
        return false;
    }
    for (i = 0; i < length; i++) {
        if (!g_ascii_isalnum(word[i]) && word[i] != '_') {
            return false;
        }
    }
    return true;
}

/* A shell would put something else there. */
static bool assignment_expands(const char *text)
{
    const char *start = text;
    char quote = '\0';

    for (; *text; text++) {
        if (*text == '\\' && quote != '\'' && text[1]) {
            text++;
        } else if (*text == quote) {
            quote = '\0';
        } else if (!quote && (*text == '\'' || *text == '"')) {
            quote = *text;
        } else if (!quote && *text == '#' &&
                   (text == start || g_ascii_isspace(text[-1]))) {
            return false;       /* the rest is a comment */
        } else if (quote != '\'' && (*text == '$' || *text == '`')) {
            return true;
        }
    }
    return false;
}

/* Why @words are no assignments; NULL: they are. */
static const char *assignment_fault(char **words)
{
    for (; *words; words++) {
        const char *equals = strchr(*words, '=');

        if (!equals || !assignment_is_name(*words, equals - *words)) {
            return "not KEY=VALUE";
        }
    }
    return NULL;
}

static void assignment_parse(const char *text, unsigned line,
                             KsmAssign *assign,
                             KsmNoAssignment *no_assignment, void *opaque)
{
    g_auto(GStrv) words = NULL;
    g_autoptr(GError) error = NULL;
    const char *fault;
    char **word;

    if (!g_shell_parse_argv(text, NULL, &words, &error)) {
        if (!g_error_matches(error, G_SHELL_ERROR,
                             G_SHELL_ERROR_EMPTY_STRING)) {
            no_assignment(text, line, error->message, opaque);
        }
        return;
    }
    word = words;
    if (!strcmp(word[0], "export") && word[1]) {
        word++;
    }
    fault = assignment_expands(text) ?
            "no variable is expanded and no command run here" :
            assignment_fault(word);
    if (fault) {
        no_assignment(text, line, fault, opaque);
        return;
    }
    for (; *word; word++) {
        char *equals = strchr(*word, '=');

        *equals = '\0';
        assign(*word, equals + 1, line, opaque);
    }
}

void ksm_assignments_parse(const char *text, KsmAssign *assign,
                           KsmNoAssignment *no_assignment, void *opaque)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    unsigned i;

    for (i = 0; lines[i]; i++) {
        g_strchomp(lines[i]);
        assignment_parse(lines[i], i + 1, assign, no_assignment, opaque);
    }
}

bool ksm_assignments_read(const char *path, KsmAssign *assign,
                          KsmNoAssignment *no_assignment, void *opaque,
                          GError **error)
{
    g_autofree char *text = NULL;
    gsize size;

    if (!g_file_get_contents(path, &text, &size, error)) {
        return false;
    }
    if (size > ASSIGNMENTS_BYTES_MAX || strlen(text) != size ||
        !g_utf8_validate(text, size, NULL)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "%s: not a text file of at most %d bytes", path,
                    ASSIGNMENTS_BYTES_MAX);
        return false;
    }
    ksm_assignments_parse(text, assign, no_assignment, opaque);
    return true;
}
