/*
 * Any request to ksm-exporter, by HTTP and behind it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Input is in parts, with a form feed between them: the name of a guest, a
 * method, a path, what a client accepts, and what else it sends, each a moment
 * later.  What answers requests gets the three as they are.  The server gets
 * bytes that are a request of them, unless something in them says otherwise.
 * Meanwhile who asks for metrics gets them, and nothing is left at the end.
 */
#include <errno.h>
#include <glib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fuzz.h"
#include "metrics-form.h"
#include "request.h"
#include "server.h"

#define REQUEST_PLAIN   "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
/* As the server has to understand it. */
#define REQUEST_FORM    "\\A[A-Z]+ /[a-z]* HTTP/1\\.1\\r\\nHost: x\\r\\n" \
                        "Accept: [ -~]*\\r\\n\\r\\n\\z"
#define RESPONSE_FORM   "\\AHTTP/1\\.[01] (\\d{3}) [ -~]+\\r\\n" \
                        "((?:[\\w-]+: [ -~]*\\r\\n)*)\\r\\n"
#define TEXT_FORM       "\\A[ -~\\r\\n]+\\z"

/* Parts that are still to be taken. */
typedef struct Input {
    const uint8_t *data;
    size_t size;
} Input;

/* As the client means it: any bytes. */
typedef struct Request {
    GString *method;
    GString *path;
    GString *accept;
} Request;

typedef struct Bed {
    KsmHost host;
    /* Of metrics, whatever the guest is called. */
    unsigned lines[EXPORTER_FORMATS];
    ExporterCollector *collector;
    ExporterServer *server;
    struct sockaddr_un address;
    socklen_t address_size;
    unsigned fds;               /* open at first */
} Bed;

typedef struct Client {
    int fd;
    GByteArray *received;
} Client;

/* The caller frees it. */
static GString *input_take(Input *input)
{
    const uint8_t *end = input->size ? memchr(input->data, '\f', input->size) :
                                       NULL;
    size_t size = end ? (size_t)(end - input->data) : input->size;
    GString *part = g_string_new_len((const char *)input->data, size);

    size += !!end;
    input->data += size;
    input->size -= size;
    return part;
}

static void bed_name_guest(const char *name)
{
    static const char line[] = "qemu-system-x86_64\0-name\0guest=";
    g_autoptr(GString) all = g_string_new_len(line, sizeof(line) - 1);

    g_string_append_len(all, name, strlen(name) + 1);
    fuzz_write("proc/100/cmdline", all->str, all->len);
}

/* Linux finds an address that is free. */
static int bed_listen(Bed *bed)
{
    struct sockaddr *address = (struct sockaddr *)&bed->address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    address->sa_family = AF_UNIX;
    g_assert_cmpint(bind(fd, address, sizeof(address->sa_family)), ==, 0);
    g_assert_cmpint(listen(fd, SOMAXCONN), ==, 0);
    bed->address_size = sizeof(bed->address);
    g_assert_cmpint(getsockname(fd, address, &bed->address_size), ==, 0);
    return fd;
}

/* Let the server do all that it can do now. */
static void bed_run(void)
{
    while (g_main_context_iteration(NULL, FALSE)) {
        continue;
    }
}

static void bed_begin(Bed *bed, const char *name)
{
    g_autoptr(GError) error = NULL;

    /* From its first run on, the main loop has a descriptor. */
    bed_run();
    bed->fds = fuzz_open_fds();
    bed_name_guest(name);
    bed->collector = exporter_collector_new(&bed->host);
    bed->server = exporter_server_new(bed_listen(bed), bed->collector, &error);
    g_assert_no_error(error);
}

/* One of a connection that is gone would be of memory that is freed. */
static void check_no_timer(void)
{
    GMainContext *context = g_main_context_default();
    int priority, timeout_ms;

    g_assert_true(g_main_context_acquire(context));
    g_main_context_prepare(context, &priority);
    g_main_context_query(context, priority, &timeout_ms, NULL, 0);
    g_main_context_release(context);
    g_assert_cmpint(timeout_ms, ==, -1);
}

static void bed_end(Bed *bed)
{
    exporter_server_free(bed->server);
    exporter_collector_free(bed->collector);
    check_no_timer();
    g_assert_cmpuint(fuzz_open_fds(), ==, bed->fds);
}

