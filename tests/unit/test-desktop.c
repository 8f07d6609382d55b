/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-hook/step-desktop.c: the display manager, sessions, and whoever holds the card after that.
 */
#include <glib.h>
#include <sys/sysmacros.h>

#include "qemu-hook/users.h"
#include "tests/unit/fake-bus.h"

#define MANAGER "lightdm.service"
#define SESSION "/run/systemd/sessions/2"

/* A host with a display manager that draws on the card, and a VM that may stop it. */
static void make_desktop(void)
{
    make_host();
    put_link("/etc/systemd/system/display-manager.service", "/lib/systemd/system/" MANAGER);
    put_unit(MANAGER, "active");
    put_holder("Xorg\n", "0::/system.slice/" MANAGER "\n");
    put("/dev/dri/by-path/pci-0000:01:00.0-card", "");
    put("/etc/libvirt/qemu/mac.xml",
        "<domain type='kvm'><name>mac</name><uuid>" UUID "</uuid></domain>");
    put("/etc/dkvm/dkvm.conf", "[handoff]\ndesktop = stop\n");
}

/* The same, where somebody began X by hand. */
static void make_session(void)
{
    make_desktop();
    put_unit(MANAGER, "inactive");
    put(SESSION, "UID=1000\nTYPE=x11\n");
    put_holder("Xorg\n", "0::/user.slice/user-1000.slice/session-2.scope\n");
}

static void test_there_and_back(void)
{
    static const char *const states[] = {"active", "activating", "reloading"};

    for (gsize i = 0; i < G_N_ELEMENTS(states); i++) {
        make_desktop();
        put_unit(MANAGER, states[i]);
        g_autoptr(DkvmHandover) handover = must_load();

        g_assert_true(prepare(handover, NULL));
        expect_log("stop " MANAGER);
        g_assert_true(dkvm_handover_restore(handover, "test"));
        g_assert_cmpstr(handover->problems->str, ==, "");
        expect_log("start " MANAGER);
        assert_home();
    }
}

/* Debian's gdm3 is known by three names, and its processes by the last. */
static void test_aliases(void)
{
    make_desktop();
    put_link("/etc/systemd/system/display-manager.service", "/lib/systemd/system/gdm3.service");
    put_link("/lib/systemd/system/gdm3.service", "gdm.service");
    put("/lib/systemd/system/gdm.service", "");
    put_unit("gdm.service", "active");
    put_holder("Xorg\n", "0::/system.slice/gdm.service\n");
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    g_assert_true(dkvm_handover_restore(handover, "test"));
    expect_log("stop gdm.service; start gdm.service");
}

/* Where systemd has a hierarchy of its own: cgroups(7), version 1. */
static void test_old_cgroup(void)
{
    make_desktop();
    put_holder("Xorg\n", "4:memory:/x\n1:name=systemd:/system.slice/" MANAGER "\n");
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    expect_log("stop " MANAGER);
    g_assert_true(dkvm_handover_restore(handover, "test"));
}

/* One that does not draw on the card is left alone. */
static void test_elsewhere(void)
{
    make_desktop();
    end_holder();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    g_assert_true(dkvm_handover_restore(handover, "test"));
    expect_log("");
    expect_state(MANAGER, "active");
}

static void test_session(void)
{
    g_autoptr(GError) error = NULL;

    make_session();
    {
        g_autoptr(DkvmHandover) handover = must_load();

        g_assert_true(prepare(handover, NULL));
        expect_log("end 2");
        g_assert_true(dkvm_handover_restore(handover, "test"));
        g_assert_cmpstr(handover->problems->str, ==, "");
        expect_log("");
        assert_home();
    }
    make_session();
    stops_late = TRUE;
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_false(prepare(handover, &error));
    stops_late = FALSE;
    g_assert_nonnull(strstr(error->message, "session 2 does not end"));
    g_assert_cmpint(handover->phase, ==, DKVM_PHASE_CLOSED);
    assert_home();
}

/* A program of nobody's, which is told to end, and killed if it does not listen. */
static pid_t begin_program(gboolean listens)
{
    pid_t pid = fork();

    if (pid == 0) {
        (void)signal(SIGTERM, listens ? SIG_DFL : SIG_IGN);
        (void)pause();
        _exit(0);
    }
    g_assert_cmpint(pid, >, 0);
    g_autofree char *name = g_strdup_printf("/proc/%d/comm", (int)pid);
    g_autofree char *node = g_strdup_printf("/proc/%d/fd/5", (int)pid);

    make_desktop();
    end_holder();
    put("/etc/dkvm/dkvm.conf", "[handoff]\nholders = terminate\n");
    put("/sys/devices/pci0000:00/0000:01:00.0/drm/card1/dev", "1:3\n");
    put(name, "blender\n");
    put_link(node, "/dev/null");
    return pid;
}

