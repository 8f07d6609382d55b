/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/plan.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/error.h"
#include "qemu-hook/bus.h"
#include "qemu-hook/sleep.h"
#include "qemu-hook/step.h"
#include "udev/sysfs.h"
#include "udev/verdict.h"

#define CLASS_USB 0x0c03

/* ---- parts ------------------------------------------------------------------------------ */

static void refusal_free(DkvmRefusal *refusal)
{
    g_free(refusal->text);
    g_free(refusal->todo);
    g_free(refusal);
}

void dkvm_plan_free(DkvmPlan *plan)
{
    if (!plan)
        return;
    g_clear_pointer(&plan->targets, g_ptr_array_unref);
    g_clear_pointer(&plan->devices, g_ptr_array_unref);
    g_clear_pointer(&plan->actions, g_ptr_array_unref);
    g_clear_pointer(&plan->refusals, g_ptr_array_unref);
    g_clear_pointer(&plan->notes, g_ptr_array_unref);
    dkvm_mappings_free(plan->mappings);
    dkvm_host_free(plan->host);
    g_free(plan);
}

void dkvm_plan_refuse(DkvmPlan *plan, const char *todo, const char *format, ...)
{
    DkvmRefusal *refusal = g_new0(DkvmRefusal, 1);
    va_list arguments;

    va_start(arguments, format);
    refusal->text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    refusal->todo = g_strdup(todo);
    for (guint i = 0; i < plan->refusals->len; i++) {
        const DkvmRefusal *old = g_ptr_array_index(plan->refusals, i);

        if (g_str_equal(old->text, refusal->text)) {
            refusal_free(refusal);
            return;
        }
    }
    g_ptr_array_add(plan->refusals, refusal);
}

void dkvm_plan_note(DkvmPlan *plan, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    g_ptr_array_add(plan->notes, g_strdup_vprintf(format, arguments));
    va_end(arguments);
}

void dkvm_plan_add(DkvmPlan *plan, const DkvmStep *step, const char *target, const char *pre,
                   const char *post)
{
    g_ptr_array_add(plan->actions, dkvm_action_new(step, target, pre, post));
}

/* ---- devices ---------------------------------------------------------------------------- */

static const DkvmWanted *wanted(const DkvmWants *wants, const DkvmDevice *device)
{
    for (guint i = 0; i < wants->devices->len; i++) {
        const DkvmWanted *one = &g_array_index(wants->devices, DkvmWanted, i);

        if (dkvm_bdf_compare(&one->bdf, &device->id.bdf) == 0)
            return one;
    }
    return NULL;
}

gboolean dkvm_plan_leaves_device(const DkvmPlan *plan, const DkvmDevice *device)
{
    const DkvmWanted *one = wanted(plan->wants, device);

    return one && one->left;
}

static void add_target(DkvmPlan *plan, DkvmDevice *device)
{
    if (!dkvm_device_is_bridge(device) && !dkvm_plan_leaves_device(plan, device) &&
        !g_ptr_array_find(plan->targets, device, NULL))
        g_ptr_array_add(plan->targets, device);
}

/* Companions leave before the GPU that they hang on (device links: consumer before supplier); of
 * several GPUs the last one is that of the console. */
static int rank(const DkvmDevice *device)
{
    if (!dkvm_device_is_gpu(device))
        return device->class_code >> 8 == CLASS_USB ? 1 : 0;
    return 2 + (device->boot_vga == 1);
}

static int by_rank(gconstpointer a, gconstpointer b)
{
    const DkvmDevice *const *first = a, *const *second = b;
    int difference = rank(*first) - rank(*second);

    return difference ? difference : dkvm_bdf_compare(&(*first)->id.bdf, &(*second)->id.bdf);
}

static void add_group(DkvmPlan *plan, const DkvmDevice *device)
{
    for (guint i = 0; device->group && i < device->group->devices->len; i++)
        add_target(plan, g_ptr_array_index(device->group->devices, i));
}

