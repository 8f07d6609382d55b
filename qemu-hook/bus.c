/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/bus.h"

#include <gio/gunixfdlist.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/numbers.h"
#include "lib/paths.h"
#include "qemu-hook/step.h"

#define CALL_MS 5000
#define SYSTEMD "org.freedesktop.systemd1"
#define SYSTEMD_PATH "/org/freedesktop/systemd1"
#define LOGIND "org.freedesktop.login1"
#define LOGIND_PATH "/org/freedesktop/login1"

gboolean dkvm_bus_has_systemd(void)
{
    g_autofree char *path = dkvm_path("/run/systemd/system");
    struct stat st;

    return (*dkvm_paths_root() == '\0' || g_getenv("DBUS_SYSTEM_BUS_ADDRESS")) &&
           lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

typedef struct {
    GDBusConnection *bus;
    GError *error;
    gboolean over;
} Connecting;

static void on_connected(GObject *source, GAsyncResult *result, gpointer data)
{
    Connecting *connecting = data;

    connecting->bus = g_dbus_connection_new_for_address_finish(result, &connecting->error);
    connecting->over = TRUE;
}

static gboolean give_up(gpointer cancellable)
{
    g_cancellable_cancel(cancellable);
    return G_SOURCE_REMOVE;
}

/* A bus that is not served takes the connection all the same, and GDBus waits for its first word
 * without an end. */
static void connect_to(const char *address, guint milliseconds, Connecting *connecting)
{
    GMainContext *context = g_main_context_new();
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GSource) timer = g_timeout_source_new(milliseconds);

    g_main_context_push_thread_default(context);
    g_source_set_callback(timer, give_up, cancellable, NULL);
    g_source_attach(timer, context);
    g_dbus_connection_new_for_address(address,
                                      G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                          G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
                                      NULL, cancellable, on_connected, connecting);
    while (!connecting->over)
        (void)g_main_context_iteration(context, TRUE);
    g_source_destroy(timer);
    g_main_context_pop_thread_default(context);
    g_main_context_unref(context);
}

/* Not g_bus_get_sync()'s shared connection, which ends the process when the bus goes away. */
static GDBusConnection *connect_within(guint milliseconds, GError **error)
{
    g_autofree char *address = g_dbus_address_get_for_bus_sync(G_BUS_TYPE_SYSTEM, NULL, error);
    Connecting connecting = {.bus = NULL, .error = NULL, .over = FALSE};

    if (!address)
        return NULL;
    connect_to(address, milliseconds, &connecting);
    if (g_error_matches(connecting.error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
        g_clear_error(&connecting.error);
        g_set_error(&connecting.error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT,
                    "the system bus does not answer");
    }
    if (connecting.error)
        g_propagate_error(error, connecting.error);
    return connecting.bus;
}

static GDBusConnection *connect_bus(GError **error)
{
    return connect_within(CALL_MS, error);
}

static void fail(GError **error, const char *what, GError *cause)
{
    (void)g_dbus_error_strip_remote_error(cause);
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_HOST, "cannot %s: %s", what, cause->message);
    g_error_free(cause);
}

gboolean dkvm_bus_start_unit(const char *unit, guint milliseconds, GError **error)
{
    GError *cause = NULL;
    gint64 end = g_get_monotonic_time() + (gint64)milliseconds * 1000;
    g_autoptr(GDBusConnection) bus = connect_within(milliseconds, &cause);
    int left = (int)MAX((end - g_get_monotonic_time()) / 1000, 1);
    g_autoptr(GVariant) reply =
        bus ? g_dbus_connection_call_sync(bus, SYSTEMD, SYSTEMD_PATH, SYSTEMD ".Manager",
                                          "StartUnit", g_variant_new("(ss)", unit, "replace"),
                                          G_VARIANT_TYPE("(o)"), G_DBUS_CALL_FLAGS_NONE, left, NULL,
                                          &cause)
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

/* ---- units ------------------------------------------------------------------------------ */

/* A property of an object of systemd's or logind's; NULL if it cannot be had, or is of another
 * type. */
static GVariant *get_property(GDBusConnection *bus, const char *name, const char *path,
                              const char *interface, const char *property, const char *type)
{
    g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
        bus, name, path, "org.freedesktop.DBus.Properties", "Get",
        g_variant_new("(ss)", interface, property), G_VARIANT_TYPE("(v)"), G_DBUS_CALL_FLAGS_NONE,
        CALL_MS, NULL, NULL);
    g_autoptr(GVariant) value = NULL;

    if (!reply)
        return NULL;
    g_variant_get(reply, "(v)", &value);
    return g_variant_is_of_type(value, G_VARIANT_TYPE(type)) ? g_steal_pointer(&value) : NULL;
}

