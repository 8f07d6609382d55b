/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/paths.h"
#include "udev/sysfs.h"

#define LOCK_TRIES 3

/* ---- names ------------------------------------------------------------------------------ */

gboolean dkvm_uuid_is_valid(const char *text)
{
    gsize i = 0;

    for (; text && text[i] && i < DKVM_UUID_LENGTH; i++) {
        gboolean hyphen = i == 8 || i == 13 || i == 18 || i == 23;

        if (hyphen ? text[i] != '-' : !g_ascii_isxdigit(text[i]) || g_ascii_isupper(text[i]))
            return FALSE;
    }
    return i == DKVM_UUID_LENGTH && text[i] == '\0';
}

char *dkvm_uuid_normalize(const char *text)
{
    char digits[33];
    gsize count = 0;

    for (; text && *text; text++) {
        if (*text == '-' || g_ascii_isspace(*text))
            continue;
        if (!g_ascii_isxdigit(*text) || count == 32)
            return NULL;
        digits[count++] = g_ascii_tolower(*text);
    }
    if (count != 32)
        return NULL;
    digits[32] = '\0';
    return g_strdup_printf("%.8s-%.4s-%.4s-%.4s-%.12s", digits, digits + 8, digits + 12,
                           digits + 16, digits + 20);
}

char *dkvm_rundir_path(const char *uuid, const char *name)
{
    return g_strconcat(dkvm_paths_root(), DKVM_RUN_DIR "/", uuid, name ? "/" : NULL, name, NULL);
}

char *dkvm_rundir_owner_path(const char *name)
{
    return g_strconcat(dkvm_paths_root(), DKVM_RUN_DIR "/own", name ? "/" : NULL, name, NULL);
}

/* ---- folders ---------------------------------------------------------------------------- */

static gboolean make_folder(const char *path, GError **error)
{
    struct stat st;

    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE,
                    "cannot make the folder %s: %s; run this as root", path, g_strerror(errno));
        return FALSE;
    }
    if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 022) != 0) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE,
                    "cannot use %s: it is not a folder that only root may write; move it away",
                    path);
        return FALSE;
    }
    return TRUE;
}

gboolean dkvm_rundir_make(const char *uuid, GError **error)
{
    g_autofree char *run = dkvm_path("/run"), *base = dkvm_path(DKVM_RUN_DIR);
    g_autofree char *own = dkvm_rundir_owner_path(NULL);
    g_autofree char *folder = uuid ? dkvm_rundir_path(uuid, NULL) : NULL;

    (void)mkdir(run, 0755); /* there, except in a test's root */
    return make_folder(base, error) && make_folder(own, error) &&
           (!folder || make_folder(folder, error));
}

void dkvm_rundir_clear(const char *uuid)
{
    static const char *const files[] = {"journal",  "sock",   "sock.new", "own",
                                        "released", "reboot", "lock"};
    g_autofree char *folder = dkvm_rundir_path(uuid, NULL);

    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = dkvm_rundir_path(uuid, files[i]);

        (void)unlink(path);
    }
    (void)rmdir(folder);
}

void dkvm_rundir_note_release(const char *uuid)
{
    g_autofree char *path = dkvm_rundir_path(uuid, "released");
    int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd >= 0)
        (void)close(fd);
}

gboolean dkvm_rundir_is_released(const char *uuid)
{
    g_autofree char *path = dkvm_rundir_path(uuid, "released");

    return access(path, F_OK) == 0;
}

void dkvm_rundir_forget_release(const char *uuid)
{
    g_autofree char *path = dkvm_rundir_path(uuid, "released");

    (void)unlink(path);
}

static int by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **dkvm_rundir_list(void)
{
    g_autofree char *base = dkvm_path(DKVM_RUN_DIR);
    DIR *dir = opendir(base);
    const struct dirent *entry;
    GPtrArray *found = g_ptr_array_new();

    while (dir && (entry = readdir(dir))) {
        if (dkvm_uuid_is_valid(entry->d_name))
            g_ptr_array_add(found, g_strdup(entry->d_name));
    }
    if (dir)
        (void)closedir(dir);
    g_ptr_array_sort(found, by_text);
    g_ptr_array_add(found, NULL);
    return (char **)g_ptr_array_free(found, FALSE);
}

/* A guard that ends takes its file away: a lock on that one would be worth nothing. */
static gboolean is_still(int fd, const char *path)
{
    struct stat mine, there;

    return fstat(fd, &mine) == 0 && lstat(path, &there) == 0 && mine.st_ino == there.st_ino &&
           mine.st_dev == there.st_dev;
}

int dkvm_rundir_lock(const char *uuid, GError **error)
{
    g_autofree char *path = dkvm_rundir_path(uuid, "lock");
    int cause = EWOULDBLOCK;

    for (int i = 0; i < LOCK_TRIES; i++) {
        int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
            if (is_still(fd, path))
                return fd;
            (void)close(fd);
            continue;
        }
        cause = errno;
        if (fd >= 0)
            (void)close(fd);
        break;
    }
    if (cause == EWOULDBLOCK)
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                    "the hand-over of VM %s is in the hands of another guard; wait for it, or look "
                    "at 'dkvm-gpu status'",
                    uuid);
    else
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE, "cannot lock %s: %s", path,
                    g_strerror(cause));
    return -1;
}

/* ---- processes -------------------------------------------------------------------------- */

char *dkvm_boot_id(void)
{
    g_autofree char *path = dkvm_path("/proc/sys/kernel/random/boot_id");
    char text[64];

    if (dkvm_sysfs_line(AT_FDCWD, path, text, sizeof text) < 0)
        return g_strdup("");
    return g_strdup(text);
}

/* Field NUMBER (from 3 on) of /proc/PID/stat: after the name, which may hold anything. */
static guint64 stat_field(pid_t pid, int number)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
    char text[1024];
    const char *p;

    if (pid <= 0 || dkvm_sysfs_read(AT_FDCWD, path, text, sizeof text) < 0 ||
        !(p = strrchr(text, ')')))
        return 0;
    /* ") Z 1 ...": ended, and only not waited for yet. */
    if (strlen(p) > 2 && (p[2] == 'Z' || p[2] == 'X'))
        return 0;
    for (int i = 2; i < number && p; i++)
        p = strchr(p + 1, ' ');
    return p ? g_ascii_strtoull(p + 1, NULL, 10) : 0;
}

guint64 dkvm_process_start(pid_t pid)
{
    return stat_field(pid, 22);
}

pid_t dkvm_process_parent(pid_t pid)
{
    return (pid_t)stat_field(pid, 4);
}

gboolean dkvm_process_is(pid_t pid, guint64 start)
{
    return pid > 0 && start > 0 && dkvm_process_start(pid) == start;
}

int dkvm_process_open(pid_t pid, guint64 start)
{
    int fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

    if (fd >= 0 && !dkvm_process_is(pid, start)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}
