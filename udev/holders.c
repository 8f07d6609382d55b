/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "udev/holders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/paths.h"
#include "udev/host-private.h"
#include "udev/sysfs.h"

#define MAX_DEPTH 10

/* A device number as a key, character and block apart. */
static gpointer key_of(guint major_number, guint minor_number, gboolean block)
{
    guint64 key = (guint64)major_number << 32 | (guint64)minor_number << 1 | block;

    return GSIZE_TO_POINTER(key + 1);
}

/* Input and raw USB nodes only hang up when their device goes: evdev_disconnect(),
 * hidraw_disconnect(), usbdev_remove() of Linux. */
static gboolean only_hangs_up(const char *subsystem)
{
    static const char *const those[] = {"input", "hidraw", "usb", NULL};

    return g_strv_contains(those, subsystem);
}

/* What ends or goes while it is looked at holds nothing. */
static gboolean is_gone(int cause)
{
    return cause == ENOENT || cause == ESRCH;
}

/* The next entry; NULL at the end, or where it cannot be read: then *COMPLETE becomes FALSE. */
static const struct dirent *next_entry(DIR *dir, gboolean *complete)
{
    errno = 0;
    const struct dirent *entry = readdir(dir);

    if (!entry && errno != 0 && !is_gone(errno))
        *complete = FALSE;
    return entry;
}

/* What sysfs says while a device is being removed; then its files are gone as well. */
static gboolean is_removed(int dir, int cause)
{
    return cause == ENODEV && faccessat(dir, "dev", F_OK, 0) != 0;
}

static void add_node(int dir, GHashTable *nodes, gboolean *complete)
{
    unsigned major_number, minor_number;
    char text[32], subsystem[64];

    if (dkvm_sysfs_line(dir, "dev", text, sizeof text) < 0) {
        *complete = *complete && (is_gone(errno) || is_removed(dir, errno));
        return;
    }
    if (!dkvm_parse_device_number(text, &major_number, &minor_number))
        return;
    gboolean known = dkvm_sysfs_link_name(dir, "subsystem", subsystem, sizeof subsystem);
    gboolean block = known && g_str_equal(subsystem, "block");

    g_hash_table_insert(nodes, key_of(major_number, minor_number, block),
                        GINT_TO_POINTER(known && only_hangs_up(subsystem)));
}

/* All "dev" files below a directory of sysfs, without following links and without going into other
 * PCI devices. */
static void find_nodes(int above, const char *name, GHashTable *nodes, int depth,
                       gboolean *complete)
{
    int fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    DkvmBdf bdf;

    if (!dir) {
        *complete = *complete && is_gone(errno);
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    gboolean empty = TRUE;

    add_node(fd, nodes, complete);
    while (depth < MAX_DEPTH && (entry = next_entry(dir, complete))) {
        empty = FALSE;
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.' &&
            !dkvm_bdf_parse(entry->d_name, &bdf))
            find_nodes(fd, entry->d_name, nodes, depth + 1, complete);
    }
    /* Not even ".": readdir(3) hides ENOENT, which is the end only of what is gone. */
    if (depth < MAX_DEPTH && empty && faccessat(above, name, F_OK, 0) == 0)
        *complete = FALSE;
    (void)closedir(dir);
}

static void add_group_node(const DkvmDevice *device, GHashTable *nodes)
{
    struct stat st;

    if (!device->group)
        return;
    g_autofree char *relative = g_strdup_printf("/dev/vfio/%d", device->group->number);
    g_autofree char *path = dkvm_path(relative);
    if (stat(path, &st) == 0 && S_ISCHR(st.st_mode))
        g_hash_table_insert(nodes, key_of(major(st.st_rdev), minor(st.st_rdev), FALSE), NULL);
}

/* NVIDIA's own driver makes no devices in sysfs: major 195, and the minor is in /proc
 * (nvidia-modprobe-utils.c of nvidia-modprobe).  What all its cards share (nvidiactl) says nothing
 * about one of them. */
static void add_nvidia_node(const DkvmDevice *device, GHashTable *nodes)
{
    static const char minor_label[] = "\nDevice Minor:";
    g_autofree char *relative =
        g_strdup_printf("/proc/driver/nvidia/gpus/%s/information", device->name);
    g_autofree char *text = dkvm_host_text(relative, 4096);
    const char *at = text ? strstr(text, minor_label) : NULL;
    unsigned number;

    if (!at)
        return;
    at += strlen(minor_label);
    at += strspn(at, " \t");
    if (dkvm_parse_number(at, 255, &number, NULL))
        g_hash_table_insert(nodes, key_of(195, number, FALSE), NULL);
}

static void holder_free(DkvmHolder *holder)
{
    g_free(holder->command);
    g_free(holder->node);
    g_free(holder);
}

static void add_holder(GPtrArray *found, int process, int fds, const char *number, pid_t pid,
                       gboolean hangs_up)
{
    char target[256], command[64];
    ssize_t length = readlinkat(fds, number, target, sizeof target - 1);
    const DkvmHolder *last = found->len ? g_ptr_array_index(found, found->len - 1) : NULL;

    target[MAX(length, 0)] = '\0';
    if (last && last->pid == pid && g_str_equal(last->node, target))
        return;
    if (dkvm_sysfs_line(process, "comm", command, sizeof command) < 0)
        command[0] = '\0';
    DkvmHolder *holder = g_new0(DkvmHolder, 1);
    holder->pid = pid;
    holder->hangs_up = hangs_up;
    holder->command = g_utf8_make_valid(command, -1);
    holder->node = g_utf8_make_valid(target, -1);
    g_ptr_array_add(found, holder);
}

