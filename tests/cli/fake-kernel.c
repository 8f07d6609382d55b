/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a kernel does when its files are written: drivers take devices and leave them, consoles
 * move, groups appear, huge pages are made, windows become larger. */
#include "fake-kernel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEVICES 32
#define TEXT 256
#define PCI "/sys/bus/pci"
#define PLATFORM "/sys/bus/platform"
#define NVIDIA "/proc/driver/nvidia/gpus"

typedef struct {
    char bdf[16], path[TEXT], home[32], group[16];
    char methods[TEXT]; /* all that it can be reset by */
    int gone;
} Device;

static char tree[PATH_MAX];
static Device devices[DEVICES];
static int device_count, has_locks;

/* ---- files ------------------------------------------------------------------------------ */

FakePath fake_path(const char *format, ...)
{
    char name[PATH_MAX];
    FakePath path;
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    if (snprintf(path.text, sizeof path.text, "%s%s", tree, name) >= (int)sizeof path.text)
        abort();
    return path;
}

static int put(const char *full, const char *text)
{
    int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0)
        return errno;
    (void)!write(fd, text, strlen(text));
    (void)!write(fd, "\n", 1);
    (void)close(fd);
    return 0;
}

/* The first line; "" if there is none. */
static void get(const char *full, char *text, size_t size)
{
    int fd = open(full, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, size - 1) : 0;

    text[got > 0 ? got : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (fd >= 0)
        (void)close(fd);
}

/* The last part of a link's target; "" if there is none. */
static void link_name(const char *full, char *text, size_t size)
{
    char target[PATH_MAX];
    ssize_t got = readlink(full, target, sizeof target - 1);

    target[got > 0 ? got : 0] = '\0';
    const char *last = strrchr(target, '/');

    (void)snprintf(text, size, "%.*s", (int)size - 1, last ? last + 1 : target);
}

/* From PATH, a folder or a link's folder below /sys, up to /sys. */
static void up(const char *path, char *text, size_t size)
{
    size_t length = 0;

    text[0] = '\0';
    for (const char *p = path + strlen("/sys"); (p = strchr(p, '/')); p++)
        length += (size_t)snprintf(text + length, size - length, "../");
}

/* Relative, as sysfs makes them: FOLDER/NAME -> TARGET. */
static void make_link(const char *folder, const char *name, const char *target)
{
    char above[TEXT], text[PATH_MAX];

    up(folder, above, sizeof above);
    (void)snprintf(text, sizeof text, "%s%s", above, target + strlen("/sys/"));
    (void)!symlink(text, fake_path("%s/%s", folder, name).text);
}

/* ---- devices and drivers ---------------------------------------------------------------- */

static Device *find(const char *bdf)
{
    for (int i = 0; i < device_count; i++) {
        if (strcmp(devices[i].bdf, bdf) == 0)
            return &devices[i];
    }
    return NULL;
}

static void driver_of(const Device *device, char *name, size_t size)
{
    link_name(fake_path("%s/driver", device->path).text, name, size);
}

static int is_vfio(const Device *device)
{
    char driver[TEXT];

    driver_of(device, driver, sizeof driver);
    return !device->gone && strcmp(driver, "vfio-pci") == 0;
}

/* The group's node is there while vfio-pci has a member. */
static void update_group(const char *group)
{
    int count = 0;

    for (int i = 0; i < device_count; i++)
        count += strcmp(devices[i].group, group) == 0 && is_vfio(&devices[i]);
    if (*group && count > 0)
        (void)put(fake_path("/dev/vfio/%s", group).text, "");
    else if (*group)
        (void)unlink(fake_path("/dev/vfio/%s", group).text);
}

static void attach(Device *device, const char *driver)
{
    char folder[TEXT + sizeof PCI];

    (void)snprintf(folder, sizeof folder, PCI "/drivers/%s", driver);
    make_link(device->path, "driver", folder);
    make_link(folder, device->bdf, device->path);
    if (has_locks && strcmp(driver, "nvidia") == 0) {
        (void)mkdir(fake_path(NVIDIA "/%s", device->bdf).text, 0755);
        (void)put(fake_path(NVIDIA "/%s/unbindLock", device->bdf).text, "0");
    }
    update_group(device->group);
}

static void detach(Device *device)
{
    char driver[TEXT];

    driver_of(device, driver, sizeof driver);
    (void)unlink(fake_path("%s/driver", device->path).text);
    (void)unlink(fake_path(PCI "/drivers/%s/%s", driver, device->bdf).text);
    if (strcmp(driver, "nvidia") == 0) {
        (void)unlink(fake_path(NVIDIA "/%s/unbindLock", device->bdf).text);
        (void)rmdir(fake_path(NVIDIA "/%s", device->bdf).text);
    }
    update_group(device->group);
}

/* What would take it: pci_match_device() of Linux. */
static int matches(const Device *device, const char *driver)
{
    char wanted[TEXT];

    get(fake_path("%s/driver_override", device->path).text, wanted, sizeof wanted);
    if (strcmp(wanted, "(null)") != 0)
        return strcmp(wanted, driver) == 0;
    return strcmp(device->home, driver) == 0;
}

static int pci_unbind(const char *driver, const char *bdf)
{
    Device *device = find(bdf);
    char now[TEXT];

    if (!device || device->gone)
        return ENODEV;
    driver_of(device, now, sizeof now);
    if (strcmp(now, driver) != 0)
        return ENODEV;
    detach(device);
    return 0;
}

static int pci_bind(const char *driver, const char *bdf)
{
    Device *device = find(bdf);
    char now[TEXT];

    if (!device || device->gone || !matches(device, driver))
        return ENODEV;
    driver_of(device, now, sizeof now);
    if (*now)
        return EBUSY;
    attach(device, driver);
    return 0;
}

/* 0 also where nothing takes it (bus_rescan_devices_helper()). */
static int pci_probe(const char *bdf)
{
    const Device *device = find(bdf);
    struct dirent *entry;

    if (!device || device->gone)
        return ENODEV;
    DIR *dir = opendir(fake_path(PCI "/drivers").text);

    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] != '.' && matches(device, entry->d_name))
            (void)pci_bind(entry->d_name, bdf);
    }
    if (dir)
        (void)closedir(dir);
    return 0;
}

