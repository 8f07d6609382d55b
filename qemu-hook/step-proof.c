/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* proof: the kernel itself says that each group is viable (VFIO_GROUP_GET_STATUS, linux/vfio.h),
 * before libvirt is told that all is well. */
#include <string.h>

#include "lib/error.h"
#include "qemu-hook/step.h"

#define PROVED "viable"

static gboolean is_shared_with_libvirt(const DkvmPlan *plan, int group)
{
    for (guint i = 0; i < plan->wants->devices->len; i++) {
        const DkvmWanted *one = &g_array_index(plan->wants->devices, DkvmWanted, i);
        const DkvmDevice *device = one->left ? dkvm_host_device(plan->host, &one->bdf) : NULL;

        if (device && device->group && device->group->number == group)
            return TRUE;
    }
    return FALSE;
}

static void plan(DkvmPlan *plan)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);

    for (guint i = 0; i < plan->devices->len; i++) {
        const DkvmTaken *taken = g_ptr_array_index(plan->devices, i);
        g_autofree char *number = g_strdup_printf("%d", taken->group);

        /* libvirt moves the rest of such a group later. */
        if (is_shared_with_libvirt(plan, taken->group))
            continue;
        if (taken->group >= 0 && g_hash_table_add(seen, GINT_TO_POINTER(taken->group)))
            dkvm_plan_add(plan, &dkvm_step_proof, number, "", PROVED);
    }
}

static char *look(DkvmHandover *handover, const DkvmAction *action)
{
    return g_strdup(action->over ? PROVED : "");
}

static gboolean apply(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autofree char *node = g_strconcat("/dev/vfio/", action->target, NULL);

    if (!dkvm_wait_for_file(node, action->step->deadline)) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                    "%s does not appear: vfio-pci has taken nothing of group %s", node,
                    action->target);
        return FALSE;
    }
    if (!dkvm_step_work(handover, action, DKVM_WORK_GROUP, action->target, NULL, error)) {
        g_prefix_error(error,
                       "group %s cannot be given to a guest (is a member on a host driver?): ",
                       action->target);
        return FALSE;
    }
    ((DkvmAction *)action)->over = TRUE;
    return TRUE;
}

/* Nothing was changed: look() says so after a restart, too. */
static gboolean undo(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    ((DkvmAction *)action)->over = FALSE;
    return TRUE;
}

static char *text(const DkvmAction *action)
{
    return g_strdup_printf("let the kernel confirm that group %s is the guest's alone",
                           action->target);
}

const DkvmStep dkvm_step_proof = {
    .name = "proof",
    .deadline = 3000,
    .plan = plan,
    .look = look,
    .apply = apply,
    .undo = undo,
    .text = text,
};
