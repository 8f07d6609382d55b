/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is done when the guest runs (step-governor.c, step-irq.c, step-cpuset.c, and the engine and
 * guard around them), on a tree of files, a kernel of the test's own behind the worker, and a
 * systemd of its own on a bus of its own. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "lib/error.h"
#include "qemu-hook/channel.h"
#include "qemu-hook/cpus.h"
#include "qemu-hook/guardian.h"
#include "qemu-hook/plan.h"
#include "qemu-hook/rundir.h"
#include "tests/unit/fake-systemd.h"

#define UUID "11111111-2222-3333-4444-555555555555"
#define PINNED                                                                                     \
    "<cputune><vcpupin vcpu='0' cpuset='2-3'/><emulatorpin cpuset='0'/>"                           \
    "<vcpupin vcpu='1' cpuset='4-7,^5'/><vcpupin vcpu='2' cpuset='5'/></cputune>"
#define ALL_ON "[handoff]\ndomains = all\ngovernor = performance\nhost-cpus = 0-1\nirqs = move\n"
#define POLICY "/sys/devices/system/cpu/cpufreq/policy"

/* ---- the host --------------------------------------------------------------------------- */

static void put_policy(int number, const char *cpus, const char *governor, const char *preference)
{
    const struct {
        const char *name, *text;
    } files[] = {{"affected_cpus", cpus},
                 {"scaling_governor", governor},
                 {"scaling_available_governors", "performance powersave\n"},
                 {"energy_performance_preference", preference},
                 {"energy_performance_available_preferences",
                  "default performance balance_performance balance_power power\n"}};

    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_strdup_printf(POLICY "%d/%s", number, files[i].name);

        put(path, files[i].text);
    }
}

static void put_irq(int number, const char *cpus)
{
    g_autofree char *path = g_strdup_printf("/proc/irq/%d/smp_affinity_list", number);

    put(path, cpus);
}

static void configure(const char *text)
{
    put("/etc/dkvm/dkvm.conf", text);
}

/* Eight CPUs, the guest pinned to 2-7. */
static void make_tuned_host(void)
{
    make_host();
    configure(ALL_ON);
    put("/sys/devices/system/cpu/online", "0-7\n");
    put_policy(0, "0 1\n", "powersave\n", "balance_performance\n");
    put_policy(2, "2 3\n", "powersave\n", "balance_performance\n");
    put_policy(4, "4 5\n", "powersave\n", "balance_performance\n");
    put_policy(6, "6 7\n", "powersave\n", "128\n");
    put("/proc/irq/default_smp_affinity", "ff\n");
    put_irq(8, "0-7\n");
    put_irq(9, "0-7\n");
    put_irq(10, "0\n");
    put_irq(24, "3\n");
    put_irq(40, "0-7\n"); /* of the GPU: not to be touched */
    put("/sys/devices/pci0000:00/0000:01:00.0/msi_irqs/40", "msi\n");
    put_irq(60, "4\n"); /* managed: see tuning_kernel() */
    put_irq(61, "0-7\n");
    put("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n");
    put("/sys/fs/cgroup/user.slice/AllowedCPUs", "");
    put("/sys/fs/cgroup/system.slice/AllowedCPUs", "7f\n"); /* 0-6 */
    put("/sys/fs/cgroup/init.scope/AllowedCPUs", "");
    put("/run/systemd/system/x", "");
}

/* ---- its kernel ------------------------------------------------------------------------- */

/* Under the governor performance there is only one preference, as with intel_pstate. */
static int write_preference(const char *a, const char *path, const char *text)
{
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *file = g_build_filename(folder, "scaling_governor", NULL);
    g_autofree char *governor = read_word(file);

    if (g_str_equal(governor, "performance") && !g_str_equal(text, "performance"))
        return EBUSY;
    return g_file_set_contents(path, text, -1, NULL) ? 0 : EIO;
}

