/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/unit.h"

#include "qemu-hook/bus.h"

const char *dkvm_unit_state(const char *unit)
{
    static const char *const up[] = {"active", "activating", "reloading", "refreshing", NULL};
    g_autofree char *state = dkvm_bus_unit_state(unit);

    if (!state)
        return NULL;
    return g_strv_contains(up, state) ? DKVM_UNIT_UP : DKVM_UNIT_DOWN;
}

void dkvm_unit_refuse_silent(DkvmPlan *plan, const char *unit)
{
    dkvm_plan_refuse(plan, "Start the VM again; if that does not help, start the host again.",
                     "systemd does not say whether %s runs.", unit);
}

char *dkvm_unit_look(DkvmHandover *handover, const DkvmAction *action)
{
    const char *state = action->over ? action->pre : dkvm_unit_state(action->target);

    return g_strdup(state ? state : DKVM_UNREADABLE);
}

gboolean dkvm_unit_stop(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return dkvm_bus_stop_unit(action->target, action->step->deadline, error);
}

gboolean dkvm_unit_start(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    if (dkvm_bus_is_stopping()) {
        ((DkvmAction *)action)->over = TRUE;
        return TRUE;
    }
    return dkvm_bus_start_unit_and_wait(action->target, action->step->deadline, error);
}
