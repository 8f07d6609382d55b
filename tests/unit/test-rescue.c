/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device whose driver does not come back by itself, and what the next login is told of it. */
#include <glib.h>
#include <sys/stat.h>

#include "tests/unit/handover-run.h"

#define GPU "0000:01:00.0"
#define FOLDER "/sys/devices/pci0000:00/" GPU
#define MOTD "/run/motd.d/dkvm-" UUID

static char *content(const char *path)
{
    g_autofree char *full = at(path);

    return read_word(full);
}

static void make_rescue_host(gboolean can_reset)
{
    g_autofree char *motd = at("/run/motd.d");

    make_host();
    remove_tree(motd);
    put_config(GPU, 0xfc);
    if (can_reset)
        put(FOLDER "/reset", "");
}

/* There and back, where the GPU's driver comes back after HOW only. */
static void return_after(const char *how, gboolean can_reset, const char *resets, const char *said)
{
    make_rescue_host(can_reset);
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    if (how)
        put_stubborn(GPU, how);
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_assert_cmpstr(handover->problems->str, ==, "");
    assert_home();
    g_autofree char *count = content("/resets"), *text = content(MOTD);
    g_assert_cmpstr(count, ==, resets);
    if (!said) {
        g_assert_cmpstr(text, ==, "");
        return;
    }
    g_assert_nonnull(strstr(text, "VM mac has given its devices back, but not as usual"));
    g_assert_nonnull(strstr(text, said));
    g_assert_nonnull(strstr(text, "sudo rm /"));
}

static void test_reset(void)
{
    return_after(NULL, TRUE, "", NULL);
    return_after("reset", TRUE, "x",
                 GPU " came back to its driver bochs-drm only after it was reset.");
}

static void test_found_anew(void)
{
    return_after("rescan", TRUE, "x", "only after it was taken from the bus and found anew.");
    return_after("rescan", FALSE, "", "only after it was taken from the bus and found anew.");
    return_after("reset", FALSE, "", "only after it was taken from the bus and found anew.");
}

/* Its module was removed meanwhile. */
static void test_driver_gone(void)
{
    make_rescue_host(TRUE);
    g_autoptr(DkvmHandover) handover = must_load();
    g_autofree char *bind = at("/sys/bus/pci/drivers/bochs-drm/bind");

    g_assert_true(prepare(handover, NULL));
    put_stubborn(GPU, "never");
    g_assert_cmpint(unlink(bind), ==, 0);
    g_assert_false(dkvm_handover_restore(handover, "test"));
    g_assert_nonnull(strstr(handover->problems->str, "bochs-drm is not there any more"));
}

/* A reset keeps the registers, so one that lost its windows is not reset. */
static void test_lost(void)
{
    make_rescue_host(TRUE);
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    put_config(GPU, 0);
    g_assert_true(dkvm_handover_restore(handover, "test"));
    assert_home();
    g_autofree char *count = content("/resets"), *text = content(MOTD);
    g_assert_cmpstr(count, ==, "");
    g_assert_nonnull(strstr(text, "found anew"));
}

/* The log says why asking the driver was not enough. */
static void test_why(void)
{
    if (g_test_subprocess()) {
        test_lost();
        return_after("reset", TRUE, "x", "only after it was reset.");
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*" GPU " has lost its addresses: its bus was reset*" GPU
                              " is not taken*reset*");
}

/* ---- the host sleeps -------------------------------------------------------------------- */

#define KINDS "/sys/power/mem_sleep"
#define ALARM "/sys/class/rtc/rtc0/wakealarm"
#define CLOCK "/sys/class/rtc/rtc0/since_epoch"
#define CONF "/etc/dkvm/dkvm.conf"

/* A GPU that only comes back after it had no power, on a host whose kinds of sleep are KINDS. */
static DkvmHandover *hand_over_sleeper(const char *conf, const char *kinds)
{
    make_rescue_host(TRUE);
    put("/sys/power/state", "freeze mem disk\n");
    put(KINDS, kinds);
    put(ALARM, "");
    put(CLOCK, "1800000000\n");
    put(CONF, conf);
    DkvmHandover *handover = must_load();

    g_assert_true(prepare(handover, NULL));
    put_stubborn(GPU, "sleep");
    put(CONF, ""); /* the way back reads none of it */
    return handover;
}

static void assert_awake(gboolean slept)
{
    g_autofree char *state = content("/sys/power/state");

    g_assert_true(g_str_has_prefix(state, "mem") == slept);
}

static void test_sleep(void)
{
    g_autoptr(DkvmHandover) first =
        hand_over_sleeper("[handoff]\nsuspend = rescue\n", "[s2idle] deep\n");

    put(ALARM, "1900000000\n");
    dkvm_handover_free(g_steal_pointer(&first)); /* its guard is killed */
    g_autoptr(DkvmHandover) handover = must_load();
    g_assert_true(dkvm_handover_restore(handover, "test"));
    assert_home();
    assert_awake(TRUE);
    g_autofree char *kind = content(KINDS), *alarm = content(ALARM), *text = content(MOTD);
    g_assert_true(g_str_has_prefix(kind, "[s2idle]"));
    g_assert_cmpstr(alarm, ==, "1900000000");
    g_assert_nonnull(
        strstr(text, "only after it was suspended, with the whole host, and woken up."));
}

/* An alarm that was due while the host slept is over. */
static void test_sleep_alarm_over(void)
{
    g_autoptr(DkvmHandover) handover =
        hand_over_sleeper("[handoff]\nsuspend = rescue\n", "s2idle [deep]\n");

    put(ALARM, "1799999999\n");
    g_assert_true(dkvm_handover_restore(handover, "test"));
    assert_home();
    g_autofree char *alarm = content(ALARM);
    g_assert_cmpstr(alarm, ==, "");
    g_assert_cmpstr(handover->problems->str, ==, "");
}

