/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "udev/give-back.h"

#include <errno.h>
#include <fcntl.h>
#include <libkmod.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/paths.h"
#include "udev/holders.h"
#include "udev/sysfs.h"

/* Loading a driver takes seconds too. */
#define PATIENCE_MS 30000

/* Loads what takes the device, as udev would have done, blacklists respected. */
static void load_modules(const DkvmDevice *device)
{
    struct kmod_ctx *context = device->modalias ? kmod_new(NULL, NULL) : NULL;
    struct kmod_list *list = NULL, *item;

    if (context && kmod_module_new_from_lookup(context, device->modalias, &list) >= 0) {
        kmod_list_foreach(item, list)
        {
            struct kmod_module *module = kmod_module_get_module(item);

            (void)kmod_module_probe_insert_module(module, KMOD_PROBE_APPLY_BLACKLIST, NULL, NULL,
                                                  NULL, NULL);
            kmod_module_unref(module);
        }
        kmod_module_unref_list(list);
    }
    if (context)
        kmod_unref(context);
}

/* In a process of its own, since any of these writes may block in the kernel for ever. */
static int return_device(const DkvmDevice *device)
{
    g_autofree char *folder =
        g_strconcat(dkvm_paths_root(), "/sys/bus/pci/devices/", device->name, NULL);
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_autofree char *probe = dkvm_path("/sys/bus/pci/drivers_probe");
    int cause;

    if (dir < 0)
        return errno;
    cause = dkvm_sysfs_write(dir, "driver_override", "\n");
    if (cause == 0 && device->driver)
        cause = dkvm_sysfs_write(dir, "driver/unbind", device->name);
    if (cause == 0) {
        if (*dkvm_paths_root() == '\0')
            load_modules(device);
        cause = dkvm_sysfs_write(AT_FDCWD, probe, device->name);
    }
    return cause;
}

/* Not ours to hold open: who reads what we print waits for its end. */
static void let_go_of_standard_files(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int i = STDIN_FILENO; fd >= 0 && i <= STDERR_FILENO; i++)
        (void)dup2(fd, i);
}

/* -1: it did not end in time, and is left behind, where it may still finish. */
static int in_time(const DkvmDevice *device)
{
    pid_t child = fork();
    int pidfd, status = 0;

    if (child == 0) {
        let_go_of_standard_files();
        _exit(return_device(device) & 0xff);
    }
    if (child < 0)
        return errno;
    pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    struct pollfd wait = {.fd = pidfd, .events = POLLIN};
    int ready;

    do {
        ready = pidfd >= 0 ? poll(&wait, 1, PATIENCE_MS) : -1;
    } while (ready < 0 && errno == EINTR);
    if (pidfd >= 0)
        (void)close(pidfd);
    if (ready <= 0)
        return -1;
    (void)waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

static void say_result(const DkvmDevice *device, int cause, GString *text)
{
    g_autofree char *link =
        g_strconcat(dkvm_paths_root(), "/sys/bus/pci/devices/", device->name, "/driver", NULL);
    char driver[128];

    if (cause < 0)
        g_string_append_printf(text,
                               "%s: not back within 30 seconds; the kernel still works at it, and "
                               "if it never ends the next start of the host helps.\n",
                               device->name);
    else if (cause > 0)
        g_string_append_printf(text,
                               "%s: not given back now (%s); it is after the next start of the "
                               "host.\n",
                               device->name, g_strerror(cause));
    else if (dkvm_sysfs_link_name(AT_FDCWD, link, driver, sizeof driver))
        g_string_append_printf(text, "%s: now on %s.\n", device->name, driver);
    else
        g_string_append_printf(text, "%s: now without a driver; none wanted it.\n", device->name);
}

static gboolean is_held(const DkvmDevice *device, GString *text)
{
    gboolean complete;
    g_autoptr(GPtrArray) holders = dkvm_holders(device, &complete);

    if (holders->len == 0)
        return FALSE;
    const DkvmHolder *holder = g_ptr_array_index(holders, 0);
    g_string_append_printf(text,
                           "%s: in use by %s (%d), left to it; shut the guest down and run this "
                           "again, or start the host again.\n",
                           device->name, holder->command, (int)holder->pid);
    return TRUE;
}

static void give_one(const DkvmHost *host, const DkvmReservation *entry, GString *text)
{
    const DkvmDevice *device = dkvm_host_device(host, &entry->id.bdf);
    const char *difference = device ? dkvm_identity_difference(&entry->id, &device->id) : "";

    /* Nothing was done to a device that is not the reserved one. */
    if (!device || difference || g_strcmp0(device->driver_override, "vfio-pci") != 0)
        return;
    if (device->driver && !dkvm_driver_lets_go(device->driver)) {
        g_autofree char *folder =
            g_strconcat(dkvm_paths_root(), "/sys/bus/pci/devices/", device->name, NULL);
        int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        /* It never came to vfio-pci: only the override has to go. */
        if (dir >= 0) {
            (void)dkvm_sysfs_write(dir, "driver_override", "\n");
            (void)close(dir);
        }
        return;
    }
    if (!is_held(device, text))
        say_result(device, in_time(device), text);
}

void dkvm_give_back(const DkvmHost *host, const GArray *released, GString *text)
{
    for (guint i = 0; i < released->len; i++)
        give_one(host, &g_array_index(released, DkvmReservation, i), text);
}