/* A host with one guest. */
static void bed_make(Bed *bed)
{
    int format;

    bed->host.sysfs_root = fuzz_path("ksm");
    bed->host.ksmfs_root = fuzz_path("ksmfs");
    bed->host.proc_root = fuzz_path("proc");
    bed->host.runtime_dir = fuzz_path("run");
    fuzz_write("proc/100/statm", "1000 500 3\n", strlen("1000 500 3\n"));
    bed_begin(bed, "guest");
    for (format = 0; format < EXPORTER_FORMATS; format++) {
        g_autoptr(GBytes) text = exporter_collector_text(bed->collector,
                                                         format);

        bed->lines[format] = fuzz_check_metrics(text, format);
    }
    bed_end(bed);
}

static void check_metrics(const Bed *bed, const ExporterAnswer *answer)
{
    int format;

    for (format = 0; !g_str_equal(answer->content_type,
                                  exporter_content_types[format]); format++) {
        g_assert_cmpint(format + 1, <, EXPORTER_FORMATS);
    }
    g_assert_cmpuint(fuzz_check_metrics(answer->body, format), ==,
                     bed->lines[format]);
}

static void check_text(GBytes *body)
{
    gsize size;
    const char *data = g_bytes_get_data(body, &size);
    g_autofree char *text = g_strndup(data, size);

    g_assert_cmpuint(strlen(text), ==, size);
    g_assert_true(g_regex_match_simple(TEXT_FORM, text, 0, 0));
}

static void check_answer(const Bed *bed, const ExporterAnswer *answer)
{
    g_assert_cmpint(answer->status == 405, ==, answer->allow != NULL);
    if (answer->status == 200) {
        check_metrics(bed, answer);
    } else {
        check_text(answer->body);
    }
}

/* The caller unrefs its body. */
static ExporterAnswer check_request(const Bed *bed, const Request *request)
{
    const ExporterRequest given = {
        .method = request->method->str,
        .path = request->path->str,
        .accept = request->accept->str,
    };
    ExporterAnswer answer = exporter_request_answer(&given, bed->collector);

    if (strcmp(given.path, "/metrics")) {
        g_assert_cmpuint(answer.status, ==, 404);
    } else if (strcmp(given.method, "GET") && strcmp(given.method, "HEAD")) {
        g_assert_cmpuint(answer.status, ==, 405);
    } else {
        g_assert_cmpuint(answer.status, ==, 200);
    }
    g_assert_true(answer.content_type !=
                  exporter_content_types[EXPORTER_OPENMETRICS] ||
                  strcasestr(given.accept, "application/openmetrics-text"));
    check_answer(bed, &answer);
    return answer;
}

static void client_connect(Client *client, const Bed *bed)
{
    client->received = g_byte_array_new();
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                        0);
    g_assert_cmpint(connect(client->fd, (const struct sockaddr *)&bed->address,
                            bed->address_size), ==, 0);
}

static void client_close(Client *client)
{
    g_byte_array_unref(client->received);
    close(client->fd);
    bed_run();
}

static void client_send(const Client *client, const void *data, size_t size)
{
    ssize_t sent = send(client->fd, data, size, MSG_NOSIGNAL);

    if (sent < 0) {
        g_assert_cmpint(errno, ==, EPIPE);
    } else {
        g_assert_cmpuint(sent, ==, size);
    }
}

/* All until the server ends, which it has to. */
static void client_receive(Client *client)
{
    uint8_t buffer[8192];
    ssize_t size;

    bed_run();
    while ((size = recv(client->fd, buffer, sizeof(buffer), 0)) > 0) {
        g_byte_array_append(client->received, buffer, size);
        bed_run();
    }
    /* It hasn't read all. */
    g_assert_true(size == 0 || errno == ECONNRESET);
}

/* The value of @name, which the caller frees; NULL: it isn't there. */
static char *headers_value(const char *headers, const char *name)
{
    g_auto(GStrv) lines = g_strsplit(headers, "\r\n", -1);
    g_autofree char *prefix = g_strconcat(name, ": ", NULL);
    char *value = NULL;
    char **line;

    for (line = lines; *line; line++) {
        if (g_str_has_prefix(*line, prefix)) {
            g_assert_null(value);
            value = g_strdup(*line + strlen(prefix));
        }
    }
    return value;
}

/* Not libmicrohttpd's. */
static bool status_is_ours(unsigned status)
{
    return status == 200 || status == 404 || status == 405;
}

/*
 * One answer, that which is @wanted unless it is NULL, and nothing behind it;
 * one to HEAD has no body.  Some of those with which libmicrohttpd 0.9.75
 * itself refuses a request have their head twice.
 */
