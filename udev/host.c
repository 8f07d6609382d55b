/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "udev/host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/paths.h"
#include "udev/host-private.h"
#include "udev/sysfs.h"

#define MAX_DEVICES 16384

/* ---- small facts ------------------------------------------------------------------------ */

char *dkvm_host_text(const char *path, gsize max)
{
    g_autofree char *full = dkvm_path(path);
    g_autofree char *text = g_malloc(max + 1);
    ssize_t length = dkvm_sysfs_read(AT_FDCWD, full, text, max + 1);

    return length < 0 ? NULL : g_strndup(text, (gsize)length);
}

char *dkvm_host_link(const char *path)
{
    g_autofree char *full = dkvm_path(path);
    g_autofree char *above = g_path_get_dirname(path);
    char target[PATH_MAX];
    ssize_t length = readlink(full, target, sizeof target - 1);

    if (length < 0)
        dkvm_sysfs_note(errno, full);
    if (length <= 0)
        return NULL;
    target[length] = '\0';
    return g_canonicalize_filename(target, above);
}

GPtrArray *dkvm_host_list(const char *path)
{
    g_autofree char *full = dkvm_path(path);
    DIR *dir = opendir(full);
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    const struct dirent *entry = NULL;

    /* Of a folder that is not there this says nothing. */
    do {
        errno = dir ? 0 : errno;
        entry = dir ? readdir(dir) : NULL;
        if (!entry)
            dkvm_sysfs_note(errno, full);
        else if (!g_str_equal(entry->d_name, ".") && !g_str_equal(entry->d_name, ".."))
            g_ptr_array_add(names, g_strdup(entry->d_name));
    } while (entry && names->len < MAX_DEVICES);
    if (dir)
        (void)closedir(dir);
    g_ptr_array_sort(names, dkvm_compare_names);
    return names;
}

/* "card2" before "card10". */
int dkvm_compare_names(gconstpointer a, gconstpointer b)
{
    const char *const *first = a, *const *second = b;

    return strverscmp(*first, *second);
}

static gboolean exists(const char *path)
{
    g_autofree char *full = dkvm_path(path);

    return access(full, F_OK) == 0;
}

static guint parse_version(const char *release)
{
    unsigned major = 0, minor = 0;
    const char *rest = release;

    if (!release || !dkvm_parse_number(release, 255, &major, &rest) || *rest != '.' ||
        !dkvm_parse_number(rest + 1, 255, &minor, NULL))
        return 0;
    return major << 16 | minor << 8;
}

/* The value of the last NAME= on the kernel's command line; NULL without. */
static char *argument(const char *command_line, const char *name)
{
    g_auto(GStrv) words = g_strsplit_set(command_line, " \t\n", -1);
    const char *value = NULL;

    for (char **word = words; *word; word++) {
        gsize length = strlen(name);

        if (strncmp(*word, name, length) == 0 && (*word)[length] == '=')
            value = *word + length + 1;
    }
    return value ? dkvm_clean_text(value, strlen(value)) : NULL;
}

static void read_cpu(DkvmHost *host)
{
    g_autofree char *info = dkvm_host_text("/proc/cpuinfo", 16384);
    g_auto(GStrv) lines = g_strsplit(info ? info : "", "\n", 64);

    for (char **line = lines; *line; line++) {
        const char *value = strchr(*line, ':');

        if (value && g_str_has_prefix(*line, "vendor_id") && !host->cpu_vendor)
            host->cpu_vendor = dkvm_clean_text(value + 1, strlen(value + 1));
        if (value && g_str_has_prefix(*line, "flags")) {
            g_auto(GStrv) flags = g_strsplit(value, " ", -1);

            host->cpu_virtualizes = g_strv_contains((const char *const *)flags, "vmx") ||
                                    g_strv_contains((const char *const *)flags, "svm");
            return;
        }
    }
}

static gboolean has_entries(const char *path)
{
    g_autofree char *full = dkvm_path(path);
    g_autoptr(GDir) dir = g_dir_open(full, 0, NULL);

    return dir && g_dir_read_name(dir) != NULL;
}

