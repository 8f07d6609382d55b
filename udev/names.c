/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of devices.  Below a root prefix udev's own database of that host has them (the hwdb
 * builtin put them there); on the real root libudev looks them up. */
#include <libkmod.h>
#include <libudev.h>
#include <string.h>

#include "lib/paths.h"
#include "udev/host-private.h"

/* pci.ids' names for the classes that a person meets; the rest is said by number. */
static const struct {
    guint16 code;
    const char *name;
} classes[] = {
    {0x0000, "Unclassified device"},
    {0x0100, "SCSI storage controller"},
    {0x0101, "IDE interface"},
    {0x0104, "RAID bus controller"},
    {0x0106, "SATA controller"},
    {0x0107, "Serial Attached SCSI controller"},
    {0x0108, "Non-Volatile memory controller"},
    {0x0180, "Mass storage controller"},
    {0x0200, "Ethernet controller"},
    {0x0207, "Infiniband controller"},
    {0x0280, "Network controller"},
    {0x0300, "VGA compatible controller"},
    {0x0302, "3D controller"},
    {0x0380, "Display controller"},
    {0x0400, "Multimedia video controller"},
    {0x0401, "Multimedia audio controller"},
    {0x0403, "Audio device"},
    {0x0480, "Multimedia controller"},
    {0x0500, "RAM memory"},
    {0x0580, "Memory controller"},
    {0x0600, "Host bridge"},
    {0x0601, "ISA bridge"},
    {0x0604, "PCI bridge"},
    {0x0607, "CardBus bridge"},
    {0x0680, "Bridge"},
    {0x0700, "Serial controller"},
    {0x0780, "Communication controller"},
    {0x0800, "PIC"},
    {0x0805, "SD Host controller"},
    {0x0806, "IOMMU"},
    {0x0880, "System peripheral"},
    {0x0b40, "Co-processor"},
    {0x0c00, "FireWire (IEEE 1394)"},
    {0x0c03, "USB controller"},
    {0x0c05, "SMBus"},
    {0x0c80, "Serial bus controller"},
    {0x0d11, "Bluetooth"},
    {0x1000, "Network and computing encryption device"},
    {0x1080, "Encryption controller"},
    {0x1101, "Performance counters"},
    {0x1180, "Signal processing controller"},
    {0x1200, "Processing accelerators"},
    {0x1300, "Non-Essential Instrumentation"},
    {0xff00, "Unassigned class"},
};

static char *class_name(guint32 code)
{
    for (gsize i = 0; i < G_N_ELEMENTS(classes); i++) {
        if (classes[i].code == code >> 8)
            return g_strdup(classes[i].name);
    }
    return code >> 16 == 0 ? g_strdup("Unclassified device")
                           : g_strdup_printf("Class %04x", code >> 8);
}

/* Formats, and what a terminal takes for commands (C1 controls too). */
static gboolean is_printable(gunichar c)
{
    return g_unichar_isprint(c) && g_unichar_type(c) != G_UNICODE_FORMAT;
}

char *dkvm_clean_text(const char *text, gsize length)
{
    g_autofree char *copy = g_strndup(text, MIN(length, 256));
    g_autofree char *valid = g_utf8_make_valid(copy, -1);
    GString *clean = g_string_sized_new(64);

    for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
        gunichar c = g_utf8_get_char(at);

        if (c >= ' ' && c < 0x7f)
            g_string_append_c(clean, (char)c);
        else
            g_string_append_unichar(clean, is_printable(c) ? c : ' ');
    }
    return g_strstrip(g_string_free(clean, FALSE));
}

static void from_database(DkvmDevice *device)
{
    g_autofree char *path = g_strdup_printf("/run/udev/data/+pci:%s", device->name);
    g_autofree char *text = dkvm_host_text(path, 65536);
    const char *line = text;

    while (line && *line) {
        gsize length = strcspn(line, "\n");

        if (g_str_has_prefix(line, "E:ID_VENDOR_FROM_DATABASE=") && !device->vendor_name)
            device->vendor_name = dkvm_clean_text(line + 26, length - 26);
        else if (g_str_has_prefix(line, "E:ID_MODEL_FROM_DATABASE=") && !device->device_name)
            device->device_name = dkvm_clean_text(line + 25, length - 25);
        line += length + (line[length] == '\n');
    }
}

static void from_hwdb(struct udev_hwdb *hwdb, DkvmDevice *device)
{
    struct udev_list_entry *entry, *all;

    if (!device->modalias)
        return;
    all = udev_hwdb_get_properties_list_entry(hwdb, device->modalias, 0);
    udev_list_entry_foreach(entry, all)
    {
        const char *key = udev_list_entry_get_name(entry);
        const char *value = udev_list_entry_get_value(entry);

        if (value && g_str_equal(key, "ID_VENDOR_FROM_DATABASE") && !device->vendor_name)
            device->vendor_name = dkvm_clean_text(value, strlen(value));
        if (value && g_str_equal(key, "ID_MODEL_FROM_DATABASE") && !device->device_name)
            device->device_name = dkvm_clean_text(value, strlen(value));
    }
}