static char *string_property(GDBusConnection *bus, const char *name, const char *path,
                             const char *interface, const char *property)
{
    g_autoptr(GVariant) value = get_property(bus, name, path, interface, property, "s");

    return value ? g_variant_dup_string(value, NULL) : NULL;
}

static char *unit_path(GDBusConnection *bus, const char *unit, GError **error)
{
    g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
        bus, SYSTEMD, SYSTEMD_PATH, SYSTEMD ".Manager", "LoadUnit", g_variant_new("(s)", unit),
        G_VARIANT_TYPE("(o)"), G_DBUS_CALL_FLAGS_NONE, CALL_MS, NULL, error);
    char *path = NULL;

    if (reply)
        g_variant_get(reply, "(o)", &path);
    return path;
}

/* A unit whose stop was asked for may still be "active": those that were started after it are
 * stopped before it.  org.freedesktop.systemd1(5): Job is (ID, PATH), ID 0 if there is none. */
static gboolean will_stop(GDBusConnection *bus, const char *path)
{
    g_autoptr(GVariant) job = get_property(bus, SYSTEMD, path, SYSTEMD ".Unit", "Job", "(uo)");
    g_autofree char *type = NULL;
    const char *object = NULL;
    guint32 id = 0;

    if (job)
        g_variant_get(job, "(u&o)", &id, &object);
    if (id != 0)
        type = string_property(bus, SYSTEMD, object, SYSTEMD ".Job", "JobType");
    return g_strcmp0(type, "stop") == 0;
}

char *dkvm_bus_unit_state(const char *unit)
{
    g_autoptr(GDBusConnection) bus = connect_bus(NULL);
    g_autofree char *path = bus ? unit_path(bus, unit, NULL) : NULL;

    /* The job first: when it is over, the state says so. */
    if (path && will_stop(bus, path))
        return g_strdup("deactivating");
    return path ? string_property(bus, SYSTEMD, path, SYSTEMD ".Unit", "ActiveState") : NULL;
}

/* LoadUnit() gives an object for every name. */
gboolean dkvm_bus_unit_exists(const char *unit)
{
    g_autoptr(GDBusConnection) bus = connect_bus(NULL);
    g_autofree char *path = bus ? unit_path(bus, unit, NULL) : NULL;
    g_autofree char *state =
        path ? string_property(bus, SYSTEMD, path, SYSTEMD ".Unit", "LoadState") : NULL;

    return state && !g_str_equal(state, "not-found");
}

gboolean dkvm_bus_is_stopping(void)
{
    g_autoptr(GDBusConnection) bus = dkvm_bus_has_systemd() ? connect_bus(NULL) : NULL;
    g_autofree char *state =
        bus ? string_property(bus, SYSTEMD, SYSTEMD_PATH, SYSTEMD ".Manager", "SystemState") : NULL;

    return g_strcmp0(state, "stopping") == 0;
}

static void wake(GDBusConnection *bus, const char *sender, const char *path, const char *interface,
                 const char *signal, GVariant *parameters, gpointer unused)
{
}

static gboolean time_is_up(gpointer flag)
{
    *(gboolean *)flag = TRUE;
    return G_SOURCE_REMOVE;
}

static gboolean is_reached(const char *state, gboolean active)
{
    if (active)
        return g_strcmp0(state, "active") == 0;
    return g_strcmp0(state, "inactive") == 0 || g_strcmp0(state, "failed") == 0;
}