/* It does not come back, the host did not sleep, and SAID is said.  The way to sleep and the alarm
 * are as they were. */
static void assert_no_sleep(DkvmHandover *handover, const char *said)
{
    g_autofree char *kind = content(KINDS), *alarm = content(ALARM);

    g_assert_false(dkvm_handover_restore(handover, "test"));
    assert_awake(FALSE);
    if (said)
        g_assert_nonnull(strstr(handover->problems->str, said));
    dkvm_handover_free(handover);
    g_autofree char *kind_after = content(KINDS), *alarm_after = content(ALARM);
    g_assert_cmpstr(kind_after, ==, kind);
    g_assert_cmpstr(alarm_after, ==, alarm);
}

static void test_no_sleep(void)
{
    g_autofree char *other = at("/run/dkvm/99999999-2222-3333-4444-555555555555");

    assert_no_sleep(hand_over_sleeper("", "s2idle [deep]\n"), NULL);
    assert_no_sleep(hand_over_sleeper("[handoff]\nsuspend = rescue\n", "[s2idle]\n"), NULL);
    DkvmHandover *handover = hand_over_sleeper("[handoff]\nsuspend = rescue\n", "[deep]\n");

    put("/run/dkvm/99999999-2222-3333-4444-555555555555/journal", "");
    assert_no_sleep(handover, "another VM stands in the way");
    remove_tree(other);
}

/* Where the kernel does not do it, or says that it did and did not. */
static void test_sleep_fails(void)
{
    const struct {
        gboolean *what;
        const char *said;
    } faults[] = {{&no_sleep, "the host cannot be suspended to bring " GPU " back: "},
                  {&no_alarm, "the host's clock takes no alarm"},
                  {&keeps_kind, KINDS " stays 's2idle'"}};

    for (gsize i = 0; i < G_N_ELEMENTS(faults); i++) {
        *faults[i].what = TRUE; /* before the worker is there */
        DkvmHandover *handover =
            hand_over_sleeper("[handoff]\nsuspend = rescue\n", "[s2idle] deep ");

        put(ALARM, "1900000000\n");
        assert_no_sleep(handover, faults[i].said);
        *faults[i].what = FALSE;
    }
}

/* Once, however often it is tried. */
static void test_sleep_once(void)
{
    g_autoptr(DkvmHandover) handover =
        hand_over_sleeper("[handoff]\nsuspend = rescue\n", "s2idle [deep]\n");

    put_stubborn(GPU, "never");
    g_assert_false(dkvm_handover_restore(handover, "test"));
    assert_awake(TRUE);
    put("/sys/power/state", "freeze mem disk\n");
    g_assert_false(dkvm_handover_restore(handover, "again"));
    assert_awake(FALSE);
}

/* What is left is said, a second attempt does not reset it again, and the message goes with a
 * restore that is whole. */
static void test_left(void)
{
    make_rescue_host(TRUE);
    g_autofree char *file = at(MOTD);
    struct stat st;
    mode_t mask = umask(077);

    {
        g_autoptr(DkvmHandover) handover = must_load();

        g_assert_true(prepare(handover, NULL));
        put_stubborn(GPU, "never");
        g_assert_false(dkvm_handover_restore(handover, "test"));
        g_assert_false(dkvm_handover_restore(handover, "again"));
    }
    (void)umask(mask);
    g_autofree char *count = content("/resets"), *text = content(MOTD);
    g_assert_cmpstr(count, ==, "x");
    g_assert_nonnull(strstr(text, "VM mac could not give everything back"));
    g_assert_nonnull(strstr(text, GPU));
    g_assert_nonnull(strstr(text, "dkvm-gpu restore " UUID));
    g_assert_cmpint(stat(file, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 07777, ==, 0644);
    g_autofree char *folder = g_path_get_dirname(file);
    g_assert_cmpint(stat(folder, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 07777, ==, 0755);
    g_autofree char *stubborn = at(FOLDER "/stubborn");
    (void)g_unlink(stubborn);
    recover();
    assert_home();
    g_assert_cmpint(access(file, F_OK), !=, 0);
}

/* Names are anybody's, and this goes to a terminal. */
static void test_terminal(void)
{
    make_rescue_host(TRUE);
    vm_name = "a&#x9b;31m&#x202e;b&#10;c";
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    vm_name = "mac";
    put_stubborn(GPU, "reset");
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_autofree char *text = content(MOTD);
    g_assert_true(g_str_has_prefix(text, "dkvm: VM a?31m?b?c has given"));
}

static void add(void)
{
    g_test_add_func("/rescue/reset", test_reset);
    g_test_add_func("/rescue/found-anew", test_found_anew);
    g_test_add_func("/rescue/driver-gone", test_driver_gone);
    g_test_add_func("/rescue/lost", test_lost);
    g_test_add_func("/rescue/why", test_why);
    g_test_add_func("/rescue/sleep", test_sleep);
    g_test_add_func("/rescue/sleep-alarm-over", test_sleep_alarm_over);
    g_test_add_func("/rescue/no-sleep", test_no_sleep);
    g_test_add_func("/rescue/sleep-fails", test_sleep_fails);
    g_test_add_func("/rescue/sleep-once", test_sleep_once);
    g_test_add_func("/rescue/left", test_left);
    g_test_add_func("/rescue/terminal", test_terminal);
}

int main(int argc, char **argv)
{
    return run_below_root(add, argc, argv);
}
