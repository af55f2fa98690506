/*
 * The connection of one engine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Theory of operation
 *
 * Input is read into a buffer that holds the longest frame, at most one buffer
 * each time round the main loop, so that a busy engine doesn't starve others.
 * Frames are handled as soon as they are whole.  Answers collect in an output
 * queue, entries that follow each other in one TWINS frame, and are sent when
 * the main loop next finds the socket writable: after all input that was there.
 *
 * While more than OUTPUT_PAUSE bytes wait to be sent, nothing is read: an
 * engine can't make us queue more by asking without listening.  Other engines
 * still can, so there is a limit at which it is closed.
 *
 * A refused connection has already left its domain; it stays only until its
 * REFUSE frame is sent, or until a timeout.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "host/cgroup-weight.h"
#include "ksm-index.h"
#include "ksm-wire.h"
#include "log.h"
#include "report.h"

#define INPUT_SIZE              (sizeof(KsmFrameHeader) + KSM_WIRE_MAX_PAYLOAD)
/* Entries of a frame whose place in the index is asked for ahead. */
#define PREFETCH_ENTRIES        8
#define OUTPUT_PAUSE            (1024 * 1024)
#define OUTPUT_MAX              (64 * 1024 * 1024)
#define OUTPUT_SEND_MAX         (256 * 1024)
#define HELLO_TIMEOUT_S         10
#define REFUSE_TIMEOUT_S        5
/* No frame may carry any; room for some, to close them all. */
#define CONTROL_FDS             256

typedef enum ClientState {
    CLIENT_NEW,                 /* no HELLO yet */
    CLIENT_MEMBER,              /* in a domain */
    CLIENT_REFUSED,             /* a REFUSE is on its way */
} ClientState;

struct KsmtunedClient {
    KsmtunedWatch watch;        /* first: a watch is its client */
    const KsmtunedClientShared *shared;
    ClientState state;
    KsmtunedPeer peer;
    const KsmtunedRule *rule;   /* that lets it in; NULL: none does */
    KsmtunedDomain *domain;     /* of a member */
    uint16_t id;                /* in the domain */
    char *name;                 /* for the log: printable */

    guint timer;                /* HELLO or REFUSE is overdue */
    guint overflow_source;

    KsmtunedDemander demander;
    KsmtunedGrantee grantee;
    uint64_t entries;           /* held in the index */
    uint64_t published;
    uint64_t withdrawn;
    int64_t reported_ms;        /* monotonic; 0: nothing yet */
    KsmFrameReport report;

    GByteArray *out;
    size_t out_sent;            /* bytes at its front that are gone */
    /* Offset in @out of the TWINS frame that takes more; SIZE_MAX: none. */
    size_t out_twins;

    size_t in_used;
    uint8_t in[INPUT_SIZE];
};

static void client_update_watch(KsmtunedClient *client);

G_GNUC_PRINTF(3, 4)
static void client_log(const KsmtunedClient *client, KsmtunedLogLevel level,
                       const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    if (*client->name) {
        ksmtuned_log(level, "engine '%s' (pid %d) %s", client->name,
                     (int)client->peer.pid, text);
    } else {
        /* A QEMU without -name, or one that hasn't told its name yet. */
        ksmtuned_log(level, "engine of pid %d %s", (int)client->peer.pid,
                     text);
    }
}

static size_t client_out_pending(const KsmtunedClient *client)
{
    return client->out->len - client->out_sent;
}

/* Output */

static void client_queue_frame(KsmtunedClient *client, KsmFrameType type,
                               const void *payload, uint32_t length)
{
    KsmFrameHeader header = { .type = type, .length = length };

    client->out_twins = SIZE_MAX;
    g_byte_array_append(client->out, (const uint8_t *)&header, sizeof(header));
    g_byte_array_append(client->out, payload, length);
    client_update_watch(client);
}

static gboolean client_overflow(gpointer opaque)
{
    KsmtunedClient *client = opaque;

    client->overflow_source = 0;
    client_log(client, KSMTUNED_LOG_WARNING,
               "closed: it left more than %d MiB of answers unread",
               OUTPUT_MAX / (1024 * 1024));
    ksmtuned_client_close(client);
    return G_SOURCE_REMOVE;
}

