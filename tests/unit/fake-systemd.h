/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A systemd and logind for unit tests: a process of its own on a bus of its own, which keeps
 * AllowedCPUs of its units in files below the test's root.  GDBus has threads, so a test that uses
 * the bus does it in a process that it forked for that. */
#pragma once

#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <signal.h>
#include <sys/prctl.h>

#include "tests/unit/handover-host.h"

#define FAKE_UNITS "/org/freedesktop/systemd1/unit/"

static const char fake_xml[] =
    "<node><interface name='org.freedesktop.systemd1.Manager'>"
    "<method name='LoadUnit'><arg type='s' direction='in'/><arg type='o' direction='out'/></method>"
    "<method name='SetUnitProperties'><arg type='s' direction='in'/><arg type='b' direction='in'/>"
    "<arg type='a(sv)' direction='in'/></method></interface>"
    "<interface name='org.freedesktop.systemd1.Slice'>"
    "<property name='AllowedCPUs' type='ay' access='read'/></interface>"
    "<interface name='org.freedesktop.systemd1.Scope'>"
    "<property name='AllowedCPUs' type='ay' access='read'/></interface>"
    "<interface name='org.freedesktop.systemd1.Unit'>"
    "<property name='ActiveState' type='s' access='read'/>"
    "<property name='LoadState' type='s' access='read'/>"
    "<property name='Job' type='(uo)' access='read'/></interface>"
    "<interface name='org.freedesktop.systemd1.Job'>"
    "<property name='JobType' type='s' access='read'/></interface>"
    "<interface name='org.freedesktop.login1.Manager'><method name='Inhibit'>"
    "<arg type='s' direction='in'/><arg type='s' direction='in'/><arg type='s' direction='in'/>"
    "<arg type='s' direction='in'/><arg type='h' direction='out'/></method>"
    "<method name='SetWallMessage'><arg type='s' direction='in'/><arg type='b' direction='in'/>"
    "</method><method name='ScheduleShutdown'><arg type='s' direction='in'/>"
    "<arg type='t' direction='in'/></method><method name='CancelScheduledShutdown'/>"
    "<method name='ListInhibitors'><arg type='a(ssssuu)' direction='out'/></method>"
    "</interface></node>";

static const char *const fake_units[][3] = {{"user.slice", "user_2eslice", "Slice"},
                                            {"system.slice", "system_2eslice", "Slice"},
                                            {"init.scope", "init_2escope", "Scope"},
                                            {"dm.service", "dm_2eservice", "Unit"}};

#define FAKE_JOB "/org/freedesktop/systemd1/job/7"
/* Of dm.service: "STATE", or "STATE JOBTYPE" if there is a job for it. */
#define FAKE_SERVICE "/dm.service"

/* With this file there nothing of it works. */
static gboolean fake_is_broken(void)
{
    g_autofree char *path = at("/systemd-is-broken");

    return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* As hexadecimal bytes, that of CPU 0 to 7 first; "": unset. */
static char *fake_file(const char *unit)
{
    g_autofree char *path = g_strconcat("/sys/fs/cgroup/", unit, "/AllowedCPUs", NULL);

    return at(path);
}

static GVariant *fake_get_service(const char *property)
{
    g_autofree char *file = at(FAKE_SERVICE), *text = read_word(file);
    g_auto(GStrv) words = g_strsplit(text, " ", 2);
    gboolean has_job = g_strv_length(words) == 2;

    if (g_str_equal(property, "Job"))
        return g_variant_new("(uo)", has_job ? 7 : 0, has_job ? FAKE_JOB : "/");
    if (g_str_equal(property, "JobType"))
        return g_variant_new_string(words[1]);
    return g_variant_new_string(g_str_equal(property, "LoadState") ? "loaded" : words[0]);
}

static GVariant *fake_get(GDBusConnection *bus, const char *sender, const char *path,
                          const char *interface, const char *property, GError **error, gpointer u)
{
    if (!g_str_equal(property, "AllowedCPUs"))
        return fake_get_service(property);
    g_autofree char *file = fake_file(u);
    g_autofree char *text = read_word(file);
    gsize count = strlen(text) / 2;
    guint8 bytes[64] = {0};

    if (fake_is_broken()) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "broken");
        return NULL;
    }
    for (gsize i = 0; i < count && i < sizeof bytes; i++)
        bytes[i] = (guint8)(g_ascii_xdigit_value(text[2 * i]) << 4 |
                            g_ascii_xdigit_value(text[2 * i + 1]));
    return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, bytes, count, 1);
}

static void fake_set(const char *unit, GVariant *arguments)
{
    g_autofree char *file = fake_file(unit);
    g_autofree char *folder = g_path_get_dirname(file);
    g_autoptr(GVariant) list = g_variant_get_child_value(arguments, 2);
    g_autoptr(GVariant) bytes = NULL;
    g_autoptr(GString) text = g_string_new(NULL);
    const char *name;
    gsize count;

    g_variant_get_child(list, 0, "(&sv)", &name, &bytes);
    g_assert_cmpstr(name, ==, "AllowedCPUs");
    g_assert_cmpuint(g_variant_n_children(list), ==, 1);
    const guint8 *data = g_variant_get_fixed_array(bytes, &count, 1);

    for (gsize i = 0; i < count; i++)
        g_string_append_printf(text, "%02x", data[i]);
    g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
    g_assert_true(g_file_set_contents(file, text->str, -1, NULL));
}

/* As logind does it: the lock is there as long as anybody has this end of the FIFO "inhibits". */
static void fake_inhibit(GDBusMethodInvocation *call)
{
    g_autofree char *fifo = at("/inhibits");

    (void)mkfifo(fifo, 0600);
    int fd = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    g_autoptr(GUnixFDList) list = g_unix_fd_list_new_from_array(&fd, 1);

    g_dbus_method_invocation_return_value_with_unix_fd_list(call, g_variant_new("(h)", 0), list);
}

