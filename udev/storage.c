/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which devices hold file systems and swap space, through any stack: a block device is followed
 * down its "slaves" (device mapper, md, bcache), out of a partition, through NVMe multipath, btrfs
 * and ZFS members, until a path below a PCI device is reached. */
#include <stdio.h>
#include <string.h>

#include "udev/host-private.h"

#define MAX_MOUNTS (1024 * 1024)
#define MAX_DEPTH 16

typedef struct {
    DkvmHost *host;
    DkvmUseKind kind;
    const char *what;
    guint found;
} Walk;

static void walk(Walk *w, const char *path, int depth);

static void walk_links(Walk *w, const char *folder, const char *prefix, int depth)
{
    g_autoptr(GPtrArray) names = dkvm_host_list(folder);

    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autofree char *entry = g_build_filename(folder, name, NULL);
        g_autofree char *target = g_str_has_prefix(name, prefix) ? dkvm_host_link(entry) : NULL;

        if (target)
            walk(w, target, depth + 1);
    }
}

static void walk(Walk *w, const char *path, int depth)
{
    DkvmDevice *device = dkvm_host_device_of_path(w->host, path);
    const char *subsystem = strstr(path, "/nvme-subsystem/");

    if (depth > MAX_DEPTH)
        return;
    if (device) {
        dkvm_device_add_use(device, w->kind, w->what);
        w->found++;
        return;
    }
    if (subsystem) {
        const char *end = strchr(subsystem + strlen("/nvme-subsystem/"), '/');
        g_autofree char *folder = end ? g_strndup(path, (gsize)(end - path)) : NULL;

        if (folder)
            walk_links(w, folder, "nvme", depth);
        return;
    }
    g_autofree char *slaves = g_build_filename(path, "slaves", NULL);
    g_autofree char *mark = g_build_filename(path, "partition", NULL);
    g_autofree char *partition = dkvm_host_text(mark, 16);

    walk_links(w, slaves, "", depth);
    if (partition) {
        g_autofree char *disk = g_path_get_dirname(path);

        walk(w, disk, depth + 1);
    }
}

/* The sysfs path of /dev/NAME; a device mapper name too. */
static char *path_of_node(const char *node)
{
    if (!g_str_has_prefix(node, "/dev/"))
        return NULL;
    if (g_str_has_prefix(node, "/dev/mapper/")) {
        g_autoptr(GPtrArray) names = dkvm_host_list("/sys/class/block");

        for (guint i = 0; i < names->len; i++) {
            const char *name = g_ptr_array_index(names, i);
            g_autofree char *file = g_strdup_printf("/sys/class/block/%s/dm/name", name);
            g_autofree char *mapped =
                g_str_has_prefix(name, "dm-") ? dkvm_host_text(file, 256) : NULL;

            if (mapped && g_str_equal(g_strstrip(mapped), node + strlen("/dev/mapper/"))) {
                g_autofree char *link = g_strconcat("/sys/class/block/", name, NULL);

                return dkvm_host_link(link);
            }
        }
        return NULL;
    }
    /* /dev/disk/by-uuid/..., /dev/vg/name */
    g_autofree char *target = dkvm_host_link(node);
    g_autofree char *name = g_path_get_basename(target ? target : node);
    g_autofree char *link = g_strconcat("/sys/class/block/", name, NULL);

    return dkvm_host_link(link);
}

/* What people call the block device: "nvme0n1p2", "vg-root". */
static char *name_of_path(const char *path)
{
    g_autofree char *file = g_build_filename(path, "dm", "name", NULL);
    char *mapped = dkvm_host_text(file, 128);

    return mapped ? g_strstrip(mapped) : g_path_get_basename(path);
}

/* mountinfo writes space, tab, newline and backslash as \ooo (fs/proc_namespace.c). */
static void unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
            from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
            *to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* The members of a btrfs file system of which PATH is one: /sys/fs/btrfs/UUID/devices. */
static void walk_btrfs(Walk *w, const char *member)
{
    g_autoptr(GPtrArray) all = dkvm_host_list("/sys/fs/btrfs");

    for (guint i = 0; i < all->len; i++) {
        g_autofree char *folder =
            g_build_filename("/sys/fs/btrfs", g_ptr_array_index(all, i), "devices", NULL);
        g_autoptr(GPtrArray) members = dkvm_host_list(folder);

        for (guint k = 0; k < members->len; k++) {
            if (g_str_equal(g_ptr_array_index(members, k), member))
                walk_links(w, folder, "", 0);
        }
    }
}

static gboolean has_line(const char *text, const char *wanted)
{
    const char *at = text;
    gsize length = strlen(wanted);

    while ((at = strstr(at, wanted))) {
        if ((at == text || at[-1] == '\n') && (at[length] == '\n' || at[length] == '\0'))
            return TRUE;
        at += length;
    }
    return FALSE;
}