static int pci_remove(const char *bdf)
{
    Device *device = find(bdf);

    if (!device || device->gone)
        return ENODEV;
    detach(device);
    device->gone = 1;
    (void)unlink(fake_path(PCI "/devices/%s", bdf).text);
    (void)unlink(fake_path("/sys/kernel/iommu_groups/%s/devices/%s", device->group, bdf).text);
    return rename(fake_path("%s", device->path).text, fake_path("/gone-%s", bdf).text) == 0 ? 0
                                                                                            : errno;
}

static int pci_rescan(void)
{
    for (int i = 0; i < device_count; i++) {
        Device *device = &devices[i];
        char members[TEXT];

        if (!device->gone)
            continue;
        device->gone = 0;
        (void)!rename(fake_path("/gone-%s", device->bdf).text, fake_path("%s", device->path).text);
        (void)put(fake_path("%s/driver_override", device->path).text, "(null)");
        make_link(PCI "/devices", device->bdf, device->path);
        (void)snprintf(members, sizeof members, "/sys/kernel/iommu_groups/%s/devices",
                       device->group);
        if (*device->group)
            make_link(members, device->bdf, device->path);
        (void)pci_probe(device->bdf);
    }
    return 0;
}

static int platform(const char *driver, const char *name, int bind)
{
    char folder[TEXT + sizeof PLATFORM], device[TEXT + sizeof PLATFORM], now[TEXT];

    (void)snprintf(folder, sizeof folder, PLATFORM "/drivers/%s", driver);
    (void)snprintf(device, sizeof device, PLATFORM "/devices/%s", name);
    if (access(fake_path("%s", device).text, F_OK) != 0)
        return ENODEV;
    link_name(fake_path("%s/driver", device).text, now, sizeof now);
    if (bind && *now)
        return EBUSY;
    if (bind)
        make_link(device, "driver", folder);
    else if (strcmp(now, driver) != 0)
        return ENODEV;
    else
        (void)unlink(fake_path("%s/driver", device).text);
    return 0;
}

