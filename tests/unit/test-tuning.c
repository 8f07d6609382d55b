/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is done when the guest runs (step-governor.c, step-irq.c, step-cpuset.c, and the engine):
 * forth, back, and what goes wrong between. */
#include <stdio.h>

#include "qemu-hook/commands.h"
#include "tests/unit/bad-read.h"
#include "tests/unit/tuning-host.h"

/* ---- forth and back --------------------------------------------------------------------- */

static void test_there_and_back(void)
{
    make_tuned_host();
    g_autofree char *before = picture_before();
    g_autofree char *cpus = at("/sys/devices/system"), *cgroup = at("/sys/fs");
    g_autoptr(GString) untouched = g_string_new(NULL), prepared = g_string_new(NULL);
    g_autoptr(DkvmHandover) handover = must_load();

    add_picture(untouched, cpus);
    add_picture(untouched, cgroup);
    g_assert_true(prepare(handover));
    add_picture(prepared, cpus);
    add_picture(prepared, cgroup);
    g_assert_cmpstr(prepared->str, ==, untouched->str); /* not before the guest runs */
    is_now("/proc/irq/8/smp_affinity_list", "0-7");
    run(handover);
    is_tuned();
    const DkvmAction *one = action_of(handover, "irq", "8-9,61");
    g_assert_cmpint(one->state, ==, DKVM_ACTION_DONE);
    one = action_of(handover, "irq", "60"); /* managed: nothing to undo, no failure */
    g_assert_cmpint(one->state, ==, DKVM_ACTION_UNDONE);
    g_assert_null(one->failure);
    give_back(handover, before);
}

static guint32 number_of(const DkvmHandover *handover, DkvmRecordType type, const char *step)
{
    const GPtrArray *records = dkvm_journal_records(handover->journal);
    guint32 found = 0;

    for (guint i = 0; i < handover->actions->len; i++) {
        const DkvmAction *action = g_ptr_array_index(handover->actions, i);

        for (guint k = 0; k < records->len; k++) {
            const DkvmRecord *record = g_ptr_array_index(records, k);

            if (g_str_equal(action->step->name, step) && record->type == type &&
                g_ascii_strtoull(record->field[0], NULL, 10) == action->number)
                found = record->number;
        }
    }
    g_assert_cmpuint(found, >, 0);
    return found;
}

/* facts/handoff.md D.5: first the devices, then this, then the inhibitor and the ownership; also
 * from the journal alone. */
static void test_order(void)
{
    for (int i = 0; i < 2; i++) {
        make_tuned_host();
        g_autoptr(DkvmHandover) handover = must_load();

        g_assert_true(prepare(handover));
        run(handover);
        if (i == 1) {
            g_clear_pointer(&handover, dkvm_handover_free);
            handover = must_load();
        }
        g_assert_true(dkvm_handover_restore(handover, "test"));
        guint32 unbind = number_of(handover, DKVM_RECORD_UNDONE, "unbind");
        guint32 governor = number_of(handover, DKVM_RECORD_UNDONE, "governor");
        guint32 epp = number_of(handover, DKVM_RECORD_UNDONE, "epp");
        guint32 cpuset = number_of(handover, DKVM_RECORD_UNDONE, "cpuset");
        guint32 ownership = number_of(handover, DKVM_RECORD_UNDONE, "ownership");

        g_assert_cmpuint(unbind, <, governor);
        g_assert_cmpuint(governor, <, epp);
        g_assert_cmpuint(epp, <, cpuset);
        g_assert_cmpuint(cpuset, <, ownership);
    }
}

/* The GPU does not come back: this does. */
static void test_gpu_stuck(void)
{
    make_tuned_host();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover));
    run(handover);
    put("/sys/devices/pci0000:00/0000:01:00.0/home", "nothing-that-binds");
    g_assert_false(dkvm_handover_restore(handover, "test"));
    is_now(POLICY "2/scaling_governor", "powersave");
    is_now(POLICY "6/energy_performance_preference", "128");
    is_now("/proc/irq/24/smp_affinity_list", "3");
    is_now("/sys/fs/cgroup/system.slice/AllowedCPUs", "7f01");
}

/* A mistake that is made in the configuration while the guest runs is in nobody's way. */
static void test_config_unread(void)
{
    make_tuned_host();
    g_autofree char *before = picture_before();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover));
    configure("[handoff]\ngovernor = faster\nnonsense\n");
    g_clear_pointer(&handover, dkvm_handover_free);
    handover = must_load();
    run(handover);
    is_tuned();
    give_back(handover, before);
}