void ksmtuned_client_tell(void *opaque, const KsmFrameEntry *entry)
{
    KsmtunedClient *client = opaque;
    KsmFrameHeader header;

    if (client_out_pending(client) > OUTPUT_MAX) {
        /* Not now: a caller may be walking over the domain. */
        if (!client->overflow_source) {
            client->overflow_source = g_idle_add_full(G_PRIORITY_HIGH,
                                                      client_overflow, client,
                                                      NULL);
        }
        return;
    }
    if (client->out_twins != SIZE_MAX) {
        uint8_t *at = client->out->data + client->out_twins;

        memcpy(&header, at, sizeof(header));
        if (header.length + sizeof(*entry) <= KSM_WIRE_MAX_PAYLOAD) {
            header.length += sizeof(*entry);
            memcpy(at, &header, sizeof(header));
            g_byte_array_append(client->out, (const uint8_t *)entry,
                                sizeof(*entry));
            return;
        }
    }
    client_queue_frame(client, KSM_FRAME_TWINS, entry, sizeof(*entry));
    client->out_twins = client->out->len - sizeof(header) - sizeof(*entry);
}

void ksmtuned_client_grant(void *opaque, const KsmFrameBudget *budget)
{
    client_queue_frame(opaque, KSM_FRAME_BUDGET, budget, sizeof(*budget));
}

