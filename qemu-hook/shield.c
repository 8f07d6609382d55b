/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/shield.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"
#include "lib/paths.h"
#include "udev/bdf.h"

#define MOUNTS "/proc/self/mounts"
#define MOUNTS_MAX (1024 * 1024)

static char *config_of(const char *bdf)
{
    return g_strconcat(dkvm_paths_root(), "/sys/bus/pci/devices/", bdf, "/config", NULL);
}

static gboolean is_read_only(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    gboolean refused = fd < 0 && errno == EROFS;

    if (fd >= 0)
        (void)close(fd);
    return refused;
}

/* Read-only before it is put there: a guard that is killed leaves all of it or nothing.  0, or the
 * errno. */
static int mount_read_only(const char *path)
{
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
    int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), cause = 0;

    if (tree < 0)
        return errno;
    if (mount_setattr(tree, "", AT_EMPTY_PATH, &read_only, sizeof read_only) != 0 ||
        move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) != 0)
        cause = errno;
    (void)close(tree);
    return cause;
}

static void raise_one(const char *bdf)
{
    g_autofree char *path = config_of(bdf);

    /* One that is gone needs none. */
    if (access(path, F_OK) != 0 || is_read_only(path))
        return;
    int cause = mount_read_only(path);

    if (cause != 0 || !is_read_only(path))
        dkvm_log_warning("libvirt cannot be kept from resetting %s when it comes back: mounting "
                         "%s read-only failed: %s; log out of the desktop before libvirt's daemon "
                         "is started again",
                         bdf, path, cause ? g_strerror(cause) : "it had no effect");
}

void dkvm_shield_raise(const DkvmHandover *handover)
{
    for (guint i = 0; i < handover->devices->len; i++) {
        const DkvmTaken *taken = g_ptr_array_index(handover->devices, i);

        if (taken->how != DKVM_TAKEN_ALONG)
            raise_one(taken->bdf);
    }
}

void dkvm_shield_lower(const char *bdf)
{
    g_autofree char *path = config_of(bdf);

    /* EINVAL: it is no mount, so it is not ours. */
    if (is_read_only(path) && umount2(path, MNT_DETACH) != 0 && errno != EINVAL)
        dkvm_log_warning("%s stays read-only for programs: %s; 'umount %s' ends it", path,
                         g_strerror(errno), path);
}

void dkvm_shield_lower_all(const GPtrArray *devices)
{
    for (guint i = 0; i < devices->len; i++)
        dkvm_shield_lower(((const DkvmTaken *)g_ptr_array_index(devices, i))->bdf);
}

/* LINE of /proc/self/mounts: "sysfs /sys/devices/.../0000:01:00.0/config sysfs ro,... 0 0". */
static char *device_of(const char *line)
{
    g_auto(GStrv) fields = g_strsplit(line, " ", 3);
    const char *path = g_strv_length(fields) > 2 ? fields[1] : "";
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(folder);
    DkvmBdf bdf;

    return g_str_has_suffix(path, "/config") && dkvm_bdf_parse(name, &bdf) ? g_steal_pointer(&name)
                                                                           : NULL;
}

char *dkvm_shield_text(void)
{
    g_autofree char *mounts = dkvm_file_read(MOUNTS, MOUNTS_MAX, NULL, NULL);
    g_auto(GStrv) lines = g_strsplit(mounts ? mounts : "", "\n", -1);
    g_autoptr(GString) text = g_string_new(NULL);

    for (char **line = lines; *line; line++) {
        g_autofree char *bdf = device_of(*line);

        if (bdf)
            g_string_append_printf(text, "%s%s", text->len ? " " : "", bdf);
    }
    return text->len ? g_string_free(g_steal_pointer(&text), FALSE) : NULL;
}