/* It ends before it runs: nothing was done, nothing is undone. */
static void test_never_ran(void)
{
    make_tuned_host();
    g_autofree char *before = picture_before();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover));
    put(POLICY "2/scaling_governor", "performance\n"); /* by somebody else */
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_assert_cmpstr(handover->problems->str, ==, "");
    is_now(POLICY "2/scaling_governor", "performance");
    put(POLICY "2/scaling_governor", "powersave\n");
    g_autofree char *after = picture();
    g_assert_cmpstr(after, ==, before);
}

/* ---- what goes wrong -------------------------------------------------------------------- */

static gboolean has_record(const DkvmHandover *handover, DkvmRecordType type, const char *part)
{
    const GPtrArray *records = dkvm_journal_records(handover->journal);

    for (guint i = 0; i < records->len; i++) {
        const DkvmRecord *record = g_ptr_array_index(records, i);

        if (record->type == type && strstr(record->field[1], part))
            return TRUE;
    }
    return FALSE;
}

/* What 'dkvm-gpu status' prints. */
static char *status(gboolean json)
{
    g_autofree char *path = at("/status");
    int old = dup(STDOUT_FILENO), fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    (void)fflush(stdout);
    g_assert_cmpint(dup2(fd, STDOUT_FILENO), ==, STDOUT_FILENO);
    g_assert_cmpint(dkvm_command_status(json), ==, 0);
    (void)fflush(stdout);
    g_assert_cmpint(dup2(old, STDOUT_FILENO), ==, STDOUT_FILENO);
    (void)close(old);
    (void)close(fd);
    return read_word(path);
}

static void status_says(gboolean json, const char *words)
{
    g_autofree char *text = status(json);

    g_test_message("'%s' in %s", words, text);
    g_assert_nonnull(strstr(text, words));
}

/* One of three policies refuses: all three are as before, the rest is done, the next guard does not
 * try again. */
static void test_refused(void)
{
    make_tuned_host();
    put(POLICY "6/energy_performance_preference", "balance_performance\n");
    g_autofree char *before = picture_before();
    g_autoptr(DkvmHandover) handover = must_load();

    put("/refuse", "policy4/scaling_governor");
    g_assert_true(prepare(handover));
    status_says(FALSE, "performance instead of powersave: waits for the guest");
    status_says(TRUE, "\"state\" : \"waits for the guest\"");
    run(handover);
    g_assert_cmpint(handover->phase, ==, DKVM_PHASE_RUNNING);
    is_now(POLICY "2/scaling_governor", "powersave");
    is_now(POLICY "4/scaling_governor", "powersave");
    is_now(POLICY "2/energy_performance_preference", "performance");
    is_now("/proc/irq/8/smp_affinity_list", "0-1");
    g_assert_true(has_record(handover, DKVM_RECORD_FAILED, "policy4"));
    const DkvmAction *action = action_of(handover, "governor", "2,4,6");
    g_assert_nonnull(strstr(action->failure, "busy"));
    g_assert_cmpint(action->state, ==, DKVM_ACTION_UNDONE);
    status_says(FALSE, "performance instead of powersave: failed: ");
    status_says(FALSE,
                "policy4/scaling_governor: governor of 2,4,6 failed: Device or resource busy");
    status_says(TRUE, "\"reason\" : \"");
    g_clear_pointer(&handover, dkvm_handover_free);
    handover = must_load();
    g_assert_false(dkvm_handover_has_more(handover));
    action = action_of(handover, "governor", "2,4,6");
    g_assert_nonnull(strstr(action->failure, "busy"));
    give_back(handover, before);
}

/* Somebody else was first, between the plan and the start: it stays theirs. */
static void test_changed_before(void)
{
    make_tuned_host();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover));
    put("/proc/irq/default_smp_affinity", "0f\n");
    put_irq(9, "6\n");
    run(handover);
    is_now("/proc/irq/default_smp_affinity", "0f");
    is_now("/proc/irq/9/smp_affinity_list", "6");
    is_now("/proc/irq/8/smp_affinity_list", "0-1");
    const DkvmAction *action = action_of(handover, "irq-default", "default_smp_affinity");
    g_assert_nonnull(strstr(action->failure, "'0f'"));
    g_assert_true(dkvm_handover_restore(handover, "test"));
    is_now("/proc/irq/default_smp_affinity", "0f");
    is_now("/proc/irq/9/smp_affinity_list", "6");
    is_now("/proc/irq/8/smp_affinity_list", "0-7");
}