static int tuning_kernel(DkvmWorkKind kind, const char *a, const char *b, char **text)
{
    g_autofree char *path = at(a), *control = at("/refuse");
    g_autofree char *refused = read_word(control);

    *text = NULL;
    if (kind != DKVM_WORK_WRITE || (!g_str_has_prefix(a, "/proc/irq/") && !strstr(a, "/cpufreq/")))
        return fake_kernel(kind, a, b, text);
    if (!g_file_test(path, G_FILE_TEST_EXISTS))
        return ENOENT;
    if (*refused && g_str_has_suffix(a, refused))
        return EBUSY;
    if (strstr(a, "/irq/6"))
        return EIO; /* managed */
    if (g_str_has_suffix(a, "preference"))
        return write_preference(a, path, b);
    return g_file_set_contents(path, b, -1, NULL) ? 0 : EIO;
}

/* ---- hand-overs ------------------------------------------------------------------------- */

static char *picture(void)
{
    static const char *const folders[] = {"/sys", "/proc/irq", "/run/dkvm/own"};
    GString *text = g_string_new(NULL);

    for (gsize i = 0; i < G_N_ELEMENTS(folders); i++) {
        g_autofree char *path = at(folders[i]);

        if (g_file_test(path, G_FILE_TEST_IS_DIR))
            add_picture(text, path);
    }
    return g_string_free(text, FALSE);
}

/* The one file PATH. */
static void is_now(const char *path, const char *text)
{
    g_autofree char *file = at(path), *now = read_word(file);

    g_test_message("%s", path);
    g_assert_cmpstr(now, ==, text);
}

static void is_tuned(void)
{
    is_now(POLICY "0/scaling_governor", "powersave");
    is_now(POLICY "0/energy_performance_preference", "balance_performance");
    is_now(POLICY "2/scaling_governor", "performance");
    is_now(POLICY "4/energy_performance_preference", "performance");
    is_now(POLICY "6/scaling_governor", "performance");
    is_now(POLICY "6/energy_performance_preference", "performance");
    is_now("/proc/irq/default_smp_affinity", "03");
    is_now("/proc/irq/8/smp_affinity_list", "0-1");
    is_now("/proc/irq/9/smp_affinity_list", "0-1");
    is_now("/proc/irq/10/smp_affinity_list", "0");
    is_now("/proc/irq/24/smp_affinity_list", "0-1");
    is_now("/proc/irq/40/smp_affinity_list", "0-7");
    is_now("/proc/irq/60/smp_affinity_list", "4");
    is_now("/proc/irq/61/smp_affinity_list", "0-7");
    is_now("/sys/fs/cgroup/user.slice/AllowedCPUs", "03");
    is_now("/sys/fs/cgroup/system.slice/AllowedCPUs", "03");
    is_now("/sys/fs/cgroup/init.scope/AllowedCPUs", "03");
}

static DkvmHandover *must_load(void)
{
    GError *error = NULL;

    g_assert_true(dkvm_rundir_make(UUID, &error));
    DkvmHandover *handover = dkvm_handover_load(UUID, &error);

    g_assert_no_error(error);
    return handover;
}

static char *domain_with(const char *more)
{
    return g_strconcat("<domain type='kvm'><name>mac</name><uuid>" UUID "</uuid>", more,
                       "<devices><hostdev mode='subsystem' type='pci' managed='no'><source>"
                       "<address domain='0x0' bus='0x01' slot='0x00' function='0x0'/></source>"
                       "</hostdev></devices></domain>",
                       NULL);
}

/* CONFIG and WANTS must live as long as the plan does. */
static DkvmPlan *plan_of(const char *more, DkvmConfig **config, DkvmWants **wants)
{
    g_autofree char *domain = domain_with(more);
    GError *error = NULL;

    *config = dkvm_config_load(&error);
    g_assert_no_error(error);
    *wants = dkvm_wants_parse(domain, strlen(domain), *config, &error);
    g_assert_no_error(error);
    DkvmPlan *plan = dkvm_plan_new(*wants, *config, &error);

    g_assert_no_error(error);
    return plan;
}

static char *plan_text(const char *more)
{
    g_autoptr(DkvmConfig) config = NULL;
    g_autoptr(DkvmWants) wants = NULL;
    g_autoptr(DkvmPlan) plan = plan_of(more, &config, &wants);

    return dkvm_plan_text(plan);
}