/* Send what the socket takes; false if the connection is broken. */
static bool client_send(KsmtunedClient *client)
{
    size_t pending = client_out_pending(client);
    ssize_t sent;

    if (!pending) {
        return true;
    }
    /* What is being sent can't grow any more. */
    client->out_twins = SIZE_MAX;
    sent = send(client->watch.fd, client->out->data + client->out_sent,
                MIN(pending, OUTPUT_SEND_MAX), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    client->out_sent += sent;
    if (client->out_sent == client->out->len) {
        if (client->out->len > OUTPUT_PAUSE) {
            /* A byte array never gives memory back by itself. */
            g_byte_array_unref(client->out);
            client->out = g_byte_array_new();
        }
        g_byte_array_set_size(client->out, 0);
        client->out_sent = 0;
    } else if (client->out_sent > client->out->len / 2) {
        g_byte_array_remove_range(client->out, 0, client->out_sent);
        client->out_sent = 0;
    }
    return true;
}

/* Leaving */

static void client_leave(KsmtunedClient *client)
{
    if (client->state != CLIENT_MEMBER) {
        return;
    }
    client->state = CLIENT_REFUSED;
    client_log(client, KSMTUNED_LOG_INFO,
               "left: %" PRIu64 " pages published, %" PRIu64 " withdrawn, %"
               PRIu64 " dropped now", client->published, client->withdrawn,
               client->entries);
    ksmtuned_domain_leave(client->domain, client->id);
    ksmtuned_tuner_leave(client->shared->tuner, &client->demander);
    ksmtuned_budgets_leave(client->shared->budgets, &client->grantee);
    ksmtuned_stats_touch(client->shared->stats);
}

static void client_remove_source(guint *source)
{
    if (*source) {
        g_source_remove(*source);
        *source = 0;
    }
}

void ksmtuned_client_close(KsmtunedClient *client)
{
    client_leave(client);
    ksmtuned_poll_watch(client->shared->poll, &client->watch, 0);
    client_remove_source(&client->timer);
    client_remove_source(&client->overflow_source);
    close(client->watch.fd);
    client->shared->closed(client, client->shared->opaque);
    g_byte_array_unref(client->out);
    ksmtuned_peer_clear(&client->peer);
    g_free(client->name);
    g_free(client);
}

static gboolean client_timeout(gpointer opaque)
{
    KsmtunedClient *client = opaque;

    client->timer = 0;
    if (client->state == CLIENT_NEW) {
        g_autofree char *reason = NULL;

        reason = g_strdup_printf("no HELLO within %d s", HELLO_TIMEOUT_S);
        ksmtuned_client_refuse(client, reason);
    } else {
        ksmtuned_client_close(client);
    }
    return G_SOURCE_REMOVE;
}

void ksmtuned_client_refuse(KsmtunedClient *client, const char *reason)
{
    if (client->state == CLIENT_REFUSED) {
        return;
    }
    client_log(client, KSMTUNED_LOG_WARNING, "refused: %s", reason);
    client_leave(client);
    client->state = CLIENT_REFUSED;
    client_remove_source(&client->timer);
    client->timer = g_timeout_add_seconds(REFUSE_TIMEOUT_S, client_timeout,
                                          client);
    client_queue_frame(client, KSM_FRAME_REFUSE, reason, strlen(reason));
}

void ksmtuned_client_weigh(KsmtunedClient *client)
{
    client->grantee.weight = ksm_cgroup_weight(client->shared->cgroup_root,
                                               client->peer.cgroup);
    if (client->rule) {
        client->grantee.weight *= client->rule->priority;
    }
}

/* Frames */

/* What follows from a peer may be logged: only printable, and short. */
static char *client_printable(const char *text)
{
    char *copy = g_strdup(text);

    return g_strcanon(copy, "abcdefghijklmnopqrstuvwxyz"
                      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                      " ()+,-./:=@_\\", '?');
}

/* The peer needs not learn what would let it in. */
static void client_refuse_unruled(KsmtunedClient *client)
{
    const KsmtunedPeer *peer = &client->peer;
    g_autofree char *cgroup = client_printable(peer->cgroup ? peer->cgroup :
                                                              "unknown");
    g_autofree char *label = client_printable(peer->label ? peer->label :
                                                            "none");

    client_log(client, KSMTUNED_LOG_WARNING, "meets no rule: its cgroup is "
               "%s, its security label %s", cgroup, label);
    ksmtuned_client_refuse(client, "ksmtuned's rules put it in no domain: see "
                           "ksmtuned's log");
}

static void client_hello(KsmtunedClient *client, const uint8_t *payload)
{
    const KsmtunedClientShared *shared = client->shared;
    KsmFrameWelcome welcome = {
        .version = KSM_WIRE_VERSION, .features = KSM_FEATURE_REPORT,
    };
    KsmFrameHello hello;

    memcpy(&hello, payload, sizeof(hello));
    g_free(client->name);
    client->name = client_printable(hello.name);
    if (hello.page_size != shared->page_size) {
        g_autofree char *reason = NULL;

        reason = g_strdup_printf("page size %" PRIu32 ", this host has %"
                                 PRIu32, hello.page_size, shared->page_size);
        ksmtuned_client_refuse(client, reason);
        return;
    }
    if (!client->rule) {
        client_refuse_unruled(client);
        return;
    }
    client->domain = ksmtuned_domains_get(shared->domains,
                                          client->rule->domain);
    if (!ksmtuned_domain_join(client->domain, client, &client->id)) {
        ksmtuned_client_refuse(client, "too many engines");
        return;
    }
    client->state = CLIENT_MEMBER;
    client_remove_source(&client->timer);
    ksmtuned_tuner_join(shared->tuner, &client->demander);
    memcpy(welcome.seed, ksmtuned_domain_seed(client->domain),
           sizeof(welcome.seed));
    client_queue_frame(client, KSM_FRAME_WELCOME, &welcome, sizeof(welcome));
    client->grantee.client = client;
    client->grantee.takes = hello.features & KSM_FEATURE_BUDGET;
    ksmtuned_client_weigh(client);
    ksmtuned_budgets_join(shared->budgets, &client->grantee);
    client_log(client, KSMTUNED_LOG_INFO, "joined domain %s",
               client->rule->domain);
}

/* Whose pages are few is served, whatever others do. */
static bool client_has_too_much(const KsmtunedClient *client)
{
    const KsmtunedClientShared *shared = client->shared;
    KsmtunedDomainFigures all = ksmtuned_domains_figures(shared->domains);

    /* Merged pages are published by each guest that has them. */
    return all.entries / KSM_INDEX_CANDIDATES >= shared->pages_max &&
           client->entries >= all.entries / all.members;
}

/* The entry at @at of a frame; those that follow it are asked for ahead. */
static KsmFrameEntry client_entry(const KsmtunedClient *client,
                                  const uint8_t *payload, uint32_t length,
                                  uint32_t at)
{
    const uint32_t ahead = at + PREFETCH_ENTRIES * sizeof(KsmFrameEntry);
    KsmFrameEntry entry;

    if (ahead < length) {
        memcpy(&entry, payload + ahead, sizeof(entry));
        ksmtuned_domain_prefetch(client->domain, &entry);
    }
    memcpy(&entry, payload + at, sizeof(entry));
    return entry;
}

static void client_publish(KsmtunedClient *client, const uint8_t *payload,
                           uint32_t length)
{
    const KsmtunedClientShared *shared = client->shared;
    KsmFrameEntry entry;
    uint32_t at;

    if (client_has_too_much(client)) {
        ksmtuned_client_refuse(client, "all engines together published more "
                               "pages than the host can have merged, and this "
                               "one more than its share");
        return;
    }
    for (at = 0; at < length; at += sizeof(entry)) {
        entry = client_entry(client, payload, length, at);
        if (client->entries >= shared->pages_max) {
            g_autofree char *reason = NULL;

            reason = g_strdup_printf("more pages published than the host's "
                                     "memory and swap have: %" PRIu64,
                                     shared->pages_max);
            ksmtuned_client_refuse(client, reason);
            return;
        }
        client->entries += ksmtuned_domain_publish(client->domain, client->id,
                                                   &entry);
        client->published++;
    }
}

static void client_withdraw(KsmtunedClient *client, const uint8_t *payload,
                            uint32_t length)
{
    KsmFrameEntry entry;
    uint32_t at;

    for (at = 0; at < length; at += sizeof(entry)) {
        entry = client_entry(client, payload, length, at);
        client->entries += ksmtuned_domain_withdraw(client->domain,
                                                    client->id, &entry);
        client->withdrawn++;
    }
}

/*
 * All of a guest's RAM may be marked, present or not, and that may be more than
 * the host has; but no more than that can be there to wait for ksmd.
 */
static void client_demand(KsmtunedClient *client, const uint8_t *payload)
{
    const KsmtunedClientShared *shared = client->shared;
    KsmFrameDemand demand;

    memcpy(&demand, payload, sizeof(demand));
    ksmtuned_tuner_demand(shared->tuner, &client->demander, demand.marked,
                          MIN(demand.total, shared->pages_max));
}

static void client_handle(KsmtunedClient *client, const KsmFrameHeader *header,
                          const uint8_t *payload)
{
    if ((header->type == KSM_FRAME_HELLO) != (client->state == CLIENT_NEW)) {
        ksmtuned_client_refuse(client, client->state == CLIENT_NEW ?
                               "the first frame is not HELLO" :
                               "a second HELLO");
        return;
    }
    switch (header->type) {
    case KSM_FRAME_HELLO:
        client_hello(client, payload);
        break;
    case KSM_FRAME_PUBLISH:
        client_publish(client, payload, header->length);
        break;
    case KSM_FRAME_WITHDRAW:
        client_withdraw(client, payload, header->length);
        break;
    case KSM_FRAME_DEMAND:
        client_demand(client, payload);
        break;
    case KSM_FRAME_REPORT:
        memcpy(&client->report, payload, sizeof(client->report));
        client->reported_ms = g_get_monotonic_time() / 1000;
        ksmtuned_budgets_report(client->shared->budgets, &client->grantee,
                                client->report.cpu_ns, client->reported_ms);
        break;
    }
    ksmtuned_stats_touch(client->shared->stats);
}

bool ksmtuned_client_report_json(const KsmtunedClient *client, GString *json)
{
    if (client->state != CLIENT_MEMBER || !client->reported_ms) {
        return false;
    }
    ksmtuned_report_json(json, client->name, client->rule->domain,
                         client->peer.pid, client->reported_ms,
                         &client->report);
    return true;
}

/* Input */

static void client_refuse_frame(KsmtunedClient *client,
                                const KsmFrameHeader *header,
                                KsmWireError error)
{
    g_autofree char *reason = NULL;

    if (error == KSM_WIRE_BAD_VERSION) {
        reason = g_strdup_printf("%s; ksmtuned speaks version %d",
                                 ksm_wire_strerror(error), KSM_WIRE_VERSION);
    } else {
        reason = g_strdup_printf("%s (type %u, length %" PRIu32 ")",
                                 ksm_wire_strerror(error), header->type,
                                 header->length);
    }
    ksmtuned_client_refuse(client, reason);
}

/* Handle the whole frames in the buffer. */
static void client_process(KsmtunedClient *client)
{
    size_t at = 0;

    while (client->state != CLIENT_REFUSED &&
           client->in_used - at >= sizeof(KsmFrameHeader)) {
        const uint8_t *payload = client->in + at + sizeof(KsmFrameHeader);
        KsmFrameHeader header;
        KsmWireError error;

        memcpy(&header, client->in + at, sizeof(header));
        error = ksm_wire_check_header(&header, KSM_WIRE_FROM_ENGINE);
        if (error == KSM_WIRE_OK) {
            if (client->in_used - at < sizeof(header) + header.length) {
                break;
            }
            error = ksm_wire_check_payload(&header, payload);
        }
        if (error != KSM_WIRE_OK) {
            client_refuse_frame(client, &header, error);
            break;
        }
        client_handle(client, &header, payload);
        at += sizeof(header) + header.length;
    }
    client->in_used -= at;
    memmove(client->in, client->in + at, client->in_used);
}

/* Close descriptors that came with a message; true if there were any. */
static bool client_drop_fds(struct msghdr *message)
{
    struct cmsghdr *control;
    bool any = message->msg_flags & MSG_CTRUNC;

    for (control = CMSG_FIRSTHDR(message); control;
         control = CMSG_NXTHDR(message, control)) {
        size_t count, i;

        if (control->cmsg_level != SOL_SOCKET ||
            control->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(control) + i * sizeof(fd), sizeof(fd));
            close(fd);
        }
        any = true;
    }
    return any;
}

