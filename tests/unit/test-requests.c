/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-hook/guardian.c: what a guard answers to a start for which the devices are not there any
 * more, and what it does with left-overs that somebody else uses. */
#include <sys/inotify.h>

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

/* ---- left-overs ------------------------------------------------------------------------- */

static const DkvmHandover *left;
static DkvmPhase left_in;

static gboolean is_taken(void)
{
    g_autofree char *driver = driver_of(GPU);

    return g_str_equal(driver, "vfio-pci");
}

static void kill_with_gpu(guint32 number)
{
    if (left->phase == left_in && is_taken())
        (void)kill(getpid(), SIGKILL);
}

/* There and back in a guard that is killed in PHASE, when the GPU is with vfio-pci. */
static void leave_in(DkvmPhase phase)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        DkvmHandover *handover = must_load();

        left = handover;
        left_in = phase;
        dkvm_journal_appended = kill_with_gpu;
        (void)prepare(handover, NULL);
        (void)dkvm_handover_restore(handover, "test");
        _exit(0);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFSIGNALED(status));
    g_autoptr(DkvmHandover) handover = dkvm_handover_peek(UUID, NULL);
    g_assert_cmpint(handover->phase, ==, phase);
    g_assert_true(is_taken());
}

static char *picture(void)
{
    GString *text = g_string_new(NULL);
    g_autofree char *sys = at("/sys");

    add_picture(text, sys);
    return g_string_free(text, FALSE);
}

/* Each look at what PID has open is an event of the descriptor that is returned. */
static int watch_looks(pid_t pid)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/fd", (int)pid), *folder = at(name);
    int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    g_assert_cmpint(inotify_add_watch(watch, folder, IN_CLOSE_NOWRITE), >=, 0);
    return watch;
}

static void wait_for_look(int watch)
{
    struct pollfd one = {.fd = watch, .events = POLLIN};
    struct inotify_event event; /* of the folder itself: without a name */

    g_assert_cmpint(poll(&one, 1, 20000), ==, 1);
    g_assert_cmpint(read(watch, &event, sizeof event), ==, sizeof event);
}

/* Another VM's QEMU has opened the group before the next guard came.  That looks again and again,
 * without being told to, and gives back when nobody has it any more. */
static void is_left_to_guest(DkvmPhase phase)
{
    make_host();
    leave_in(phase);
    g_autofree char *before = picture();
    pid_t qemu = start_qemu();
    int watch = watch_looks(qemu);

    show_group();
    pid_t guard = start_guard();
    for (int i = 0; i < 3; i++)
        wait_for_look(watch);
    g_autofree char *after = picture();
    g_assert_cmpstr(after, ==, before);
    end_process(qemu, SIGKILL);
    ends_at_home(guard);
    (void)close(watch);
}

static void test_restoring(void)
{
    is_left_to_guest(DKVM_PHASE_RESTORING);
}

static void test_preparing(void)
{
    is_left_to_guest(DKVM_PHASE_PREPARING);
}

/* A person asks for them, and libvirt for a start, meanwhile: both are told why not, and the VM
 * that they were taken from does not run for that. */
static void test_asked_meanwhile(void)
{
    make_host();
    leave_in(DKVM_PHASE_RESTORING);
    pid_t qemu = start_qemu();

    show_group();
    pid_t guard = start_guard();
    g_autofree char *restore = ask("restore"), *start = tell("prepare", domain);
    g_autofree char *no = g_strdup_printf(
        "no A running VM has the devices of VM mac (process %d); shut it down first.", (int)qemu);
    g_assert_cmpstr(restore, ==, no);
    g_assert_cmpstr(start, ==, no);
    (void)tell("reconnect", NULL);
    g_autoptr(DkvmHandover) handover = dkvm_handover_peek(UUID, NULL);
    g_assert_cmpint(handover->phase, ==, DKVM_PHASE_RESTORING);
    end_process(qemu, SIGKILL);
    ends_at_home(guard);
}

static void add(void)
{
    g_test_add_func("/requests/start-idle", test_idle);
    g_test_add_func("/requests/start-given-back", test_given_back);
    g_test_add_func("/requests/start-taken", test_taken);
    g_test_add_func("/requests/start-gone", test_gone);
    g_test_add_func("/requests/restoring-with-guest", test_restoring);
    g_test_add_func("/requests/preparing-with-guest", test_preparing);
    g_test_add_func("/requests/asked-meanwhile", test_asked_meanwhile);
}

int main(int argc, char **argv)
{
    g_assert_true(g_setenv("INVOCATION_ID", "x", TRUE)); /* no worker becomes a guard */
    (void)alarm(120); /* a guard that does not end is a failure, not a wait */
    return run_below_root(add, argc, argv);
}