static gboolean prepare(DkvmHandover *handover)
{
    g_autoptr(DkvmConfig) config = NULL;
    g_autoptr(DkvmWants) wants = NULL;
    g_autoptr(DkvmPlan) plan = plan_of(PINNED, &config, &wants);

    g_assert_cmpuint(plan->refusals->len, ==, 0);
    return dkvm_handover_begin(handover, wants->name, g_steal_pointer(&plan->devices),
                               g_steal_pointer(&plan->actions), NULL) &&
           dkvm_handover_prepare(handover, NULL);
}

/* The guest begins to run, and all is done that was left for then. */
static void run(DkvmHandover *handover)
{
    g_assert_false(dkvm_handover_has_more(handover));
    g_assert_true(dkvm_handover_set_running(handover, getpid(), 1, NULL));
    while (dkvm_handover_has_more(handover))
        dkvm_handover_go_on(handover);
}

static void give_back(DkvmHandover *handover, const char *before)
{
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_autofree char *after = picture();

    g_assert_cmpstr(handover->problems->str, ==, "");
    g_assert_cmpstr(after, ==, before);
}

/* A picture of the host as it is between two hand-overs. */
static char *picture_before(void)
{
    g_autofree char *own = at("/run/dkvm/own");

    g_assert_cmpint(g_mkdir_with_parents(own, 0700), ==, 0);
    return picture();
}

static const DkvmAction *action_of(const DkvmHandover *handover, const char *step,
                                   const char *target)
{
    for (guint i = 0; i < handover->actions->len; i++) {
        const DkvmAction *action = g_ptr_array_index(handover->actions, i);

        if (g_str_equal(action->step->name, step) && g_str_equal(action->target, target))
            return action;
    }
    g_test_message("%s of %s", step, target);
    g_assert_not_reached();
}

/* Each test in a process of its own: GDBus makes threads, which do not survive a fork. */
static void in_child(gconstpointer function)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        ((void (*)(void))function)();
        _exit(0);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

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
    is_now("/sys/fs/cgroup/system.slice/AllowedCPUs", "7f");
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
    is_now("/sys/fs/cgroup/system.slice/AllowedCPUs", "7f");
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

/* ---- plans ------------------------------------------------------------------------------ */

static void plan_says(const char *more, const char *words)
{
    g_autofree char *text = plan_text(more);

    g_test_message("'%s' in %s", words, text);
    g_assert_nonnull(strstr(text, words));
}

static void test_plan(void)
{
    make_tuned_host();
    g_autofree char *before = picture();
    g_autofree char *text = plan_text(PINNED);
    const char *after = strstr(text, "\nAfter the start\n");

    g_test_message("%s", text);
    g_assert_nonnull(after);
    g_assert_nonnull(strstr(text, "Nothing stands in the way."));
    g_assert_null(strstr(after, "vfio-pci"));
    g_assert_nonnull(strstr(after, "keep user.slice on the CPUs 0-1 (before: all)"));
    g_assert_nonnull(strstr(after, "keep system.slice on the CPUs 0-1 (before: 0-6)"));
    g_assert_nonnull(strstr(after, "move the interrupts 8-9,61 from the CPUs 0-7 to 0-1"));
    g_assert_nonnull(strstr(after, "cpufreq policies 2,4,6: performance instead of powersave"));
    g_autofree char *now = picture();
    g_assert_cmpstr(now, ==, before);
    put("/proc/99/comm", "irqbalance\n");
    plan_says(PINNED, "irqbalance runs");
    g_autofree char *fixed = at("/proc/irq/61/smp_affinity_list");
    g_assert_cmpint(g_chmod(fixed, 0444), ==, 0);
    plan_says(PINNED, "the interrupts 8-9 from");
}

static void test_plan_off(void)
{
    make_tuned_host();
    configure("[handoff]\ndomains = all\n");
    g_autofree char *text = plan_text(PINNED);

    g_assert_null(strstr(text, "After the start"));
    g_assert_null(strstr(text, "Worth knowing"));
}

static void test_plan_cpus(void)
{
    make_tuned_host();
    configure("[handoff]\nhost-cpus = 0-2\n");
    plan_says(PINNED, "(0-2) overlap those that the VM's vCPUs are pinned to (2-7)");
    configure("[handoff]\nhost-cpus = 0,8-9\n");
    plan_says(PINNED, "8-9 not online");
    configure("[handoff]\nhost-cpus = 0-1\n");
    plan_says("", "they run on host-cpus (0-1) as well");
    plan_says("<vcpu cpuset='1-3'>4</vcpu>", "pinned to (1-3)");
    plan_says(PINNED, "Nothing stands in the way.");
    put("/sys/fs/cgroup/cgroup.controllers", "cpu io\n");
    plan_says(PINNED, "no controller cpuset");
    plan_says(PINNED, "Nothing stands in the way.");
}

