/*
 * Test of files of shell assignments
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib/gstdio.h>
#include <string.h>

#include "host/assignments.h"

/* What was found, as "LINE:KEY=VALUE;" and "LINE!TEXT;" or its reasons. */
typedef struct Found {
    GString *assigned;
    GString *refused;
    GString *reasons;
} Found;

static void note_assigned(const char *key, const char *value, unsigned line,
                          void *opaque)
{
    Found *found = opaque;

    g_string_append_printf(found->assigned, "%u:%s=%s;", line, key, value);
}

static void note_refused(const char *text, unsigned line, const char *reason,
                         void *opaque)
{
    Found *found = opaque;

    g_string_append_printf(found->refused, "%u!%s;", line, text);
    g_string_append_printf(found->reasons, "%s;", reason);
}

static void found_init(Found *found)
{
    found->assigned = g_string_new(NULL);
    found->refused = g_string_new(NULL);
    found->reasons = g_string_new(NULL);
}

static void found_clear(Found *found)
{
    g_string_free(found->assigned, TRUE);
    g_string_free(found->refused, TRUE);
    g_string_free(found->reasons, TRUE);
}

static void check_both(const char *text, const char *assigned,
                       const char *refused)
{
    Found found;

    found_init(&found);
    ksm_assignments_parse(text, note_assigned, note_refused, &found);
    g_assert_cmpstr(found.assigned->str, ==, assigned);
    g_assert_cmpstr(found.refused->str, ==, refused);
    found_clear(&found);
}

static void check_assigned(const char *text, const char *assigned)
{
    check_both(text, assigned, "");
}

static void check_refused(const char *text, const char *reason)
{
    g_autofree char *refused = g_strdup_printf("1!%s;", text);
    Found found;

    check_both(text, "", refused);
    found_init(&found);
    ksm_assignments_parse(text, note_assigned, note_refused, &found);
    g_assert_nonnull(strstr(found.reasons->str, reason));
    found_clear(&found);
}

static void test_plain(void)
{
    check_assigned("A=1", "1:A=1;");
    check_assigned("A=1\n", "1:A=1;");
    check_assigned("  A=1  ", "1:A=1;");
    check_assigned("_a1=x=y", "1:_a1=x=y;");
    check_assigned("A=-50", "1:A=-50;");
}

static void test_empty(void)
{
    check_assigned("", "");
    check_assigned("\n  \t\n  # x\n", "");
    check_assigned("A=", "1:A=;");
    check_assigned("A=''", "1:A=;");
    check_assigned("A=\"\"", "1:A=;");
}

static void test_comments(void)
{
    check_assigned("# A=1", "");
    check_assigned("  # A=1", "");
    check_assigned("A=1 # comment", "1:A=1;");
    check_assigned("A=1 # it's", "1:A=1;");
    check_assigned("A=1 # $X and `date`", "1:A=1;");
    check_assigned("A='#1'", "1:A=#1;");
    check_assigned("A=\"# 1\"", "1:A=# 1;");
}

/* As a shell has it, a comment begins a word. */
static void test_hash_in_word(void)
{
    check_assigned("A=1#2", "1:A=1#2;");
    check_both("A=1#$X", "", "1!A=1#$X;");
}

static void test_quotes(void)
{
    check_assigned("A='a b'", "1:A=a b;");
    check_assigned("A=\"a b\"", "1:A=a b;");
    check_assigned("A=a' b'\" c\"", "1:A=a b c;");
    check_assigned("A=\"a\\\"b\"", "1:A=a\"b;");
    check_assigned("A=a\\ b", "1:A=a b;");
    check_assigned("A='a\\b'", "1:A=a\\b;");
}

static void test_export(void)
{
    check_assigned("export A=1", "1:A=1;");
    check_assigned("export A=1 B=2", "1:A=1;1:B=2;");
    check_assigned("export=1", "1:export=1;");
    check_refused("export", "not KEY=VALUE");
    check_refused("export A", "not KEY=VALUE");
}

static void test_several_in_line(void)
{
    check_assigned("A=1 B=2\tC='3 4'", "1:A=1;1:B=2;1:C=3 4;");
    /* All of them or none. */
    check_refused("A=1 command", "not KEY=VALUE");
}

