/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nvidia-module, nvidia-idle, nvidia: an unbind of nvidia's driver that is begun while the GPU has
 * a user never ends, even if the user does (facts/handoff.md fact 7).  So it is begun only when
 * there is a proof that there is none: unbindLock in /proc/driver/nvidia/gpus/BDF, where the driver
 * has it: 1 is written, and reads back as 1 when nobody uses the GPU and nobody may any more; else
 * that the whole driver has no user: /sys/module/nvidia/refcnt is 0.  That somebody opens it in the
 * moment after is not excluded. The kernel's own users (nvidia_drm, nvidia_modeset, nvidia_uvm;
 * F04) hold all GPUs of that driver. Where the host keeps another one they stay, and only
 * unbindLock will do. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/error.h"
#include "lib/paths.h"
#include "qemu-hook/step.h"
#include "qemu-hook/users.h"
#include "udev/host-private.h"
#include "udev/sysfs.h"

#define DRIVER "nvidia"
#define LOADED "loaded"
#define IDLE "idle"
#define WORK_MS 10000

static const char *const modules[] = {"nvidia_uvm", "nvidia_drm", "nvidia_modeset", NULL};

static gboolean has_nvidia(const DkvmDevice *device)
{
    return g_strcmp0(device->driver, DRIVER) == 0;
}

static gboolean takes_any(const DkvmPlan *plan)
{
    for (guint i = 0; i < plan->targets->len; i++) {
        if (has_nvidia(g_ptr_array_index(plan->targets, i)))
            return TRUE;
    }
    return FALSE;
}

/* One that the host keeps; NULL: none. */
static const DkvmDevice *kept(const DkvmPlan *plan)
{
    for (guint i = 0; i < plan->host->devices->len; i++) {
        DkvmDevice *device = g_ptr_array_index(plan->host->devices, i);

        if (has_nvidia(device) && !g_ptr_array_find(plan->targets, device, NULL))
            return device;
    }
    return NULL;
}

/* ---- its other modules ------------------------------------------------------------------ */

static gboolean is_loaded(const char *module)
{
    g_autofree char *file = g_strconcat("/sys/module/", module, NULL);
    g_autofree char *path = dkvm_path(file);

    return g_file_test(path, G_FILE_TEST_IS_DIR);
}

static GPtrArray *holders_of(const char *module)
{
    g_autofree char *path = g_strconcat("/sys/module/", module, "/holders", NULL);

    return dkvm_host_list(path);
}

static gboolean is_listed(const GPtrArray *list, const char *name)
{
    for (guint i = 0; i < list->len; i++) {
        if (g_str_equal(g_ptr_array_index(list, i), name))
            return TRUE;
    }
    return FALSE;
}

/* Nothing holds MODULE but what is in GONE. */
static gboolean is_free(const char *module, const GPtrArray *gone)
{
    g_autoptr(GPtrArray) holders = holders_of(module);

    for (guint i = 0; i < holders->len; i++) {
        if (!is_listed(gone, g_ptr_array_index(holders, i)))
            return FALSE;
    }
    return TRUE;
}

/* A module of somebody else on top of MODULE: nobody knows what it does with the GPU. */
static void refuse_strangers(DkvmPlan *plan, const char *module)
{
    g_autoptr(GPtrArray) holders = holders_of(module);

    for (guint i = 0; i < holders->len; i++) {
        const char *name = g_ptr_array_index(holders, i);
        g_autofree char *todo = g_strdup_printf("Unload it first (modprobe -r %s).", name);

        if (!g_strv_contains(modules, name))
            dkvm_plan_refuse(plan, todo, "The module %s uses %s.", name, module);
    }
}

/* In the order that the kernel demands: what nothing holds any more. */
static void plan_module(DkvmPlan *plan)
{
    g_autoptr(GPtrArray) gone = g_ptr_array_new();
    gboolean more = takes_any(plan) && !kept(plan);

    if (more)
        refuse_strangers(plan, DRIVER);
    for (gsize i = 0; more && modules[i]; i++)
        refuse_strangers(plan, modules[i]);
    while (more) {
        more = FALSE;
        for (gsize i = 0; modules[i]; i++) {
            if (is_listed(gone, modules[i]) || !is_loaded(modules[i]) || !is_free(modules[i], gone))
                continue;
            g_ptr_array_add(gone, (char *)modules[i]);
            dkvm_plan_add(plan, &dkvm_step_nvidia_module, modules[i], LOADED, "");
            more = TRUE;
        }
    }
}

static char *look_module(DkvmHandover *handover, const DkvmAction *action)
{
    g_autofree char *file = g_strconcat("/sys/module/", action->target, NULL);
    g_autofree char *path = dkvm_path(file);
    struct stat st;

    if (stat(path, &st) == 0)
        return g_strdup(LOADED);
    return g_strdup(errno == ENOENT ? "" : DKVM_UNREADABLE);
}