static void test_plan_irqs(void)
{
    make_tuned_host();
    configure("[handoff]\nirqs = move\n");
    plan_says(PINNED, "to 0-1");
    plan_says("", "vCPUs are not pinned");
    plan_says("<vcpu cpuset='0-7'>8</vcpu>", "no CPU is left for the host");
    put("/proc/irq/default_smp_affinity", "00000000,000000ff\n");
    plan_says(PINNED, "mask 00000000,00000003 instead of 00000000,000000ff");
    put("/proc/irq/default_smp_affinity", "3\n");
    g_autofree char *text = plan_text(PINNED);
    g_assert_null(strstr(text, "mask"));
}

static void test_plan_governor(void)
{
    make_tuned_host();
    configure("[handoff]\ngovernor = powersave\n");
    put(POLICY "2/scaling_governor", "performance\n");
    plan_says(PINNED, "policies 2: powersave instead of performance");
    g_autofree char *text = plan_text(PINNED);
    g_assert_null(strstr(text, "energy preference"));
    configure("[handoff]\ngovernor = schedutil\n");
    plan_says(PINNED, "policies 2,4,6 have no governor schedutil");
    plan_says("", "policies 0,2,4,6 have no governor schedutil");
    g_autofree char *policies = at("/sys/devices/system/cpu/cpufreq");
    remove_tree(policies);
    plan_says("", "no cpufreq policy");
}

/* ---- kills ------------------------------------------------------------------------------ */

static const DkvmHandover *current;
static guint32 kill_at;
static gboolean kill_worker;

static void appended(guint32 number)
{
    pid_t pid = kill_worker ? dkvm_worker_pid(current->worker) : getpid();

    if (number == kill_at && pid > 1)
        (void)kill(pid, SIGKILL);
}

/* TRUE if it was not killed. */
static gboolean cycle(void)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        DkvmHandover *handover = must_load();

        current = handover;
        dkvm_journal_appended = appended;
        if (prepare(handover)) {
            (void)dkvm_handover_set_running(handover, getppid(), 1, NULL);
            while (dkvm_handover_has_more(handover))
                dkvm_handover_go_on(handover);
        }
        (void)dkvm_handover_restore(handover, "test");
        _exit(0);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    return WIFEXITED(status);
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

static void kill_everywhere(gboolean worker)
{
    make_tuned_host();
    g_assert_true(cycle());
    g_autofree char *before = picture();
    guint killed = 0;
    gboolean more = TRUE;

    for (guint32 i = 1; more; i++) {
        kill_at = i;
        kill_worker = worker;
        gboolean lived = cycle();

        killed += !lived;
        kill_at = 0;
        in_child(recover);
        g_autofree char *after = picture();

        g_assert_cmpstr(after, ==, before);
        more = worker ? i < 115 : !lived;
    }
    g_test_message("killed at %u records", killed);
    g_assert_true(worker ? killed == 0 : killed > 75);
}

static void test_kill_guard(void)
{
    kill_everywhere(FALSE);
}

static void test_kill_worker(void)
{
    kill_everywhere(TRUE);
}

/* ---- the guard -------------------------------------------------------------------------- */

static void show_process(pid_t pid)
{
    g_autofree char *stat = g_strdup_printf("/proc/%d/stat", (int)pid);
    g_autofree char *real = NULL;

    g_assert_true(g_file_get_contents(stat, &real, NULL, NULL));
    put(stat, real);
}

static pid_t start_guard(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(dkvm_guardian_run(UUID));
    }
    return pid;
}