static void test_drain(void)
{
    pid_t pid = begin_program(TRUE);
    int status = 0;
    g_autofree char *refused = NULL;
    g_autoptr(GError) error = NULL;

    put("/etc/dkvm/dkvm.conf", "");
    refused = refusal();
    g_assert_nonnull(strstr(refused, "blender"));
    put("/etc/dkvm/dkvm.conf", "[handoff]\nholders = terminate\n");
    g_autoptr(DkvmHandover) handover = must_load();

    /* The fake /proc still names it, so the card stays in use; the process has been told. */
    g_assert_false(prepare(handover, &error));
    g_assert_nonnull(strstr(error->message, "blender"));
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFSIGNALED(status));
    g_assert_cmpint(WTERMSIG(status), ==, SIGTERM);
    g_assert_cmpint(handover->phase, ==, DKVM_PHASE_CLOSED);
    assert_home();
}

/* nvidia's own node is no file of sysfs (udev/holders.c): it is seen before, while it is drained,
 * and at the last moment. */
static void test_nvidia_node(void)
{
    const char *information = "/proc/driver/nvidia/gpus/0000:01:00.0/information";
    const DkvmStep *const steps[] = {&dkvm_step_drain, &dkvm_step_unbind};
    pid_t pid = begin_program(TRUE);
    g_autofree char *node = at("/nvidia3");
    g_autofree char *link = g_strdup_printf("/proc/%d/fd/5", (int)pid);
    g_autofree char *old = at(link);

    put(information, "Model: \t\t test\nDevice Minor: \t 3\n");
    g_assert_cmpint(mknod(node, S_IFCHR | 0600, makedev(195, 3)), ==, 0);
    (void)unlink(old);
    put_link(link, node);
    for (gsize i = 0; i < G_N_ELEMENTS(steps); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(DkvmHandover) handover = must_load();
        DkvmAction *action = dkvm_action_new(steps[i], "0000:01:00.0", "all", "");
        DkvmTaken *taken = g_new0(DkvmTaken, 1);

        (void)g_strlcpy(taken->bdf, "0000:01:00.0", sizeof taken->bdf);
        taken->sysfs = g_strdup("/sys/devices/pci0000:00/0000:01:00.0");
        g_ptr_array_add(handover->devices, taken);
        g_ptr_array_add(handover->actions, action);
        g_assert_false(steps[i]->apply(handover, action, &error));
        g_assert_nonnull(strstr(error->message, "blender"));
    }
    (void)kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
}

/* Killed after each record, the next guard starts what was stopped. */
static void test_kill(void)
{
    gboolean lived = FALSE;
    guint killed = 0;

    for (guint32 number = 1; !lived; number++) {
        make_desktop();
        lived = cycle(number);
        recover();
        killed += !lived;
        assert_home();
        expect_state(MANAGER, "active");
    }
    g_assert_cmpuint(killed, >, 40);
}

/* As the unit is on its way down when the guard is killed. */
static void test_kill_late(void)
{
    gboolean lived = FALSE;

    for (guint32 number = 1; !lived; number++) {
        make_desktop();
        stops_late = TRUE;
        lived = cycle(number);
        stops_late = FALSE;
        recover();
        assert_home();
        expect_state(MANAGER, "active");
    }
}

static void test_kill_session(void)
{
    gboolean lived = FALSE;
    guint killed = 0;

    for (guint32 number = 1; !lived; number++) {
        make_session();
        lived = cycle(number);
        recover();
        killed += !lived;
        assert_home();
        expect_state(MANAGER, "inactive");
    }
    g_assert_cmpuint(killed, >, 40);
}

static void add(void)
{
    g_test_add_func("/desktop/there-and-back", test_there_and_back);
    g_test_add_func("/desktop/elsewhere", test_elsewhere);
    g_test_add_func("/desktop/aliases", test_aliases);
    g_test_add_func("/desktop/old-cgroup", test_old_cgroup);
    g_test_add_func("/desktop/session", test_session);
    g_test_add_func("/desktop/drain", test_drain);
    g_test_add_func("/desktop/nvidia-node", test_nvidia_node);
    g_test_add_func("/desktop/kill", test_kill);
    g_test_add_func("/desktop/kill-late", test_kill_late);
    g_test_add_func("/desktop/kill-session", test_kill_session);
}

int main(int argc, char **argv)
{
    return run_below_root(add, argc, argv);
}