/* ZFS names a pool, not its disks; udev knows which partitions say that they belong to it. */
static void walk_zfs(Walk *w, const char *source)
{
    g_autofree char *pool = g_strndup(source, strcspn(source, "/"));
    g_autofree char *label = g_strconcat("E:ID_FS_LABEL=", pool, NULL);
    g_autoptr(GPtrArray) names = dkvm_host_list("/sys/class/block");

    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autofree char *file = g_strdup_printf("/sys/class/block/%s/dev", name);
        g_autofree char *number = dkvm_host_text(file, 32);
        g_autofree char *data =
            number ? g_strconcat("/run/udev/data/b", g_strstrip(number), NULL) : NULL;
        g_autofree char *text = data ? dkvm_host_text(data, 65536) : NULL;

        if (text && has_line(text, "E:ID_FS_TYPE=zfs_member") && has_line(text, label)) {
            g_autofree char *node = g_strconcat("/dev/", name, NULL);
            g_autofree char *path = path_of_node(node);

            if (path)
                walk(w, path, 0);
        }
    }
    g_autofree char *name = dkvm_clean_text(pool, strlen(pool));

    if (w->found == 0)
        g_ptr_array_add(w->host->notes,
                        g_strdup_printf("The disks of the ZFS pool %s are not visible in sysfs: "
                                        "look yourself which devices hold them (zpool status -P).",
                                        name));
}

/* One line: id parent major:minor root mountpoint options... - type source options */
static void read_mount(DkvmHost *host, char *line, GHashTable *seen)
{
    char *separator = strstr(line, " - ");
    g_auto(GStrv) left = NULL, right = NULL;

    if (!separator)
        return;
    *separator = '\0';
    left = g_strsplit(line, " ", 7);
    right = g_strsplit(separator + 3, " ", 3);
    if (g_strv_length(left) < 6 || g_strv_length(right) < 2)
        return;
    unescape(left[4]);
    unescape(right[1]);

    gboolean zfs = g_str_equal(right[0], "zfs"), btrfs = g_str_equal(right[0], "btrfs");
    gboolean anonymous = g_str_has_prefix(left[2], "0:");
    const char *key = anonymous ? right[1] : left[2];

    /* Bind mounts show the same file system again and again; the first is the one it is about. */
    if ((anonymous && !zfs && !btrfs) || !g_hash_table_add(seen, g_strdup(key)))
        return;

    g_autofree char *by_number = g_strconcat("/sys/dev/block/", left[2], NULL);
    g_autofree char *path = zfs ? NULL : btrfs ? path_of_node(right[1]) : dkvm_host_link(by_number);
    g_autofree char *name = path ? name_of_path(path) : g_strdup(right[1]);
    g_autofree char *what = g_strdup_printf("%s (%s)", left[4], name);
    Walk w = {.host = host, .kind = DKVM_USE_MOUNT, .what = what};

    if (zfs) {
        walk_zfs(&w, right[1]);
    } else if (path) {
        g_autofree char *base = g_path_get_basename(path);

        walk(&w, path, 0);
        if (btrfs)
            walk_btrfs(&w, base);
    }
}

static void read_mounts(DkvmHost *host)
{
    g_autofree char *text = dkvm_host_text("/proc/self/mountinfo", MAX_MOUNTS);
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);

    for (char **line = lines; *line; line++)
        read_mount(host, *line, seen);
}

static void read_swaps(DkvmHost *host)
{
    g_autofree char *text = dkvm_host_text("/proc/swaps", 65536);
    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);

    for (char **line = lines; *line; line++) {
        (*line)[strcspn(*line, " \t")] = '\0';
        unescape(*line);
        /* A swap file lies in a file system, which is mounted. */
        g_autofree char *path = path_of_node(*line);
        g_autofree char *name = path ? name_of_path(path) : NULL;
        Walk w = {.host = host, .kind = DKVM_USE_SWAP, .what = name};

        if (path)
            walk(&w, path, 0);
    }
}

/* Disks and partitions that a volume stands on which is active, but not mounted here. */
static void read_stacks(DkvmHost *host)
{
    g_autoptr(GPtrArray) names = dkvm_host_list("/sys/class/block");

    for (guint i = 0; i < names->len; i++) {
        g_autofree char *link =
            g_build_filename("/sys/class/block", g_ptr_array_index(names, i), NULL);
        g_autofree char *path = dkvm_host_link(link);
        DkvmDevice *device = path ? dkvm_host_device_of_path(host, path) : NULL;

        if (!device || dkvm_device_has_use(device, DKVM_USE_MOUNT) ||
            dkvm_device_has_use(device, DKVM_USE_SWAP))
            continue;
        g_autofree char *folder = g_build_filename(path, "holders", NULL);
        g_autoptr(GPtrArray) holders = dkvm_host_list(folder);

        for (guint k = 0; k < holders->len; k++) {
            g_autofree char *holder =
                g_build_filename("/sys/class/block", g_ptr_array_index(holders, k), NULL);
            g_autofree char *real = dkvm_host_link(holder);
            g_autofree char *name = real ? name_of_path(real) : NULL;

            if (name)
                dkvm_device_add_use(device, DKVM_USE_STACK, name);
        }
    }
}

void dkvm_host_read_storage(DkvmHost *host)
{
    read_mounts(host);
    read_swaps(host);
    read_stacks(host);
}
