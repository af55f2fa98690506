/*
 * The engine's connection to ksmtuned
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/clone-visitor.h"
#include "qapi/qapi-visit-sockets.h"
#include "qemu/cutils.h"
#include "qemu/sockets.h"
#include "qemu/timer.h"
#include "io/channel-socket.h"
#include "system/system.h"
#include "rendezvous.h"
#include "trace.h"

#include <sys/un.h>

#define SOCKET_PATH_SIZE    sizeof_field(struct sockaddr_un, sun_path)
#define RETRY_MIN_NS    (1 * NANOSECONDS_PER_SECOND)
#define RETRY_MAX_NS    (32 * NANOSECONDS_PER_SECOND)
/* Stop publishing above this; twice the socket's usual buffer. */
#define CONGESTED_BYTES (512 * 1024)
/* A peer that reads nothing for so long is given up. */
#define STUCK_NS        (10 * NANOSECONDS_PER_SECOND)
/* Frames read in one run: bounds a slice. */
#define FRAMES_A_RUN    4

static void watch(KsmRendezvous *r, bool read, bool write);

static void disconnect(KsmRendezvous *r, const char *message)
{
    bool was_ready = r->ready;

    if (r->channel) {
        watch(r, false, false);
        qio_channel_close(r->channel, NULL);
        object_unref(OBJECT(r->channel));
        r->channel = NULL;
    }
    r->ready = false;
    r->in_used = 0;
    r->out_sent = 0;
    r->open_frame = 0;
    g_byte_array_set_size(r->out, 0);
    g_free(r->message);
    r->message = g_strdup(message);
    if (r->address->type == SOCKET_ADDRESS_TYPE_FD) {
        /* Whoever passed the descriptor must pass another one. */
        r->retry_at_ns = INT64_MAX;
    } else {
        r->retry_at_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) +
                         r->retry_delay_ns;
        r->retry_delay_ns = MIN(r->retry_delay_ns * 2, RETRY_MAX_NS);
    }
    trace_ksm_rendezvous_disconnect(message);
    if (was_ready) {
        r->events->lost(r->opaque, message);
    }
}

static void on_ready(void *opaque)
{
    KsmRendezvous *r = opaque;

    /* Level-triggered: look again when the engine's budget let it run. */
    aio_set_fd_handler(r->ctx, QIO_CHANNEL_SOCKET(r->channel)->fd,
                       NULL, NULL, NULL, NULL, NULL);
    r->watching = false;
    r->events->wake(r->opaque);
}

static void watch(KsmRendezvous *r, bool read, bool write)
{
    int fd = QIO_CHANNEL_SOCKET(r->channel)->fd;

    aio_set_fd_handler(r->ctx, fd, read ? on_ready : NULL,
                       write ? on_ready : NULL, NULL, NULL, r);
    r->watching = read;
    r->watching_write = write;
}

static void append(KsmRendezvous *r, KsmFrameType type, const void *payload,
                   size_t length)
{
    KsmFrameHeader header = { .type = type, .length = length };

    g_byte_array_append(r->out, (void *)&header, sizeof(header));
    g_byte_array_append(r->out, payload, length);
    r->open_frame = 0;
}

/* Entries of one type share a frame while it has room and is not being sent. */
static void append_entry(KsmRendezvous *r, KsmFrameType type, uint32_t page,
                         uint64_t digest)
{
    KsmFrameEntry entry = { .digest = digest, .page = page };
    KsmFrameHeader *header;

    if (!r->ready) {
        return;
    }
    if (r->open_frame && r->open_frame - 1 >= r->out_sent) {
        header = (void *)(r->out->data + r->open_frame - 1);
        if (header->type == type &&
            header->length + sizeof(entry) <= KSM_WIRE_MAX_PAYLOAD) {
            header->length += sizeof(entry);
            g_byte_array_append(r->out, (void *)&entry, sizeof(entry));
            return;
        }
    }
    append(r, type, &entry, sizeof(entry));
    r->open_frame = r->out->len - sizeof(entry) - sizeof(*header) + 1;
}

void ksm_rendezvous_publish(KsmRendezvous *r, uint32_t page, uint64_t digest)
{
    append_entry(r, KSM_FRAME_PUBLISH, page, digest);
}

void ksm_rendezvous_withdraw(KsmRendezvous *r, uint32_t page, uint64_t digest)
{
    append_entry(r, KSM_FRAME_WITHDRAW, page, digest);
}

void ksm_rendezvous_demand(KsmRendezvous *r, uint64_t marked, uint64_t total)
{
    KsmFrameDemand demand = { .marked = marked, .total = total };

    if (r->ready) {
        append(r, KSM_FRAME_DEMAND, &demand, sizeof(demand));
    }
}

bool ksm_rendezvous_wants_reports(const KsmRendezvous *r)
{
    return r->ready && (r->features & KSM_FEATURE_REPORT);
}

void ksm_rendezvous_report(KsmRendezvous *r, const KsmFrameReport *report)
{
    append(r, KSM_FRAME_REPORT, report, sizeof(*report));
}

