/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* epp, governor: the frequency of the CPUs that the guest has (Documentation/admin-guide/pm/
 * cpufreq.rst).  The preference comes first and goes back last: under the governor performance,
 * intel_pstate and amd-pstate take no other one than performance
 * (Documentation/admin-guide/pm/intel_pstate.rst, "Energy vs Performance Hints"). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/paths.h"
#include "qemu-hook/cpus.h"
#include "qemu-hook/many.h"
#include "udev/host-private.h"
#include "udev/sysfs.h"

#define POLICIES "/sys/devices/system/cpu/cpufreq"
#define POLICY POLICIES "/policy"
#define PERFORMANCE "performance"
#define WRITE_MS 10000 /* design: one blocked kernel write gets 10 s */
#define TEXT_MAX 65536

static const DkvmMany governors = {POLICY, "/scaling_governor", FALSE};
static const DkvmMany preferences = {POLICY, "/energy_performance_preference", FALSE};
static const DkvmMany known_governors = {POLICY, "/scaling_available_governors", FALSE};
static const DkvmMany known_preferences = {POLICY, "/energy_performance_available_preferences",
                                           FALSE};

/* ---- which policies --------------------------------------------------------------------- */

/* A policy whose CPUs are all offline is still there, and each of its files is EBUSY (show() in
 * drivers/cpufreq/cpufreq.c since d4627a287e25; before, it affected none): FALSE.  What cannot be
 * read for another reason stands in the plan's way. */
static gboolean has_cpus(const char *file)
{
    g_autofree char *path = dkvm_path(file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char byte;
    ssize_t length = fd < 0 ? -1 : read(fd, &byte, sizeof byte);
    int cause = length < 0 ? errno : 0;

    if (fd >= 0)
        (void)close(fd);
    if (cause != EBUSY)
        dkvm_sysfs_note(cause, path);
    return length > 0;
}

/* The CPUs that it changes now: "0 1 2" (cpufreq_show_cpus). */
static gboolean is_for(const DkvmNumbers *cpus, const char *name)
{
    g_autofree char *file = g_strconcat(POLICIES "/", name, "/affected_cpus", NULL);
    g_autofree char *text = has_cpus(file) ? dkvm_host_text(file, TEXT_MAX) : NULL;
    DkvmNumbers its;

    return text && dkvm_numbers_parse(g_strdelimit(g_strstrip(text), " ", ','), &its) &&
           dkvm_numbers_overlap(cpus, &its);
}

static void find_policies(const DkvmNumbers *cpus, DkvmNumbers *policies)
{
    g_autoptr(GPtrArray) names = dkvm_host_list(POLICIES);

    *policies = (DkvmNumbers){0};
    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        const char *number = g_str_has_prefix(name, "policy") ? name + strlen("policy") : "";
        DkvmNumbers one;

        if (g_ascii_isdigit(*number) && dkvm_numbers_parse(number, &one) && is_for(cpus, name))
            dkvm_numbers_add(policies, &one);
    }
}

static gboolean has_word(const DkvmMany *many, guint policy, const char *word)
{
    g_autofree char *text = dkvm_many_read(many, policy);
    g_auto(GStrv) words = g_strsplit(text ? text : "", " ", -1);

    return g_strv_contains((const char *const *)words, word);
}

/* Those of POLICIES whose list of possible values (KNOWN) has WORD. */
static void keep_those_with(const DkvmMany *known, const char *word, DkvmNumbers *policies)
{
    DkvmNumbers without = {0};

    for (guint i = 0; i < DKVM_NUMBERS_MAX; i++) {
        if (dkvm_numbers_has(policies, i) && !has_word(known, i, word))
            dkvm_numbers_put(&without, i);
    }
    dkvm_numbers_remove(policies, &without);
}

/* ---- epp -------------------------------------------------------------------------------- */

static void plan_epp(DkvmPlan *plan)
{
    DkvmNumbers cpus, policies;

    if (g_strcmp0(plan->config->governor, PERFORMANCE) != 0 || !dkvm_cpus_of_guest(plan, &cpus))
        return;
    find_policies(&cpus, &policies);
    keep_those_with(&known_governors, PERFORMANCE, &policies);
    keep_those_with(&known_preferences, PERFORMANCE, &policies);
    dkvm_many_plan(plan, &dkvm_step_epp, &preferences, &policies, PERFORMANCE);
}

static char *look_epp(DkvmHandover *handover, const DkvmAction *action)
{
    return dkvm_many_look(&preferences, action);
}

static gboolean apply_epp(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return dkvm_many_apply(&preferences, handover, action, error);
}

static gboolean undo_epp(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return dkvm_many_undo(&preferences, handover, action, error);
}

static char *text_epp(const DkvmAction *action)
{
    return g_strdup_printf("energy preference of the cpufreq policies %s: %s instead of %s",
                           action->target, action->post, action->pre);
}

const DkvmStep dkvm_step_epp = {
    .name = "epp",
    .optional = TRUE,
    .later = TRUE,
    .deadline = WRITE_MS,
    .plan = plan_epp,
    .look = look_epp,
    .apply = apply_epp,
    .undo = undo_epp,
    .text = text_epp,
};

/* ---- governor --------------------------------------------------------------------------- */

static void plan_governor(DkvmPlan *plan)
{
    const char *governor = plan->config->governor;
    DkvmNumbers cpus, all, policies;

    if (!governor || !dkvm_cpus_of_guest(plan, &cpus))
        return;
    find_policies(&cpus, &all);
    policies = all;
    keep_those_with(&known_governors, governor, &policies);
    dkvm_many_plan(plan, &dkvm_step_governor, &governors, &policies, governor);
    if (dkvm_numbers_count(&all) == 0)
        dkvm_plan_note(plan,
                       "governor = %s does nothing: the kernel has no cpufreq policy for "
                       "the VM's CPUs.",
                       governor);
    dkvm_numbers_remove(&all, &policies);
    if (dkvm_numbers_count(&all) == 0)
        return;
    g_autofree char *without = dkvm_numbers_text(&all);

    dkvm_plan_note(plan,
                   "The cpufreq policies %s have no governor %s (scaling_available_governors) and "
                   "stay as they are.",
                   without, governor);
}

static char *look_governor(DkvmHandover *handover, const DkvmAction *action)
{
    return dkvm_many_look(&governors, action);
}

static gboolean apply_governor(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return dkvm_many_apply(&governors, handover, action, error);
}

static gboolean undo_governor(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return dkvm_many_undo(&governors, handover, action, error);
}

static char *text_governor(const DkvmAction *action)
{
    return g_strdup_printf("governor of the cpufreq policies %s: %s instead of %s", action->target,
                           action->post, action->pre);
}

const DkvmStep dkvm_step_governor = {
    .name = "governor",
    .optional = TRUE,
    .later = TRUE,
    .deadline = WRITE_MS,
    .plan = plan_governor,
    .look = look_governor,
    .apply = apply_governor,
    .undo = undo_governor,
    .text = text_governor,
};
