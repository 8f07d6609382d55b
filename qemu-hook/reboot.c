/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/reboot.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "qemu-hook/bus.h"
#include "qemu-hook/rundir.h"
#include "qemu-hook/step.h"
#include "udev/host-private.h"
#include "udev/verdict.h"

#define REBOOT_SECONDS 120     /* that everybody has to call it off */
#define MIN_UPTIME_SECONDS 600 /* a host is not started again and again */
#define NOTE "reboot"          /* in the folder of the hand-over: logind was asked */

/* Also where it cannot be found out: nothing is ended for that. */
static gboolean has_host_driver(const DkvmHandover *handover, const char *bdf)
{
    g_autofree char *driver = dkvm_driver_of(handover, bdf);

    return driver && *driver && !dkvm_driver_lets_go(driver);
}

/* Some GPU of this host has its driver: there is a screen to see the message on. */
static gboolean has_display(const DkvmHandover *handover)
{
    g_autoptr(GPtrArray) names = dkvm_host_list("/sys/bus/pci/devices");

    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autofree char *file = g_strconcat("/sys/bus/pci/devices/", name, "/class", NULL);
        g_autofree char *class_code = dkvm_host_text(file, 16);

        if (class_code && g_str_has_prefix(class_code, "0x03") && has_host_driver(handover, name))
            return TRUE;
    }
    return FALSE;
}

static const char *lost_display(const DkvmHandover *handover)
{
    for (guint i = 0; i < handover->devices->len; i++) {
        const DkvmTaken *taken = g_ptr_array_index(handover->devices, i);

        if (taken->may_reboot && !has_host_driver(handover, taken->bdf))
            return taken->bdf;
    }
    return NULL;
}

static gboolean was_just_started(void)
{
    g_autofree char *text = dkvm_host_text("/proc/uptime", 64);

    return !text || g_ascii_strtod(text, NULL) < MIN_UPTIME_SECONDS;
}

/* FALSE: it was there, so it was asked for before; who called that off is not asked again. */
static gboolean note(const DkvmHandover *handover)
{
    g_autofree char *path = dkvm_rundir_path(handover->uuid, NOTE);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    return fd >= 0 && close(fd) == 0;
}

/* NULL: nothing speaks against it.  g_free. */
static char *why_not(void)
{
    char *blocker = dkvm_bus_blocker("shutdown");

    if (blocker || !was_just_started())
        return blocker;
    return g_strdup("it was started less than ten minutes ago");
}

void dkvm_reboot_ask(const DkvmHandover *handover)
{
    const char *bdf = lost_display(handover);
    g_autoptr(GError) error = NULL;

    if (!bdf || has_display(handover) || dkvm_bus_is_stopping())
        return;
    g_autofree char *against = why_not();

    if (against) {
        dkvm_log_warning("VM %s: the GPU %s, this host's only display, does not come back; the "
                         "host is not started again for it: %s",
                         handover->name, bdf, against);
        return;
    }
    if (!note(handover))
        return;
    g_autofree char *why =
        g_strdup_printf("dkvm: the GPU %s, this host's only display, does not come back from a VM. "
                        "The host is started again in %d seconds; 'shutdown -c' calls that off.",
                        bdf, REBOOT_SECONDS);

    dkvm_log_error("%s", why);
    if (!dkvm_bus_reboot_in(REBOOT_SECONDS, why, &error))
        dkvm_log_error("%s; do it yourself", error->message);
}

void dkvm_reboot_call_off(const DkvmHandover *handover)
{
    g_autofree char *path = dkvm_rundir_path(handover->uuid, NOTE);

    if (unlink(path) == 0)
        dkvm_bus_cancel_reboot();
}
