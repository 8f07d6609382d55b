/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is done when the guest runs: guard and worker killed after every journal record, and the
 * guard's own loop. */
#include "tests/unit/guard-run.h"
#include "tests/unit/kills.h"
#include "tests/unit/tuning-host.h"

/* ---- kills ------------------------------------------------------------------------------ */

/* There, the guest runs, and back. */
static void whole(DkvmHandover *handover)
{
    if (prepare(handover)) {
        (void)dkvm_handover_set_running(handover, getppid(), 1, NULL);
        while (dkvm_handover_has_more(handover))
            dkvm_handover_go_on(handover);
    }
    (void)dkvm_handover_restore(handover, "test");
}

/* What the next guard does: it goes on if the guest runs, and gives back when that has ended. */
static void recover(void)
{
    g_autoptr(DkvmHandover) handover = must_load();
    gboolean running = handover->phase == DKVM_PHASE_RUNNING;

    while (dkvm_handover_has_more(handover))
        dkvm_handover_go_on(handover);
    if (running)
        is_tuned();
    g_assert_true(dkvm_handover_restore(handover, "recovery"));
    g_assert_cmpstr(handover->problems->str, ==, "");
}

static char *before_the_kills;

static void recover_and_look(void)
{
    in_child((gconstpointer)recover);
    g_autofree char *after = picture();

    g_assert_cmpstr(after, ==, before_the_kills);
}

static guint kill_after_each_record(KillWhom whom)
{
    make_tuned_host();
    g_assert_cmpint(run_and_kill(whole, KILL_GUARD, 0), ==, KILLED_NOBODY);
    before_the_kills = picture();
    guint killed = kill_everywhere(whole, whom, recover_and_look);

    g_clear_pointer(&before_the_kills, g_free);
    return killed;
}

static void test_kill_guard(void)
{
    g_assert_cmpuint(kill_after_each_record(KILL_GUARD), >, 100);
}

static void test_kill_worker(void)
{
    g_assert_cmpuint(kill_after_each_record(KILL_WORKER), >, 80);
}

/* ---- the guard -------------------------------------------------------------------------- */

/* The whole life: nothing before "started", all after it, "started" answers at once, a guard that
 * is killed in the middle is followed by one that goes on, all back after the release. */
static void test_guard(void)
{
    make_tuned_host();
    g_autofree char *before = picture_before();
    g_autofree char *domain = domain_with(PINNED);

    show_process(getpid());
    pid_t guard = start_guard();
    g_autofree char *answer = tell("prepare", domain);
    g_assert_cmpstr(answer, ==, "ok ");
    is_now(POLICY "2/scaling_governor", "powersave");
    pid_t qemu = start_qemu();
    show_group();
    put("/systemd-is-broken", "");
    gint64 begin = g_get_monotonic_time();
    (void)tell("started", NULL);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, G_USEC_PER_SEC);
    becomes(POLICY "6/scaling_governor", "performance");
    becomes(POLICY "2/scaling_governor", "performance");
    (void)tell("reconnect", NULL); /* it hears */
    end_process(guard, SIGKILL);
    guard = start_guard();
    (void)tell("look", NULL);
    is_now(POLICY "2/scaling_governor", "performance");
    end_process(qemu, SIGKILL);
    g_autofree char *broken = at("/systemd-is-broken");
    (void)g_remove(broken);
    (void)tell("release", NULL);
    becomes("/proc/irq/8/smp_affinity_list", "0-7");
    becomes(POLICY "6/energy_performance_preference", "128");
    g_assert_cmpint(waitpid(guard, NULL, 0), ==, guard);
    hide_group();
    g_autofree char *after = picture();
    g_assert_cmpstr(after, ==, before);
}

static pid_t goes_on_qemu;

static void begin_and_leave(void)
{
    DkvmHandover *handover = must_load();

    g_assert_true(prepare(handover));
    g_assert_true(
        dkvm_handover_set_caller(handover, getppid(), dkvm_process_start(getppid()), NULL));
    show_group();
    g_assert_true(
        dkvm_handover_set_running(handover, goes_on_qemu, dkvm_process_start(goes_on_qemu), NULL));
    dkvm_handover_go_on(handover); /* the first of many */
    is_now(POLICY "2/scaling_governor", "powersave");
}

/* Killed as soon as the guest runs: the next guard does what is left, without being told. */
static void test_guard_goes_on(void)
{
    make_tuned_host();
    show_process(getpid());
    goes_on_qemu = start_qemu();
    in_child((gconstpointer)begin_and_leave);
    pid_t guard = start_guard();

    becomes(POLICY "2/scaling_governor", "performance");
    becomes(POLICY "4/scaling_governor", "performance");
    becomes(POLICY "6/scaling_governor", "performance");
    is_tuned();
    end_process(guard, SIGKILL);
    end_process(goes_on_qemu, SIGKILL);
}

