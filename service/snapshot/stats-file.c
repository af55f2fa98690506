/*
 * The statistics that ksmtuned writes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Whatever is in that file, its readers go on.  The parser of json-glib calls
 * itself for each bracket, has extensions, comments among them, and leaks what
 * follows a value.  So the text is looked over first: that it is one object,
 * how deep its brackets go, and that outside of strings it has no characters
 * but those that JSON has there.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stats-file.h"

#define DAEMON_NAME             "ksmtuned"
#define STATS_NAME              "stats.json"
#define STATS_BYTES_MAX         (4 * 1024 * 1024)
/* A process ID and a line's end. */
#define LOCK_BYTES_MAX          31
/* ksmtuned needs 4. */
#define STATS_DEPTH_MAX         32
/* It is written within a second or two, if anything has changed. */
#define STATS_SETTLED_US        1500000

static char *stats_path(const KsmHost *host)
{
    return g_build_filename(host->runtime_dir, STATS_NAME, NULL);
}

/* As much of @fd as there is, up to @size bytes.  False: see errno. */
static bool stats_read_all(int fd, char *text, size_t *size)
{
    size_t done = 0;
    ssize_t got = 1;

    while (got > 0 && done < *size) {
        got = read(fd, text + done, *size - done);
        if (got > 0) {
            done += got;
        } else if (got < 0 && errno == EINTR) {
            got = 1;
        }
    }
    *size = done;
    return got >= 0;
}

/* As of when figures hold that are in a file that was written then. */
static int64_t stats_time(const struct stat *info)
{
    int64_t written_us = (int64_t)info->st_mtim.tv_sec * G_USEC_PER_SEC +
                         info->st_mtim.tv_nsec / 1000;

    return MAX(written_us, g_get_real_time() - STATS_SETTLED_US);
}

/* The text in @fd, of at most @size_max bytes; else an errno. */
static int stats_read_text(int fd, size_t size_max, char **text)
{
    size_t size = size_max + 1;

    *text = g_malloc(size + 1);
    if (!stats_read_all(fd, *text, &size)) {
        return errno;
    }
    (*text)[size] = '\0';
    /* At a NUL, it would end for the parser. */
    return size > size_max ? EFBIG : strlen(*text) != size ? EILSEQ : 0;
}

/* The same of the file @path.  The caller frees @text in any case. */
static int stats_read_file(const char *path, size_t size_max, char **text,
                           int64_t *at_us)
{
    /* Nobody would ever write to a pipe. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat info;
    int fault;

    *text = NULL;
    if (fd < 0) {
        return errno;
    }
    if (fstat(fd, &info) < 0) {
        fault = errno;
    } else if (!S_ISREG(info.st_mode)) {
        fault = EINVAL;
    } else {
        *at_us = stats_time(&info);
        fault = stats_read_text(fd, size_max, text);
    }
    close(fd);
    return fault;
}

pid_t ksm_stats_writer(const KsmHost *host)
{
    g_autofree char *path = g_build_filename(host->runtime_dir, "lock", NULL);
    g_autofree char *text = NULL;
    g_autofree char *comm = NULL;
    g_autofree char *name = NULL;
    guint64 pid = 0;
    int64_t at_us;

    if (stats_read_file(path, LOCK_BYTES_MAX, &text, &at_us) ||
        !g_ascii_string_to_unsigned(g_strstrip(text), 10, 1, G_MAXINT32, &pid,
                                    NULL)) {
        return 0;
    }
    /* After a kill the files stay, and another process may get the number. */
    comm = g_strdup_printf("%s/%" PRIu64 "/comm", host->proc_root,
                           (uint64_t)pid);
    return g_file_get_contents(comm, &name, NULL, NULL) &&
           !strcmp(g_strchomp(name), DAEMON_NAME) ? (pid_t)pid : 0;
}

char *ksm_stats_no_writer(const KsmHost *host)
{
    return g_strdup_printf("ksmtuned does not run in %s: systemctl start "
                           "ksmtuned, or give its --runtime-dir",
                           host->runtime_dir);
}

