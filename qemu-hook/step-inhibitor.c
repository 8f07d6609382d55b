/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* inhibitor: the host does not suspend while a guest has its GPU.  The guard holds logind's
 * descriptor, so it cannot outlive the guard; a new guard takes it anew. */
#include <unistd.h>

#include "lib/log.h"
#include "qemu-hook/bus.h"
#include "qemu-hook/inhibitor.h"
#include "qemu-hook/step.h"

#define HELD "held"
#define NONE (-2) /* logind would not: that alone keeps no VM from starting */

void dkvm_inhibitor_take(DkvmHandover *handover)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *why = g_strdup_printf("VM %s has a GPU of this host", handover->name);

    if (handover->inhibitor >= 0)
        return;
    handover->inhibitor = dkvm_bus_inhibit(why, &error);
    if (handover->inhibitor >= 0)
        return;
    dkvm_log_warning("%s; do not suspend this host while VM %s runs", error->message,
                     handover->name);
    handover->inhibitor = NONE;
}

static void plan(DkvmPlan *plan)
{
    if (dkvm_bus_has_systemd())
        dkvm_plan_add(plan, &dkvm_step_inhibitor, "logind", "", HELD);
}

static char *look(DkvmHandover *handover, const DkvmAction *action)
{
    return g_strdup(handover->inhibitor == -1 ? "" : HELD);
}

static gboolean apply(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    dkvm_inhibitor_take(handover);
    return TRUE;
}

static gboolean undo(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    if (handover->inhibitor >= 0)
        (void)close(handover->inhibitor);
    handover->inhibitor = -1;
    return TRUE;
}

static char *text(const DkvmAction *action)
{
    return g_strdup("keep the host from suspending");
}

const DkvmStep dkvm_step_inhibitor = {
    .name = "inhibitor",
    .deadline = 5000,
    .plan = plan,
    .look = look,
    .apply = apply,
    .undo = undo,
    .text = text,
};