static void test_no_assignment(void)
{
    check_refused("A", "not KEY=VALUE");
    check_refused("A = 1", "not KEY=VALUE");
    check_refused("=1", "not KEY=VALUE");
    check_refused("1A=1", "not KEY=VALUE");
    check_refused("A-B=1", "not KEY=VALUE");
    check_refused("rm -rf /", "not KEY=VALUE");
}

static void test_carriage_return(void)
{
    check_assigned("A=1\r\nB=2\r\n", "1:A=1;2:B=2;");
    check_assigned("A='1'\r\n\r\n# x\r\nB=\r\n", "1:A=1;4:B=;");
}

static void test_expansion(void)
{
    check_refused("A=$X", "no variable is expanded");
    check_refused("A=${X}", "no variable is expanded");
    check_refused("A=\"$X\"", "no variable is expanded");
    check_refused("A=$(date)", "no variable is expanded");
    check_refused("A=`date`", "no variable is expanded");
    check_refused("A=\"`date`\"", "no variable is expanded");
    /* Of no meaning to a shell, either. */
    check_assigned("A='$X'", "1:A=$X;");
    check_assigned("A='`date`'", "1:A=`date`;");
    check_assigned("A=\\$X", "1:A=$X;");
    check_assigned("A=\"\\$X\"", "1:A=$X;");
}

static void test_broken_quotes(void)
{
    check_both("A='1", "", "1!A='1;");
    check_both("A=\"1", "", "1!A=\"1;");
    /* The next line is one of its own. */
    check_both("A='1\nB=2", "2:B=2;", "1!A='1;");
}

static void test_line_numbers(void)
{
    check_both("# 1\n\nA=3\nbad\n\nB=6 C=6\n$\n",
               "3:A=3;6:B=6;6:C=6;", "4!bad;7!$;");
}

static bool read_text(const char *text, gsize size, Found *found,
                      GError **error)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("test-ksm-assignments-XXXXXX", &path, NULL);
    bool ok;

    g_assert_cmpint(fd, >=, 0);
    g_close(fd, NULL);
    g_assert_true(g_file_set_contents(path, text, size, NULL));
    ok = ksm_assignments_read(path, note_assigned, note_refused, found,
                              error);
    g_unlink(path);
    return ok;
}

static void check_no_text(const char *text, gsize size)
{
    g_autoptr(GError) error = NULL;
    Found found;

    found_init(&found);
    g_assert_false(read_text(text, size, &found, &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL);
    g_assert_cmpstr(found.assigned->str, ==, "");
    found_clear(&found);
}

static void test_files(void)
{
    g_autofree char *large = g_strnfill(1024 * 1024 + 1, '#');
    g_autoptr(GError) error = NULL;
    Found found;

    found_init(&found);
    g_assert_true(read_text("A=1\nB='2 3'\n", -1, &found, NULL));
    g_assert_cmpstr(found.assigned->str, ==, "1:A=1;2:B=2 3;");
    check_no_text("A=1\0B=2", 7);
    check_no_text("A=\xff", 3);
    check_no_text(large, -1);
    g_assert_false(ksm_assignments_read("/no/such/file", note_assigned,
                                        note_refused, &found, &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
    found_clear(&found);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ksm-assignments/plain", test_plain);
    g_test_add_func("/ksm-assignments/empty", test_empty);
    g_test_add_func("/ksm-assignments/comments", test_comments);
    g_test_add_func("/ksm-assignments/hash-in-word", test_hash_in_word);
    g_test_add_func("/ksm-assignments/quotes", test_quotes);
    g_test_add_func("/ksm-assignments/export", test_export);
    g_test_add_func("/ksm-assignments/several-in-line", test_several_in_line);
    g_test_add_func("/ksm-assignments/no-assignment", test_no_assignment);
    g_test_add_func("/ksm-assignments/carriage-return", test_carriage_return);
    g_test_add_func("/ksm-assignments/expansion", test_expansion);
    g_test_add_func("/ksm-assignments/broken-quotes", test_broken_quotes);
    g_test_add_func("/ksm-assignments/line-numbers", test_line_numbers);
    g_test_add_func("/ksm-assignments/files", test_files);
    return g_test_run();
}
