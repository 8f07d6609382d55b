/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /proc/PID/maps names the file system that a mapped file is on, not the device that it is: that is
 * asked through /proc/PID/map_files (proc_pid_map_files(5); for root), once for each file.  Reading
 * waits for a lock of the process (mmap_lock, fs/proc/task_mmu.c), which one that hangs in the
 * kernel may hold for ever.  So it is done by a child that can be ended. */
#include "udev/mappings.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/paths.h"
#include "udev/host-private.h"
#include "udev/sysfs.h"

#define DEADLINE_MS 3000
#define ENDED_MS 200
#define ANSWER_MAX (1024 * 1024)

/* ---- the child: a line "PID" for each process, "PID MAJOR MINOR BLOCK NODE" for each device -- */

typedef struct {
    guint64 first, last, inode;
    guint fs_major, fs_minor;
    const char *path;
} Area;

static gboolean skip_char(const char **text, char c)
{
    if (**text != c)
        return FALSE;
    (*text)++;
    return TRUE;
}

static gboolean read_hex(const char **text, guint64 *value)
{
    char *end;

    if (!g_ascii_isxdigit(**text))
        return FALSE;
    *value = g_ascii_strtoull(*text, &end, 16);
    *text = end;
    return TRUE;
}

/* "7f00-7f01 rw-p 00000000 00:06 4    /dev/zero" */
static gboolean parse_area(const char *line, Area *area)
{
    guint64 offset, fs_major, fs_minor;
    char *end;

    if (!read_hex(&line, &area->first) || !skip_char(&line, '-') || !read_hex(&line, &area->last) ||
        !skip_char(&line, ' '))
        return FALSE;
    line += strcspn(line, " ");
    if (!skip_char(&line, ' ') || !read_hex(&line, &offset) || !skip_char(&line, ' ') ||
        !read_hex(&line, &fs_major) || !skip_char(&line, ':') || !read_hex(&line, &fs_minor) ||
        !skip_char(&line, ' ') || !g_ascii_isdigit(*line))
        return FALSE;
    area->fs_major = (guint)fs_major;
    area->fs_minor = (guint)fs_minor;
    area->inode = g_ascii_strtoull(line, &end, 10);
    area->path = end + strspn(end, " ");
    return TRUE;
}

/* Without the right to follow the link: what has that name here, if it is the same file. */
static gboolean find_file(int process, const Area *area, struct stat *st)
{
    char name[64];

    (void)snprintf(name, sizeof name, "map_files/%" PRIx64 "-%" PRIx64, area->first, area->last);
    if (dkvm_sysfs_kind(process, name, st))
        return TRUE;
    return *area->path == '/' && dkvm_sysfs_kind(AT_FDCWD, area->path, st) &&
           st->st_ino == area->inode && major(st->st_dev) == area->fs_major &&
           minor(st->st_dev) == area->fs_minor;
}

/* SEEN has each file that is no device, as "MAJOR:MINOR:INODE", and each device that was told, with
 * " PID": who maps one again and again takes no more of our time and memory. */
static void tell_area(FILE *out, int process, const char *pid, const Area *area, GHashTable *seen)
{
    char key[64], told[96];
    struct stat st;

    (void)snprintf(key, sizeof key, "%x:%x:%" PRIu64, area->fs_major, area->fs_minor, area->inode);
    (void)snprintf(told, sizeof told, "%s %s", key, pid);
    if (area->inode == 0 || g_hash_table_contains(seen, key) || g_hash_table_contains(seen, told) ||
        !find_file(process, area, &st))
        return;
    if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)) {
        g_hash_table_add(seen, g_strdup(key));
        return;
    }
    g_hash_table_add(seen, g_strdup(told));
    (void)fprintf(out, "%s %u %u %d %s\n", pid, major(st.st_rdev), minor(st.st_rdev),
                  S_ISBLK(st.st_mode), area->path);
}

/* A process that has ended meanwhile has nothing any more. */
static gboolean is_gone(int cause)
{
    return cause == ENOENT || cause == ESRCH;
}

