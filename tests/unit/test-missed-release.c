/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU has ended, libvirt lives, and says nothing: design.md 8 has the guard wait for its release
 * for 30 seconds and the host back within 40.  This takes as long. */
#include "tests/unit/guard-run.h"
#include "tests/unit/handover-run.h"

#define NOT_BEFORE (25 * G_USEC_PER_SEC)
#define BACK_WITHIN (40 * G_USEC_PER_SEC)
#define GPU "0000:01:00.0"

static const char domain[] =
    "<domain type='kvm'><name>mac</name><uuid>" UUID "</uuid><devices>"
    "<hostdev mode='subsystem' type='pci' managed='no'><source>"
    "<address domain='0x0' bus='0x01' slot='0x00' function='0x0'/></source></hostdev>"
    "</devices></domain>";

static pid_t running_qemu(void)
{
    g_autoptr(DkvmHandover) handover = dkvm_handover_peek(UUID, NULL);

    return handover && handover->phase == DKVM_PHASE_RUNNING ? handover->qemu : 0;
}

static void guard_sees(pid_t qemu)
{
    gint64 end = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;

    while (running_qemu() != qemu && g_get_monotonic_time() < end)
        (void)poll(NULL, 0, 20);
    g_assert_cmpint(running_qemu(), ==, qemu);
}

static gboolean is_taken(void)
{
    g_autofree char *driver = driver_of(GPU);

    return g_str_equal(driver, "vfio-pci");
}

/* Still taken SECONDS later. */
static void stays_taken(int seconds)
{
    gint64 end = g_get_monotonic_time() + seconds * G_USEC_PER_SEC;

    while (g_get_monotonic_time() < end) {
        g_assert_true(is_taken());
        (void)poll(NULL, 0, 50);
    }
}

/* libvirt's process is this one. */
static void test_qemu_gone(void)
{
    make_host();
    show_process(getpid());
    pid_t guard = start_guard();
    g_autofree char *answer = tell("prepare", domain);

    g_assert_cmpstr(answer, ==, "ok ");
    pid_t qemu = start_qemu();
    show_group();
    (void)tell("started", NULL);
    guard_sees(qemu);
    end_process(qemu, SIGKILL);
    stays_taken(3);
    /* The group is open once more: the time begins anew. */
    qemu = start_qemu();
    guard_sees(qemu);
    end_process(qemu, SIGKILL);
    gint64 begin = g_get_monotonic_time(), passed;

    while ((passed = g_get_monotonic_time() - begin) < BACK_WITHIN && is_taken())
        (void)poll(NULL, 0, 50);
    g_test_message("given back after %d s", (int)(passed / G_USEC_PER_SEC));
    g_assert_cmpint(passed, >=, NOT_BEFORE);
    g_assert_cmpint(passed, <, BACK_WITHIN);
    g_assert_cmpint(waitpid(guard, NULL, 0), ==, guard);
    assert_home();
    g_assert_null(dkvm_handover_peek(UUID, NULL));
}

static void add(void)
{
    g_test_add_func("/missed-release/qemu-gone", test_qemu_gone);
}

int main(int argc, char **argv)
{
    g_assert_true(g_setenv("INVOCATION_ID", "x", TRUE)); /* no worker becomes a guard */
    (void)alarm(120);
    return run_below_root(add, argc, argv);
}