static void read_facts(DkvmHost *host)
{
    g_autofree char *release = dkvm_host_text("/proc/sys/kernel/osrelease", 128);

    host->kernel = release ? dkvm_clean_text(release, strlen(release)) : NULL;
    host->version = parse_version(host->kernel);
    /* The commits 1ea2a07a and 70693f47 came with 5.19. */
    host->dma_ownership = host->version == 0 || host->version >= 0x051300;
    host->command_line = dkvm_host_text("/proc/cmdline", 8192);
    if (!host->command_line)
        host->command_line = g_strdup("");
    g_strstrip(host->command_line);
    host->acs_override = argument(host->command_line, "pcie_acs_override");
    read_cpu(host);
    host->dmar = exists("/sys/firmware/acpi/tables/DMAR");
    host->ivrs = exists("/sys/firmware/acpi/tables/IVRS");
    host->iommu_running = has_entries("/sys/class/iommu");
}

/* ---- devices ---------------------------------------------------------------------------- */

char *dkvm_host_line(int dir, const char *name)
{
    char text[1024];

    return dkvm_sysfs_line(dir, name, text, sizeof text) > 0 ? dkvm_clean_text(text, sizeof text)
                                                             : NULL;
}

static void read_bars(int dir, DkvmDevice *device)
{
    char text[2048], name[32];
    char *rest = text;

    if (dkvm_sysfs_read(dir, "resource", text, sizeof text) <= 0)
        return;
    for (int i = 0; i < DKVM_BARS; i++) {
        char *line = strsep(&rest, "\n");
        char *next = NULL;
        guint64 begin, end, flags;

        if (!line)
            return;
        begin = g_ascii_strtoull(line, &next, 16);
        end = g_ascii_strtoull(next, &next, 16);
        flags = g_ascii_strtoull(next, &next, 16);
        if (end <= begin)
            continue;
        device->bars[i].size = end - begin + 1;
        device->bars[i].io = (flags & 0x100) != 0; /* IORESOURCE_IO, include/linux/ioport.h */
        /* Only prefetchable memory of a card is ever resizable. */
        if (device->header_type != 0 || !(flags & 0x2000) || device->class_code >> 16 != 3)
            continue;
        (void)snprintf(name, sizeof name, "resource%d_resize", i);
        (void)dkvm_sysfs_hex(dir, name, G_MAXUINT64, &device->bars[i].possible);
    }
}

static gboolean has_pcie(const guchar *config, gsize length)
{
    gsize at = length > 0x34 && config[6] & 0x10 ? config[0x34] & 0xfc : 0;

    for (int i = 0; i < 48 && at >= 0x40 && at + 1 < length; i++) {
        if (config[at] == 0x10)
            return TRUE;
        at = config[at + 1] & 0xfc;
    }
    return FALSE;
}

static gboolean all_ones(const guchar *bytes, gsize length)
{
    for (gsize i = 0; i < length; i++) {
        if (bytes[i] != 0xff)
            return FALSE;
    }
    return TRUE;
}

/* The header only: the rest is read from the device itself, byte by byte, and takes milliseconds.
 */
static void read_header(int dir, DkvmDevice *device)
{
    char bytes[64];
    const guchar *config = (const guchar *)bytes;
    int fd = openat(dir, "config", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, bytes, sizeof bytes) : -1;

    if (fd >= 0)
        (void)close(fd);
    device->acs = device->is_pcie = -1;
    if (length < 64) {
        /* No file: what the class says is right for everything but oddities. */
        device->header_type = device->class_code >> 8 == 0x0604 ? 1 : 0;
        return;
    }
    /* All of it: the ids alone read as ones in a virtual function (SR-IOV 1.1, 3.4.1.1). */
    device->gone = all_ones(config, 16);
    device->header_type =
        device->gone ? (device->class_code >> 8 == 0x0604) : (config[0x0e] & 0x7f);
}

void dkvm_device_read_capabilities(DkvmDevice *device)
{
    g_autofree char *path = g_strconcat(dkvm_paths_root(), device->sysfs, "/config", NULL);
    char bytes[4096 + 1];
    ssize_t length = dkvm_sysfs_read(AT_FDCWD, path, bytes, sizeof bytes);
    const guchar *config = (const guchar *)bytes;

    if (length >= 256)
        device->is_pcie = has_pcie(config, (gsize)length);
    if (length >= 4096) {
        device->acs = dkvm_config_has_extended(config, (gsize)length, 0x000d);
        device->id.has_serial = dkvm_config_serial(config, (gsize)length, &device->id.serial);
    }
}

