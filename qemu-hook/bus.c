/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/bus.h"

#include <gio/gunixfdlist.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/paths.h"

#define CALL_MS 5000
#define SYSTEMD "org.freedesktop.systemd1"
#define SYSTEMD_PATH "/org/freedesktop/systemd1"
#define LOGIND "org.freedesktop.login1"
#define LOGIND_PATH "/org/freedesktop/login1"

gboolean dkvm_bus_has_systemd(void)
{
    struct stat st;

    return *dkvm_paths_root() == '\0' && lstat("/run/systemd/system", &st) == 0 &&
           S_ISDIR(st.st_mode);
}

/* Not g_bus_get_sync()'s shared connection, which ends the process when the bus goes away. */
static GDBusConnection *connect_bus(GError **error)
{
    g_autofree char *address = g_dbus_address_get_for_bus_sync(G_BUS_TYPE_SYSTEM, NULL, error);

    return address ? g_dbus_connection_new_for_address_sync(
                         address,
                         G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                             G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
                         NULL, NULL, error)
                   : NULL;
}

static void fail(GError **error, const char *what, GError *cause)
{
    (void)g_dbus_error_strip_remote_error(cause);
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_HOST, "cannot %s: %s", what, cause->message);
    g_error_free(cause);
}

gboolean dkvm_bus_start_unit(const char *unit, GError **error)
{
    GError *cause = NULL;
    g_autoptr(GDBusConnection) bus = connect_bus(&cause);
    g_autoptr(GVariant) reply =
        bus ? g_dbus_connection_call_sync(bus, SYSTEMD, SYSTEMD_PATH, SYSTEMD ".Manager",
                                          "StartUnit", g_variant_new("(ss)", unit, "replace"),
                                          G_VARIANT_TYPE("(o)"), G_DBUS_CALL_FLAGS_NONE, CALL_MS,
                                          NULL, &cause)
            : NULL;

    if (reply)
        return TRUE;
    g_autofree char *what = g_strdup_printf("start %s", unit);
    fail(error, what, cause);
    return FALSE;
}

int dkvm_bus_inhibit(const char *why, GError **error)
{
    GError *cause = NULL;
    g_autoptr(GDBusConnection) bus = connect_bus(&cause);
    g_autoptr(GUnixFDList) fds = NULL;
    g_autoptr(GVariant) reply =
        bus ? g_dbus_connection_call_with_unix_fd_list_sync(
                  bus, LOGIND, LOGIND_PATH, LOGIND ".Manager", "Inhibit",
                  g_variant_new("(ssss)", "sleep:idle:handle-lid-switch", "dkvm", why, "block"),
                  G_VARIANT_TYPE("(h)"), G_DBUS_CALL_FLAGS_NONE, CALL_MS, NULL, &fds, NULL, &cause)
            : NULL;
    gint32 index = -1;

    if (!reply || !fds) {
        if (!cause)
            cause = g_error_new_literal(DKVM_ERROR, DKVM_ERROR_HOST, "logind gave no descriptor");
        fail(error, "hold off suspend", cause);
        return -1;
    }
    g_variant_get(reply, "(h)", &index);
    return g_unix_fd_list_get(fds, index, error);
}