static void look_into(int all, const char *name, GHashTable *nodes, GPtrArray *found,
                      gboolean *complete)
{
    int process = openat(all, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = process >= 0 ? openat(process, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    struct stat st;
    gpointer hangs_up;
    unsigned pid = 0;

    if (!dir)
        *complete = *complete && fd < 0 && is_gone(errno);
    (void)dkvm_parse_number(name, INT_MAX, &pid, NULL);
    while (dir && (entry = next_entry(dir, complete))) {
        if (!dkvm_sysfs_kind(fd, entry->d_name, &st)) {
            *complete = *complete && is_gone(errno);
            continue;
        }
        if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
            continue;
        if (g_hash_table_lookup_extended(
                nodes, key_of(major(st.st_rdev), minor(st.st_rdev), S_ISBLK(st.st_mode) != 0), NULL,
                &hangs_up))
            add_holder(found, process, fd, entry->d_name, (pid_t)pid, GPOINTER_TO_INT(hangs_up));
    }
    if (dir)
        (void)closedir(dir);
    else if (fd >= 0)
        (void)close(fd);
    if (process >= 0)
        (void)close(process);
}

static GPtrArray *list_processes(DIR *proc, gboolean *complete)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    const struct dirent *entry;
    gboolean empty = TRUE;

    while ((entry = next_entry(proc, complete))) {
        empty = FALSE;
        if (g_ascii_isdigit(entry->d_name[0]))
            g_ptr_array_add(names, g_strdup(entry->d_name));
    }
    if (empty)
        *complete = FALSE;
    g_ptr_array_sort(names, dkvm_compare_names);
    return names;
}

static gboolean is_found(const GPtrArray *found, const DkvmMapping *mapping)
{
    for (guint i = 0; i < found->len; i++) {
        const DkvmHolder *holder = g_ptr_array_index(found, i);

        if (holder->pid == mapping->pid && g_str_equal(holder->node, mapping->node))
            return TRUE;
    }
    return FALSE;
}

static void add_mapped(GPtrArray *found, GHashTable *nodes, const DkvmMapping *mapping)
{
    gpointer key = key_of(mapping->major_number, mapping->minor_number, mapping->block), hangs_up;
    g_autofree char *path = g_strdup_printf("/proc/%d/comm", (int)mapping->pid);

    if (!g_hash_table_lookup_extended(nodes, key, NULL, &hangs_up) || is_found(found, mapping))
        return;
    g_autofree char *command = dkvm_host_text(path, 64);
    DkvmHolder *holder = g_new0(DkvmHolder, 1);

    holder->pid = mapping->pid;
    holder->mapped = TRUE;
    holder->hangs_up = GPOINTER_TO_INT(hangs_up);
    holder->command = g_strchomp(g_utf8_make_valid(command ? command : "", -1));
    holder->node = g_strdup(mapping->node);
    g_ptr_array_add(found, holder);
}

GPtrArray *dkvm_holders(const DkvmDevice *device, gboolean *complete)
{
    return dkvm_holders_with(device, NULL, complete);
}

GPtrArray *dkvm_holders_with(const DkvmDevice *device, const DkvmMappings *mappings,
                             gboolean *complete)
{
    GPtrArray *found = g_ptr_array_new_with_free_func((GDestroyNotify)holder_free);
    g_autoptr(GHashTable) nodes = g_hash_table_new(NULL, NULL);
    g_autofree char *folder = dkvm_path(device->sysfs);
    g_autofree char *path = dkvm_path("/proc");
    gboolean every = TRUE;

    find_nodes(AT_FDCWD, folder, nodes, 0, &every);
    add_group_node(device, nodes);
    add_nvidia_node(device, nodes);
    DIR *proc = g_hash_table_size(nodes) > 0 ? opendir(path) : NULL;

    if (proc) {
        g_autoptr(GPtrArray) names = list_processes(proc, &every);

        for (guint i = 0; i < names->len; i++)
            look_into(dirfd(proc), g_ptr_array_index(names, i), nodes, found, &every);
        (void)closedir(proc);
    } else if (g_hash_table_size(nodes) > 0) {
        every = FALSE;
    }
    for (guint i = 0; mappings && i < mappings->all->len; i++)
        add_mapped(found, nodes, g_ptr_array_index(mappings->all, i));
    if (complete)
        *complete = every;
    return found;
}

char *dkvm_holders_text(const DkvmDevice *device)
{
    gboolean complete = TRUE;
    g_autoptr(GPtrArray) holders = dkvm_holders(device, &complete);
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < holders->len; i++) {
        const DkvmHolder *holder = g_ptr_array_index(holders, i);

        g_string_append_printf(text, "%s%s (%d): %s", i ? "; " : "", holder->command,
                               (int)holder->pid, holder->node);
    }
    if (!complete && text->len > 0)
        g_string_append(text, "; only root sees all processes");
    return g_string_free(text, FALSE);
}
