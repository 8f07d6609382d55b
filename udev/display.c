/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which graphics device shows the console, and which have screens. */
#include <string.h>

#include "udev/host-private.h"

/* "card0-HDMI-A-1" in /sys/class/drm. */
static void read_connector(DkvmHost *host, const char *name, const char *path)
{
    g_autofree char *file = g_build_filename(path, "status", NULL);
    g_autofree char *status = dkvm_host_text(file, 32);
    DkvmDevice *device = dkvm_host_device_of_path(host, path);

    /* A connector that nothing can be plugged into is for writing back into memory. */
    if (!device || strstr(name, "-Writeback-"))
        return;
    device->connectors++;
    if (status && g_str_has_prefix(status, "connected"))
        dkvm_device_add_use(device, DKVM_USE_DISPLAY, strchr(name, '-') + 1);
}

static void read_cards(DkvmHost *host)
{
    g_autoptr(GPtrArray) names = dkvm_host_list("/sys/class/drm");

    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autofree char *link = g_strconcat("/sys/class/drm/", name, NULL);
        g_autofree char *path = g_str_has_prefix(name, "card") ? dkvm_host_link(link) : NULL;
        DkvmDevice *device = path ? dkvm_host_device_of_path(host, path) : NULL;

        if (!device)
            continue;
        if (strchr(name, '-'))
            read_connector(host, name, path);
        else
            device->has_card = TRUE;
    }
}

static DkvmDevice *boot_vga(const DkvmHost *host)
{
    for (guint i = 0; i < host->devices->len; i++) {
        DkvmDevice *device = g_ptr_array_index(host->devices, i);

        if (device->boot_vga == 1)
            return device;
    }
    return NULL;
}

/* The console is on the first frame buffer.  A firmware frame buffer (efifb, simpledrm) is a
 * platform device: the card that the firmware started, which is what boot_vga says.  Without a
 * frame buffer it is VGA text, on the same card. */
void dkvm_host_read_displays(DkvmHost *host)
{
    g_autofree char *path = dkvm_host_link("/sys/class/graphics/fb0");
    DkvmDevice *device = path ? dkvm_host_device_of_path(host, path) : NULL;

    read_cards(host);
    if (!device && (!path || !strstr(path, "/devices/virtual/")))
        device = boot_vga(host);
    if (device)
        dkvm_device_add_use(device, DKVM_USE_CONSOLE, path ? "fb0" : "VGA");
}