static void read_driver(int dir, DkvmDevice *device)
{
    char name[128];

    if (dkvm_sysfs_link_name(dir, "driver", name, sizeof name))
        device->driver = dkvm_clean_text(name, sizeof name);
    device->driver_override = dkvm_host_line(dir, "driver_override");
    if (device->driver_override && g_str_equal(device->driver_override, "(null)"))
        g_clear_pointer(&device->driver_override, g_free);
}

static void device_free(DkvmDevice *device)
{
    g_free(device->sysfs);
    g_free(device->driver);
    g_free(device->driver_override);
    g_free(device->modalias);
    g_free(device->vendor_name);
    g_free(device->device_name);
    g_free(device->class_name);
    g_free(device->reset_methods);
    g_free(device->physical_name);
    g_clear_pointer(&device->uses, g_ptr_array_unref);
    g_free(device);
}

static void use_free(DkvmUse *use)
{
    g_free(use->what);
    g_free(use);
}

/* "../../../devices/pci0000:00/0000:00:01.0" becomes "/sys/devices/..." */
static char *absolute(const char *link)
{
    const char *at = strstr(link, "/devices/");

    return at ? g_strconcat("/sys", at, NULL) : NULL;
}

static DkvmDevice *read_device(int all, const char *name, const DkvmBdf *bdf)
{
    char link[PATH_MAX], word[32];
    unsigned number = 0;
    ssize_t length = readlinkat(all, name, link, sizeof link - 1);
    int dir = length >= 0 ? openat(all, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    guint64 value = 0;

    if (length < 0 || dir < 0) {
        dkvm_sysfs_note(errno, name);
        if (dir >= 0)
            (void)close(dir);
        return NULL; /* unplugged just now */
    }
    link[length] = '\0';
    DkvmDevice *device = g_new0(DkvmDevice, 1);
    device->uses = g_ptr_array_new_with_free_func((GDestroyNotify)use_free);
    device->sysfs = absolute(link);
    dkvm_bdf_format(bdf, device->name);
    /* Without its class a bridge would look like something that can be given away. */
    if (!device->sysfs || dkvm_identity_read_at(dir, link, bdf, FALSE, &device->id) != 0 ||
        !dkvm_sysfs_hex(dir, "class", 0xffffff, &value)) {
        (void)close(dir);
        device_free(device);
        return NULL;
    }
    device->class_code = (guint32)value;
    read_header(dir, device);
    read_driver(dir, device);
    device->modalias = dkvm_host_line(dir, "modalias");
    device->reset_methods = dkvm_host_line(dir, "reset_method");
    device->boot_vga = -1;
    if (device->class_code >> 16 == 3 && dkvm_sysfs_hex(dir, "boot_vga", 1, &value))
        device->boot_vga = (int)value;
    read_bars(dir, device);
    if (dkvm_sysfs_link_name(dir, "physfn", word, sizeof word))
        device->physical_name = dkvm_clean_text(word, sizeof word);
    if (dkvm_sysfs_link_name(dir, "iommu_group", word, sizeof word) &&
        dkvm_parse_number(word, INT_MAX - 1, &number, NULL))
        device->group = GINT_TO_POINTER((int)number + 1); /* resolved by groups.c */
    (void)close(dir);
    return device;
}

static int by_address(gconstpointer a, gconstpointer b)
{
    const DkvmDevice *const *first = a, *const *second = b;

    return dkvm_bdf_compare(&(*first)->id.bdf, &(*second)->id.bdf);
}

static gboolean read_devices(DkvmHost *host, GError **error)
{
    g_autofree char *path = dkvm_path("/sys/bus/pci/devices");
    DIR *dir = opendir(path);
    const struct dirent *entry;

    if (!dir) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE,
                    "cannot list PCI devices in %s: %s; is sysfs mounted?", path,
                    g_strerror(errno));
        return FALSE;
    }
    for (errno = 0; (entry = readdir(dir)) && host->devices->len < MAX_DEVICES; errno = 0) {
        DkvmBdf bdf;
        DkvmDevice *device = dkvm_bdf_parse(entry->d_name, &bdf)
                                 ? read_device(dirfd(dir), entry->d_name, &bdf)
                                 : NULL;

        if (device)
            g_ptr_array_add(host->devices, device);
    }
    if (!entry)
        dkvm_sysfs_note(errno, path);
    (void)closedir(dir);
    g_ptr_array_sort(host->devices, by_address);
    for (guint i = 0; i < host->devices->len; i++) {
        DkvmDevice *device = g_ptr_array_index(host->devices, i);

        g_hash_table_insert(host->by_name, device->name, device);
    }
    return TRUE;
}

