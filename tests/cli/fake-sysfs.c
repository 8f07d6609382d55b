/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A host's /sys, /proc and /dev, served by a process of its own, with the reactions of a kernel
 * (fake-kernel.c).  Faults come from outside.
 *
 * usage: fake-sysfs STATE MOUNTPOINT
 *
 * STATE/tree is what is served: folders, files and links.  STATE/log gets a line for each write and
 * ioctl: "PATH TEXT RESULT", tabs between, RESULT an errno or "blocked" when one begins to be.
 * STATE/rules is read at each of them, lines "PATH TEXT ACTION" with tabs; "*" is any text. ACTION:
 * an errno, "silent" (0, and nothing is done), or "block": until the line is gone, and not even
 * SIGKILL ends the writer, since FUSE waits for an answer to what was read. */
#define FUSE_USE_VERSION 35
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <limits.h>
#include <linux/fuse.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fake-kernel.h"

#define TEXT 256
#define NODES 4096
#define KERNEL (-2)
#define SILENT (-1)
/* What sysfs says of every attribute, so that no write is behind the end. */
#define SYSFS_SIZE 4096

static char log_file[PATH_MAX], rules[PATH_MAX];
static char *nodes[NODES]; /* the path of each that was ever looked up; 1 is the root */
static fuse_ino_t node_count = 1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, node_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- faults ----------------------------------------------------------------------------- */

static void say(const char *path, const char *text, const char *result)
{
    char line[PATH_MAX + 2 * TEXT];
    int length = snprintf(line, sizeof line, "%s\t%s\t%s\n", path, text, result);
    int fd = open(log_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);

    (void)!write(fd, line, (size_t)length);
    (void)close(fd);
}

/* What the rules say about it; "" if nothing. */
static void rule_for(const char *path, const char *text, char *action)
{
    FILE *file = fopen(rules, "re");
    char line[PATH_MAX + 2 * TEXT];

    action[0] = '\0';
    while (file && *action == '\0' && fgets(line, sizeof line, file)) {
        char *rest = line;
        const char *where = strsep(&rest, "\t"), *what = strsep(&rest, "\t"),
                   *how = strsep(&rest, "\n");

        if (how && strcmp(where, path) == 0 && (*what == '*' || strcmp(what, text) == 0))
            (void)snprintf(action, TEXT, "%s", how);
    }
    if (file)
        (void)fclose(file);
}

/* KERNEL: nothing; SILENT; or what the writer gets. */
static int fault(const char *path, const char *text)
{
    char action[TEXT];

    rule_for(path, text, action);
    if (strcmp(action, "block") == 0)
        say(path, text, "blocked");
    while (strcmp(action, "block") == 0) {
        (void)usleep(10000);
        rule_for(path, text, action);
    }
    if (*action == '\0')
        return KERNEL;
    return strcmp(action, "silent") == 0 ? SILENT : atoi(action);
}

/* 0, an errno, or SILENT. */
static int answer(const char *path, const char *text, int (*how)(const char *, const char *))
{
    char result[16];
    int cause = fault(path, text);

    (void)pthread_mutex_lock(&lock);
    if (cause == KERNEL)
        cause = how(path, text);
    (void)snprintf(result, sizeof result, "%d", cause);
    say(path, text, result);
    (void)pthread_mutex_unlock(&lock);
    return cause;
}

/* ---- FUSE ------------------------------------------------------------------------------- */

static const char *path_of(fuse_ino_t node)
{
    return node == FUSE_ROOT_ID ? "" : nodes[node];
}

static fuse_ino_t node_of(const char *path)
{
    fuse_ino_t node = FUSE_ROOT_ID + 1;

    (void)pthread_mutex_lock(&node_lock);
    while (node <= node_count && strcmp(nodes[node], path) != 0)
        node++;
    if (node > node_count) {
        if (node == NODES)
            abort();
        nodes[node] = strdup(path);
        node_count = node;
    }
    (void)pthread_mutex_unlock(&node_lock);
    return node;
}

static int look(fuse_ino_t node, struct stat *st)
{
    if (lstat(fake_path("%s", path_of(node)).text, st) != 0)
        return errno;
    st->st_ino = node;
    if (S_ISREG(st->st_mode) && strncmp(path_of(node), "/sys/", 5) == 0)
        st->st_size = SYSFS_SIZE;
    return 0;
}

static void on_init(void *unused, struct fuse_conn_info *connection)
{
    (void)!write(STDOUT_FILENO, "ready\n", 6);
}

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry = {0};
    struct stat st;
    char path[PATH_MAX];

    (void)snprintf(path, sizeof path, "%s/%s", path_of(parent), name);
    if (lstat(fake_path("%s", path).text, &st) != 0) {
        (void)fuse_reply_err(request, errno);
        return;
    }
    entry.ino = node_of(path);
    (void)look(entry.ino, &entry.attr);
    (void)fuse_reply_entry(request, &entry);
}

static void on_getattr(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info)
{
    struct stat st;
    int cause = look(node, &st);

    (void)(cause ? fuse_reply_err(request, cause) : fuse_reply_attr(request, &st, 0));
}

