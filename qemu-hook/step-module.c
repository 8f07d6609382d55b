/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* module: vfio-pci is loaded before any device is reserved for it, since it takes at once what is.
 * It is never unloaded: other guests may use it (facts/handoff.md F19). */
#include "lib/error.h"
#include "lib/paths.h"
#include "qemu-hook/step.h"

#define LOADED "loaded"

static gboolean is_loaded(void)
{
    g_autofree char *path = dkvm_path("/sys/bus/pci/drivers/vfio-pci");

    return g_file_test(path, G_FILE_TEST_IS_DIR);
}

static void plan(DkvmPlan *plan)
{
    if (!is_loaded())
        dkvm_plan_add(plan, &dkvm_step_module, "vfio-pci", "", LOADED);
}

/* Loaded by another hand meanwhile is as good. */
static char *look(DkvmHandover *handover, const DkvmAction *action)
{
    return g_strdup(action->over ? LOADED : "");
}

static gboolean apply(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    if (!dkvm_step_work(handover, action, DKVM_WORK_MODULE, action->target, NULL, error))
        return FALSE;
    ((DkvmAction *)action)->over = is_loaded();
    return TRUE;
}

static gboolean undo(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    ((DkvmAction *)action)->over = FALSE;
    return TRUE;
}

static char *text(const DkvmAction *action)
{
    return g_strdup_printf("load the module %s", action->target);
}

const DkvmStep dkvm_step_module = {
    .name = "module",
    .deadline = 10000,
    .plan = plan,
    .look = look,
    .apply = apply,
    .undo = undo,
    .text = text,
};
