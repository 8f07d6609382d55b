/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For the tests of what is done when the guest runs: a host with CPUs, frequency policies and
 * interrupts, their kernel behind the worker, and a systemd of its own on a bus of its own. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <poll.h>
#include <sys/wait.h>

#include "lib/error.h"
#include "qemu-hook/plan.h"
#include "qemu-hook/rundir.h"
#include "tests/unit/fake-systemd.h"

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
G_GNUC_UNUSED static void make_tuned_host(void)
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
    put("/sys/fs/cgroup/system.slice/AllowedCPUs", "7f01\n"); /* 0-6,8 */
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
    g_autofree char *path = at(a), *refuse = at("/refuse"), *late = at("/slow");
    g_autofree char *refused = read_word(refuse), *slow = read_word(late);

    *text = NULL;
    if (kind != DKVM_WORK_WRITE || (!g_str_has_prefix(a, "/proc/irq/") && !strstr(a, "/cpufreq/")))
        return fake_kernel(kind, a, b, text);
    if (!g_file_test(path, G_FILE_TEST_EXISTS))
        return ENOENT;
    if (*refused && g_str_has_suffix(a, refused))
        return EBUSY;
    if (*slow && g_str_has_suffix(a, slow))
        (void)poll(NULL, 0, 1500);
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

G_GNUC_UNUSED static void is_tuned(void)
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

G_GNUC_UNUSED static char *plan_text(const char *more)
{
    g_autoptr(DkvmConfig) config = NULL;
    g_autoptr(DkvmWants) wants = NULL;
    g_autoptr(DkvmPlan) plan = plan_of(more, &config, &wants);

    return dkvm_plan_text(plan);
}

G_GNUC_UNUSED static gboolean prepare(DkvmHandover *handover)
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
G_GNUC_UNUSED static void run(DkvmHandover *handover)
{
    g_assert_false(dkvm_handover_has_more(handover));
    g_assert_true(dkvm_handover_set_running(handover, getpid(), 1, NULL));
    while (dkvm_handover_has_more(handover))
        dkvm_handover_go_on(handover);
}

G_GNUC_UNUSED static void give_back(DkvmHandover *handover, const char *before)
{
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_autofree char *after = picture();

    g_assert_cmpstr(handover->problems->str, ==, "");
    g_assert_cmpstr(after, ==, before);
}

/* A picture of the host as it is between two hand-overs. */
G_GNUC_UNUSED static char *picture_before(void)
{
    g_autofree char *own = at("/run/dkvm/own");

    g_assert_cmpint(g_mkdir_with_parents(own, 0700), ==, 0);
    return picture();
}

G_GNUC_UNUSED static const DkvmAction *action_of(const DkvmHandover *handover, const char *step,
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

/* ---- main ------------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    void (*function)(void);
} TuningTest;

static int run_tests(int argc, char **argv, const TuningTest *tests, gsize count)
{
    char shm[] = "/dev/shm/dkvm-tuning-XXXXXX"; /* each step brings a note to disk */
    g_autofree char *folder =
        g_mkdtemp(shm) ? g_strdup(shm) : g_dir_make_tmp("dkvm-tuning-XXXXXX", NULL);

    root = g_build_filename(folder, "root", NULL);
    g_assert_true(g_setenv("DKVM_ROOT", root, TRUE));
    g_assert_true(g_setenv("INVOCATION_ID", "x", TRUE)); /* no worker becomes a guard */
    (void)alarm(600); /* a guard that does not end is a failure, not a wait */
    g_test_init(&argc, &argv, NULL);
    dkvm_worker_act = tuning_kernel;
    g_autoptr(GTestDBus) bus = g_test_dbus_new(G_TEST_DBUS_NONE);

    fake_systemd_start(bus);
    for (gsize i = 0; i < count; i++) {
        g_autofree char *path = g_strconcat("/tuning/", tests[i].name, NULL);

        g_test_add_data_func(path, (gconstpointer)tests[i].function, in_child);
    }
    int failed = g_test_run();

    g_test_dbus_down(bus);
    remove_tree(folder);
    g_free(root);
    return failed;
}
