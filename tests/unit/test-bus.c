/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-hook/bus.c, with a systemd of our own on a bus of its own, and with a bus that is silent. */
#include <fcntl.h>
#include <sys/wait.h>

#include "qemu-hook/bus.h"
#include "tests/unit/fake-systemd.h"
#include "tests/unit/silent-bus.h"

static void expect_service(const char *service, const char *wanted)
{
    put(FAKE_SERVICE, service);
    g_autofree char *state = dkvm_bus_unit_state("dm.service");

    g_assert_cmpstr(state, ==, wanted);
}

/* What has to stop before it is still there: it is "active", and will not stay so. */
static void test_unit_state(void)
{
    expect_service("active", "active");
    expect_service("activating start", "activating");
    expect_service("active stop", "deactivating");
    expect_service("active restart", "active");
    expect_service("inactive", "inactive");
    expect_service("failed", "failed");
    g_assert_true(dkvm_bus_unit_exists("dm.service"));
}

static void test_silent(void)
{
    int listener = silent_bus_start();
    g_autoptr(GError) error = NULL;

    g_assert_false(dkvm_bus_start_unit("a.service", 100, &error));
    g_assert_nonnull(strstr(error->message, "start a.service: the system bus does not answer"));
    g_autofree char *state = dkvm_bus_unit_state("a.service");
    g_assert_null(state);
    (void)close(listener);
}

/* Each in a process of its own: GDBus makes threads. */
static void in_child(gconstpointer function)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        (void)alarm(60); /* a wait without an end is a failure */
        ((void (*)(void))function)();
        _exit(0);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv)
{
    g_autofree char *folder = make_folder();

    root = g_build_filename(folder, "root", NULL);
    g_assert_cmpint(g_mkdir(root, 0700), ==, 0);
    g_assert_true(g_setenv("DKVM_ROOT", root, TRUE));
    g_test_init(&argc, &argv, NULL);
    g_autoptr(GTestDBus) bus = g_test_dbus_new(G_TEST_DBUS_NONE);

    fake_systemd_start(bus);
    g_test_add_data_func("/bus/unit-state", (gconstpointer)test_unit_state, in_child);
    g_test_add_data_func("/bus/silent", (gconstpointer)test_silent, in_child);
    int failed = g_test_run();

    g_test_dbus_down(bus);
    remove_tree(folder);
    g_free(root);
    return failed;
}
