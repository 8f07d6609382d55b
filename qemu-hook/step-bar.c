/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bar: the size of a GPU's resizable BAR, through which its memory is seen: guests that cannot
 * place a large one stall (facts/handoff.md F48).  resourceN_resize (Linux 6.1,
 * Documentation/ABI/testing/sysfs-bus-pci) reads as a mask, bit n for 2^n MiB, and takes such an
 * n.  The kernel does it for a device without driver only (EBUSY: __resource_resize_store() in
 * drivers/pci/pci-sysfs.c), so after unbind and before bind; backwards before the driver of the
 * host is asked.  The addresses of its windows may be others afterwards.
 *
 * Values are "NUMBER=n", as in "0=8": BAR 0 has 2^8 MiB. */
#include <fcntl.h>
#include <string.h>

#include "lib/error.h"
#include "lib/paths.h"
#include "qemu-hook/step.h"
#include "udev/sysfs.h"
#include "udev/verdict.h"

#define MIB_SHIFT 20

/* ---- values ----------------------------------------------------------------------------- */

/* The n of 2^n MiB; -1: it is none. */
static int exponent(guint64 size)
{
    for (int n = 0; n < 64 - MIB_SHIFT; n++) {
        if (size == (guint64)1 << (n + MIB_SHIFT))
            return n;
    }
    return -1;
}

/* "256 MiB" of "0=8". */
static char *in_words(const char *value)
{
    const char *n = strchr(value, '=');
    guint64 bit = n ? g_ascii_strtoull(n + 1, NULL, 10) : 0;

    return g_strdup_printf("%" G_GUINT64_FORMAT " MiB", (guint64)1 << MIN(bit, 63));
}

/* ---- plan ------------------------------------------------------------------------------- */

/* The window onto its memory is the one that can become largest: AMD's doorbells are resizable,
 * too.  -1: none is. */
static int memory_bar(const DkvmDevice *device)
{
    guint64 most = 0;
    int best = -1;

    for (int i = 0; i < DKVM_BARS; i++) {
        if (device->bars[i].possible > most && exponent(device->bars[i].size) >= 0) {
            most = device->bars[i].possible;
            best = i;
        }
    }
    return best;
}

static int wanted_bit(guint64 possible, DkvmBarSize size)
{
    return size == DKVM_BAR_SMALLEST ? __builtin_ctzll(possible) : 63 - __builtin_clzll(possible);
}

static void plan_one(DkvmPlan *plan, const DkvmDevice *device)
{
    int bar = memory_bar(device);

    if (bar < 0)
        return;
    int now = exponent(device->bars[bar].size);
    int wanted = wanted_bit(device->bars[bar].possible, plan->config->bar_size);
    g_autofree char *pre = g_strdup_printf("%d=%d", bar, now);
    g_autofree char *post = g_strdup_printf("%d=%d", bar, wanted);

    if (now == wanted)
        return;
    if (device->driver && dkvm_driver_lets_go(device->driver))
        dkvm_plan_refuse(plan,
                         "Write \"bar-size = keep\" below [handoff] in /etc/dkvm/dkvm.conf (the "
                         "firmware's setup may have a setting for it), or do not reserve the card "
                         "for guests (dkvm-iommu --release).",
                         "%s is with %s before the VM starts, and the kernel changes the size of a "
                         "BAR of no device that has a driver.",
                         device->name, device->driver);
    else
        dkvm_plan_add(plan, &dkvm_step_bar, device->name, pre, post);
}

static void plan(DkvmPlan *plan)
{
    for (guint i = 0; plan->config->bar_size != DKVM_BAR_KEEP && i < plan->targets->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);

        if (dkvm_device_is_gpu(device))
            plan_one(plan, device);
    }
}

/* ---- doing ------------------------------------------------------------------------------ */

/* Line NUMBER of "resource" is "0xFIRST 0xLAST 0xFLAGS".  FALSE: it cannot be read.  Twice, as all
 * that look() asks for, since the driver, which comes next, does not wait, and with it there is
 * nothing to be done any more. */
