/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nvidia: an unbind of nvidia's driver that is begun while the GPU has a user never ends, even if
 * the user does (facts/handoff.md fact 7).  The driver itself can say that there is none and that
 * none may come: unbindLock in /proc/driver/nvidia/gpus/BDF, write 1, read 1 back.  Without that
 * file the hand-over is refused: dkvm does not unload nvidia's modules. */
#include <fcntl.h>
#include <string.h>

#include "lib/paths.h"
#include "qemu-hook/step.h"
#include "udev/sysfs.h"

static char *lock_file(const char *bdf)
{
    return g_strconcat("/proc/driver/nvidia/gpus/", bdf, "/unbindLock", NULL);
}

/* The file has "1" or "0", in some versions behind a name. */
static char *look(DkvmHandover *handover, const DkvmAction *action)
{
    g_autofree char *file = lock_file(action->target);
    g_autofree char *path = dkvm_path(file);
    char *now = dkvm_look_line(path);

    if (!now || g_str_equal(now, DKVM_UNREADABLE))
        return now;
    gboolean locked = strchr(now, '1') != NULL;

    g_free(now);
    return g_strdup(locked ? "1" : "0");
}

static void plan(DkvmPlan *plan)
{
    for (guint i = 0; i < plan->targets->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);
        g_autofree char *file = lock_file(device->name);
        g_autofree char *path = dkvm_path(file);

        if (g_strcmp0(device->driver, "nvidia") != 0)
            continue;
        if (g_file_test(path, G_FILE_TEST_EXISTS))
            dkvm_plan_add(plan, &dkvm_step_nvidia, device->name, "0", "1");
        else
            dkvm_plan_refuse(plan,
                             "Reserve the card for guests at boot (dkvm-iommu --reserve), or use "
                             "another driver for it.",
                             "%s is driven by nvidia, and this version of that driver cannot say "
                             "whether it may be taken away (no %s).",
                             device->name, file);
    }
}

static gboolean apply(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autofree char *file = lock_file(action->target);

    return dkvm_step_work(handover, action, DKVM_WORK_WRITE, file, "1", error);
}

/* With the driver away so is the file, and a driver that comes back begins unlocked. */
static gboolean undo(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autofree char *file = lock_file(action->target);

    return dkvm_step_work(handover, action, DKVM_WORK_WRITE, file, "0", error);
}

static char *text(const DkvmAction *action)
{
    return g_strdup_printf("let nvidia's driver confirm that nobody uses %s", action->target);
}

const DkvmStep dkvm_step_nvidia = {
    .name = "nvidia",
    .on_device = TRUE,
    .deadline = 10000,
    .plan = plan,
    .look = look,
    .apply = apply,
    .undo = undo,
    .text = text,
};