/* vtcon0 is the dummy, vtcon1 the frame buffer's: "1" to it is taken and does nothing, "0" to the
 * dummy does it (facts/rig.md 4). */
static int console(const char *name, const char *text)
{
    const int dummy = strcmp(name, "vtcon0") == 0;
    const char *folder = "/sys/class/vtconsole";

    if (*text == '1')
        return 0;
    (void)put(fake_path("%s/vtcon0/bind", folder).text, dummy ? "0" : "1");
    (void)put(fake_path("%s/vtcon1/bind", folder).text, dummy ? "1" : "0");
    return 0;
}

/* ---- what is set ------------------------------------------------------------------------ */

static unsigned long long count_in(const char *folder, const char *name)
{
    char text[TEXT];

    get(fake_path("%s/%s_hugepages", folder, name).text, text, sizeof text);
    return strtoull(text, NULL, 10);
}

static void put_count(const char *folder, const char *name, unsigned long long count)
{
    char text[32];

    (void)snprintf(text, sizeof text, "%llu", count);
    (void)put(fake_path("%s/%s_hugepages", folder, name).text, text);
}

/* Pages in use are not freed, they become surplus (set_max_huge_pages() in mm/hugetlb.c). */
static int huge_pages(const char *folder, const char *text)
{
    unsigned long long surplus = count_in(folder, "surplus"), all = count_in(folder, "nr");
    unsigned long long unused = count_in(folder, "free"), now = all - surplus;
    unsigned long long to = strtoull(text, NULL, 10);

    if (to >= now) {
        all += to - now;
        unused += to - now;
    } else {
        unsigned long long freed = now - to < unused ? now - to : unused;

        all -= freed;
        unused -= freed;
        surplus += now - to - freed;
    }
    put_count(folder, "nr", all);
    put_count(folder, "free", unused);
    put_count(folder, "surplus", surplus);
    return 0;
}

/* Only without a driver, and only to what the mask has (__resource_resize_store() in
 * drivers/pci/pci-sysfs.c).  The window stays where it begins. */
static int resize(const char *folder, const char *path, const char *text)
{
    char mask[TEXT], driver[TEXT], lines[4096] = "";
    unsigned long long bit = strtoull(text, NULL, 10), first, last, flags;
    int length, fd;

    link_name(fake_path("%s/driver", folder).text, driver, sizeof driver);
    if (*driver)
        return EBUSY;
    get(fake_path("%s", path).text, mask, sizeof mask);
    if (bit > 43 || (strtoull(mask, NULL, 16) >> bit & 1) == 0)
        return EINVAL;
    fd = open(fake_path("%s/resource", folder).text, O_RDWR | O_CLOEXEC);
    if (fd < 0 || read(fd, lines, sizeof lines - 1) <= 0 ||
        sscanf(lines, "%llx %llx %llx", &first, &last, &flags) != 3)
        abort();
    /* As long as it was. */
    length = snprintf(lines, sizeof lines, "0x%016llx 0x%016llx 0x%016llx", first,
                      first + (1ULL << (bit + 20)) - 1, flags);
    (void)!pwrite(fd, lines, (size_t)length, 0);
    (void)close(fd);
    return 0;
}

static int has_word(const char *words, const char *word)
{
    size_t length = strlen(word);

    for (const char *p = words; (p = strstr(p, word)); p += length) {
        if ((p == words || p[-1] == ' ') && (p[length] == ' ' || p[length] == '\0'))
            return 1;
    }
    return 0;
}

/* "default" is all that it can, in the kernel's order (reset_method_store(), pci_reset_fn_methods
 * in drivers/pci/pci.c). */
static int reset_method(const char *bdf, const char *path, const char *text)
{
    static const char *const methods[] = {"device_specific", "acpi", "flr", "af_flr", "pm", "bus",
                                          "cxl_bus"};
    const Device *device = find(bdf);
    char words[TEXT], now[TEXT] = "", *rest = words;
    const char *word;
    size_t length = 0;

    if (!device || device->gone)
        return ENODEV;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (has_word(device->methods, methods[i]))
            length += (size_t)snprintf(now + length, sizeof now - length, "%s%s", length ? " " : "",
                                       methods[i]);
    }
    (void)snprintf(words, sizeof words, "%s", text);
    while (strcmp(text, "default") != 0 && (word = strsep(&rest, " "))) {
        if (!has_word(device->methods, word))
            return EINVAL;
    }
    return put(fake_path("%s", path).text, strcmp(text, "default") == 0 ? now : text);
}