static void check_response(const Bed *bed, const Client *client, bool is_head,
                           const ExporterAnswer *wanted)
{
    const char *raw = (const char *)client->received->data;
    size_t size = client->received->len;
    static GRegex *form;
    g_autoptr(GMatchInfo) match = NULL;
    g_autofree char *status = NULL, *headers = NULL, *length = NULL;
    g_autofree char *type = NULL, *allow = NULL;
    ExporterAnswer answer;
    guint64 stated;
    int end;

    if (!form) {
        form = g_regex_new(RESPONSE_FORM, G_REGEX_RAW | G_REGEX_OPTIMIZE, 0,
                           NULL);
    }
    g_assert_true(g_regex_match_full(form, raw, size, 0, 0, &match, NULL));
    g_match_info_fetch_pos(match, 0, NULL, &end);
    status = g_match_info_fetch(match, 1);
    headers = g_match_info_fetch(match, 2);
    length = headers_value(headers, "Content-Length");
    type = headers_value(headers, "Content-Type");
    allow = headers_value(headers, "Allow");
    answer = (ExporterAnswer) { atoi(status), type, allow };
    if (!is_head || (size_t)end != size) {
        g_assert_true(g_ascii_string_to_unsigned(length, 10, 0, size - end,
                                                 &stated, NULL));
        g_assert_true(stated == size - end || !status_is_ours(answer.status));
        answer.body = g_bytes_new_static(raw + end, size - end);
        check_answer(bed, &answer);
        g_bytes_unref(answer.body);
    }
    if (wanted) {
        g_assert_cmpuint(answer.status, ==, wanted->status);
        g_assert_cmpstr(type, ==, wanted->content_type);
    }
}

/* Neither ends its side, nor has anything to do with others. */
static void check_plain_client(const Bed *bed)
{
    const ExporterAnswer metrics = {
        .status = 200,
        .content_type = exporter_content_types[EXPORTER_TEXT],
    };
    Client client;

    client_connect(&client, bed);
    client_send(&client, REQUEST_PLAIN, strlen(REQUEST_PLAIN));
    client_receive(&client);
    check_response(bed, &client, false, &metrics);
    client_close(&client);
}

/* As the server gets it first. */
static GString *request_raw(const Request *request)
{
    GString *raw = g_string_new_len(request->method->str,
                                    request->method->len);

    g_string_append_c(raw, ' ');
    g_string_append_len(raw, request->path->str, request->path->len);
    g_string_append(raw, " HTTP/1.1\r\nHost: x\r\nAccept: ");
    g_string_append_len(raw, request->accept->str, request->accept->len);
    g_string_append(raw, "\r\n\r\n");
    return raw;
}

/* @answer is that to the request, as far as the server understands it. */
static void check_client(const Bed *bed, const Request *request, Input *later,
                         const ExporterAnswer *answer)
{
    g_autoptr(GString) raw = request_raw(request);
    bool understood = strlen(raw->str) == raw->len &&
                      g_regex_match_simple(REQUEST_FORM, raw->str,
                                           G_REGEX_RAW, 0);
    Client client;

    client_connect(&client, bed);
    client_send(&client, raw->str, raw->len);
    while (later->size) {
        g_autoptr(GString) part = input_take(later);

        bed_run();
        client_send(&client, part->str, part->len);
        g_string_append_len(raw, part->str, part->len);
    }
    check_plain_client(bed);
    shutdown(client.fd, SHUT_WR);
    client_receive(&client);
    if (client.received->len) {
        check_response(bed, &client, memmem(raw->str, raw->len, "HEAD", 4),
                       understood ? answer : NULL);
    } else {
        g_assert_false(understood);
    }
    client_close(&client);
}

/* Who leaves before there is an answer. */
static void check_leaver(const Bed *bed, const Request *request)
{
    g_autoptr(GString) raw = request_raw(request);
    Client client;

    client_connect(&client, bed);
    client_send(&client, raw->str, raw->len);
    client_close(&client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Bed bed;
    Input input = { data, size };
    g_autoptr(GString) name = input_take(&input);
    g_autoptr(GString) method = input_take(&input);
    g_autoptr(GString) path = input_take(&input);
    g_autoptr(GString) accept = input_take(&input);
    const Request request = { method, path, accept };
    ExporterAnswer answer;

    if (!bed.host.proc_root) {
        bed_make(&bed);
    }
    bed_begin(&bed, name->str);
    answer = check_request(&bed, &request);
    check_leaver(&bed, &request);
    check_client(&bed, &request, &input, &answer);
    g_bytes_unref(answer.body);
    bed_end(&bed);
    return 0;
}
