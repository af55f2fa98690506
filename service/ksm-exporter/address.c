/*
 * Where to listen
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <fcntl.h>
#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <string.h>
#include <sys/socket.h>

#include "address.h"
#include "host/listen.h"

#define ADDRESS_UNIX    "unix:"

/* Names are not looked up: they may be elsewhere tomorrow. */
static GSocketAddress *address_parse(const char *address, GError **error)
{
    g_autoptr(GError) reason = NULL;
    g_autoptr(GSocketConnectable) parsed =
        g_network_address_parse(address, EXPORTER_PORT, &reason);
    GSocketAddress *found = NULL;

    /* "::1:80" could be all of an address. */
    if (parsed && (address[0] == '[' || strchr(address, ':') ==
                                        strrchr(address, ':'))) {
        GNetworkAddress *given = G_NETWORK_ADDRESS(parsed);

        found = g_inet_socket_address_new_from_string(
            g_network_address_get_hostname(given),
            g_network_address_get_port(given));
    }
    if (!found) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "--listen=%s: not unix:PATH, IPV4:PORT or [IPV6]:PORT: "
                    "give one of them, as in 127.0.0.1:%d", address,
                    EXPORTER_PORT);
    }
    return found;
}

static int address_listen_inet(const char *text, GError **error)
{
    g_autoptr(GSocketAddress) address = address_parse(text, error);
    g_autoptr(GSocket) listener = NULL;

    if (!address) {
        return -1;
    }
    listener = g_socket_new(g_socket_address_get_family(address),
                            G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT,
                            error);
    if (listener) {
        g_socket_set_listen_backlog(listener, SOMAXCONN);
    }
    if (!listener || !g_socket_bind(listener, address, TRUE, error) ||
        !g_socket_listen(listener, error)) {
        g_prefix_error(error, "--listen=%s: ", text);
        return -1;
    }
    return fcntl(g_socket_get_fd(listener), F_DUPFD_CLOEXEC, 0);
}

int exporter_address_listen(const char *address, char **path, GError **error)
{
    const char *given = address + strlen(ADDRESS_UNIX);
    int fd;

    *path = NULL;
    if (!g_str_has_prefix(address, ADDRESS_UNIX)) {
        return address_listen_inet(address, error);
    }
    fd = ksm_listen_unix(given, -1, "--listen", error);
    if (fd >= 0) {
        *path = g_strdup(given);
    }
    return fd;
}

char *exporter_address_of(int fd)
{
    union {
        struct sockaddr address;
        struct sockaddr_storage storage;
    } own;
    socklen_t size = sizeof(own);
    g_autoptr(GSocketAddress) address = NULL;

    if (getsockname(fd, &own.address, &size) == 0) {
        address = g_socket_address_new_from_native(&own, size);
    }
    if (address && G_IS_UNIX_SOCKET_ADDRESS(address)) {
        return g_strconcat(ADDRESS_UNIX, g_unix_socket_address_get_path(
            G_UNIX_SOCKET_ADDRESS(address)), NULL);
    }
    return address ? g_socket_connectable_to_string(
        G_SOCKET_CONNECTABLE(address)) : g_strdup("an unknown address");
}