/* Tells the guard WORD; with XML also waits for its answer. */
static char *tell(const char *word, const char *xml)
{
    g_autofree char *message = g_strdup_printf("%s %d %" G_GUINT64_FORMAT, word, (int)getpid(),
                                               dkvm_process_start(getpid()));
    gint64 end = g_get_monotonic_time() + 5 * G_USEC_PER_SEC;
    int fd = -1, channel;

    do { /* until it listens */
        channel = dkvm_channel_connect(UUID);
        (void)poll(NULL, 0, channel < 0 ? 5 : 0);
    } while (channel < 0 && g_get_monotonic_time() < end);
    g_assert_cmpint(channel, >=, 0);
    if (xml) {
        fd = memfd_create("xml", MFD_CLOEXEC);
        g_assert_cmpint(write(fd, xml, strlen(xml)), ==, (gssize)strlen(xml));
    }
    g_assert_true(dkvm_channel_send(channel, message, fd));
    g_autofree char *accepted = dkvm_channel_receive(channel, 20000, NULL);

    g_assert_cmpstr(accepted, ==, "accepted");
    char *answer = xml ? dkvm_channel_receive(channel, 20000, NULL) : NULL;

    (void)close(channel);
    return answer;
}

/* Waits for FILE to have TEXT. */
static void becomes(const char *path, const char *text)
{
    g_autofree char *file = at(path);
    gint64 end = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;

    for (;;) {
        g_autofree char *now = read_word(file);

        if (g_str_equal(now, text))
            return;
        if (g_get_monotonic_time() > end)
            g_assert_cmpstr(now, ==, text);
        (void)poll(NULL, 0, 5);
    }
}

/* From now on the group's node can be held; before that nobody may, or nothing is handed over. */
static void show_group(void)
{
    put_link("/dev/vfio/11", "/dev/null");
}

/* A process that has the group's node open. */
static pid_t start_qemu(void)
{
    pid_t pid = fork();
    g_autofree char *group = at("/dev/vfio/11");

    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            (void)pause();
    }
    g_autofree char *fd = g_strdup_printf("/proc/%d/fd/5", (int)pid);

    put_link(fd, group);
    show_process(pid);
    return pid;
}

static void end_process(pid_t pid, int number)
{
    g_autofree char *folder = g_strdup_printf("%s/proc/%d", root, (int)pid);

    g_assert_cmpint(kill(pid, number), ==, 0);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    remove_tree(folder);
}

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
    put("/dev/vfio/11", "");
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

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*function)(void);
    } tests[] = {{"there-and-back", test_there_and_back},
                 {"order", test_order},
                 {"gpu-stuck", test_gpu_stuck},
                 {"config-unread", test_config_unread},
                 {"never-ran", test_never_ran},
                 {"refused", test_refused},
                 {"changed-before", test_changed_before},
                 {"foreign", test_foreign},
                 {"systemd-away", test_systemd_away},
                 {"systemd-away-at-start", test_systemd_away_at_start},
                 {"qemu-inside", test_qemu_inside},
                 {"many", test_many},
                 {"plan", test_plan},
                 {"plan-off", test_plan_off},
                 {"plan-cpus", test_plan_cpus},
                 {"plan-irqs", test_plan_irqs},
                 {"plan-governor", test_plan_governor},
                 {"kill-guard", test_kill_guard},
                 {"kill-worker", test_kill_worker},
                 {"guard", test_guard},
                 {"guard-goes-on", test_guard_goes_on}};
    char shm[] = "/dev/shm/dkvm-tuning-XXXXXX"; /* each step brings a note to disk */
    g_autofree char *folder =
        g_mkdtemp(shm) ? g_strdup(shm) : g_dir_make_tmp("dkvm-tuning-XXXXXX", NULL);

    root = g_build_filename(folder, "root", NULL);
    g_assert_true(g_setenv("DKVM_ROOT", root, TRUE));
    g_assert_true(g_setenv("INVOCATION_ID", "x", TRUE)); /* no worker becomes a guard */
    g_test_init(&argc, &argv, NULL);
    dkvm_worker_act = tuning_kernel;
    g_autoptr(GTestDBus) bus = g_test_dbus_new(G_TEST_DBUS_NONE);

    fake_systemd_start(bus);
    for (gsize i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strconcat("/tuning/", tests[i].name, NULL);

        g_test_add_data_func(path, (gconstpointer)tests[i].function, in_child);
    }
    int failed = g_test_run();

    g_test_dbus_down(bus);
    remove_tree(folder);
    g_free(root);
    return failed;
}