void dkvm_host_read_names(DkvmHost *host)
{
    gboolean real = *dkvm_paths_root() == '\0';
    struct udev *udev = real ? udev_new() : NULL;
    struct udev_hwdb *hwdb = udev ? udev_hwdb_new(udev) : NULL;

    for (guint i = 0; i < host->devices->len; i++) {
        DkvmDevice *device = g_ptr_array_index(host->devices, i);

        device->class_name = class_name(device->class_code);
        if (hwdb)
            from_hwdb(hwdb, device);
        else
            from_database(device);
    }
    if (hwdb)
        udev_hwdb_unref(hwdb);
    if (udev)
        udev_unref(udev);
}

/* The words with which vendors fill a line; what tells two cards apart comes after them. */
static char *short_vendor(const char *vendor)
{
    static const char *const endings[] = {
        " Corporation", ", Inc.",        " Inc.",        " Co., Ltd.",    " Co., Ltd",
        " Co Ltd",      " Corp.",        " Corp",        " Limited",      " Ltd.",
        " Technology",  " Technologies", " Electronics", " Semiconductor"};
    const char *bracket = strstr(vendor, " [");
    gsize length = bracket && g_str_has_suffix(vendor, "]") ? strlen(bracket) - 3 : 0;
    g_autofree char *name = NULL;

    /* "Advanced Micro Devices, Inc. [AMD/ATI]": people know the name in brackets. */
    if (length > 0 && length <= 12)
        return g_strndup(bracket + 2, length);
    name = g_strdup(vendor);
    for (gsize i = 0; i < G_N_ELEMENTS(endings); i++) {
        if (g_str_has_suffix(name, endings[i])) {
            name[strlen(name) - strlen(endings[i])] = '\0';
            i = (gsize)-1;
        }
    }
    return *name ? g_steal_pointer(&name) : g_strdup(vendor);
}

char *dkvm_device_title(const DkvmDevice *device)
{
    g_autofree char *vendor = device->vendor_name ? short_vendor(device->vendor_name) : NULL;

    if (vendor && device->device_name)
        return g_strconcat(vendor, " ", device->device_name, NULL);
    if (vendor)
        return g_strdup_printf("%s device %04x", vendor, device->id.device);
    return g_strdup_printf("Device %04x:%04x", device->id.vendor, device->id.device);
}

const char *dkvm_device_short(const DkvmHost *host, const DkvmDevice *device)
{
    const DkvmDevice *last =
        host->devices->len ? g_ptr_array_index(host->devices, host->devices->len - 1) : NULL;

    return last && last->id.bdf.domain == 0 ? device->name + 5 : device->name;
}

static struct kmod_ctx *modules_of(DkvmHost *host)
{
    static const char *const no_config[] = {NULL};
    g_autofree char *relative = g_strconcat("/lib/modules/", host->kernel, NULL);
    g_autofree char *folder = dkvm_path(relative);

    if (!host->modules && host->kernel) {
        host->modules = kmod_new(folder, no_config);
        /* Without it each look-up opens the index again. */
        if (host->modules && kmod_load_resources(host->modules) < 0)
            dkvm_host_drop_modules(host);
    }
    return host->modules;
}

void dkvm_host_drop_modules(DkvmHost *host)
{
    if (host->modules)
        kmod_unref(host->modules);
    host->modules = NULL;
}

char **dkvm_device_modules(DkvmHost *host, const DkvmDevice *device)
{
    GPtrArray *names = g_ptr_array_new();
    struct kmod_ctx *context = device->modalias ? modules_of(host) : NULL;
    struct kmod_list *list = NULL, *item;

    if (context && kmod_module_new_from_lookup(context, device->modalias, &list) >= 0) {
        kmod_list_foreach(item, list)
        {
            struct kmod_module *module = kmod_module_get_module(item);
            const char *name = kmod_module_get_name(module);

            if (!g_ptr_array_find_with_equal_func(names, name, g_str_equal, NULL))
                g_ptr_array_add(names, g_strdup(name));
            kmod_module_unref(module);
        }
        kmod_module_unref_list(list);
    }
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(names, FALSE);
}

gboolean dkvm_device_is_bridge(const DkvmDevice *device)
{
    return device->header_type != 0;
}

gboolean dkvm_device_is_gpu(const DkvmDevice *device)
{
    return device->class_code >> 16 == 0x03;
}

const char *dkvm_use_kind_name(DkvmUseKind kind)
{
    static const char *const names[] = {"mount",    "swap",  "stack",   "route",  "nic",
                                        "keyboard", "mouse", "console", "display"};

    return names[kind];
}