static gboolean size_now(const char *bdf, guint number, guint64 *size)
{
    g_autofree char *path =
        g_strconcat(dkvm_paths_root(), "/sys/bus/pci/devices/", bdf, "/resource", NULL);
    char text[4096];

    if (dkvm_sysfs_read(AT_FDCWD, path, text, sizeof text) <= 0 &&
        dkvm_sysfs_read(AT_FDCWD, path, text, sizeof text) <= 0)
        return FALSE;
    g_auto(GStrv) lines = g_strsplit(text, "\n", DKVM_BARS + 1);
    if (number >= MIN(g_strv_length(lines), DKVM_BARS))
        return FALSE;
    char *rest = lines[number];
    guint64 first = g_ascii_strtoull(rest, &rest, 16), last = g_ascii_strtoull(rest, NULL, 16);

    *size = last > first ? last - first + 1 : 0;
    return TRUE;
}

/* With a driver of the host again it is that driver's (amdgpu sets it, too). */
static char *look(DkvmHandover *handover, const DkvmAction *action)
{
    g_autofree char *driver = dkvm_driver_of(handover, action->target);
    guint number = (guint)g_ascii_strtoull(action->post, NULL, 10);
    guint64 size;

    if (g_strcmp0(driver, DKVM_UNREADABLE) == 0) {
        g_free(driver);
        driver = dkvm_driver_of(handover, action->target);
    }
    if (!driver || g_str_equal(driver, DKVM_UNREADABLE))
        return g_steal_pointer(&driver);
    if (*driver && !dkvm_driver_lets_go(driver))
        return NULL;
    if (!size_now(action->target, number, &size))
        return g_strdup(DKVM_UNREADABLE);
    return g_strdup_printf("%u=%d", number, exponent(size));
}

static gboolean set(DkvmHandover *handover, const DkvmAction *action, const char *value,
                    GError **error)
{
    const char *n = strchr(value, '=');
    g_autofree char *path =
        g_strdup_printf("/sys/bus/pci/devices/%s/resource%u_resize", action->target,
                        (guint)g_ascii_strtoull(value, NULL, 10));

    return dkvm_step_work(handover, action, DKVM_WORK_WRITE, path, n ? n + 1 : "", error);
}

static gboolean apply(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autofree char *size = in_words(action->post);

    if (set(handover, action, action->post, &cause))
        return TRUE;
    if (!g_error_matches(cause, DKVM_ERROR, DKVM_ERROR_REFUSED))
        g_propagate_error(error, g_steal_pointer(&cause));
    else
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                    "%s (the BAR was to have %s; the bridge above may have no room for it: switch "
                    "on \"Above 4G Decoding\" in the firmware's setup, or write \"bar-size = "
                    "keep\" in dkvm.conf)",
                    cause->message, size);
    return FALSE;
}

/* Twice: the worker may have been killed, and the driver, which comes next, does not wait. */
static gboolean undo(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autoptr(GError) first = NULL;

    if (set(handover, action, action->pre, &first))
        return TRUE;
    if (g_error_matches(first, DKVM_ERROR, DKVM_ERROR_REFUSED))
        return set(handover, action, action->pre, error);
    g_propagate_error(error, g_steal_pointer(&first));
    return FALSE;
}

static char *text(const DkvmAction *action)
{
    g_autofree char *before = in_words(action->pre), *after = in_words(action->post);

    return g_strdup_printf("let BAR %d of %s have %s instead of %s",
                           (int)g_ascii_strtoll(action->post, NULL, 10), action->target, after,
                           before);
}

const DkvmStep dkvm_step_bar = {
    .name = "bar",
    .optional = TRUE,
    .on_device = TRUE,
    .lesser = TRUE,
    .risky = TRUE,
    .deadline = 3000,
    .plan = plan,
    .look = look,
    .apply = apply,
    .undo = undo,
    .text = text,
};
