/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/parts.h"

#include <string.h>

/* The first prefix of the locator that fits decides. */
static const struct {
    const char *prefix, *part;
} parts[] = {
    {"os/type", "machine"},
    {"os/loader", "firmware"},
    {"os/nvram", "firmware"},
    {"os/firmware", "firmware"},
    {"os/boot", "boot"}, /* and bootmenu */
    {"os", "firmware"},  /* its own attribute */
    {"features", "features"},
    {"vcpu", "topology"},
    {"cpu/topology", "topology"},
    {"cpu", "cpu"},
    {"memory", "memory"}, /* and memoryBacking */
    {"currentMemory", "memory"},
    {"clock/timer[hpet]", "hpet"},
    {"clock", "clock"},
    {"pm", "power"},
    {"devices/emulator", "emulator"},
    {"devices/watchdog", "watchdog"},
    {"devices/memballoon", "memory"},
    {"devices/disk", "disk"},
    {"devices/interface", "nic"},
    {"devices/controller[usb", "usb"},
    {"devices/controller", "controllers"},
    {"devices/video", "video"},
    {"devices/sound", "sound"},
    {"devices/input", "input"},
    {"devices/", "devices"}, /* addresses that went with a bus */
    {"qemu:commandline/option[-cpu]", "cpu-flags"},
    {"qemu:commandline/option[-device%20isa-applesmc]", "osk"},
    {"qemu:commandline/option[-global", "hotplug"},
    {"qemu:commandline/option[-smbios", "smbios"},
    {"qemu:commandline/option[-usb", "input"},
    {"qemu:commandline/option[-device%20usb-", "input"},
    {"", "other"},
};

const char *dkvm_part_of(const DkvmChange *change)
{
    if (g_str_has_prefix(change->at, "devices/input") && g_str_has_suffix(change->at, "/address")) {
        return "devices";
    }
    gsize i = 0;
    while (!g_str_has_prefix(change->at, parts[i].prefix)) {
        i++;
    }
    return parts[i].part;
}

/* "devices/disk[vda]" of "devices/disk[vda]/target". */
static char *first_two_steps(const char *at)
{
    const char *slash = strchr(at, '/');
    const char *end = slash ? strchr(slash + 1, '/') : NULL;
    return end ? g_strndup(at, end - at) : g_strdup(at);
}

char *dkvm_unit_of(const DkvmChange *change)
{
    static const char *const whole[] = {"machine", "firmware", "topology", NULL};
    if (g_strv_contains(whole, change->part)) {
        return g_strdup(change->part);
    }
    char *unit = g_str_has_prefix(change->at, "devices/") ? first_two_steps(change->at)
                                                          : g_strdup(change->at);
    /* A removed one is counted past what has its key now: the same thing for the user. */
    char *count = strstr(unit, "]#");
    if (count != NULL) {
        count[1] = '\0';
    }
    return unit;
}

gboolean dkvm_part_exists(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(parts); i++) {
        if (g_str_equal(parts[i].part, name)) {
            return TRUE;
        }
    }
    return FALSE;
}

gboolean dkvm_part_is_settled(const char *part)
{
    static const char *const settled[] = {"machine", "firmware",    "disk",    "nic",
                                          "usb",     "controllers", "video",   "sound",
                                          "input",   "emulator",    "devices", NULL};
    return g_strv_contains(settled, part);
}
