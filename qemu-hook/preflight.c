/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Everything that would make the hand-over fail, found while the desktop is still there.  All
 * reasons at once, in words, with what to do. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/paths.h"
#include "qemu-hook/crash.h"
#include "qemu-hook/step.h"
#include "udev/holders.h"
#include "udev/verdict.h"

/* ---- devices and groups ----------------------------------------------------------------- */

static void take_reasons(DkvmPlan *plan, const DkvmDevice *device, const GPtrArray *reasons)
{
    for (guint i = 0; i < reasons->len; i++) {
        const DkvmReason *reason = g_ptr_array_index(reasons, i);

        if (reason->weight == DKVM_ANSWER_NO)
            dkvm_plan_refuse(plan, reason->todo, "%s: %s", device->name, reason->text);
        else if (reason->weight == DKVM_ANSWER_COSTS)
            dkvm_plan_note(plan, "%s: %s", device->name, reason->text);
    }
}

static void check_verdicts(DkvmPlan *plan)
{
    if (plan->targets->len == 0)
        return;
    g_autoptr(DkvmVerdict) verdict = dkvm_verdict_together(plan->host, plan->targets);
    const DkvmDevice *last = g_ptr_array_index(plan->targets, plan->targets->len - 1);

    take_reasons(plan, last, verdict->kernel_reasons);
    take_reasons(plan, last, verdict->host_reasons);
}

/* A function or disk that libvirt takes by itself cannot share a group with what would have to be
 * moved by us, or by nobody. */
static void check_left(DkvmPlan *plan)
{
    for (guint i = 0; i < plan->wants->devices->len; i++) {
        const DkvmWanted *one = &g_array_index(plan->wants->devices, DkvmWanted, i);
        const DkvmDevice *device = dkvm_host_device(plan->host, &one->bdf);

        for (guint k = 0; one->left && device && device->group && k < device->group->devices->len;
             k++) {
            const DkvmDevice *sibling = g_ptr_array_index(device->group->devices, k);

            if (sibling == device || dkvm_device_is_bridge(sibling) ||
                dkvm_driver_lets_go(sibling->driver))
                continue;
            dkvm_plan_refuse(plan,
                             "Take one of them out of the VM, or put the card into another slot.",
                             "%s, a network function or NVMe disk of the VM, shares group %d with "
                             "%s, which would have to leave its driver %s.",
                             device->name, device->group->number, sibling->name, sibling->driver);
        }
    }
}

/* ---- who has them open ------------------------------------------------------------------ */

static void check_holders(DkvmPlan *plan)
{
    for (guint i = 0; i < plan->targets->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);
        g_autoptr(GPtrArray) holders = dkvm_holders(device, NULL);

        for (guint k = 0; k < holders->len; k++) {
            const DkvmHolder *holder = g_ptr_array_index(holders, k);

            if (strstr(holder->node, "/vfio/"))
                dkvm_plan_refuse(plan, "Shut that VM down first.",
                                 "%s is in use by another guest: %s (%d) has %s open.",
                                 device->name, holder->command, (int)holder->pid, holder->node);
            else
                dkvm_plan_refuse(plan, "End it, or log out of the desktop, and start the VM again.",
                                 "%s is in use: %s (%d) has %s open.", device->name,
                                 holder->command, (int)holder->pid, holder->node);
        }
    }
}

/* ---- the kernel ------------------------------------------------------------------------- */

static void check_modules(DkvmPlan *plan)
{
    g_autofree char *driver = dkvm_path("/sys/bus/pci/drivers/vfio-pci");
    g_autofree char *release = g_strdup(plan->host->kernel ? plan->host->kernel : "");
    g_autofree char *dep =
        g_strconcat(dkvm_paths_root(), "/lib/modules/", release, "/modules.dep", NULL);
    g_autofree char *text = NULL;

    if (g_file_test(driver, G_FILE_TEST_IS_DIR))
        return;
    /* A kernel that was updated without a boot has lost its modules. */
    if (!g_file_get_contents(dep, &text, NULL, NULL) || !strstr(text, "/vfio-pci.ko"))
        dkvm_plan_refuse(plan,
                         "Start the host again if its kernel was updated; else install a kernel "
                         "with vfio-pci.",
                         "The module vfio-pci of the running kernel %s cannot be found.", release);
}

static void check_crashes(DkvmPlan *plan)
{
    for (guint i = 0; i < plan->targets->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);
        g_autofree char *todo = NULL;
        g_autofree char *suspect = dkvm_crash_suspect(plan->host, device, &todo);

        if (suspect)
            dkvm_plan_refuse(plan, todo, "%s: %s", device->name, suspect);
    }
}

void dkvm_preflight(DkvmPlan *plan)
{
    check_verdicts(plan);
    check_left(plan);
    check_holders(plan);
    check_modules(plan);
    check_crashes(plan);
}