/* Returns what recvmsg() does; @fds: descriptors came along. */
static ssize_t client_receive(KsmtunedClient *client, bool *fds)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(CONTROL_FDS * sizeof(int))];
    } control;
    struct iovec iov = {
        .iov_base = client->in + client->in_used,
        .iov_len = sizeof(client->in) - client->in_used,
    };
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    ssize_t size;

    size = recvmsg(client->watch.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    *fds = size >= 0 && client_drop_fds(&message);
    return size;
}

static void client_in(KsmtunedClient *client)
{
    ssize_t size;
    bool fds;

    size = client_receive(client, &fds);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (fds) {
        ksmtuned_client_refuse(client, ksm_wire_strerror(KSM_WIRE_BAD_FDS));
        return;
    }
    if (size <= 0) {
        if (client->in_used) {
            client_log(client, KSMTUNED_LOG_WARNING, "closed inside a frame");
        }
        ksmtuned_client_close(client);
        return;
    }
    client->in_used += size;
    client_process(client);
    client_update_watch(client);
}

/* False: it is closed. */
static bool client_out(KsmtunedClient *client)
{
    if (!client_send(client) ||
        (client->state == CLIENT_REFUSED && !client_out_pending(client))) {
        ksmtuned_client_close(client);
        return false;
    }
    client_update_watch(client);
    return true;
}

