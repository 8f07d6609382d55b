/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How things are now, for the steps, and waiting until a file is there or gone. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "lib/paths.h"
#include "qemu-hook/step.h"
#include "udev/sysfs.h"

/* "It is not there" is an answer, everything else is none. */
static char *no_answer(const char *if_gone)
{
    return g_strdup(errno == ENOENT || errno == ENODEV ? if_gone : DKVM_UNREADABLE);
}

char *dkvm_look_link(const char *full)
{
    char name[128];

    return dkvm_sysfs_link_name(AT_FDCWD, full, name, sizeof name) ? g_strdup(name) : no_answer("");
}

char *dkvm_look_line(const char *full)
{
    char text[128];

    return dkvm_sysfs_line(AT_FDCWD, full, text, sizeof text) >= 0 ? g_strdup(text)
                                                                   : no_answer(NULL);
}

char *dkvm_driver_of(const DkvmHandover *handover, const char *bdf)
{
    const DkvmTaken *taken = dkvm_handover_device(handover, bdf);
    g_autofree char *folder = g_strconcat(dkvm_paths_root(), "/sys/bus/pci/devices/", bdf, NULL);
    g_autofree char *driver = g_strconcat(folder, "/driver", NULL);
    char vendor[16] = "", device[16] = "";
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0)
        return no_answer(NULL);
    gboolean known = dkvm_sysfs_line(dir, "vendor", vendor, sizeof vendor) > 0 &&
                     dkvm_sysfs_line(dir, "device", device, sizeof device) > 0;

    (void)close(dir);
    /* One that goes at this moment is gone the next time. */
    if (!known)
        return g_strdup(DKVM_UNREADABLE);
    if (taken) {
        g_autofree char *identity = g_strconcat(vendor, ":", device, NULL);

        if (!g_str_equal(identity, taken->identity))
            return NULL;
    }
    return dkvm_look_link(driver);
}

/* The folder that FULL is to appear in, or that which that one is to appear in, and so on: udev
 * makes /dev/dri/by-path anew with the first card. */
static void watch_nearest(int watch, const char *full)
{
    g_autofree char *folder = g_path_get_dirname(full);

    while (inotify_add_watch(watch, folder,
                             IN_CREATE | IN_MOVED_TO | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM) < 0 &&
           strcmp(folder, "/") != 0 && strcmp(folder, ".") != 0) {
        char *above = g_path_get_dirname(folder);

        g_free(folder);
        folder = above;
    }
}

static gboolean wait_for(const char *path, gboolean there, guint milliseconds)
{
    g_autofree char *full = dkvm_path(path);
    gint64 end = g_get_monotonic_time() + (gint64)milliseconds * 1000;
    int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    gboolean is_so;
    char events[4096];

    for (;;) {
        watch_nearest(watch, full); /* before the look: nothing comes between unseen */
        is_so = (access(full, F_OK) == 0) == there;
        if (is_so)
            break;
        gint64 left = (end - g_get_monotonic_time()) / 1000;
        struct pollfd one = {.fd = watch, .events = POLLIN};

        if (left <= 0)
            break;
        if (poll(&one, 1, (int)left) > 0)
            (void)!read(watch, events, sizeof events);
    }
    if (watch >= 0)
        (void)close(watch);
    return is_so;
}

gboolean dkvm_wait_for_file(const char *path, guint milliseconds)
{
    return wait_for(path, TRUE, milliseconds);
}

gboolean dkvm_wait_until_gone(const char *path, guint milliseconds)
{
    return wait_for(path, FALSE, milliseconds);
}