/* How often MODULE is in use, as the kernel counts; "" unknown.  g_free. */
static char *count_of(const char *module)
{
    g_autofree char *file = g_strconcat("/sys/module/", module, "/refcnt", NULL);
    g_autofree char *path = dkvm_path(file);
    char text[32];

    return g_strdup(dkvm_sysfs_line(AT_FDCWD, path, text, sizeof text) > 0 ? text : "");
}

static gboolean apply_module(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    if (dkvm_step_work(handover, action, DKVM_WORK_UNLOAD, action->target, NULL, error))
        return TRUE;
    g_autofree char *count = count_of(action->target);

    if (*count && !g_str_equal(count, "0"))
        g_prefix_error(error, "%s is still in use (%s times): ", action->target, count);
    return FALSE;
}

static gboolean undo_module(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return dkvm_step_work(handover, action, DKVM_WORK_MODULE, action->target, NULL, error);
}

static char *text_module(const DkvmAction *action)
{
    return g_strdup_printf("unload the module %s", action->target);
}

const DkvmStep dkvm_step_nvidia_module = {
    .name = "nvidia-module",
    .deadline = WORK_MS,
    .plan = plan_module,
    .look = look_module,
    .apply = apply_module,
    .undo = undo_module,
    .text = text_module,
};

/* ---- unbindLock ------------------------------------------------------------------------- */

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

static void refuse(DkvmPlan *plan, const DkvmDevice *device, const char *file,
                   const DkvmDevice *other)
{
    dkvm_plan_refuse(plan,
                     "Reserve the card for guests at boot (dkvm-iommu --reserve), or use another "
                     "driver for it.",
                     "%s is driven by nvidia, and this version of that driver cannot say whether "
                     "it may be taken away (no %s); nor can the driver as a whole be idle, since "
                     "the host keeps %s.",
                     device->name, file, other->name);
}

/* Decided here for both steps, and looked at once: each device gets one of the proofs, or a
 * refusal. */
static void plan_proof(DkvmPlan *plan, const DkvmDevice *device, const DkvmDevice *other)
{
    g_autofree char *file = lock_file(device->name);
    g_autofree char *path = dkvm_path(file);
    struct stat st;

    if (stat(path, &st) == 0)
        dkvm_plan_add(plan, &dkvm_step_nvidia, device->name, "0", "1");
    else if (errno != ENOENT)
        dkvm_plan_refuse(plan, "Start the VM again; if that does not help, dmesg may say why.",
                         "Whether nvidia's driver lets go of %s cannot be seen: %s: %s.",
                         device->name, file, g_strerror(errno));
    else if (other)
        refuse(plan, device, file, other);
    else
        dkvm_plan_add(plan, &dkvm_step_nvidia_idle, device->name, "", IDLE);
}

static void plan(DkvmPlan *plan)
{
    const DkvmDevice *other = kept(plan);

    for (guint i = 0; i < plan->targets->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);

        if (has_nvidia(device))
            plan_proof(plan, device, other);
    }
}

static gboolean apply(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autofree char *file = lock_file(action->target);

    if (!dkvm_step_work(handover, action, DKVM_WORK_WRITE, file, "1", error))
        return FALSE;
    g_autofree char *now = look(handover, action);

    if (g_strcmp0(now, action->post) == 0)
        return TRUE;
    DkvmDevice device;

    dkvm_handover_as_device(handover, action->target, NULL, &device);
    g_autofree char *who = dkvm_users_text(&device);

    g_set_error(
        error, DKVM_ERROR, DKVM_ERROR_REFUSED,
        "writing 1 to %s had no effect, nvidia's driver does not let go of %s: %s; end what "
        "uses it, and start the VM again",
        file, action->target, *who ? who : "it says that somebody uses it, and does not say who");
    return FALSE;
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
    .deadline = WORK_MS,
    .plan = plan,
    .look = look,
    .apply = apply,
    .undo = undo,
    .text = text,
};

/* ---- without it ------------------------------------------------------------------------- */

/* plan_proof() has done it. */
static void plan_nothing(DkvmPlan *plan)
{
}

static char *look_idle(DkvmHandover *handover, const DkvmAction *action)
{
    return g_strdup(action->over ? IDLE : "");
}

static gboolean apply_idle(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autofree char *count = count_of(DRIVER);

    ((DkvmAction *)action)->over = g_str_equal(count, "0");
    if (action->over)
        return TRUE;
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                "nvidia's driver is still in use (%s times), so %s is not taken from it; end what "
                "uses it (lsof /dev/nvidia*), and start the VM again",
                *count ? count : "the kernel does not say how many", action->target);
    return FALSE;
}

/* Nothing was changed. */
static gboolean undo_idle(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    ((DkvmAction *)action)->over = FALSE;
    return TRUE;
}

static char *text_idle(const DkvmAction *action)
{
    return g_strdup_printf("see that nobody uses nvidia's driver, for %s", action->target);
}

const DkvmStep dkvm_step_nvidia_idle = {
    .name = "nvidia-idle",
    .on_device = TRUE,
    .deadline = 1000,
    .plan = plan_nothing,
    .look = look_idle,
    .apply = apply_idle,
    .undo = undo_idle,
    .text = text_idle,
};