/* Waits for systemd's own signals, not for a time. */
static gboolean change_unit(GDBusConnection *bus, GMainContext *context, const char *unit,
                            gboolean active, guint milliseconds, GError **error)
{
    g_autofree char *path = unit_path(bus, unit, error);
    g_autoptr(GSource) timer = g_timeout_source_new(milliseconds);
    gboolean over = FALSE, reached = FALSE;

    if (!path)
        return FALSE;
    g_dbus_connection_signal_subscribe(bus, SYSTEMD, "org.freedesktop.DBus.Properties",
                                       "PropertiesChanged", path, NULL, G_DBUS_SIGNAL_FLAGS_NONE,
                                       wake, NULL, NULL);
    GVariant *subscribed =
        g_dbus_connection_call_sync(bus, SYSTEMD, SYSTEMD_PATH, SYSTEMD ".Manager", "Subscribe",
                                    NULL, NULL, G_DBUS_CALL_FLAGS_NONE, CALL_MS, NULL, NULL);

    g_clear_pointer(&subscribed, g_variant_unref);

    g_autoptr(GVariant) job = g_dbus_connection_call_sync(
        bus, SYSTEMD, SYSTEMD_PATH, SYSTEMD ".Manager", active ? "StartUnit" : "StopUnit",
        g_variant_new("(ss)", unit, "replace"), G_VARIANT_TYPE("(o)"), G_DBUS_CALL_FLAGS_NONE,
        CALL_MS, NULL, error);

    if (!job)
        return FALSE;
    g_source_set_callback(timer, time_is_up, &over, NULL);
    g_source_attach(timer, context);
    while (!reached && !over) {
        g_autofree char *state =
            string_property(bus, SYSTEMD, path, SYSTEMD ".Unit", "ActiveState");

        reached = is_reached(state, active);
        if (!reached)
            (void)g_main_context_iteration(context, TRUE);
    }
    g_source_destroy(timer);
    if (!reached)
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED, "it is not %s after %u s",
                    active ? "active" : "inactive", milliseconds / 1000);
    return reached;
}

static gboolean change_within(const char *unit, gboolean active, guint milliseconds, GError **error)
{
    GMainContext *context = g_main_context_new();
    GError *cause = NULL;

    g_main_context_push_thread_default(context);
    GDBusConnection *bus = connect_bus(&cause);
    gboolean ok = bus && change_unit(bus, context, unit, active, milliseconds, &cause);

    g_clear_object(&bus);
    g_main_context_pop_thread_default(context);
    g_main_context_unref(context);
    if (!ok) {
        (void)g_dbus_error_strip_remote_error(cause);
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED, "cannot %s %s: %s",
                    active ? "start" : "stop", unit, cause->message);
        g_error_free(cause);
    }
    return ok;
}

gboolean dkvm_bus_stop_unit(const char *unit, guint milliseconds, GError **error)
{
    return change_within(unit, FALSE, milliseconds, error);
}

gboolean dkvm_bus_start_unit_and_wait(const char *unit, guint milliseconds, GError **error)
{
    return change_within(unit, TRUE, milliseconds, error);
}

/* ---- CPUs of slices --------------------------------------------------------------------- */

/* systemd's CPU sets are bytes, CPU n is bit n % 8 of byte n / 8 (cpu_set_to_dbus, since 244), as
 * in DkvmNumbers. */
static char *text_of_bytes(GVariant *bytes)
{
    DkvmNumbers cpus = {0};
    gsize count;
    const guint8 *data = g_variant_get_fixed_array(bytes, &count, 1);

    for (gsize i = 0; i < MIN(count, sizeof cpus.bits); i++)
        cpus.bits[i] = data[i];
    return dkvm_numbers_text(&cpus);
}

static GVariant *bytes_of_text(const char *text)
{
    DkvmNumbers cpus = {0};
    gsize count = sizeof cpus.bits;

    (void)dkvm_numbers_parse(text, &cpus);
    while (count > 0 && cpus.bits[count - 1] == 0)
        count--;
    return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, cpus.bits, count, 1);
}

char *dkvm_bus_allowed_cpus(const char *unit)
{
    g_autoptr(GDBusConnection) bus = connect_bus(NULL);
    g_autofree char *path = bus ? unit_path(bus, unit, NULL) : NULL;
    const char *interface = g_str_has_suffix(unit, ".scope") ? SYSTEMD ".Scope" : SYSTEMD ".Slice";
    g_autoptr(GVariant) value =
        path ? get_property(bus, SYSTEMD, path, interface, "AllowedCPUs", "ay") : NULL;

    return value ? text_of_bytes(value) : NULL;
}

gboolean dkvm_bus_set_allowed_cpus(const char *unit, const char *cpus, GError **error)
{
    GError *cause = NULL;
    g_autoptr(GDBusConnection) bus = connect_bus(&cause);
    GVariantBuilder properties;

    g_variant_builder_init(&properties, G_VARIANT_TYPE("a(sv)"));
    g_variant_builder_add(&properties, "(sv)", "AllowedCPUs", bytes_of_text(cpus));
    g_autoptr(GVariant) arguments =
        g_variant_ref_sink(g_variant_new("(sba(sv))", unit, TRUE, &properties));
    g_autoptr(GVariant) reply =
        bus ? g_dbus_connection_call_sync(bus, SYSTEMD, SYSTEMD_PATH, SYSTEMD ".Manager",
                                          "SetUnitProperties", arguments, NULL,
                                          G_DBUS_CALL_FLAGS_NONE, CALL_MS, NULL, &cause)
            : NULL;

    if (reply)
        return TRUE;
    (void)g_dbus_error_strip_remote_error(cause);
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED, "cannot set AllowedCPUs of %s: %s", unit,
                cause->message);
    g_error_free(cause);
    return FALSE;
}