/* FALSE: it may have more than was told. */
static gboolean tell_process(FILE *out, int all, const char *pid, GHashTable *seen)
{
    int process = openat(all, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (process < 0)
        return is_gone(errno);
    (void)fprintf(out, "%s\n", pid);
    (void)fflush(out);
    int fd = openat(process, "maps", O_RDONLY | O_CLOEXEC);
    FILE *maps = fd >= 0 ? fdopen(fd, "r") : NULL;
    gboolean good = maps || is_gone(errno);
    char line[PATH_MAX + 256];
    Area area;

    while (maps && fgets(line, sizeof line, maps)) {
        line[strcspn(line, "\n")] = '\0';
        if (parse_area(line, &area))
            tell_area(out, process, pid, &area, seen);
    }
    if (maps && ferror(maps))
        good = is_gone(errno);
    if (maps)
        (void)fclose(maps);
    (void)close(process);
    return good;
}

static void tell_all(int fd)
{
    FILE *out = fdopen(fd, "w");
    g_autofree char *proc = dkvm_path("/proc");
    g_autoptr(GPtrArray) names = dkvm_host_list("/proc");
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    int all = open(proc, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    gboolean good = all >= 0;

    for (guint i = 0; out && all >= 0 && i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);

        if (g_ascii_isdigit(*name))
            good = tell_process(out, all, name, seen) && good;
    }
    if (out) {
        (void)fputs(good ? "all\n" : "end\n", out);
        (void)fclose(out);
    }
}

/* ---- the other end ---------------------------------------------------------------------- */

static void mapping_free(DkvmMapping *mapping)
{
    g_free(mapping->node);
    g_free(mapping);
}

void dkvm_mappings_free(DkvmMappings *mappings)
{
    if (!mappings)
        return;
    g_ptr_array_unref(mappings->all);
    g_free(mappings);
}

static void take_line(DkvmMappings *mappings, const char *line)
{
    unsigned pid, major_number, minor_number, block;
    const char *at = line;

    if (g_str_equal(line, "end") || g_str_equal(line, "all")) {
        mappings->stuck = 0;
        mappings->complete = g_str_equal(line, "all");
        return;
    }
    if (!dkvm_parse_number(at, INT_MAX, &pid, &at))
        return;
    mappings->stuck = (pid_t)pid; /* until the next one is there */
    if (!skip_char(&at, ' ') || !dkvm_parse_number(at, UINT_MAX, &major_number, &at) ||
        !skip_char(&at, ' ') || !dkvm_parse_number(at, UINT_MAX, &minor_number, &at) ||
        !skip_char(&at, ' ') || !dkvm_parse_number(at, 1, &block, &at) || !skip_char(&at, ' '))
        return;
    DkvmMapping *mapping = g_new0(DkvmMapping, 1);

    mapping->pid = (pid_t)pid;
    mapping->major_number = major_number;
    mapping->minor_number = minor_number;
    mapping->block = block != 0;
    mapping->node = g_utf8_make_valid(at, -1);
    g_ptr_array_add(mappings->all, mapping);
}

/* Until the other end is closed, or the time is up. */
static void receive(int fd, GString *answer)
{
    gint64 end = g_get_monotonic_time() + (gint64)DEADLINE_MS * 1000;
    struct pollfd one = {.fd = fd, .events = POLLIN};
    char bytes[16384];

    while (answer->len < ANSWER_MAX) {
        gint64 left = (end - g_get_monotonic_time() + 999) / 1000;
        int ready = left > 0 ? poll(&one, 1, (int)left) : 0;

        if (ready < 0 && errno == EINTR)
            continue;
        ssize_t got = ready > 0 ? read(fd, bytes, sizeof bytes) : 0;

        if (got <= 0)
            return;
        g_string_append_len(answer, bytes, got);
    }
}

/* One that does not even end when it is killed is init's, in the end. */
static void end_child(pid_t pid, int fd)
{
    struct pollfd one = {.fd = fd, .events = 0};

    (void)kill(pid, SIGKILL);
    gboolean ended = poll(&one, 1, ENDED_MS) > 0; /* its end of the pipe is closed */

    (void)close(fd);
    (void)waitpid(pid, NULL, ended ? 0 : WNOHANG);
}

DkvmMappings *dkvm_mappings_read(void)
{
    DkvmMappings *mappings = g_new0(DkvmMappings, 1);
    g_autoptr(GString) answer = g_string_new(NULL);
    int ends[2];

    mappings->all = g_ptr_array_new_with_free_func((GDestroyNotify)mapping_free);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return mappings;
    pid_t pid = fork();

    if (pid == 0) {
        /* One that hangs must hold nothing of ours. */
        (void)syscall(SYS_close_range, 0U, (unsigned)ends[1] - 1, 0U);
        (void)syscall(SYS_close_range, (unsigned)ends[1] + 1, ~0U, 0U);
        tell_all(ends[1]);
        _exit(0);
    }
    (void)close(ends[1]);
    if (pid < 0) {
        (void)close(ends[0]);
        return mappings;
    }
    receive(ends[0], answer);
    end_child(pid, ends[0]);
    g_auto(GStrv) lines = g_strsplit(answer->str, "\n", -1);

    for (char **line = lines; *line; line++)
        take_line(mappings, *line);
    return mappings;
}