/* The file "inhibitors" has "WHAT WHO MODE", "logind" gets what was asked for.  TRUE: it was one of
 * these. */
static gboolean fake_shutdown(const char *method, GVariant *arguments, GDBusMethodInvocation *call)
{
    g_autofree char *log = at("/logind"), *old = read_word(log), *file = at("/inhibitors");
    g_autofree char *text = read_word(file), *said = g_variant_print(arguments, FALSE);
    g_auto(GStrv) words = g_strsplit(text, " ", 3);
    GVariantBuilder list;

    if (g_str_equal(method, "ListInhibitors")) {
        g_variant_builder_init(&list, G_VARIANT_TYPE("a(ssssuu)"));
        if (g_strv_length(words) == 3)
            g_variant_builder_add(&list, "(ssssuu)", words[0], words[1], "test", words[2], 0, 1);
        g_dbus_method_invocation_return_value(call, g_variant_new("(a(ssssuu))", &list));
        return TRUE;
    }
    if (!g_str_equal(method, "SetWallMessage") && !strstr(method, "Shutdown"))
        return FALSE;
    g_autofree char *now = g_strdup_printf("%s%s%s%s", old, *old ? "; " : "", method, said);

    g_assert_true(g_file_set_contents(log, now, -1, NULL));
    g_dbus_method_invocation_return_value(call, NULL);
    return TRUE;
}

static void fake_call(GDBusConnection *bus, const char *sender, const char *path,
                      const char *interface, const char *method, GVariant *arguments,
                      GDBusMethodInvocation *call, gpointer unused)
{
    const char *unit = NULL;
    gboolean runtime = FALSE;

    if (g_str_equal(method, "Inhibit")) {
        fake_inhibit(call);
        return;
    }
    if (fake_shutdown(method, arguments, call))
        return;
    g_variant_get_child(arguments, 0, "&s", &unit);
    for (gsize i = 0; i < G_N_ELEMENTS(fake_units) && !fake_is_broken(); i++) {
        g_autofree char *object = g_strconcat(FAKE_UNITS, fake_units[i][1], NULL);

        if (!g_str_equal(unit, fake_units[i][0]))
            continue;
        if (g_str_equal(method, "LoadUnit")) {
            g_dbus_method_invocation_return_value(call, g_variant_new("(o)", object));
            return;
        }
        g_variant_get_child(arguments, 1, "b", &runtime);
        g_assert_true(runtime);
        fake_set(unit, arguments);
        g_dbus_method_invocation_return_value(call, NULL);
        return;
    }
    g_dbus_method_invocation_return_error(call, G_DBUS_ERROR, G_DBUS_ERROR_FAILED, "no %s", unit);
}

static void fake_own(GDBusConnection *bus, const char *name)
{
    g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
        bus, "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "RequestName",
        g_variant_new("(su)", name, 0), NULL, G_DBUS_CALL_FLAGS_NONE, -1, NULL, NULL);

    g_assert_nonnull(reply);
}

static void fake_register(GDBusConnection *bus, GDBusNodeInfo *node, const char *path,
                          const char *interface, gpointer data)
{
    static const GDBusInterfaceVTable table = {.method_call = fake_call, .get_property = fake_get};
    GDBusInterfaceInfo *info = g_dbus_node_info_lookup_interface(node, interface);

    g_assert_nonnull(info);
    g_assert_cmpuint(g_dbus_connection_register_object(bus, path, info, &table, data, NULL, NULL),
                     >, 0);
}

static void fake_run(const char *address, int ready)
{
    g_autoptr(GDBusConnection) bus =
        g_dbus_connection_new_for_address_sync(address,
                                               G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                                   G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
                                               NULL, NULL, NULL);
    GDBusNodeInfo *node = g_dbus_node_info_new_for_xml(fake_xml, NULL);

    g_assert_nonnull(bus);
    g_assert_nonnull(node);
    fake_register(bus, node, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", NULL);
    fake_register(bus, node, "/org/freedesktop/login1", "org.freedesktop.login1.Manager", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(fake_units); i++) {
        g_autofree char *object = g_strconcat(FAKE_UNITS, fake_units[i][1], NULL);
        g_autofree char *interface =
            g_strconcat("org.freedesktop.systemd1.", fake_units[i][2], NULL);

        fake_register(bus, node, object, interface, (gpointer)fake_units[i][0]);
    }
    fake_register(bus, node, FAKE_JOB, "org.freedesktop.systemd1.Job", NULL);
    fake_own(bus, "org.freedesktop.systemd1");
    fake_own(bus, "org.freedesktop.login1");
    g_assert_cmpint(write(ready, "!", 1), ==, 1);
    for (;;)
        (void)g_main_context_iteration(NULL, TRUE);
}

/* The bus and, below `root`, systemd; both end with the test.  To be called before any GDBus. */
static void fake_systemd_start(GTestDBus *bus)
{
    int ready[2];
    char byte;

    g_test_dbus_up(bus);
    g_assert_true(g_setenv("DBUS_SYSTEM_BUS_ADDRESS", g_test_dbus_get_bus_address(bus), TRUE));
    g_assert_cmpint(pipe(ready), ==, 0);
    pid_t pid = fork();

    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        fake_run(g_test_dbus_get_bus_address(bus), ready[1]);
    }
    (void)close(ready[1]);
    g_assert_cmpint(read(ready[0], &byte, 1), ==, 1);
    (void)close(ready[0]);
}
