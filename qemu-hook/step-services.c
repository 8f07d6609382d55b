/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* services: units that hold a GPU as long as they run are stopped for the hand-over and started
 * again in reverse: those that the admin lists in dkvm.conf, and where nvidia's driver has a device
 * its own two, which keep it open (facts/handoff.md F05).  Only what was active is started. */
#include <string.h>

#include "qemu-hook/bus.h"
#include "qemu-hook/services.h"
#include "qemu-hook/step.h"
#include "qemu-hook/unit.h"
#include "qemu-hook/users.h"

#define UNIT_MS 10000

static const char *const of_nvidia[] = {"nvidia-persistenced.service", "nvidia-powerd.service",
                                        NULL};

static gboolean has_nvidia(const DkvmPlan *plan)
{
    for (guint i = 0; i < plan->targets->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);

        if (g_strcmp0(device->driver, "nvidia") == 0)
            return TRUE;
    }
    return FALSE;
}

gboolean dkvm_services_stop(const DkvmPlan *plan, const char *unit)
{
    if (!dkvm_bus_has_systemd() || dkvm_plan_leaves_out(plan, &dkvm_step_services))
        return FALSE;
    return g_strv_contains((const char *const *)plan->config->handoff_services, unit) ||
           (g_strv_contains(of_nvidia, unit) && has_nvidia(plan));
}

static gboolean is_planned(const DkvmPlan *plan, const char *unit)
{
    for (guint i = 0; i < plan->actions->len; i++) {
        const DkvmAction *action = g_ptr_array_index(plan->actions, i);

        if (action->step == &dkvm_step_services && g_str_equal(action->target, unit))
            return TRUE;
    }
    return FALSE;
}

static void plan_unit(DkvmPlan *plan, const char *unit)
{
    const char *state = is_planned(plan, unit) ? DKVM_UNIT_DOWN : dkvm_unit_state(unit);

    if (!state)
        dkvm_unit_refuse_silent(plan, unit);
    else if (g_str_equal(state, DKVM_UNIT_UP))
        dkvm_plan_add(plan, &dkvm_step_services, unit, DKVM_UNIT_UP, DKVM_UNIT_DOWN);
}

static void plan_listed(DkvmPlan *plan, const char *unit)
{
    g_autofree char *manager = dkvm_display_manager();

    if (g_strcmp0(manager, unit) == 0)
        dkvm_plan_refuse(plan,
                         "Take it out of \"services\" in /etc/dkvm/dkvm.conf, and write \"desktop "
                         "= stop\" if that is what is meant.",
                         "%s is the display manager of this host.", unit);
    else if (dkvm_unit_state(unit) && !dkvm_bus_unit_exists(unit))
        dkvm_plan_note(plan, "This host has no unit %s, which \"services\" in dkvm.conf names.",
                       unit);
    else
        plan_unit(plan, unit);
}

static void plan(DkvmPlan *plan)
{
    char **listed = plan->config->handoff_services;

    if (!dkvm_bus_has_systemd()) {
        if (*listed)
            dkvm_plan_note(plan, "This host is not run by systemd: \"services\" in dkvm.conf has "
                                 "no effect.");
        return;
    }
    for (char **unit = listed; *unit; unit++)
        plan_listed(plan, *unit);
    for (gsize i = 0; of_nvidia[i] && has_nvidia(plan); i++)
        plan_unit(plan, of_nvidia[i]);
}

static char *text(const DkvmAction *action)
{
    return g_strdup_printf("stop %s", action->target);
}

const DkvmStep dkvm_step_services = {
    .name = "services",
    .needs_devices = TRUE,
    .optional = TRUE,
    .deadline = UNIT_MS,
    .plan = plan,
    .look = dkvm_unit_look,
    .apply = dkvm_unit_stop,
    .undo = dkvm_unit_start,
    .text = text,
};
