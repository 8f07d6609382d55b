/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* udev's environment and the list, both anything, on a host with one device: the helper returns,
 * and the device is touched only if a line names it as it is.  Input: action, subsystem, slot,
 * mode, each ended by NUL; then the list. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "udev/helper.h"
#include "udev/reservation.h"

#define DEVICE "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"
static char *root;

static void put(const char *path, const char *text, gsize length)
{
    g_autofree char *full = g_strconcat(root, path, NULL);
    g_autofree char *folder = g_path_get_dirname(full);
    int fd;

    (void)g_mkdir_with_parents(folder, 0755);
    fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    HOLDS(fd >= 0 && write(fd, text, length) == (ssize_t)length);
    (void)close(fd);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    g_autofree char *link = NULL;

    root = fuzz_root("sys/bus/pci/devices");
    put(DEVICE "/vendor", "0x10de\n", 7);
    put(DEVICE "/device", "0x2484\n", 7);
    put(DEVICE "/subsystem_vendor", "0x1462\n", 7);
    put(DEVICE "/subsystem_device", "0x3909\n", 7);
    put("/dev/kmsg", "", 0);
    link = g_strconcat(root, "/sys/bus/pci/devices/0000:01:00.0", NULL);
    HOLDS(symlink("../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0", link) == 0);
    HOLDS(freopen("/dev/null", "w", stdout) != NULL);
    return 0;
}

static const char *field(const uint8_t **data, size_t *size)
{
    const char *text = (const char *)*data;
    const uint8_t *end = memchr(*data, 0, *size);

    if (!end)
        return NULL;
    *size -= (size_t)(end + 1 - *data);
    *data = end + 1;
    return text;
}

/* Whether a line of the list is this device as it is, said apart from the code under test. */
static gboolean is_named(const char *list, gsize size)
{
    static const char wanted[] = "01:00.0 10de:2484 1462:3909 0000:00/01.0/00.0";

    g_autofree char *lower = g_malloc(size + 1); /* g_ascii_strdown() ends at a NUL */
    for (gsize i = 0; i < size; i++)
        lower[i] = list[i] == '\t' ? ' ' : g_ascii_tolower(list[i]);
    lower[size] = '\0';
    for (char *at = lower; (at = memmem(at, size - (gsize)(at - lower), " ", 1)); at++) {
        while (at[1] == ' ')
            memmove(at, at + 1, size - (gsize)(at - lower));
    }
    return memmem(lower, size, wanted, sizeof wanted - 1) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *action = field(&data, &size), *subsystem = field(&data, &size);
    const char *slot = field(&data, &size), *mode = field(&data, &size);
    g_autofree char *now = NULL;
    g_autofree char *path = g_strconcat(root, DEVICE "/driver_override", NULL);

    if (!mode || size > DKVM_RESERVATION_MAX_FILE)
        return 0;
    put(DEVICE "/driver_override", "(null)\n", 7);
    put(DKVM_RESERVATION_FILE, (const char *)data, size);
    put("/dev/kmsg", "", 0);
    if (*mode == 'b')
        dkvm_helper_boot(root);
    else
        dkvm_helper_event(root, action, subsystem, slot);
    HOLDS(g_file_get_contents(path, &now, NULL, NULL));
    if (g_str_has_prefix(now, "vfio-pci"))
        HOLDS(is_named((const char *)data, size));
    else
        HOLDS(g_str_equal(now, "(null)\n"));
    return 0;
}
