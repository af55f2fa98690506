/*
 * One end of a connection between engine and ksmtuned, played by fuzzing
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire-peer.h"

uint8_t fuzz_input_byte(FuzzInput *input)
{
    if (!input->size) {
        return 0;
    }
    input->size--;
    return *input->data++;
}

/* As many bytes as two say, if so many are left. */
static const uint8_t *input_bytes(FuzzInput *input, size_t *size)
{
    const uint8_t *bytes;

    *size = fuzz_input_byte(input);
    *size |= fuzz_input_byte(input) << 8;
    *size = MIN(*size, input->size);
    bytes = input->data;
    input->data += *size;
    input->size -= *size;
    return bytes;
}

int fuzz_peer_connect(FuzzPeer *peer)
{
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK |
                               SOCK_CLOEXEC, 0, fds), ==, 0);
    *peer = (FuzzPeer) { .fd = fds[0], .told = g_byte_array_new() };
    return fds[1];
}

void fuzz_peer_close(FuzzPeer *peer)
{
    if (peer->fd >= 0) {
        close(peer->fd);
        peer->fd = -1;
    }
}

void fuzz_peer_clear(FuzzPeer *peer)
{
    fuzz_peer_close(peer);
    g_byte_array_unref(peer->told);
}

/* No room, or nobody who reads. */
static void peer_check_errno(const FuzzPeer *peer)
{
    g_assert_true(errno == EAGAIN || errno == EPIPE || peer->fd < 0);
}

static void peer_send(const FuzzPeer *peer, const void *data, size_t size)
{
    if (send(peer->fd, data, size, MSG_NOSIGNAL) < 0) {
        peer_check_errno(peer);
    }
}

void fuzz_peer_frame(const FuzzPeer *peer, KsmFrameType type,
                     const void *payload, size_t length)
{
    KsmFrameHeader header = { .type = type, .length = length };

    peer_send(peer, &header, sizeof(header));
    peer_send(peer, payload, length);
}

void fuzz_peer_descriptor(const FuzzPeer *peer)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    char byte = 0;
    struct iovec iov = { &byte, sizeof(byte) };
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    if (sendmsg(peer->fd, &message, MSG_NOSIGNAL) < 0) {
        peer_check_errno(peer);
    }
    close(fd);
}

void fuzz_peer_send_input(const FuzzPeer *peer, FuzzInput *input)
{
    size_t size;
    const uint8_t *bytes = input_bytes(input, &size);

    peer_send(peer, bytes, size);
}

void fuzz_peer_frame_input(const FuzzPeer *peer, FuzzInput *input)
{
    uint8_t type = fuzz_input_byte(input);
    size_t size;
    const uint8_t *bytes = input_bytes(input, &size);

    fuzz_peer_frame(peer, type, bytes, size);
}

void fuzz_peer_entries_input(const FuzzPeer *peer, KsmFrameType type,
                             unsigned every, FuzzInput *input)
{
    uint8_t digest = fuzz_input_byte(input);
    uint8_t page = fuzz_input_byte(input);
    size_t count = 1 + fuzz_input_byte(input), i;
    g_autofree KsmFrameEntry *entries = g_new0(KsmFrameEntry, count);

    for (i = 0; i < count; i++) {
        entries[i].digest = digest + i;
        entries[i].page = page + i;
        entries[i].flags = every && i % every == 0 ? KSM_ENTRY_TWIN : 0;
    }
    fuzz_peer_frame(peer, type, entries, count * sizeof(*entries));
}

/* False: there is no whole frame. */
static bool peer_take_frame(FuzzPeer *peer, KsmWireSide from,
                            KsmFrameHeader *header)
{
    if (peer->told->len < sizeof(*header)) {
        return false;
    }
    memcpy(header, peer->told->data, sizeof(*header));
    g_assert_cmpint(ksm_wire_check_header(header, from), ==, KSM_WIRE_OK);
    if (peer->told->len < sizeof(*header) + header->length) {
        return false;
    }
    g_assert_cmpint(ksm_wire_check_payload(header, peer->told->data +
                                           sizeof(*header)), ==, KSM_WIRE_OK);
    g_byte_array_remove_range(peer->told, 0, sizeof(*header) + header->length);
    return true;
}

void fuzz_peer_read(FuzzPeer *peer, KsmWireSide from,
                    void (*check)(const KsmFrameHeader *header, void *opaque),
                    void *opaque)
{
    uint8_t buffer[8192];
    KsmFrameHeader header;
    ssize_t size;

    while ((size = recv(peer->fd, buffer, sizeof(buffer), 0)) > 0) {
        g_byte_array_append(peer->told, buffer, size);
        while (peer_take_frame(peer, from, &header)) {
            check(&header, opaque);
        }
    }
}
