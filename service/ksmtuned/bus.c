/*
 * ksmtuned on the system's D-Bus
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Who may call what is the bus' business: dbus/org.qemu.Ksmtuned1.conf.
 */
#include <gio/gio.h>
#include <string.h>

#include "bus.h"
#include "log.h"

#define BUS_NAME        "org.qemu.Ksmtuned1"
#define BUS_PATH        "/org/qemu/Ksmtuned1"

static const char bus_introspection[] =
    "<node>"
    "  <interface name='" BUS_NAME "'>"
    "    <method name='Retune'/>"
    "    <method name='GetStatistics'>"
    "      <arg name='json' type='s' direction='out'/>"
    "    </method>"
    "  </interface>"
    "</node>";

struct KsmtunedBus {
    const KsmtunedBusMethods *methods;
    void *opaque;
    GDBusNodeInfo *node;
    guint name;
    GDBusConnection *connection;
    guint object;               /* 0: not on the bus */
};

static void bus_call(GDBusConnection *connection, const char *sender,
                     const char *path, const char *interface,
                     const char *method, GVariant *arguments,
                     GDBusMethodInvocation *invocation, gpointer opaque)
{
    KsmtunedBus *bus = opaque;

    if (!strcmp(method, "Retune")) {
        bus->methods->retune(bus->opaque);
        g_dbus_method_invocation_return_value(invocation, NULL);
    } else {
        g_autofree char *json = bus->methods->statistics(bus->opaque);

        g_strchomp(json);
        g_dbus_method_invocation_return_value(invocation,
                                              g_variant_new("(s)", json));
    }
}

static const GDBusInterfaceVTable bus_vtable = { .method_call = bus_call };

static void bus_acquired(GDBusConnection *connection, const char *name,
                         gpointer opaque)
{
    KsmtunedBus *bus = opaque;
    g_autoptr(GError) error = NULL;

    /* Else the end of the bus would be ours. */
    g_dbus_connection_set_exit_on_close(connection, FALSE);
    bus->object = g_dbus_connection_register_object(
        connection, BUS_PATH, bus->node->interfaces[0], &bus_vtable, bus,
        NULL, &error);
    if (!bus->object) {
        ksmtuned_log(KSMTUNED_LOG_WARNING, "D-Bus: %s", error->message);
        return;
    }
    bus->connection = g_object_ref(connection);
}

static void bus_name_acquired(GDBusConnection *connection, const char *name,
                              gpointer opaque)
{
    ksmtuned_log(KSMTUNED_LOG_INFO, "on D-Bus as %s", name);
}

static void bus_name_lost(GDBusConnection *connection, const char *name,
                          gpointer opaque)
{
    if (connection) {
        ksmtuned_log(KSMTUNED_LOG_WARNING, "may not be %s on D-Bus: install "
                     "its policy file, and stop who else has that name", name);
    } else {
        ksmtuned_log(KSMTUNED_LOG_DEBUG, "no D-Bus here");
    }
}

KsmtunedBus *ksmtuned_bus_new(const KsmtunedBusMethods *methods, void *opaque)
{
    KsmtunedBus *bus = g_new0(KsmtunedBus, 1);

    bus->methods = methods;
    bus->opaque = opaque;
    bus->node = g_dbus_node_info_new_for_xml(bus_introspection, NULL);
    bus->name = g_bus_own_name(G_BUS_TYPE_SYSTEM, BUS_NAME,
                               G_BUS_NAME_OWNER_FLAGS_DO_NOT_QUEUE,
                               bus_acquired, bus_name_acquired, bus_name_lost,
                               bus, NULL);
    return bus;
}

void ksmtuned_bus_free(KsmtunedBus *bus)
{
    if (!bus) {
        return;
    }
    g_bus_unown_name(bus->name);
    if (bus->object) {
        g_dbus_connection_unregister_object(bus->connection, bus->object);
        g_object_unref(bus->connection);
    }
    g_dbus_node_info_unref(bus->node);
    g_free(bus);
}