static bool stats_byte_is_json(char c)
{
    return g_ascii_isalnum(c) || strchr("{}[]:,+-. \t\r\n", c);
}

/*
 * The parser takes any number of digits, and negates what has overflowed.
 * Make what has too many for an int64_t after the minus at @text, or may have,
 * one that is far too large: that is negative to it.
 */
static void stats_mend_minus(char *text)
{
    if (*text == '-' && strspn(text + 1, "0123456789") > 18) {
        *text = '9';
    }
}

/* See the top of this file. */
static bool stats_make_parseable(char *text)
{
    unsigned depth = 0;
    bool in_string = false, begun = false;

    for (; *text; text++) {
        if (!in_string) {
            stats_mend_minus(text);
        }
        if (!depth && !g_ascii_isspace(*text)) {
            if (begun || *text != '{') {
                return false;
            }
            begun = true;
        }
        if (*text == '"') {
            in_string = !in_string;
        } else if (in_string) {
            text += *text == '\\' && text[1];
        } else if (!stats_byte_is_json(*text)) {
            return false;
        } else if (*text == '{' || *text == '[') {
            if (++depth > STATS_DEPTH_MAX) {
                return false;
            }
        } else if (*text == '}' || *text == ']') {
            depth--;
        }
    }
    return begun && !depth;
}

/* NULL: it is no object. */
static JsonObject *stats_parse(const char *text)
{
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    /* A name that is no UTF-8 must not hide all other engines. */
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    JsonNode *root;

    if (!stats_make_parseable(valid) ||
        !json_parser_load_from_data(parser, valid, -1, NULL)) {
        return NULL;
    }
    root = json_parser_get_root(parser);
    return json_object_ref(json_node_get_object(root));
}

static const char *stats_way_out(int fault)
{
    switch (fault) {
    case ENOENT:
        return "try again in a second, and start ksmtuned without another "
               "--stats-file";
    case EACCES:
    case EPERM:
        return "run as root";
    default:
        return "remove it and restart ksmtuned";
    }
}

JsonObject *ksm_stats_read(const KsmHost *host, int64_t *at_us,
                           char **fault)
{
    g_autofree char *path = stats_path(host);
    g_autofree char *text = NULL;
    JsonObject *stats;
    int reason;

    *fault = NULL;
    *at_us = 0;
    if (!ksm_stats_writer(host)) {
        *fault = ksm_stats_no_writer(host);
        return NULL;
    }
    reason = stats_read_file(path, STATS_BYTES_MAX, &text, at_us);
    if (reason) {
        *fault = g_strdup_printf("can't read %s: %s: %s", path,
                                 g_strerror(reason), stats_way_out(reason));
        return NULL;
    }
    stats = stats_parse(text);
    if (!stats) {
        *fault = g_strdup_printf("%s is not a JSON object: %s", path,
                                 stats_way_out(0));
    }
    return stats;
}

int64_t ksm_stats_time(const KsmHost *host)
{
    g_autofree char *path = stats_path(host);
    struct stat info;

    return stat(path, &info) < 0 ? 0 : stats_time(&info);
}

const char *ksm_stats_string(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);

    return node && JSON_NODE_HOLDS_VALUE(node) &&
           json_node_get_value_type(node) == G_TYPE_STRING ?
           json_node_get_string(node) : NULL;
}

JsonArray *ksm_stats_array(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);

    return node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) :
                                                 NULL;
}

KsmFigure ksm_stats_figure(JsonObject *object, const char *name,
                           int64_t min, int64_t max)
{
    JsonNode *node = json_object_get_member(object, name);
    KsmFigure figure = { false };

    if (node && JSON_NODE_HOLDS_VALUE(node) &&
        json_node_get_value_type(node) == G_TYPE_INT64) {
        figure.value = json_node_get_int(node);
        figure.known = figure.value >= min && figure.value <= max;
    }
    return figure.known ? figure : (KsmFigure) { false };
}

const char *ksm_stats_word(const char *const *words, const char *text)
{
    for (; text && *words; words++) {
        if (!strcmp(*words, text)) {
            return *words;
        }
    }
    return NULL;
}