/* The domain's own devices, what the verdict says goes along, and the whole of every group. */
static void find_targets(DkvmPlan *plan)
{
    for (guint i = 0; i < plan->wants->devices->len; i++) {
        const DkvmWanted *one = &g_array_index(plan->wants->devices, DkvmWanted, i);
        DkvmDevice *device = dkvm_host_device(plan->host, &one->bdf);
        char name[DKVM_BDF_SIZE];

        if (one->left)
            continue;
        if (!device) {
            dkvm_bdf_format(&one->bdf, name);
            dkvm_plan_refuse(plan,
                             "Look for it with dkvm-iommu (addresses change with new cards and "
                             "firmware), and correct the VM.",
                             "This host has no device %s, which the VM wants.", name);
            continue;
        }
        if (dkvm_device_is_bridge(device))
            dkvm_plan_refuse(plan, "Take it out of the VM; dkvm-iommu shows what can be given.",
                             "%s is a bridge of this host, which no VM can have.", device->name);
        g_autoptr(DkvmVerdict) verdict = dkvm_verdict(plan->host, device);

        add_target(plan, device);
        for (guint k = 0; k < verdict->with->len; k++) {
            const DkvmWith *with = g_ptr_array_index(verdict->with, k);

            add_target(plan, with->device);
        }
    }
    for (guint i = 0; i < plan->targets->len; i++)
        add_group(plan, g_ptr_array_index(plan->targets, i));
    g_ptr_array_sort(plan->targets, by_rank);
}

/* A GPU whose driver is to come back. */
static gboolean is_display_of_host(const DkvmDevice *device)
{
    return dkvm_device_is_gpu(device) && device->driver && !dkvm_driver_lets_go(device->driver);
}

static void list_devices(DkvmPlan *plan)
{
    for (guint i = 0; i < plan->targets->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);
        const DkvmWanted *one = wanted(plan->wants, device);
        DkvmTaken *taken = g_new0(DkvmTaken, 1);

        (void)g_strlcpy(taken->bdf, device->name, sizeof taken->bdf);
        taken->identity = g_strdup_printf("0x%04x:0x%04x", device->id.vendor, device->id.device);
        taken->sysfs = g_strdup(device->sysfs);
        taken->group = device->group ? device->group->number : -1;
        taken->how = !one           ? DKVM_TAKEN_ALONG
                     : one->managed ? DKVM_TAKEN_MANAGED
                                    : DKVM_TAKEN_UNMANAGED;
        if (is_display_of_host(device)) {
            taken->may_suspend = plan->config->suspend_rescue && dkvm_sleep_is_possible();
            taken->may_reboot = plan->config->reboot_rescue && dkvm_bus_has_systemd();
        }
        g_ptr_array_add(plan->devices, taken);
    }
}

gboolean dkvm_plan_leaves_out(const DkvmPlan *plan, const DkvmStep *step)
{
    return step->optional && dkvm_wants_turns_off(plan->wants, step->name);
}

/* What the domain's marker says, and what became of it. */
static void note_choices(DkvmPlan *plan)
{
    for (guint i = 0; i < plan->wants->off->len; i++) {
        const char *name = g_ptr_array_index(plan->wants->off, i);
        const DkvmStep *step = dkvm_step_find(name);

        if (step && step->optional)
            dkvm_plan_note(plan, "The VM turns the step %s off.", name);
        else
            dkvm_plan_note(plan, "The VM would turn %s off: %s.", name,
                           step ? "it cannot be left out" : "there is no such step");
    }
}

/* A plan from half a picture would leave out what has to be done first.  An ordinary user, who may
 * not read everything, cannot carry it out either. */
static void check_picture(DkvmPlan *plan)
{
    const char *name;
    int cause = dkvm_sysfs_trouble(&name);

    if (cause == 0 || ((cause == EACCES || cause == EPERM) && geteuid() != 0))
        return;
    dkvm_plan_refuse(plan, "Start the VM again; if that does not help, dmesg may say why.",
                     "Something of this host cannot be read: %s: %s.", name, g_strerror(cause));
}

