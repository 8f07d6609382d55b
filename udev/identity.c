/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "udev/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "udev/sysfs.h"

#define CONFIG_SIZE 4096
#define EXTENDED_START 0x100
#define CAPABILITY_SERIAL 0x0003

/* ---- the slot path ---------------------------------------------------------------------- */

static bool append(char *path, size_t *used, const char *part)
{
    int put = snprintf(path + *used, DKVM_SLOT_PATH_SIZE - *used, "%s%s", *used ? "/" : "", part);

    if (put < 0 || (size_t)put >= DKVM_SLOT_PATH_SIZE - *used)
        return false;
    *used += (size_t)put;
    return true;
}

/* "pci0000:00", "pci10000:e0": a root bus. */
static bool is_root_bus(const char *part)
{
    char address[DKVM_BDF_SIZE + 8];
    DkvmBdf bdf;

    if (strncmp(part, "pci", 3) != 0 || strlen(part) > 3 + 11)
        return false;
    (void)snprintf(address, sizeof address, "%.11s:00.0", part + 3);
    return strlen(part + 3) >= 7 && dkvm_bdf_parse(address, &bdf);
}

bool dkvm_slot_path(const char *sysfs_path, char path[DKVM_SLOT_PATH_SIZE])
{
    char part[NAME_MAX + 1];
    char hop[8];
    size_t used = 0;
    bool root = false, device = false;

    while (*sysfs_path) {
        size_t length = strcspn(sysfs_path, "/");
        DkvmBdf bdf;

        if (length > 0 && length < sizeof part) {
            (void)memcpy(part, sysfs_path, length);
            part[length] = '\0';
            if (is_root_bus(part)) {
                root = append(path, &used, part + 3);
                device = false;
                if (!root)
                    return false;
            } else if (root && dkvm_bdf_parse(part, &bdf)) {
                (void)snprintf(hop, sizeof hop, "%02x.%x", bdf.slot, bdf.function);
                if (!append(path, &used, hop))
                    return false;
                device = true;
            }
        }
        sysfs_path += length + (sysfs_path[length] == '/');
    }
    return device;
}

bool dkvm_slot_path_is_valid(const char *text)
{
    size_t length = strlen(text);

    return length >= 12 && length < DKVM_SLOT_PATH_SIZE &&
           strspn(text, "0123456789abcdef:./") == length && text[4] != '/' &&
           strstr(text, "//") == NULL && text[length - 1] != '/' && text[length - 2] == '.';
}

/* ---- configuration space ---------------------------------------------------------------- */

static uint32_t word(const unsigned char *config, size_t at)
{
    return (uint32_t)config[at] | (uint32_t)config[at + 1] << 8 | (uint32_t)config[at + 2] << 16 |
           (uint32_t)config[at + 3] << 24;
}

/* Offset of the extended capability ID, 0 if there is none.  Bounded: the list may be a circle. */
static size_t find_extended(const unsigned char *config, size_t length, unsigned id)
{
    size_t at = EXTENDED_START;

    for (int i = 0; i < (CONFIG_SIZE - EXTENDED_START) / 8; i++) {
        uint32_t header;

        if (at < EXTENDED_START || at + 4 > length)
            return 0;
        header = word(config, at);
        if (header == 0 || header == UINT32_MAX)
            return 0;
        if ((header & 0xffff) == id)
            return at;
        at = header >> 20 & 0xffc;
    }
    return 0;
}

bool dkvm_config_has_extended(const unsigned char *config, size_t length, unsigned id)
{
    return find_extended(config, length, id) != 0;
}

bool dkvm_config_serial(const unsigned char *config, size_t length, uint64_t *serial)
{
    size_t at = find_extended(config, length, CAPABILITY_SERIAL);
    uint64_t value;

    if (at == 0 || at + 12 > length)
        return false;
    value = (uint64_t)word(config, at + 8) << 32 | word(config, at + 4);
    if (value == 0 || value == UINT64_MAX)
        return false;
    *serial = value;
    return true;
}

/* ---- reading ---------------------------------------------------------------------------- */

static bool read_id(int dir, const char *name, uint16_t *id)
{
    uint64_t value;

    if (!dkvm_sysfs_hex(dir, name, 0xffff, &value))
        return false;
    *id = (uint16_t)value;
    return true;
}

int dkvm_identity_read_at(int dir, const char *link, const DkvmBdf *bdf, bool with_serial,
                          DkvmIdentity *id)
{
    DkvmIdentity new = {.bdf = *bdf};

    if (!read_id(dir, "vendor", &new.vendor) || !read_id(dir, "device", &new.device))
        return EINVAL;
    (void)read_id(dir, "subsystem_vendor", &new.subvendor);
    (void)read_id(dir, "subsystem_device", &new.subdevice);
    if (!dkvm_slot_path(link, new.path))
        return EINVAL;
    if (with_serial) {
        char config[CONFIG_SIZE + 1];
        ssize_t length = dkvm_sysfs_read(dir, "config", config, sizeof config);

        if (length > 0)
            new.has_serial =
                dkvm_config_serial((unsigned char *)config, (size_t)length, &new.serial);
    }
    *id = new;
    return 0;
}

int dkvm_identity_read(const char *root, const DkvmBdf *bdf, bool with_serial, DkvmIdentity *id)
{
    char name[DKVM_BDF_SIZE], path[PATH_MAX], link[PATH_MAX];
    ssize_t length;
    int dir, cause;

    dkvm_bdf_format(bdf, name);
    if (snprintf(path, sizeof path, "%s/sys/bus/pci/devices/%s", root, name) >= (int)sizeof path)
        return ENAMETOOLONG;
    length = readlink(path, link, sizeof link - 1);
    if (length < 0)
        return errno;
    link[length] = '\0';
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return errno;
    cause = dkvm_identity_read_at(dir, link, bdf, with_serial, id);
    (void)close(dir);
    return cause;
}

const char *dkvm_identity_difference(const DkvmIdentity *saved, const DkvmIdentity *now)
{
    if (saved->vendor != now->vendor || saved->device != now->device)
        return "other ids";
    if (saved->subvendor != now->subvendor || saved->subdevice != now->subdevice)
        return "another subsystem";
    if (strcmp(saved->path, now->path) != 0)
        return "another slot";
    if (saved->has_serial && now->has_serial && saved->serial != now->serial)
        return "another serial number";
    return dkvm_bdf_compare(&saved->bdf, &now->bdf) != 0 ? "another address" : NULL;
}
