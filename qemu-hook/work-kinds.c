/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the worker does. */
#include <errno.h>
#include <fcntl.h>
#include <libkmod.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/paths.h"
#include "qemu-hook/hugepages.h"
#include "qemu-hook/libvirt.h"
#include "qemu-hook/worker.h"
#include "udev/sysfs.h"

#define MODALIAS_MAX 256

/* ---- modules ---------------------------------------------------------------------------- */

/* By name or modalias, blacklists respected for the latter, as udev does. */
static int load(const char *what, gboolean is_alias)
{
    struct kmod_ctx *context = kmod_new(NULL, NULL);
    struct kmod_list *list = NULL, *item;
    int result = context ? kmod_module_new_from_lookup(context, what, &list) : -ENOMEM;

    kmod_list_foreach(item, list)
    {
        struct kmod_module *module = kmod_module_get_module(item);
        int one = kmod_module_probe_insert_module(module, is_alias ? KMOD_PROBE_APPLY_BLACKLIST : 0,
                                                  NULL, NULL, NULL, NULL);

        result = one < 0 && result >= 0 ? one : result;
        kmod_module_unref(module);
    }
    if (list)
        kmod_module_unref_list(list);
    else if (!is_alias && result >= 0)
        result = -ENOENT;
    if (context)
        kmod_unref(context);
    return result < 0 ? -result : 0;
}

/* O_NONBLOCK: one that is in use is refused, and never marked for a removal that waits
 * (delete_module(2)). */
static int unload(const char *name)
{
    return syscall(SYS_delete_module, name, O_NONBLOCK) == 0 ? 0 : errno;
}

static int probe(const char *bdf)
{
    g_autofree char *alias =
        g_strconcat(dkvm_paths_root(), "/sys/bus/pci/devices/", bdf, "/modalias", NULL);
    g_autofree char *file = dkvm_path("/sys/bus/pci/drivers_probe");
    char text[MODALIAS_MAX];

    /* Loading may fail and the driver be there all the same: built in, or loaded already. */
    if (*dkvm_paths_root() == '\0' && dkvm_sysfs_line(AT_FDCWD, alias, text, sizeof text) > 0)
        (void)load(text, TRUE);
    return dkvm_sysfs_write(AT_FDCWD, file, bdf);
}

/* ---- the group -------------------------------------------------------------------------- */

/* EBUSY: somebody has it open.  EPERM: not viable. */
static int prove(const char *number)
{
    g_autofree char *path = g_strconcat(dkvm_paths_root(), "/dev/vfio/", number, NULL);
    struct vfio_group_status status = {.argsz = sizeof status};
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    int cause = 0;

    if (fd < 0)
        return errno;
    if (ioctl(fd, VFIO_GROUP_GET_STATUS, &status) != 0)
        cause = errno;
    else if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
        cause = EPERM;
    (void)close(fd);
    return cause;
}

int dkvm_work(DkvmWorkKind kind, const char *a, const char *b, char **text)
{
    g_autofree char *path = kind == DKVM_WORK_WRITE ? dkvm_path(a) : NULL;

    *text = NULL;
    switch (kind) {
    case DKVM_WORK_WRITE:
        return dkvm_sysfs_write(AT_FDCWD, path, b);
    case DKVM_WORK_PROBE:
        return probe(a);
    case DKVM_WORK_MODULE:
        return *dkvm_paths_root() == '\0' ? load(a, FALSE) : 0;
    case DKVM_WORK_UNLOAD:
        return *dkvm_paths_root() == '\0' ? unload(a) : 0;
    case DKVM_WORK_REATTACH:
        return dkvm_libvirt_reattach(a, b, text);
    case DKVM_WORK_GROUP:
        return prove(a);
    case DKVM_WORK_TAKE_PAGES:
        return dkvm_hugepages_take(a, b, text);
    case DKVM_WORK_GIVE_PAGES:
        return dkvm_hugepages_give(a, b, text);
    }
    return EINVAL;
}
