/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* reset: how the kernel resets a GPU, before and after a guest and when the guest asks
 * (facts/handoff.md F35).  reset_method (Linux 5.15, Documentation/ABI/testing/sysfs-bus-pci) reads
 * as the methods that are in use, in order, and takes the same; reset_method_store() in
 * drivers/pci/pci.c refuses what the device cannot do. */
#include "lib/error.h"
#include "lib/paths.h"
#include "qemu-hook/step.h"

static char *file_of(const char *bdf)
{
    return g_strconcat("/sys/bus/pci/devices/", bdf, "/reset_method", NULL);
}

/* The kernel knows nothing of vendor-reset's method before it is asked for it. */
static gboolean offers(const DkvmDevice *device, const char *method)
{
    g_auto(GStrv) all = g_strsplit(device->reset_methods ? device->reset_methods : "", " ", -1);
    g_autofree char *module = dkvm_path("/sys/module/vendor_reset");

    return g_strv_contains((const char *const *)all, method) ||
           (device->reset_methods && g_str_equal(method, "device_specific") &&
            g_file_test(module, G_FILE_TEST_IS_DIR));
}

static void plan(DkvmPlan *plan)
{
    const char *method = plan->config->reset_method;

    for (guint i = 0; method && i < plan->targets->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);

        if (!dkvm_device_is_gpu(device) || g_strcmp0(device->reset_methods, method) == 0)
            continue;
        if (offers(device, method))
            dkvm_plan_add(plan, &dkvm_step_reset, device->name, device->reset_methods, method);
        else
            dkvm_plan_refuse(plan,
                             "Write one of those, or \"keep\", as reset-method below [handoff] in "
                             "/etc/dkvm/dkvm.conf.",
                             "%s cannot be reset by %s; the kernel offers: %s.", device->name,
                             method, device->reset_methods ? device->reset_methods : "nothing");
    }
}

static char *look(DkvmHandover *handover, const DkvmAction *action)
{
    g_autofree char *driver = dkvm_driver_of(handover, action->target);
    g_autofree char *file = file_of(action->target);
    g_autofree char *path = dkvm_path(file);

    if (!driver || g_str_equal(driver, DKVM_UNREADABLE))
        return g_steal_pointer(&driver);
    return dkvm_look_line(path);
}

static gboolean set(DkvmHandover *handover, const DkvmAction *action, const char *value,
                    GError **error)
{
    g_autofree char *file = file_of(action->target);

    return dkvm_step_work(handover, action, DKVM_WORK_WRITE, file, value, error);
}

static gboolean apply(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return set(handover, action, action->post, error);
}

/* Twice: the worker may have been killed, and the driver, which comes next, does not wait.  What
 * was there may not be possible any more (vendor-reset was unloaded): then the kernel's own choice,
 * which is reported as what it is, another one. */
static gboolean undo(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autoptr(GError) first = NULL, second = NULL;

    if (set(handover, action, action->pre, &first))
        return TRUE;
    if (!g_error_matches(first, DKVM_ERROR, DKVM_ERROR_REFUSED)) {
        g_propagate_error(error, g_steal_pointer(&first));
        return FALSE;
    }
    if (set(handover, action, action->pre, &second))
        return TRUE;
    if (g_error_matches(second, DKVM_ERROR, DKVM_ERROR_REFUSED))
        (void)set(handover, action, "default", NULL);
    g_propagate_error(error, g_steal_pointer(&second));
    return FALSE;
}

static char *text(const DkvmAction *action)
{
    return g_strdup_printf("let %s be reset by %s only (it was: %s)", action->target, action->post,
                           action->pre);
}

const DkvmStep dkvm_step_reset = {
    .name = "reset",
    .optional = TRUE,
    .on_device = TRUE,
    .lesser = TRUE,
    .deadline = 3000,
    .plan = plan,
    .look = look,
    .apply = apply,
    .undo = undo,
    .text = text,
};