/* ---- all of them ------------------------------------------------------------------------ */

/* PATH is FOLDER/NAME/last; NULL if it is not. */
static const char *between(const char *path, const char *folder, const char *last, char *name)
{
    size_t length = strlen(folder), end = strlen(path), tail = strlen(last);

    if (end <= length + tail || strncmp(path, folder, length) != 0 ||
        strcmp(path + end - tail, last) != 0 || end - length - tail >= TEXT)
        return NULL;
    (void)snprintf(name, TEXT, "%.*s", (int)(end - length - tail), path + length);
    return strchr(name, '/') ? NULL : name;
}

int fake_write(const char *path, const char *text)
{
    const char *last = strrchr(path, '/') + 1;
    char name[TEXT], folder[PATH_MAX];

    (void)snprintf(folder, sizeof folder, "%.*s", (int)(last - 1 - path), path);
    if (between(path, PCI "/drivers/", "/unbind", name))
        return pci_unbind(name, text);
    if (between(path, PCI "/drivers/", "/bind", name))
        return pci_bind(name, text);
    if (between(path, PLATFORM "/drivers/", "/unbind", name))
        return platform(name, text, 0);
    if (between(path, PLATFORM "/drivers/", "/bind", name))
        return platform(name, text, 1);
    if (between(path, "/sys/class/vtconsole/", "/bind", name))
        return console(name, text);
    if (strcmp(path, PCI "/drivers_probe") == 0)
        return pci_probe(text);
    if (strcmp(last, "remove") == 0)
        return pci_remove(strrchr(folder, '/') + 1);
    if (strcmp(last, "rescan") == 0)
        return pci_rescan();
    if (strcmp(last, "nr_hugepages") == 0)
        return huge_pages(folder, text);
    if (strcmp(last, "compact") == 0)
        return 0; /* nothing can be read there */
    if (strncmp(last, "resource", 8) == 0 && strstr(last, "_resize"))
        return resize(folder, path, text);
    if (strcmp(last, "reset_method") == 0)
        return reset_method(strrchr(folder, '/') + 1, path, text);
    if (strcmp(last, "driver_override") == 0 && *text == '\0')
        return put(fake_path("%s", path).text, "(null)");
    return put(fake_path("%s", path).text, text);
}

int fake_status(const char *path, const char *text)
{
    const char *group = strrchr(path, '/') + 1;
    char driver[TEXT];

    for (int i = 0; i < device_count; i++) {
        driver_of(&devices[i], driver, sizeof driver);
        if (strcmp(devices[i].group, group) == 0 && *driver && strcmp(driver, "vfio-pci") != 0 &&
            strcmp(driver, "pcieport") != 0)
            return EPERM;
    }
    return 0;
}

/* ---- start --- */

void fake_begin(const char *folder)
{
    DIR *dir;
    struct dirent *entry;
    char full[PATH_MAX];

    (void)snprintf(tree, sizeof tree, "%s", folder);
    has_locks = access(fake_path(NVIDIA).text, F_OK) == 0;
    dir = opendir(fake_path(PCI "/devices").text);

    while (dir && (entry = readdir(dir)) && device_count < DEVICES) {
        Device *device = &devices[device_count];

        if (entry->d_name[0] == '.' ||
            !realpath(fake_path(PCI "/devices/%s", entry->d_name).text, full))
            continue;
        (void)snprintf(device->bdf, sizeof device->bdf, "%.15s", entry->d_name);
        (void)snprintf(device->path, sizeof device->path, "%.255s", full + strlen(tree));
        driver_of(device, device->home, sizeof device->home);
        link_name(fake_path("%s/iommu_group", device->path).text, device->group,
                  sizeof device->group);
        get(fake_path("%s/reset_method", device->path).text, device->methods,
            sizeof device->methods);
        device_count++;
    }
    if (dir)
        (void)closedir(dir);
}