static void find_relatives(DkvmHost *host)
{
    for (guint i = 0; i < host->devices->len; i++) {
        DkvmDevice *device = g_ptr_array_index(host->devices, i);
        g_autofree char *above = g_path_get_dirname(device->sysfs);
        g_autofree char *name = g_path_get_basename(above);

        device->parent = g_hash_table_lookup(host->by_name, name);
        if (device->physical_name)
            device->physical = g_hash_table_lookup(host->by_name, device->physical_name);
        if (device->physical)
            device->physical->virtuals++;
    }
}

/* ---- the whole -------------------------------------------------------------------------- */

DkvmHost *dkvm_host_read(GError **error)
{
    g_autoptr(DkvmHost) host = g_new0(DkvmHost, 1);

    host->devices = g_ptr_array_new_with_free_func((GDestroyNotify)device_free);
    host->by_name = g_hash_table_new(g_str_hash, g_str_equal);
    host->notes = g_ptr_array_new_with_free_func(g_free);
    read_facts(host);
    if (!read_devices(host, error))
        return NULL;
    find_relatives(host);
    dkvm_host_read_groups(host);
    dkvm_host_read_names(host);
    dkvm_host_read_storage(host);
    dkvm_host_read_network(host);
    dkvm_host_read_input(host);
    dkvm_host_read_displays(host);
    return g_steal_pointer(&host);
}

void dkvm_host_free(DkvmHost *host)
{
    if (!host)
        return;
    dkvm_host_drop_modules(host);
    g_clear_pointer(&host->by_name, g_hash_table_unref);
    g_clear_pointer(&host->groups, g_ptr_array_unref);
    g_clear_pointer(&host->notes, g_ptr_array_unref);
    g_clear_pointer(&host->devices, g_ptr_array_unref);
    g_free(host->kernel);
    g_free(host->command_line);
    g_free(host->acs_override);
    g_free(host->cpu_vendor);
    g_free(host);
}

DkvmDevice *dkvm_host_device(const DkvmHost *host, const DkvmBdf *bdf)
{
    char name[DKVM_BDF_SIZE];

    dkvm_bdf_format(bdf, name);
    return g_hash_table_lookup(host->by_name, name);
}

DkvmGroup *dkvm_host_group(const DkvmHost *host, int number)
{
    for (guint i = 0; i < host->groups->len; i++) {
        DkvmGroup *group = g_ptr_array_index(host->groups, i);

        if (group->number == number)
            return group;
    }
    return NULL;
}

DkvmDevice *dkvm_host_device_of_path(const DkvmHost *host, const char *path)
{
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);
    DkvmDevice *found = NULL;

    for (char **part = parts; *part; part++) {
        DkvmDevice *device = g_hash_table_lookup(host->by_name, *part);

        found = device ? device : found;
    }
    return found;
}

void dkvm_device_add_use(DkvmDevice *device, DkvmUseKind kind, const char *what)
{
    for (guint i = 0; i < device->uses->len; i++) {
        const DkvmUse *old = g_ptr_array_index(device->uses, i);

        if (old->kind == kind && g_str_equal(old->what, what))
            return;
    }
    DkvmUse *use = g_new0(DkvmUse, 1);
    use->kind = kind;
    use->what = dkvm_clean_text(what, strlen(what));
    g_ptr_array_add(device->uses, use);
}

gboolean dkvm_device_has_use(const DkvmDevice *device, DkvmUseKind kind)
{
    for (guint i = 0; i < device->uses->len; i++) {
        const DkvmUse *use = g_ptr_array_index(device->uses, i);

        if (use->kind == kind)
            return TRUE;
    }
    return FALSE;
}
