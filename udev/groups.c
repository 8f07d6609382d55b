/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* IOMMU groups: their members, type and reserved regions. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/paths.h"
#include "udev/host-private.h"
#include "udev/sysfs.h"

static void group_free(DkvmGroup *group)
{
    g_free(group->type);
    g_ptr_array_unref(group->devices);
    g_ptr_array_unref(group->driven);
    g_ptr_array_unref(group->others);
    g_free(group);
}

static int by_number(gconstpointer a, gconstpointer b)
{
    const DkvmGroup *const *first = a, *const *second = b;

    return ((*first)->number > (*second)->number) - ((*first)->number < (*second)->number);
}

/* Members that are no PCI devices (ACPI and platform devices, since they have an IOMMU too). */
static void read_members(const DkvmHost *host, const char *path, DkvmGroup *group)
{
    g_autofree char *members = g_build_filename(path, "devices", NULL);
    g_autoptr(GDir) dir = g_dir_open(members, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *driver = g_build_filename(members, name, "driver", NULL);

        if (g_hash_table_contains(host->by_name, name))
            continue;
        g_ptr_array_add(group->others, dkvm_clean_text(name, strlen(name)));
        if (access(driver, F_OK) == 0)
            g_ptr_array_add(group->driven,
                            g_ptr_array_index(group->others, group->others->len - 1));
    }
}

/* FALSE if it is no group of an IOMMU. */
static gboolean read_group(const DkvmHost *host, const char *path, DkvmGroup *group)
{
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_autofree char *name = dir >= 0 ? dkvm_host_line(dir, "name") : NULL;
    char regions[4096];

    if (dir < 0)
        return TRUE;
    /* Made by vfio where there is no IOMMU (enable_unsafe_noiommu_mode, drivers/vfio/group.c). */
    if (g_strcmp0(name, "vfio-noiommu") == 0) {
        (void)close(dir);
        return FALSE;
    }
    group->type = dkvm_host_line(dir, "type");
    /* "0x... 0x... direct"; "direct-relaxable" is fine: drivers/iommu/iommu.c. */
    if (dkvm_sysfs_read(dir, "reserved_regions", regions, sizeof regions) > 0) {
        g_auto(GStrv) lines = g_strsplit(regions, "\n", -1);

        for (char **line = lines; *line; line++)
            group->direct = group->direct || g_str_has_suffix(g_strchomp(*line), " direct");
    }
    (void)close(dir);
    read_members(host, path, group);
    return TRUE;
}

static void drop_group(DkvmHost *host, guint index)
{
    const DkvmGroup *group = g_ptr_array_index(host->groups, index);

    for (guint i = 0; i < group->devices->len; i++)
        ((DkvmDevice *)g_ptr_array_index(group->devices, i))->group = NULL;
    g_ptr_array_remove_index(host->groups, index);
}

void dkvm_host_read_groups(DkvmHost *host)
{
    g_autofree char *base = dkvm_path("/sys/kernel/iommu_groups");
    g_autoptr(GHashTable) groups = g_hash_table_new(NULL, NULL);

    host->groups = g_ptr_array_new_with_free_func((GDestroyNotify)group_free);
    for (guint i = 0; i < host->devices->len; i++) {
        DkvmDevice *device = g_ptr_array_index(host->devices, i);
        gpointer key = device->group;
        DkvmGroup *group = key ? g_hash_table_lookup(groups, key) : NULL;

        if (key && !group) {
            group = g_new0(DkvmGroup, 1);
            group->number = GPOINTER_TO_INT(key) - 1;
            group->devices = g_ptr_array_new();
            group->others = g_ptr_array_new_with_free_func(g_free);
            group->driven = g_ptr_array_new();
            g_hash_table_insert(groups, key, group);
            g_ptr_array_add(host->groups, group);
        }
        device->group = group;
        if (group)
            g_ptr_array_add(group->devices, device);
    }
    g_ptr_array_sort(host->groups, by_number);
    for (guint i = host->groups->len; i > 0; i--) {
        DkvmGroup *group = g_ptr_array_index(host->groups, i - 1);
        g_autofree char *path = g_strdup_printf("%s/%d", base, group->number);

        if (!read_group(host, path, group))
            drop_group(host, i - 1);
    }
}