DkvmPlan *dkvm_plan_new(const DkvmWants *wants, const DkvmConfig *config, GError **error)
{
    g_autoptr(DkvmPlan) plan = g_new0(DkvmPlan, 1);
    g_autofree char *stuck = NULL;

    plan->wants = wants;
    plan->config = config;
    plan->targets = g_ptr_array_new();
    plan->devices = g_ptr_array_new_with_free_func((GDestroyNotify)dkvm_taken_free);
    plan->actions = dkvm_actions_new();
    plan->refusals = g_ptr_array_new_with_free_func((GDestroyNotify)refusal_free);
    plan->notes = g_ptr_array_new_with_free_func(g_free);
    /* Before the host is read: even reading some files of a stuck device blocks (rig.md 4). */
    if (dkvm_host_is_wedged(&stuck)) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_HOST,
                    "a device of this host is stuck in the kernel: %s; end what uses it, or start "
                    "the host again",
                    stuck);
        return NULL;
    }
    const char *unused;

    (void)dkvm_sysfs_trouble(&unused);
    plan->host = dkvm_host_read(error);
    if (!plan->host)
        return NULL;
    plan->mappings = dkvm_mappings_read();
    find_targets(plan);
    list_devices(plan);
    dkvm_preflight(plan);
    for (gsize i = 0; dkvm_steps[i]; i++) {
        if (!dkvm_plan_leaves_out(plan, dkvm_steps[i]))
            dkvm_steps[i]->plan(plan);
    }
    note_choices(plan);
    check_picture(plan);
    return g_steal_pointer(&plan);
}

/* ---- texts ------------------------------------------------------------------------------ */

char *dkvm_plan_reasons(const DkvmPlan *plan)
{
    GString *text = g_string_new(NULL);

    g_string_printf(text, "VM %s is not started, nothing was touched:", plan->wants->name);
    for (guint i = 0; i < plan->refusals->len; i++) {
        const DkvmRefusal *refusal = g_ptr_array_index(plan->refusals, i);

        if (plan->refusals->len > 1)
            g_string_append_printf(text, " (%u)", i + 1);
        g_string_append_printf(text, " %s", refusal->text);
        if (refusal->todo)
            g_string_append_printf(text, " %s", refusal->todo);
    }
    return g_string_free(text, FALSE);
}

static const char *how_name(const DkvmPlan *plan, const DkvmTaken *taken)
{
    switch (taken->how) {
    case DKVM_TAKEN_MANAGED:
        return "for the VM (managed)";
    case DKVM_TAKEN_UNMANAGED:
        return "for the VM";
    case DKVM_TAKEN_ALONG:
        break;
    }
    return "goes along, not given to the VM";
}

/* Those of the start, or those that are done after it; numbered from COUNT on.  How many there are
 * by then. */
static guint add_steps(GString *text, const DkvmPlan *plan, gboolean later, guint count)
{
    guint before = count;

    for (guint i = 0; i < plan->actions->len; i++) {
        const DkvmAction *action = g_ptr_array_index(plan->actions, i);

        if (action->step->later != later)
            continue;
        g_autofree char *line = dkvm_action_text(action);

        if (later && count == before)
            g_string_append(text, "\nAfter the start\n");
        g_string_append_printf(text, "  %2u. %s\n", ++count, line);
    }
    return count;
}

char *dkvm_plan_text(const DkvmPlan *plan)
{
    GString *text = g_string_new(NULL);

    g_string_append_printf(text, "VM %s (%s)\n\nDevices\n", plan->wants->name, plan->wants->uuid);
    for (guint i = 0; i < plan->devices->len; i++) {
        const DkvmTaken *taken = g_ptr_array_index(plan->devices, i);
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);
        g_autofree char *title = dkvm_device_title(device);

        g_string_append_printf(text, "  %s  group %d  %s, driver %s: %s\n", taken->bdf,
                               taken->group, title, device->driver ? device->driver : "none",
                               how_name(plan, taken));
    }
    g_string_append(text, "\nSteps\n");
    guint count = add_steps(text, plan, FALSE, 0);

    if (count == 0)
        g_string_append(text, "  nothing to do\n");
    (void)add_steps(text, plan, TRUE, count);
    if (plan->notes->len > 0)
        g_string_append(text, "\nWorth knowing\n");
    for (guint i = 0; i < plan->notes->len; i++)
        g_string_append_printf(text, "  - %s\n", (char *)g_ptr_array_index(plan->notes, i));
    g_string_append(text, plan->refusals->len ? "\nWhat stands in the way\n"
                                              : "\nNothing stands in the way.\n");
    for (guint i = 0; i < plan->refusals->len; i++) {
        const DkvmRefusal *refusal = g_ptr_array_index(plan->refusals, i);

        g_string_append_printf(text, "  - %s%s%s\n", refusal->text, refusal->todo ? " " : "",
                               refusal->todo ? refusal->todo : "");
    }
    return g_string_free(text, FALSE);
}