/* Killed between prepare and the start, and libvirt gave up before the next guard could hear it. */
static void leave_prepared(void)
{
    DkvmHandover *handover = must_load();

    g_assert_true(prepare(handover));
    g_assert_true(
        dkvm_handover_set_caller(handover, getppid(), dkvm_process_start(getppid()), NULL));
}

static void test_guard_missed_release(void)
{
    make_tuned_host();
    g_autofree char *before = picture_before();

    show_process(getpid());
    in_child((gconstpointer)leave_prepared);
    dkvm_rundir_note_release(UUID);
    pid_t guard = start_guard();

    g_assert_cmpint(waitpid(guard, NULL, 0), ==, guard);
    hide_group();
    g_autofree char *after = picture();
    g_assert_cmpstr(after, ==, before);
}

/* The release of an earlier run is none of this one. */
static void test_guard_old_release(void)
{
    make_tuned_host();
    g_autofree char *domain = domain_with(PINNED);

    show_process(getpid());
    g_assert_true(dkvm_rundir_make(UUID, NULL));
    dkvm_rundir_note_release(UUID);
    pid_t guard = start_guard();
    g_autofree char *answer = tell("prepare", domain);

    g_assert_cmpstr(answer, ==, "ok ");
    end_process(guard, SIGKILL);
    guard = start_guard();
    (void)tell("reconnect", NULL);
    g_autoptr(DkvmHandover) handover = dkvm_handover_peek(UUID, NULL);
    g_assert_cmpint(handover->phase, ==, DKVM_PHASE_PREPARED);
    (void)tell("release", NULL);
    g_assert_cmpint(waitpid(guard, NULL, 0), ==, guard);
}

/* What it is told while a write takes its time is heard afterwards, also if nobody waits any more:
 * the hook has 900 ms. */
static void test_guard_is_busy(void)
{
    make_tuned_host();
    g_autofree char *before = picture_before();
    g_autofree char *domain = domain_with(PINNED);

    show_process(getpid());
    put("/slow", "policy2/scaling_governor");
    pid_t guard = start_guard();
    g_autofree char *answer = tell("prepare", domain);
    g_assert_cmpstr(answer, ==, "ok ");
    pid_t qemu = start_qemu();
    show_group();
    (void)tell("started", NULL);
    becomes(POLICY "2/energy_performance_preference", "performance"); /* the governor is next */
    g_autofree char *message = g_strdup_printf("release %d %" G_GUINT64_FORMAT, (int)getpid(),
                                               dkvm_process_start(getpid()));
    int channel = dkvm_channel_connect(UUID);
    g_assert_true(dkvm_channel_send(channel, message, -1));
    (void)close(channel);
    end_process(qemu, SIGKILL);
    g_assert_cmpint(waitpid(guard, NULL, 0), ==, guard); /* well before it would by itself */
    hide_group();
    g_autofree char *after = picture();
    g_assert_cmpstr(after, ==, before);
}

/* Whether anybody holds logind's lock: then the FIFO of fake_inhibit() has a reader. */
static gboolean is_inhibited(void)
{
    g_autofree char *fifo = at("/inhibits");
    int fd = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

/* The lock goes with the guard, also where that is killed and its worker cannot be; the next guard
 * takes another one. */
static void test_guard_inhibits(void)
{
    make_tuned_host();
    g_autofree char *domain = domain_with(PINNED);

    show_process(getpid());
    put("/slow", "policy2/scaling_governor");
    pid_t guard = start_guard();
    g_assert_false(is_inhibited());
    g_autofree char *answer = tell("prepare", domain);
    g_assert_cmpstr(answer, ==, "ok ");
    g_assert_true(is_inhibited());
    pid_t qemu = start_qemu();
    show_group();
    (void)tell("started", NULL);
    becomes(POLICY "2/energy_performance_preference", "performance"); /* the slow write is next */
    end_process(guard, SIGKILL);
    g_assert_false(is_inhibited());
    guard = start_guard();
    (void)tell("look", NULL);
    g_assert_true(is_inhibited());
    end_process(qemu, SIGKILL);
    (void)tell("release", NULL);
    g_assert_cmpint(waitpid(guard, NULL, 0), ==, guard);
    g_assert_false(is_inhibited());
}

int main(int argc, char **argv)
{
    static const TuningTest tests[] = {{"kill-guard", test_kill_guard},
                                       {"kill-worker", test_kill_worker},
                                       {"guard", test_guard},
                                       {"guard-goes-on", test_guard_goes_on},
                                       {"guard-inhibits", test_guard_inhibits},
                                       {"guard-is-busy", test_guard_is_busy},
                                       {"guard-missed-release", test_guard_missed_release},
                                       {"guard-old-release", test_guard_old_release}};

    return run_tests(argc, argv, tests, G_N_ELEMENTS(tests));
}
