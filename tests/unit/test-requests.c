/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-hook/guardian.c: what a guard answers to a start for which the devices are not there any
 * more. */
#include "tests/unit/guard-run.h"
#include "tests/unit/handover-run.h"

#define GPU "0000:01:00.0"
#define SOUND "0000:01:00.1"
#define GIVEN_BACK "no Its devices were given back meanwhile. Start the VM again."

static const char domain[] =
    "<domain type='kvm'><name>mac</name><uuid>" UUID "</uuid><devices>"
    "<hostdev mode='subsystem' type='pci' managed='no'><source>"
    "<address domain='0x0' bus='0x01' slot='0x00' function='0x0'/></source></hostdev>"
    "</devices></domain>";

/* A guard that has handed the GPU over. */
static pid_t start_guard_with_gpu(void)
{
    make_host();
    pid_t guard = start_guard();
    g_autofree char *answer = tell("prepare", domain);

    g_assert_cmpstr(answer, ==, "ok ");
    return guard;
}

static void ends_at_home(pid_t guard)
{
    g_assert_cmpint(waitpid(guard, NULL, 0), ==, guard);
    assert_home();
    g_assert_null(dkvm_handover_peek(UUID, NULL));
}

/* ---- start ------------------------------------------------------------------------------ */

/* Of a VM that has nothing. */
static void test_idle(void)
{
    make_host();
    pid_t guard = start_guard();
    g_autofree char *answer = ask("start");

    g_assert_cmpstr(answer, ==, GIVEN_BACK);
    ends_at_home(guard);
}

/* A person's restore, or a release of before, came first.  The guard stands still until both are
 * said: one that has given back waits for nobody. */
static void test_given_back(void)
{
    static const char *const words[] = {"release", "restore"};

    for (gsize i = 0; i < G_N_ELEMENTS(words); i++) {
        pid_t guard = start_guard_with_gpu();
        int status = 0;

        g_assert_cmpint(kill(guard, SIGSTOP), ==, 0);
        g_assert_cmpint(waitpid(guard, &status, WUNTRACED), ==, guard);
        g_assert_true(WIFSTOPPED(status));
        int first = say(words[i], NULL), second = say("start", NULL);
        g_assert_cmpint(kill(guard, SIGCONT), ==, 0);
        g_autofree char *back = hear(first, i == 1), *answer = hear(second, TRUE);
        g_assert_cmpstr(back, ==, i == 1 ? "ok " : NULL);
        g_assert_cmpstr(answer, ==, GIVEN_BACK);
        ends_at_home(guard);
    }
}

static void set_driver(const char *bdf, const char *driver)
{
    g_autofree char *link = g_strconcat("/sys/devices/pci0000:00/", bdf, "/driver", NULL);
    g_autofree char *target = g_strconcat("../../../bus/pci/drivers/", driver, NULL);
    g_autofree char *path = at(link);

    if (*driver)
        put_link(link, target);
    else
        g_assert_cmpint(unlink(path), ==, 0);
}

/* Whichever of the group it is. */
static void test_taken(void)
{
    static const struct {
        const char *bdf, *driver, *answer;
    } cases[] = {
        {GPU, "vfio-pci", "ok "},
        {GPU, "", "ok "},
        {GPU, "pci-stub", "ok "},
        {SOUND, "snd_hda_intel",
         "no " SOUND " was taken from vfio-pci by somebody else (its driver is snd_hda_intel). "
         "Start the VM again."},
        {GPU, "bochs-drm",
         "no " GPU " was taken from vfio-pci by somebody else (its driver is bochs-drm). "
         "Start the VM again."},
    };
    pid_t guard = start_guard_with_gpu();

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        set_driver(cases[i].bdf, cases[i].driver);
        g_autofree char *answer = ask("start");

        g_assert_cmpstr(answer, ==, cases[i].answer);
        set_driver(cases[i].bdf, "vfio-pci");
    }
    (void)tell("release", NULL);
    ends_at_home(guard);
}

/* Nor is a card that was pulled out one that a guest can have. */
static void test_gone(void)
{
    pid_t guard = start_guard_with_gpu();
    g_autofree char *link = at("/sys/bus/pci/devices/" GPU);
    g_autofree char *target = g_file_read_link(link, NULL);

    g_assert_cmpint(unlink(link), ==, 0);
    g_autofree char *answer = ask("start");
    g_assert_true(g_str_has_prefix(answer, "no " GPU " was taken"));
    g_assert_nonnull(strstr(answer, "(its driver is gone)"));
    g_assert_cmpint(symlink(target, link), ==, 0);
    (void)tell("release", NULL);
    ends_at_home(guard);
}

static void add(void)
{
    g_test_add_func("/requests/start-idle", test_idle);
    g_test_add_func("/requests/start-given-back", test_given_back);
    g_test_add_func("/requests/start-taken", test_taken);
    g_test_add_func("/requests/start-gone", test_gone);
}

int main(int argc, char **argv)
{
    g_assert_true(g_setenv("INVOCATION_ID", "x", TRUE)); /* no worker becomes a guard */
    (void)alarm(120); /* a guard that does not end is a failure, not a wait */
    return run_below_root(add, argc, argv);
}
