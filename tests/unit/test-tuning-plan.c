/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What 'dkvm-gpu plan' says of what is done when the guest runs, and what stands in the way. */
#include "tests/unit/bad-read.h"
#include "tests/unit/tuning-host.h"

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
    g_assert_nonnull(strstr(after, "keep system.slice on the CPUs 0-1 (before: 0-6,8)"));
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
    g_assert_null(strstr(text, "host-cpus"));
    g_assert_null(strstr(text, "irq"));
    g_assert_null(strstr(text, "governor"));
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

/* One whose CPUs are all offline stands in nobody's way; what cannot be read does. */
static void test_plan_offline(void)
{
    make_tuned_host();
    put("/sys/devices/system/cpu/online", "0-5\n");
    cannot_read("/cpufreq/policy6/", EBUSY, G_MAXUINT);
    plan_says(PINNED, "cpufreq policies 2,4: performance instead of powersave");
    plan_says(PINNED, "Nothing stands in the way.");
    put(POLICY "6/affected_cpus", "\n"); /* older kernels */
    cannot_read(NULL, 0, 0);
    plan_says(PINNED, "cpufreq policies 2,4: performance instead of powersave");
    cannot_read("/cpufreq/policy6/affected_cpus", EIO, G_MAXUINT);
    plan_says(PINNED, "policy6/affected_cpus: Input/output error");
    cannot_read("/cpufreq/policy4/scaling_governor", EBUSY, G_MAXUINT); /* it went just now */
    plan_says(PINNED, "policy4/scaling_governor: Device or resource busy");
}

int main(int argc, char **argv)
{
    static const TuningTest tests[] = {{"plan", test_plan},
                                       {"plan-off", test_plan_off},
                                       {"plan-cpus", test_plan_cpus},
                                       {"plan-irqs", test_plan_irqs},
                                       {"plan-governor", test_plan_governor},
                                       {"plan-offline", test_plan_offline}};

    return run_tests(argc, argv, tests, G_N_ELEMENTS(tests));
}
