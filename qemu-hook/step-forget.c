/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* forget: after a managed='no' run libvirt keeps the device on its list of inactive ones and then
 * gives it back to nobody, not even after a later managed='yes' run of another domain
 * (facts/rig.md 5).  virNodeDeviceReAttach() takes it off the list, but also unbinds whatever
 * driver there is and probes.  So it is called at the one moment when that does no harm: the device
 * has left vfio-pci and has no driver, and the probe is what would come next anyway. */
#include <string.h>

#include "lib/log.h"
#include "lib/paths.h"
#include "qemu-hook/rundir.h"
#include "qemu-hook/step.h"

#define KNOWN "known to libvirt"
#define URI "qemu:///system"

static void plan(DkvmPlan *plan)
{
    for (guint i = 0; i < plan->devices->len; i++) {
        const DkvmTaken *taken = g_ptr_array_index(plan->devices, i);
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);

        /* One that is on vfio-pci before stays there, and libvirt is right about it. */
        if (taken->how == DKVM_TAKEN_UNMANAGED &&
            (!device->driver || !strstr(device->driver, "vfio")))
            dkvm_plan_add(plan, &dkvm_step_forget, taken->bdf, "", KNOWN);
    }
}

static char *look(DkvmHandover *handover, const DkvmAction *action)
{
    return g_strdup(action->number == 0 || action->over ? "" : KNOWN);
}

static gboolean apply(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return TRUE;
}

static gboolean undo(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autofree char *driver = dkvm_driver_of(handover, action->target);
    g_autoptr(GError) cause = NULL;
    DkvmAction *mine = (DkvmAction *)action;

    mine->over = TRUE;
    /* Before PREPARED libvirt has seen nothing. */
    if (!handover->was_prepared || !driver || *driver != '\0' || *dkvm_paths_root() != '\0')
        return TRUE;
    /* The libvirt that knew it is gone, or did not answer for another device. */
    if (!dkvm_process_is(handover->caller, handover->caller_start) || handover->libvirt_silent)
        return TRUE;
    if (!dkvm_step_work(handover, action, DKVM_WORK_REATTACH, action->target, URI, &cause)) {
        handover->libvirt_silent = TRUE;
        dkvm_log_note("libvirt was not told that %s is back: %s", action->target, cause->message);
        if (mine->late != 0) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return FALSE;
        }
    }
    return TRUE;
}

static char *text(const DkvmAction *action)
{
    return g_strdup_printf("let libvirt forget %s when it is back", action->target);
}

const DkvmStep dkvm_step_forget = {
    .name = "forget",
    .on_device = TRUE,
    .deadline = 5000,
    .plan = plan,
    .look = look,
    .apply = apply,
    .undo = undo,
    .text = text,
};