/* Somebody else changes it while the guest runs: it stays, is reported, the rest comes back. */
static void test_foreign(void)
{
    make_tuned_host();
    g_autofree char *gone = at("/proc/irq/9");
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover));
    run(handover);
    put(POLICY "2/scaling_governor", "powersave\n"); /* to what it was: not foreign */
    put_irq(24, "5\n");
    remove_tree(gone);
    put("/sys/fs/cgroup/user.slice/AllowedCPUs", "0f");
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_assert_nonnull(strstr(handover->problems->str, "irq of 24 was changed to '5'"));
    g_assert_nonnull(strstr(handover->problems->str, "cpuset of user.slice was changed to '0-3'"));
    is_now("/proc/irq/24/smp_affinity_list", "5");
    is_now("/proc/irq/8/smp_affinity_list", "0-7");
    is_now(POLICY "4/scaling_governor", "powersave");
    is_now("/sys/fs/cgroup/user.slice/AllowedCPUs", "0f");
    is_now("/sys/fs/cgroup/init.scope/AllowedCPUs", "");
    g_assert_false(g_file_test(gone, G_FILE_TEST_EXISTS));
}

/* The CPUs of a policy are offline when the VM has ended: it is tried and said, and all the rest is
 * given back and closed; what the kernel keeps for them is not ours to change now. */
static void test_offline(void)
{
    make_tuned_host();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover));
    run(handover);
    cannot_read("/cpufreq/policy2/", EBUSY, G_MAXUINT);
    put("/refuse", "policy2/scaling_governor");
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_assert_cmpint(handover->phase, ==, DKVM_PHASE_CLOSED);
    g_test_message("%s", handover->problems->str);
    g_assert_nonnull(strstr(handover->problems->str, "governor of 2 cannot be set back"));
    g_assert_nonnull(strstr(handover->problems->str, "epp of 2 cannot be set back"));
    g_assert_nonnull(
        strstr(handover->problems->str, "write 'powersave' to " POLICY "2/scaling_governor"));
    is_now(POLICY "4/scaling_governor", "powersave");
    is_now(POLICY "6/scaling_governor", "powersave");
    is_now(POLICY "4/energy_performance_preference", "balance_performance");
    is_now("/proc/irq/8/smp_affinity_list", "0-7");
    cannot_read(NULL, 0, 0);
    is_now(POLICY "2/scaling_governor", "performance");
}

/* They come online while that is tried. */
static void test_offline_until_tried(void)
{
    make_tuned_host();
    g_autofree char *before = picture_before();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover));
    run(handover);
    cannot_read("/cpufreq/policy2/", EBUSY, G_MAXUINT);
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_assert_cmpstr(handover->problems->str, ==, "");
    cannot_read(NULL, 0, 0);
    g_autofree char *after = picture();
    g_assert_cmpstr(after, ==, before);
}

/* They are while the guest starts, and come online later: it keeps what it had. */
static void test_offline_at_start(void)
{
    make_tuned_host();
    g_autofree char *before = picture_before();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover));
    cannot_read("/cpufreq/policy2/", EBUSY, G_MAXUINT);
    run(handover);
    cannot_read(NULL, 0, 0);
    g_assert_null(action_of(handover, "governor", "2,4,6")->failure);
    is_now(POLICY "2/scaling_governor", "powersave");
    is_now(POLICY "4/scaling_governor", "performance");
    give_back(handover, before);
}

/* What cannot be read is not gone: the next attempt gives it back. */
static void test_unreadable(void)
{
    static const struct {
        const char *file, *problem;
    } cases[] = {
        {"/cpufreq/policy4/", "policy4/scaling_governor cannot be read: Cannot allocate memory"},
        {"/cpufreq/policy", "how governor of 2,4,6 is now cannot be read"},
        {"/irq/9/", "/proc/irq/9/smp_affinity_list cannot be read"},
        {"/irq/24/", "how irq of 24 is now cannot be read"},
        {"/default_smp_affinity", "how irq-default of default_smp_affinity is now cannot be read"}};

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        make_tuned_host();
        g_autofree char *before = picture_before();
        g_autoptr(DkvmHandover) handover = must_load();

        g_test_message("%s", cases[i].file);
        g_assert_true(prepare(handover));
        run(handover);
        cannot_read(cases[i].file, ENOMEM, G_MAXUINT);
        g_assert_false(dkvm_handover_restore(handover, "test"));
        g_assert_nonnull(strstr(handover->problems->str, cases[i].problem));
        cannot_read(NULL, 0, 0);
        is_now(POLICY "0/scaling_governor", "powersave");
        is_now("/proc/irq/8/smp_affinity_list", "0-7");
        give_back(handover, before);
    }
}