/* ---- sessions, inhibitors --------------------------------------------------------------- */

gboolean dkvm_bus_end_session(const char *session, guint milliseconds, GError **error)
{
    GError *cause = NULL;
    g_autoptr(GDBusConnection) bus = connect_bus(&cause);
    g_autoptr(GVariant) reply =
        bus ? g_dbus_connection_call_sync(bus, LOGIND, LOGIND_PATH, LOGIND ".Manager",
                                          "TerminateSession", g_variant_new("(s)", session), NULL,
                                          G_DBUS_CALL_FLAGS_NONE, CALL_MS, NULL, &cause)
            : NULL;

    if (!reply) {
        (void)g_dbus_error_strip_remote_error(cause);
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED, "cannot end the session %s: %s", session,
                    cause->message);
        g_error_free(cause);
        return FALSE;
    }
    g_autofree char *file = g_strconcat("/run/systemd/sessions/", session, NULL);

    if (dkvm_wait_until_gone(file, milliseconds))
        return TRUE;
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED, "the session %s does not end", session);
    return FALSE;
}

char *dkvm_bus_blocker(const char *held)
{
    g_autoptr(GDBusConnection) bus = dkvm_bus_has_systemd() ? connect_bus(NULL) : NULL;
    g_autoptr(GVariant) reply =
        bus ? g_dbus_connection_call_sync(bus, LOGIND, LOGIND_PATH, LOGIND ".Manager",
                                          "ListInhibitors", NULL, G_VARIANT_TYPE("(a(ssssuu))"),
                                          G_DBUS_CALL_FLAGS_NONE, CALL_MS, NULL, NULL)
            : NULL;
    g_autoptr(GVariantIter) all = NULL;
    const char *what, *who, *why, *mode;
    guint32 uid, pid;

    if (!reply)
        return NULL;
    g_variant_get(reply, "(a(ssssuu))", &all);
    while (g_variant_iter_next(all, "(&s&s&s&suu)", &what, &who, &why, &mode, &uid, &pid)) {
        g_auto(GStrv) parts = g_strsplit(what, ":", -1);

        if (g_str_equal(mode, "block") && !g_str_equal(who, "dkvm") &&
            g_strv_contains((const char *const *)parts, held))
            return g_strdup_printf("%s (%s)", who, why);
    }
    return NULL;
}

/* ---- starting the host again ------------------------------------------------------------ */

/* org.freedesktop.login1(5): SetWallMessage, ScheduleShutdown, CancelScheduledShutdown. */
static gboolean call_logind(GDBusConnection *bus, const char *method, GVariant *arguments,
                            GError **error)
{
    g_autoptr(GVariant) reply =
        g_dbus_connection_call_sync(bus, LOGIND, LOGIND_PATH, LOGIND ".Manager", method, arguments,
                                    NULL, G_DBUS_CALL_FLAGS_NONE, CALL_MS, NULL, error);

    return reply != NULL;
}

gboolean dkvm_bus_reboot_in(guint seconds, const char *why, GError **error)
{
    GError *cause = NULL;
    g_autoptr(GDBusConnection) bus = connect_bus(&cause);
    guint64 when = (guint64)g_get_real_time() + (guint64)seconds * G_USEC_PER_SEC;

    if (bus)
        (void)call_logind(bus, "SetWallMessage", g_variant_new("(sb)", why, TRUE), NULL);
    if (bus && call_logind(bus, "ScheduleShutdown", g_variant_new("(st)", "reboot", when), &cause))
        return TRUE;
    fail(error, "start the host again", cause);
    return FALSE;
}

void dkvm_bus_cancel_reboot(void)
{
    g_autoptr(GDBusConnection) bus = connect_bus(NULL);

    if (!bus)
        return;
    (void)call_logind(bus, "CancelScheduledShutdown", NULL, NULL);
    /* Else the next shutdown would say it, whoever asks for that. */
    (void)call_logind(bus, "SetWallMessage", g_variant_new("(sb)", "", FALSE), NULL);
}