bool ksm_rendezvous_is_congested(const KsmRendezvous *r)
{
    return r->out->len - r->out_sent > CONGESTED_BYTES;
}

/* A connected, non-blocking socket, or -1. */
static int connect_unix(const char *path, Error **errp)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int fd;

    pstrcpy(sun.sun_path, sizeof(sun.sun_path), path);
    fd = qemu_socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) {
        error_setg_errno(errp, errno, "ksm: can't make a socket");
        return -1;
    }
    qemu_socket_set_nonblock(fd);
    /* EAGAIN, too, is a failure: the daemon is too busy to be waited for. */
    if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
        error_setg_errno(errp, errno, "ksm: can't connect to ksmtuned at '%s':"
                         " start ksmtuned, or add the object anew with another"
                         " rendezvous.path", path);
        close(fd);
        return -1;
    }
    return fd;
}

static bool start(KsmRendezvous *r, Error **errp)
{
    KsmFrameHello hello = {
        .version = KSM_WIRE_VERSION,
        .page_size = qemu_real_host_page_size(),
        .features = KSM_FEATURE_BUDGET,
    };
    QIOChannelSocket *socket;
    int fd = r->fd;

    if (r->address->type == SOCKET_ADDRESS_TYPE_UNIX) {
        fd = connect_unix(r->address->u.q_unix.path, errp);
        if (fd < 0) {
            return false;
        }
    }
    r->fd = -1;
    socket = qio_channel_socket_new_fd(fd, errp);
    if (!socket) {
        close(fd);
        return false;
    }
    r->channel = QIO_CHANNEL(socket);
    qio_channel_set_blocking(r->channel, false, NULL);
    pstrcpy(hello.name, sizeof(hello.name), qemu_get_vm_name() ?: "");
    append(r, KSM_FRAME_HELLO, &hello, sizeof(hello));
    r->sent_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    watch(r, true, false);
    return true;
}

static bool send_out(KsmRendezvous *r, Error **errp)
{
    if (!r->out->len) {
        r->sent_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    }
    while (r->out_sent < r->out->len) {
        ssize_t n = qio_channel_write(r->channel,
                                      (char *)r->out->data + r->out_sent,
                                      r->out->len - r->out_sent, errp);
        if (n == QIO_CHANNEL_ERR_BLOCK) {
            break;
        }
        if (n < 0) {
            return false;
        }
        r->out_sent += n;
        r->sent_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    }
    if (r->out_sent == r->out->len) {
        g_byte_array_set_size(r->out, 0);
        r->out_sent = 0;
        r->open_frame = 0;
    } else if (r->out_sent > CONGESTED_BYTES) {
        g_byte_array_remove_range(r->out, 0, r->out_sent);
        r->open_frame = 0;
        r->out_sent = 0;
    }
    if (!r->watching || (r->out->len > 0) != r->watching_write) {
        watch(r, true, r->out->len > 0);
    }
    return true;
}

/* What is to be sent finds no reader: engines do better alone. */
static bool is_stuck(KsmRendezvous *r, Error **errp)
{
    if (!r->out->len ||
        qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - r->sent_ns < STUCK_NS) {
        return false;
    }
    error_setg(errp, "ksm: ksmtuned has not read for %lld s: is it stopped?",
               STUCK_NS / NANOSECONDS_PER_SECOND);
    return true;
}

static void handle_frame(KsmRendezvous *r, const KsmFrameHeader *header,
                         const uint8_t *payload, Error **errp)
{
    KsmFrameWelcome welcome;
    KsmFrameBudget budget;
    KsmFrameEntry entry;

    if (!r->ready && header->type != KSM_FRAME_WELCOME &&
        header->type != KSM_FRAME_REFUSE) {
        error_setg(errp, "ksm: ksmtuned sent a frame of type %u before WELCOME",
                   header->type);
        return;
    }
    switch (header->type) {
    case KSM_FRAME_WELCOME:
        if (r->ready) {
            error_setg(errp, "ksm: ksmtuned sent WELCOME twice");
            return;
        }
        memcpy(&welcome, payload, sizeof(welcome));
        r->ready = true;
        r->features = welcome.features;
        r->retry_delay_ns = RETRY_MIN_NS;
        g_clear_pointer(&r->message, g_free);
        r->events->connected(r->opaque, welcome.seed);
        break;
    case KSM_FRAME_REFUSE:
        error_setg(errp, "ksm: ksmtuned refused the connection: %.*s",
                   (int)MIN(header->length, 200), payload);
        break;
    case KSM_FRAME_TWINS:
        for (size_t i = 0; i < header->length; i += sizeof(entry)) {
            memcpy(&entry, payload + i, sizeof(entry));
            r->events->answer(r->opaque, entry.page, entry.digest,
                              entry.flags & KSM_ENTRY_TWIN);
        }
        break;
    case KSM_FRAME_BUDGET:
        memcpy(&budget, payload, sizeof(budget));
        r->events->budget(r->opaque, &budget);
        break;
    default:
        g_assert_not_reached();
    }
}