static void client_ready(KsmtunedWatch *watch, uint32_t events)
{
    KsmtunedClient *client = (KsmtunedClient *)watch;
    bool in = watch->events & EPOLLIN;

    /* An error, or the end, is found by what is waited for. */
    if ((watch->events & EPOLLOUT) && (events & ~EPOLLIN) &&
        !client_out(client)) {
        return;
    }
    if (in && (events & ~EPOLLOUT)) {
        client_in(client);
    }
}

/* Wait for what can be done next: to read, unless output piles up; to send. */
static void client_update_watch(KsmtunedClient *client)
{
    size_t pending = client_out_pending(client);
    bool in = client->state != CLIENT_REFUSED && pending <= OUTPUT_PAUSE;

    ksmtuned_poll_watch(client->shared->poll, &client->watch,
                        (in ? EPOLLIN : 0) | (pending ? EPOLLOUT : 0));
}

KsmtunedClient *ksmtuned_client_new(const KsmtunedClientShared *shared, int fd)
{
    KsmtunedClient *client = g_new0(KsmtunedClient, 1);

    client->shared = shared;
    client->watch = (KsmtunedWatch) { .fd = fd, .ready = client_ready };
    client->name = g_strdup("?");
    client->out = g_byte_array_new();
    client->out_twins = SIZE_MAX;
    ksmtuned_peer_read(&client->peer, fd, shared->proc_root);
    client->rule = ksmtuned_rules_find(shared->rules, &client->peer);
    client->timer = g_timeout_add_seconds(HELLO_TIMEOUT_S, client_timeout,
                                          client);
    client_update_watch(client);
    return client;
}