/* systemd that cannot be asked has not forgotten what it was told. */
static void test_systemd_away(void)
{
    make_tuned_host();
    g_autofree char *before = picture_before(), *broken = at("/systemd-is-broken");
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover));
    run(handover);
    put("/systemd-is-broken", "");
    g_assert_false(dkvm_handover_restore(handover, "test"));
    g_assert_nonnull(strstr(handover->problems->str, "AllowedCPUs of user.slice"));
    is_now(POLICY "2/scaling_governor", "powersave");
    (void)g_remove(broken);
    give_back(handover, before);
}

/* Away when the guest starts: a failure that is written down. */
static void test_systemd_away_at_start(void)
{
    make_tuned_host();
    g_autofree char *before = picture_before(), *broken = at("/systemd-is-broken");
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover));
    put("/systemd-is-broken", "");
    run(handover);
    g_assert_nonnull(action_of(handover, "cpuset", "user.slice")->failure);
    is_now(POLICY "2/scaling_governor", "performance");
    (void)g_remove(broken);
    give_back(handover, before);
}

/* A QEMU outside machine.slice is not shut in with the host. */
static void test_qemu_inside(void)
{
    make_tuned_host();
    g_autofree char *before = picture_before();
    g_autofree char *group = g_strdup_printf("/proc/%d/cgroup", (int)getpid());
    g_autoptr(DkvmHandover) handover = must_load();

    put(group, "1:name=x:/\n0::/system.slice/libvirtd.service\n");
    g_assert_true(prepare(handover));
    run(handover);
    is_now("/sys/fs/cgroup/system.slice/AllowedCPUs", "7f01");
    is_now("/sys/fs/cgroup/user.slice/AllowedCPUs", "03");
    g_assert_nonnull(strstr(action_of(handover, "cpuset", "system.slice")->failure, "machine.sl"));
    give_back(handover, before);
}

/* Hundreds of interrupts are a few records. */
static void test_many(void)
{
    make_tuned_host();
    for (int i = 100; i < 1500; i++)
        put_irq(i, i % 2 ? "0-7\n" : "2-5\n");
    g_autofree char *before = picture_before();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover));
    run(handover);
    is_now("/proc/irq/1499/smp_affinity_list", "0-1");
    g_assert_cmpuint(dkvm_journal_records(handover->journal)->len, <, 100);
    give_back(handover, before);
}

/* A guard was killed when it had written two of three, before it could say so: they are its own,
 * and the next one does the third. */
static void test_begun(void)
{
    make_tuned_host();
    g_autofree char *before = picture_before();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover));
    g_assert_true(dkvm_handover_set_running(handover, getpid(), 1, NULL));
    const DkvmAction *action = action_of(handover, "governor", "2,4,6");
    g_autofree char *number = g_strdup_printf("%u", action->number);
    g_assert_cmpuint(dkvm_journal_append(handover->journal, NULL, DKVM_RECORD_INTENT, "governor",
                                         action->target, action->pre, action->post, number, NULL),
                     >, 0);
    put(POLICY "2/scaling_governor", "performance\n");
    put(POLICY "6/scaling_governor", "performance\n");
    put(POLICY "6/energy_performance_preference", "performance\n");
    g_clear_pointer(&handover, dkvm_handover_free);
    handover = must_load();
    while (dkvm_handover_has_more(handover))
        dkvm_handover_go_on(handover);
    action = action_of(handover, "governor", "2,4,6");
    g_assert_null(action->failure);
    g_assert_cmpint(action->state, ==, DKVM_ACTION_DONE);
    is_now(POLICY "4/scaling_governor", "performance");
    /* That preference is somebody else's now, as far as anybody can tell. */
    put(POLICY "6/energy_performance_preference", "128\n");
    (void)dkvm_handover_restore(handover, "test");
    g_autofree char *after = picture();
    g_assert_cmpstr(after, ==, before);
}

int main(int argc, char **argv)
{
    static const TuningTest tests[] = {{"there-and-back", test_there_and_back},
                                       {"order", test_order},
                                       {"gpu-stuck", test_gpu_stuck},
                                       {"config-unread", test_config_unread},
                                       {"never-ran", test_never_ran},
                                       {"begun", test_begun},
                                       {"refused", test_refused},
                                       {"changed-before", test_changed_before},
                                       {"foreign", test_foreign},
                                       {"offline", test_offline},
                                       {"offline-until-tried", test_offline_until_tried},
                                       {"offline-at-start", test_offline_at_start},
                                       {"unreadable", test_unreadable},
                                       {"systemd-away", test_systemd_away},
                                       {"systemd-away-at-start", test_systemd_away_at_start},
                                       {"qemu-inside", test_qemu_inside},
                                       {"many", test_many}};

    return run_tests(argc, argv, tests, G_N_ELEMENTS(tests));
}