/* Reads at most one frame.  *more: there may be another. */
static bool receive(KsmRendezvous *r, bool *more, Error **errp)
{
    ERRP_GUARD();
    KsmFrameHeader header = { 0 };
    KsmWireError bad = KSM_WIRE_OK;
    int *fds = NULL;
    size_t n_fds = 0;
    size_t want = sizeof(header);

    *more = false;
    if (r->in_used >= sizeof(header)) {
        memcpy(&header, r->in, sizeof(header));
        want += header.length;
    }
    while (r->in_used < want) {
        struct iovec iov = { r->in + r->in_used, want - r->in_used };
        ssize_t n = qio_channel_readv_full(r->channel, &iov, 1, &fds, &n_fds,
                                           0, errp);

        for (size_t i = 0; i < n_fds; i++) {
            close(fds[i]);
            bad = KSM_WIRE_BAD_FDS;
        }
        g_clear_pointer(&fds, g_free);
        n_fds = 0;
        if (n == QIO_CHANNEL_ERR_BLOCK) {
            return true;
        }
        if (n < 0) {
            return false;
        }
        if (n == 0) {
            error_setg(errp, "ksm: ksmtuned closed the connection: start it"
                       " again if it has ended");
            return false;
        }
        r->in_used += n;
        if (r->in_used == sizeof(header)) {
            memcpy(&header, r->in, sizeof(header));
            bad = bad ?: ksm_wire_check_header(&header, KSM_WIRE_FROM_DAEMON);
            want = sizeof(header) + header.length;
        }
        if (bad) {
            goto violation;
        }
    }
    bad = ksm_wire_check_payload(&header, r->in + sizeof(header));
    if (bad) {
        goto violation;
    }
    handle_frame(r, &header, r->in + sizeof(header), errp);
    r->in_used = 0;
    *more = true;
    return !*errp;

violation:
    error_setg(errp, "ksm: ksmtuned broke the protocol (frame type %u): %s:"
               " are QEMU and ksmtuned of the same version?", header.type,
               ksm_wire_strerror(bad));
    return false;
}

bool ksm_rendezvous_run(KsmRendezvous *r)
{
    Error *err = NULL, *why = NULL;
    bool more = true;

    if (!r->channel) {
        if (qemu_clock_get_ns(QEMU_CLOCK_REALTIME) < r->retry_at_ns) {
            return false;
        }
        if (!start(r, &err)) {
            goto failed;
        }
    }
    for (int i = 0; more && i < FRAMES_A_RUN; i++) {
        if (!receive(r, &more, &err)) {
            goto failed;
        }
    }
    if (!send_out(r, &err) || is_stuck(r, &err)) {
        /* The peer may have said why before it closed: that tells more. */
        more = true;
        for (int i = 0; more && i < FRAMES_A_RUN; i++) {
            if (!receive(r, &more, &why)) {
                break;
            }
        }
        if (why) {
            error_free(err);
            err = why;
        }
        goto failed;
    }
    return more;

failed:
    disconnect(r, error_get_pretty(err));
    error_free(err);
    return false;
}

bool ksm_rendezvous_init(KsmRendezvous *r, AioContext *ctx,
                         const SocketAddress *address,
                         const KsmRendezvousEvents *events, void *opaque,
                         Error **errp)
{
    int fd = -1;

    if (address && address->type == SOCKET_ADDRESS_TYPE_FD) {
        fd = socket_connect((SocketAddress *)address, errp);
        if (fd < 0) {
            return false;
        }
    } else if (address && address->type != SOCKET_ADDRESS_TYPE_UNIX) {
        error_setg(errp, "ksm: rendezvous.type=%s is not supported: use unix"
                   " or fd", SocketAddressType_str(address->type));
        return false;
    } else if (address && strlen(address->u.q_unix.path) >= SOCKET_PATH_SIZE) {
        error_setg(errp, "ksm: rendezvous.path=%s is longer than a socket's"
                   " path may be (%zu): use a shorter one",
                   address->u.q_unix.path, SOCKET_PATH_SIZE - 1);
        return false;
    }
    r->ctx = ctx;
    r->fd = fd;
    r->events = events;
    r->opaque = opaque;
    if (address) {
        r->address = QAPI_CLONE(SocketAddress, address);
    } else {
        r->address = g_new0(SocketAddress, 1);
        r->address->type = SOCKET_ADDRESS_TYPE_UNIX;
        r->address->u.q_unix.path = g_strdup(KSM_WIRE_DEFAULT_PATH);
    }
    r->retry_delay_ns = RETRY_MIN_NS;
    r->out = g_byte_array_new();
    r->in = g_malloc(sizeof(KsmFrameHeader) + KSM_WIRE_MAX_PAYLOAD);
    r->message = g_strdup("ksm: not connected to ksmtuned yet");
    return true;
}

void ksm_rendezvous_cleanup(KsmRendezvous *r)
{
    if (r->channel) {
        watch(r, false, false);
        object_unref(OBJECT(r->channel));
        r->channel = NULL;
    }
    if (r->fd >= 0) {
        close(r->fd);
    }
    qapi_free_SocketAddress(r->address);
    g_byte_array_unref(r->out);
    g_free(r->in);
    g_free(r->message);
}