static void on_readlink(fuse_req_t request, fuse_ino_t node)
{
    char text[PATH_MAX];
    ssize_t got = readlink(fake_path("%s", path_of(node)).text, text, sizeof text - 1);

    text[got > 0 ? got : 0] = '\0';
    (void)(got < 0 ? fuse_reply_err(request, errno) : fuse_reply_readlink(request, text));
}

/* All at once: no folder here is large. */
static void on_readdir(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset,
                       struct fuse_file_info *info)
{
    DIR *dir = opendir(fake_path("%s", path_of(node)).text);
    struct dirent *entry;
    char buffer[65536];
    size_t used = 0;
    off_t number = 0;

    if (!dir) {
        (void)fuse_reply_err(request, errno);
        return;
    }
    while ((entry = readdir(dir))) {
        struct stat st = {.st_ino = entry->d_ino, .st_mode = (mode_t)entry->d_type << 12};

        if (number++ < offset)
            continue;
        size_t more = fuse_add_direntry(request, buffer + used,
                                        (size < sizeof buffer ? size : sizeof buffer) - used,
                                        entry->d_name, &st, number);

        if (used + more > size || used + more > sizeof buffer)
            break;
        used += more;
    }
    (void)closedir(dir);
    (void)fuse_reply_buf(request, buffer, used);
}

/* Two writers of one file do not wait for each other, as in sysfs; libfuse 3.14 has no word for it
 * yet. */
static void on_open(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info)
{
    const struct fuse_open_out out = {.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES};

    if (access(fake_path("%s", path_of(node)).text, F_OK) != 0)
        (void)fuse_reply_err(request, errno);
    else
        (void)fuse_reply_buf(request, (const char *)&out, sizeof out);
}

static void on_read(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset,
                    struct fuse_file_info *info)
{
    int fd = open(fake_path("%s", path_of(node)).text, O_RDONLY | O_CLOEXEC);
    char buffer[65536];
    ssize_t got =
        fd >= 0 ? pread(fd, buffer, size < sizeof buffer ? size : sizeof buffer, offset) : -1;
    int cause = errno;

    if (fd >= 0)
        (void)close(fd);
    (void)(got < 0 ? fuse_reply_err(request, cause) : fuse_reply_buf(request, buffer, (size_t)got));
}

static void on_write(fuse_req_t request, fuse_ino_t node, const char *data, size_t size,
                     off_t offset, struct fuse_file_info *info)
{
    char text[TEXT];

    (void)snprintf(text, sizeof text, "%.*s", (int)size, data);
    text[strcspn(text, "\n")] = '\0';
    int cause = answer(path_of(node), text, fake_write);

    (void)(cause > 0 ? fuse_reply_err(request, cause) : fuse_reply_write(request, size));
}

/* Its argument has no size in its number, so FUSE does not carry it: it is written where a kernel
 * would. */
static void on_ioctl(fuse_req_t request, fuse_ino_t node, unsigned command, void *argument,
                     struct fuse_file_info *info, unsigned flags, const void *data, size_t in,
                     size_t out)
{
    struct vfio_group_status status = {.argsz = sizeof status};
    struct iovec mine = {&status, sizeof status}, theirs = {argument, sizeof status};
    int cause =
        command == VFIO_GROUP_GET_STATUS ? answer(path_of(node), "status", fake_status) : ENOTTY;

    if (cause == 0)
        status.flags = VFIO_GROUP_FLAGS_VIABLE;
    if ((cause == 0 || cause == EPERM) &&
        process_vm_writev(fuse_req_ctx(request)->pid, &mine, 1, &theirs, 1, 0) < 0)
        cause = errno;
    (void)(cause > 0 && cause != EPERM ? fuse_reply_err(request, cause)
                                       : fuse_reply_ioctl(request, 0, NULL, 0));
}

/* ---- start ------------------------------------------------------------------------------ */

static int serve(const char *mountpoint)
{
    static const struct fuse_lowlevel_ops operations = {
        .init = on_init,
        .lookup = on_lookup,
        .getattr = on_getattr,
        .readlink = on_readlink,
        .readdir = on_readdir,
        .open = on_open,
        .read = on_read,
        .write = on_write,
        .ioctl = on_ioctl,
    };
    char name[] = "fake-sysfs";
    char *arguments[] = {name, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(1, arguments);
    struct fuse_loop_config config = {.clone_fd = 0, .max_idle_threads = 4};
    struct fuse_session *session = fuse_session_new(&args, &operations, sizeof operations, NULL);

    if (!session || fuse_session_mount(session, mountpoint) != 0)
        return 1;
    int result = fuse_session_loop_mt(session, &config);

    fuse_session_unmount(session);
    return result;
}

int main(int argc, char **argv)
{
    char state[PATH_MAX], tree[PATH_MAX];

    if (argc != 3)
        return 2;
    if (!realpath(argv[1], state) || strlen(state) > PATH_MAX - 16)
        return 1;
    (void)snprintf(tree, sizeof tree, "%.*s/tree", PATH_MAX - 16, state);
    (void)snprintf(log_file, sizeof log_file, "%.*s/log", PATH_MAX - 16, state);
    (void)snprintf(rules, sizeof rules, "%.*s/rules", PATH_MAX - 16, state);
    fake_begin(tree);
    return serve(argv[2]);
}
