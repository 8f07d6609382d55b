/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cpuset: systemd keeps all that is no guest on [handoff] host-cpus, by AllowedCPUs of its slices
 * (systemd.resource-control(5)), not by the cgroup's files, which systemd would write again
 * (systemd#17938).  machine.slice, where libvirt's guests are, is never limited. */
#include <string.h>

#include "lib/error.h"
#include "qemu-hook/bus.h"
#include "qemu-hook/cpus.h"
#include "qemu-hook/step.h"
#include "udev/host-private.h"

#define CALLS_MS 15000 /* three calls, each with its own deadline (bus.c) */
#define CONTROLLERS "/sys/fs/cgroup/cgroup.controllers"

static const char *const units[] = {"user.slice", "system.slice", "init.scope"};

/* ---- planning --------------------------------------------------------------------------- */

static gboolean has_controller(void)
{
    g_autofree char *text = dkvm_host_text(CONTROLLERS, 4096);
    g_auto(GStrv) words = g_strsplit(text ? g_strstrip(text) : "", " ", -1);

    return g_strv_contains((const char *const *)words, "cpuset");
}

/* host-cpus against this host and this VM. */
static void check_cpus(DkvmPlan *plan, const DkvmNumbers *cpus)
{
    DkvmNumbers online, offline = *cpus;
    g_autofree char *text = dkvm_numbers_text(cpus);

    if (dkvm_numbers_overlap(cpus, &plan->wants->pinned)) {
        g_autofree char *pinned = dkvm_numbers_text(&plan->wants->pinned);

        dkvm_plan_refuse(plan,
                         "Take these CPUs out of host-cpus in /etc/dkvm/dkvm.conf, or pin the VM "
                         "(<vcpupin>) to others.",
                         "The CPUs that are kept for the host (%s) overlap those that the VM's "
                         "vCPUs are pinned to (%s).",
                         text, pinned);
    }
    if (!dkvm_cpus_online(&online))
        return;
    dkvm_numbers_remove(&offline, &online);
    if (dkvm_numbers_count(&offline) > 0) {
        g_autofree char *absent = dkvm_numbers_text(&offline);

        dkvm_plan_refuse(plan, "Correct host-cpus in /etc/dkvm/dkvm.conf, or bring them online.",
                         "Of the CPUs that are kept for the host (%s) this host has %s not online.",
                         text, absent);
    }
    if (dkvm_numbers_count(&plan->wants->pinned) == 0)
        dkvm_plan_note(plan,
                       "The VM's vCPUs are not pinned (<vcpupin>): they run on host-cpus (%s) "
                       "as well.",
                       text);
}

static void plan(DkvmPlan *plan)
{
    const DkvmNumbers *cpus = plan->config->host_cpus;
    const char *without = !cpus                     ? NULL
                          : !dkvm_bus_has_systemd() ? "systemd does not run this host"
                          : !has_controller()
                              ? "the unified cgroup hierarchy has no controller cpuset"
                              : NULL;

    if (!cpus)
        return;
    check_cpus(plan, cpus);
    if (without) {
        dkvm_plan_note(plan, "host-cpus limits nothing: %s.", without);
        return;
    }
    g_autofree char *post = dkvm_numbers_text(cpus);

    for (gsize i = 0; i < G_N_ELEMENTS(units); i++) {
        g_autofree char *now = dkvm_bus_allowed_cpus(units[i]);

        if (!now)
            dkvm_plan_note(plan,
                           "host-cpus does not limit %s: systemd does not say its AllowedCPUs.",
                           units[i]);
        else if (!g_str_equal(now, post))
            dkvm_plan_add(plan, &dkvm_step_cpuset, units[i], now, post);
    }
}

/* ---- doing ------------------------------------------------------------------------------ */

/* These units are always there: if systemd cannot be asked, what we did is not gone. */
static char *look(DkvmHandover *handover, const DkvmAction *action)
{
    char *now = dkvm_bus_allowed_cpus(action->target);

    return now || action->state == DKVM_ACTION_PLANNED ? now : g_strdup(action->post);
}

/* Without systemd-machined, or by <resource><partition>, QEMU may be somewhere else than in
 * machine.slice; its vCPUs would be taken off their CPUs. */
static gboolean has_qemu(const DkvmHandover *handover, const char *unit)
{
    g_autofree char *file = g_strdup_printf("/proc/%d/cgroup", (int)handover->qemu);
    g_autofree char *text = dkvm_host_text(file, 65536);
    g_autofree char *begin = g_strdup_printf("0::/%s/", unit);
    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);

    for (char **line = lines; *line; line++) {
        if (g_str_has_prefix(*line, begin))
            return TRUE;
    }
    return FALSE;
}

static gboolean apply(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    if (has_qemu(handover, action->target)) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                    "%s is not limited to %s: the VM itself is in it; start systemd-machined "
                    "before libvirt, so that VMs are in machine.slice",
                    action->target, action->post);
        return FALSE;
    }
    if (!dkvm_bus_set_allowed_cpus(action->target, action->post, error))
        return FALSE;
    g_autofree char *now = dkvm_bus_allowed_cpus(action->target);

    if (g_strcmp0(now, action->post) == 0)
        return TRUE;
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                "systemd took AllowedCPUs=%s for %s, and says '%s' now", action->post,
                action->target, now ? now : "nothing");
    return FALSE;
}

static gboolean undo(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return dkvm_bus_set_allowed_cpus(action->target, action->pre, error);
}

static char *text(const DkvmAction *action)
{
    return g_strdup_printf("keep %s on the CPUs %s (before: %s)", action->target, action->post,
                           *action->pre ? action->pre : "all");
}

const DkvmStep dkvm_step_cpuset = {
    .name = "cpuset",
    .optional = TRUE,
    .later = TRUE,
    .deadline = CALLS_MS,
    .plan = plan,
    .look = look,
    .apply = apply,
    .undo = undo,
    .text = text,
};
