/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/paths.h"
#include "qemu-hook/step.h"
#include "udev/sysfs.h"

/* include/uapi/linux/pci_regs.h */
#define VENDOR 0x00
#define HEADER_TYPE 0x0e
#define FIRST_BAR 0x10
#define CONFIG_SIZE 64
#define BARS 6
/* include/linux/ioport.h: the third number of a line of "resource" */
#define IS_MEMORY 0x00000200
#define IS_64_BIT 0x00100000
#define IS_UNSET 0x20000000

static guint32 register_at(const guint8 *config, gsize at)
{
    return (guint32)config[at] | (guint32)config[at + 1] << 8 | (guint32)config[at + 2] << 16 |
           (guint32)config[at + 3] << 24;
}

/* The address that BAR number INDEX holds. */
static guint64 address_in(const guint8 *config, gsize index, guint64 flags)
{
    gsize at = FIRST_BAR + 4 * index;
    guint64 address = register_at(config, at) & ~0xfU;

    if ((flags & IS_64_BIT) != 0 && index + 1 < BARS)
        address |= (guint64)register_at(config, at + 4) << 32;
    return address;
}

/* LINES: "0xSTART 0xEND 0xFLAGS", one for each BAR. */
static gboolean is_lost(const guint8 *config, char *const *lines)
{
    for (gsize i = 0; i < BARS && lines[i]; i++) {
        char *rest = lines[i];
        guint64 start = g_ascii_strtoull(rest, &rest, 16);
        (void)g_ascii_strtoull(rest, &rest, 16);
        guint64 flags = g_ascii_strtoull(rest, &rest, 16);

        if (start != 0 && (flags & IS_MEMORY) != 0 && (flags & IS_UNSET) == 0 &&
            address_in(config, i, flags) == 0)
            return TRUE;
    }
    return FALSE;
}

gboolean dkvm_has_lost_its_place(const char *bdf)
{
    g_autofree char *folder = g_strconcat(dkvm_paths_root(), "/sys/bus/pci/devices/", bdf, NULL);
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int file = dir >= 0 ? openat(dir, "config", O_RDONLY | O_CLOEXEC) : -1;
    guint8 config[CONFIG_SIZE] = {0};
    char text[4096] = "";

    gboolean whole = file >= 0 && read(file, config, sizeof config) == (ssize_t)sizeof config &&
                     dkvm_sysfs_read(dir, "resource", text, sizeof text) > 0;
    if (file >= 0)
        (void)close(file);
    if (dir >= 0)
        (void)close(dir);
    /* Other headers have other registers there; what does not answer reads as ones. */
    if (!whole || (config[HEADER_TYPE] & 0x7f) != 0 || register_at(config, VENDOR) == G_MAXUINT32)
        return FALSE;
    g_auto(GStrv) lines = g_strsplit(text, "\n", BARS + 1);
    return is_lost(config, lines);
}
