/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Physical network interfaces, and those that the default route goes through, also below bridges,
 * bonds, VLANs and teams ("lower_*" links). */
#include <stdio.h>
#include <string.h>

#include "udev/host-private.h"

#define MAX_DEPTH 8
#define MAX_TABLE (1024 * 1024)

static void read_interfaces(DkvmHost *host)
{
    g_autoptr(GPtrArray) names = dkvm_host_list("/sys/class/net");

    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autofree char *link = g_strconcat("/sys/class/net/", name, NULL);
        g_autofree char *path = dkvm_host_link(link);
        DkvmDevice *device;

        if (!path || strstr(path, "/devices/virtual/"))
            continue;
        host->nics++;
        device = dkvm_host_device_of_path(host, path);
        if (device) {
            device->nics++;
            dkvm_device_add_use(device, DKVM_USE_NIC, name);
        }
    }
}

static void mark_route(DkvmHost *host, const char *name, int depth)
{
    g_autofree char *link = g_strconcat("/sys/class/net/", name, NULL);
    g_autofree char *path = dkvm_host_link(link);
    DkvmDevice *device = path ? dkvm_host_device_of_path(host, path) : NULL;
    g_autoptr(GPtrArray) entries = NULL;

    if (!path || depth > MAX_DEPTH)
        return;
    if (device) {
        dkvm_device_add_use(device, DKVM_USE_ROUTE, name);
        return;
    }
    entries = dkvm_host_list(path);
    for (guint i = 0; i < entries->len; i++) {
        const char *entry = g_ptr_array_index(entries, i);

        if (g_str_has_prefix(entry, "lower_"))
            mark_route(host, entry + strlen("lower_"), depth + 1);
    }
}

/* "Iface Destination Gateway Flags RefCnt Use Metric Mask ...", numbers in hexadecimal. */
static void read_routes4(DkvmHost *host)
{
    g_autofree char *text = dkvm_host_text("/proc/net/route", MAX_TABLE);
    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);

    for (char **line = lines; *line; line++) {
        char name[32], destination[16], mask[16];

        if (sscanf(*line, "%31s %15s %*s %*s %*s %*s %*s %15s", name, destination, mask) == 3 &&
            g_str_equal(destination, "00000000") && g_str_equal(mask, "00000000"))
            mark_route(host, name, 0);
    }
}

/* "destination length source length nexthop metric refcnt use flags iface" */
static void read_routes6(DkvmHost *host)
{
    g_autofree char *text = dkvm_host_text("/proc/net/ipv6_route", MAX_TABLE);
    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);

    for (char **line = lines; *line; line++) {
        char destination[40], length[8], hop[40], name[32];

        /* With a next hop: the kernel's own unreachable route goes to "lo" without one. */
        if (sscanf(*line, "%39s %7s %*s %*s %39s %*s %*s %*s %*s %31s", destination, length, hop,
                   name) == 4 &&
            g_str_equal(length, "00") && strspn(destination, "0") == 32 && strspn(hop, "0") != 32)
            mark_route(host, name, 0);
    }
}

void dkvm_host_read_network(DkvmHost *host)
{
    read_interfaces(host);
    read_routes4(host);
    read_routes6(host);
}
