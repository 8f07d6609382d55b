/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* console: the frame buffer console leaves the GPU before its driver does (a driver that is taken
 * away while fbcon draws has crashed hosts, facts/handoff.md F07).  Found by name, never by number,
 * and read back, since the kernel takes the write and does nothing while a VT shows graphics (F16).
 * Only where no other frame buffer is left for it: else the kernel moves it by itself. */
#include <fcntl.h>
#include <string.h>

#include "lib/error.h"
#include "lib/paths.h"
#include "qemu-hook/step.h"
#include "udev/host-private.h"
#include "udev/sysfs.h"

#define CONSOLES "/sys/class/vtconsole"
#define BACK_MS 3000

/* The number of the console whose name has PART in it; NULL: none.  g_free. */
static char *find_console(const char *part)
{
    g_autoptr(GPtrArray) names = dkvm_host_list(CONSOLES);

    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autofree char *file = g_strconcat(CONSOLES "/", name, "/name", NULL);
        g_autofree char *text = dkvm_host_text(file, 128);

        if (g_str_has_prefix(name, "vtcon") && text && strstr(text, part))
            return g_strdup(name);
    }
    return NULL;
}

static char *bind_file(const char *part)
{
    g_autofree char *name = find_console(part);

    return name ? g_strconcat(CONSOLES "/", name, "/bind", NULL) : NULL;
}

/* "1", "0", NULL: there is no such console (now). */
static char *read_bind(const char *part)
{
    g_autofree char *file = bind_file(part);
    g_autofree char *path = file ? dkvm_path(file) : NULL;

    return path ? dkvm_look_line(path) : NULL;
}

static gboolean is_target(const DkvmPlan *plan, const char *path)
{
    const DkvmDevice *device = dkvm_host_device_of_path(plan->host, path);

    return device && g_ptr_array_find(plan->targets, device, NULL);
}

/* All frame buffers of this host are on what goes, and there is one. */
static gboolean takes_all(const DkvmPlan *plan)
{
    g_autoptr(GPtrArray) names = dkvm_host_list("/sys/class/graphics");
    guint count = 0;

    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autofree char *link = g_strconcat("/sys/class/graphics/", name, NULL);
        g_autofree char *path = dkvm_host_link(link);

        if (!g_str_has_prefix(name, "fb") || !g_ascii_isdigit(name[2]))
            continue;
        if (!path || !is_target(plan, path))
            return FALSE;
        count++;
    }
    return count > 0;
}

static void plan(DkvmPlan *plan)
{
    g_autofree char *bound = read_bind("frame buffer");

    if (g_strcmp0(bound, "1") == 0 && takes_all(plan))
        dkvm_plan_add(plan, &dkvm_step_console, "frame buffer", "1", "0");
}

static char *look(DkvmHandover *handover, const DkvmAction *action)
{
    return read_bind(action->target);
}

static gboolean write_bind(DkvmHandover *handover, const DkvmAction *action, const char *part,
                           const char *value, GError **error)
{
    g_autofree char *file = bind_file(part);

    return !file || dkvm_step_work(handover, action, DKVM_WORK_WRITE, file, value, error);
}

static gboolean apply(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return write_bind(handover, action, action->target, "0", error);
}

/* "1" to the frame buffer console is taken and nothing happens where the dummy is the other
 * "(M)odular" one; "0" to the dummy does it (facts/rig.md 4). */
static gboolean undo(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    if (!write_bind(handover, action, action->target, "1", error))
        return FALSE;
    g_autofree char *now = read_bind(action->target);

    if (g_strcmp0(now, "0") != 0)
        return TRUE;
    return write_bind(handover, action, "dummy", "0", error);
}

static char *text(const DkvmAction *action)
{
    return g_strdup("take the text console off the screen");
}

const DkvmStep dkvm_step_console = {
    .name = "console",
    .needs_devices = TRUE,
    .risky = TRUE, /* F15 */
    .deadline = BACK_MS,
    .plan = plan,
    .look = look,
    .apply = apply,
    .undo = undo,
    .text = text,
};
