/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* firmware: the frame buffer that the firmware left (efifb, vesafb, simpledrm ...) lets go of the
 * GPU's memory.  Which one it is is read from /proc/iomem: its region lies in a BAR of the GPU.
 * vfio-pci would do it for class 0300 only, since 6.0 (facts/handoff.md F12). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/log.h"
#include "lib/paths.h"
#include "qemu-hook/step.h"
#include "udev/host-private.h"
#include "udev/sysfs.h"

#define PLATFORM "/sys/bus/platform/devices"
#define IOMEM_MAX (256 * 1024)

typedef struct {
    guint64 first, last;
} Range;

/* TEXT starts with two hexadecimal numbers and SEPARATOR between them. */
static gboolean read_range(const char *text, char separator, Range *range)
{
    const char *second;
    char *end;

    range->first = g_ascii_strtoull(text, &end, 16);
    if (end == text || *end != separator)
        return FALSE;
    second = end + 1;
    range->last = g_ascii_strtoull(second, &end, 16);
    return end != second;
}

/* Whether a region that a firmware frame buffer holds (its name in /proc/iomem) is in RANGE. */
static gboolean iomem_has_firmware(const char *iomem, const Range *range)
{
    static const char *const names[] = {"BOOTFB",
                                        "efifb",
                                        "vesafb",
                                        "simplefb",
                                        "simpledrm",
                                        "efi-framebuffer",
                                        "simple-framebuffer",
                                        "vesa-framebuffer",
                                        "efidrm",
                                        "vesadrm"};
    g_auto(GStrv) lines = g_strsplit(iomem, "\n", -1);

    for (char **line = lines; *line; line++) {
        const char *name = strstr(*line, " : ");
        Range part;

        if (!name || !read_range(*line, '-', &part) || part.first < range->first ||
            part.last > range->last)
            continue;
        for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
            if (strstr(name, names[i]))
                return TRUE;
        }
    }
    return FALSE;
}

/* "resource": a line "start end flags" for each BAR. */
static gboolean device_has_firmware(const DkvmDevice *device, const char *iomem)
{
    g_autofree char *path = g_strconcat(device->sysfs, "/resource", NULL);
    g_autofree char *text = dkvm_host_text(path, 4096);
    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", DKVM_BARS + 1);

    for (guint i = 0; i < DKVM_BARS && lines[i]; i++) {
        Range range;

        if (read_range(lines[i], ' ', &range) && range.last > range.first &&
            iomem_has_firmware(iomem, &range))
            return TRUE;
    }
    return FALSE;
}

static gboolean is_firmware_name(const char *name)
{
    static const char *const stems[] = {"efi-framebuffer.", "vesa-framebuffer.",
                                        "simple-framebuffer."};

    for (gsize i = 0; i < G_N_ELEMENTS(stems); i++) {
        if (g_str_has_prefix(name, stems[i]))
            return TRUE;
    }
    return FALSE;
}

/* "" without a driver, NULL without the device; DKVM_UNREADABLE. */
static char *driver_of(const char *name)
{
    g_autofree char *folder = g_strconcat(dkvm_paths_root(), PLATFORM "/", name, NULL);
    g_autofree char *link = g_strconcat(folder, "/driver", NULL);

    struct stat st;

    if (stat(folder, &st) == 0)
        return dkvm_look_link(link);
    return errno == ENOENT ? NULL : g_strdup(DKVM_UNREADABLE);
}

static void plan(DkvmPlan *plan)
{
    g_autofree char *iomem = dkvm_host_text("/proc/iomem", IOMEM_MAX);
    g_autoptr(GPtrArray) names = dkvm_host_list(PLATFORM);
    gboolean held = FALSE;

    for (guint i = 0; iomem && i < plan->targets->len; i++)
        held = held || device_has_firmware(g_ptr_array_index(plan->targets, i), iomem);
    for (guint i = 0; held && i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autofree char *driver = is_firmware_name(name) ? driver_of(name) : NULL;

        if (g_strcmp0(driver, DKVM_UNREADABLE) == 0)
            dkvm_plan_refuse(plan,
                             "Start the VM again; if that does not help, start the host again.",
                             "Whether %s, the frame buffer of the firmware, has a driver cannot be "
                             "read.",
                             name);
        else if (driver && *driver)
            dkvm_plan_add(plan, &dkvm_step_firmware, name, driver, "");
    }
}

/* Gone is as good as unbound: 6.1 and newer take the device away with the binding of vfio-pci. */
static char *look(DkvmHandover *handover, const DkvmAction *action)
{
    return action->over ? g_strdup(action->pre) : driver_of(action->target);
}

static gboolean apply(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autofree char *path = g_strconcat(PLATFORM "/", action->target, "/driver/unbind", NULL);

    return dkvm_step_work(handover, action, DKVM_WORK_WRITE, path, action->target, error);
}

/* Only reached where the platform device is still there, that is, before vfio-pci had the GPU.  A
 * driver that does not want it any more (what draws on that memory now does not share it) is right:
 * the text console of before is missing, and nothing that a desktop or another start waits for. */
static gboolean undo(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autofree char *path = g_strconcat("/sys/bus/platform/drivers/", action->pre, "/bind", NULL);
    g_autoptr(GError) cause = NULL;
    int result = ENODEV;

    for (guint try = 0; try < 2 && (result == ENODEV || result == EBUSY); try++) {
        g_clear_error(&cause);
        result = dkvm_step_try(handover, action, DKVM_WORK_WRITE, path, action->target, &cause);
    }
    if (result != 0 && result != ENODEV && result != EBUSY) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return FALSE;
    }
    if (result != 0) {
        dkvm_log_warning("the firmware's frame buffer stays away until the next boot: %s",
                         cause->message);
        ((DkvmAction *)action)->over = TRUE;
    }
    return TRUE;
}

static char *text(const DkvmAction *action)
{
    return g_strdup_printf("take the firmware's frame buffer %s off the GPU", action->target);
}

const DkvmStep dkvm_step_firmware = {
    .name = "firmware",
    .property = "firmware",
    .risky = TRUE, /* F13 */
    .deadline = 3000,
    .plan = plan,
    .look = look,
    .apply = apply,
    .undo = undo,
    .text = text,
};
