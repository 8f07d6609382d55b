/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/error.h"

/* How long a FIFO or a device that was named as a file may say nothing (facts/style.md C5: 5 s).
 * Standard input may be a person, who is waited for. */
#define SILENCE_MS 5000
#define FIRST_READ 65536

static void close_fd(int *fd)
{
    int saved = errno;

    if (*fd >= 0)
        (void)close(*fd);
    errno = saved;
}
#define AUTO_FD __attribute__((cleanup(close_fd))) int

static const char *advice(int cause)
{
    switch (cause) {
    case EACCES:
    case EPERM:
        return "run this as a user who may do that, usually root";
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
        return "check the spelling of the path";
    case ELOOP:
        return "remove the symbolic link that leads back to itself";
    case ENOSPC:
    case EDQUOT:
        return "make room on that file system and try again";
    case EROFS:
        return "use a path on a file system that can be written";
    case ETIMEDOUT:
        return "name a regular file, or pipe the text into standard input";
    default:
        return "check the file and the file system that it is on";
    }
}

static gboolean fail(GError **error, const char *operation, const char *path, int cause)
{
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE, "cannot %s '%s': %s; %s", operation, path,
                g_strerror(cause), advice(cause));
    return FALSE;
}

static gboolean refuse(GError **error, const char *operation, const char *path, const char *why)
{
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE, "cannot %s '%s': %s", operation, path, why);
    return FALSE;
}

/* ---- reading ---------------------------------------------------------------------------- */

/* Like read(2), but waits first where reading may block, and goes on after a signal. */
static ssize_t read_some(int fd, char *to, gsize size, gboolean may_block, int patience)
{
    for (;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int ready = may_block ? poll(&wait, 1, patience) : 1;
        ssize_t got;

        if (ready == 0) {
            errno = ETIMEDOUT;
            return -1;
        }
        got = ready < 0 ? -1 : read(fd, to, size);
        if (got >= 0 || (errno != EINTR && errno != EAGAIN))
            return got;
    }
}

static char *too_large(const char *name, gsize max, GError **error)
{
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                "cannot read '%s': it is larger than the limit of %" G_GSIZE_FORMAT
                " bytes; name the right file or make it smaller",
                name, max);
    return NULL;
}

static char *read_all(int fd, const struct stat *st, const char *name, gsize max, int patience,
                      gsize *length, GError **error)
{
    gsize limit = MIN(max, G_MAXSIZE - 2) + 1; /* one byte more tells "full" from "too large" */
    gsize expected = st->st_size > 0 ? (gsize)st->st_size + 1 : FIRST_READ;
    gsize size = 0, room = 0;
    g_autofree char *data = NULL;

    for (;;) {
        ssize_t got;

        if (size == room) {
            room = MIN(limit, MAX(expected, room * 2));
            data = g_realloc(data, room + 1);
        }
        got = read_some(fd, data + size, room - size, !S_ISREG(st->st_mode), patience);
        if (got < 0) {
            fail(error, "read", name, errno);
            return NULL;
        }
        if (got == 0)
            break;
        size += (gsize)got;
        if (size == limit)
            return too_large(name, max, error);
    }
    data[size] = '\0';
    if (length)
        *length = size;
    return g_steal_pointer(&data);
}

static char *read_fd(int fd, const char *name, gsize max, int patience, gsize *length,
                     GError **error)
{
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        fail(error, "read", name, errno);
        return NULL;
    }
    if (S_ISDIR(st.st_mode)) {
        refuse(error, "read", name, "it is a directory; name a file in it");
        return NULL;
    }
    return read_all(fd, &st, name, max, patience, length, error);
}

char *dkvm_file_read(const char *path, gsize max, gsize *length, GError **error)
{
    if (strcmp(path, "-") == 0)
        return read_fd(STDIN_FILENO, "standard input", max, -1, length, error);

    /* Non-blocking, since opening a FIFO waits for its writer: `-f <(command)` works, and a FIFO
     * that nobody writes to ends in a message. */
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    return read_fd(fd, path, max, SILENCE_MS, length, error);
}

/* ---- replacing -------------------------------------------------------------------------- */

/* The directory and the name that a rename has to go to, behind all symbolic links. */
static gboolean locate(const char *path, char **directory, char **name, GError **error)
{
    g_autofree char *real = realpath(path, NULL);
    int cause = errno;
    struct stat st;

    if (!real && cause != ENOENT)
        return fail(error, "replace", path, cause);
    if (!real && lstat(path, &st) == 0)
        return refuse(error, "replace", path,
                      "it is a symbolic link to a file that does not exist; create that file or "
                      "remove the link");
    if (!real && (*path == '\0' || g_str_has_suffix(path, "/")))
        return fail(error, "create", path, ENOENT);
    *directory = g_path_get_dirname(real ? real : path);
    *name = g_path_get_basename(real ? real : path);
    return TRUE;
}

/* *OLD is -1 if there is no such file yet. */
static gboolean open_old(int dir, const char *name, const char *path, int *old, struct stat *st,
                         GError **error)
{
    /* Asked before opening: opening a device can already do something. */
    if (fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT || fail(error, "replace", path, errno);
    if (!S_ISREG(st->st_mode))
        return refuse(error, "replace", path, "it is not a regular file; name a regular file");
    *old = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (*old < 0 || fstat(*old, st) < 0)
        return fail(error, "replace", path, errno);
    return TRUE;
}

/* The name does not contain the file's own, which may already have all of NAME_MAX bytes. */
static int create_temporary(int dir, mode_t mode, char *name, gsize size)
{
    int fd = -1;

    for (int attempt = 0; attempt < 100; attempt++) {
        (void)snprintf(name, size, ".dkvm-%08x%08x", g_random_int(), g_random_int());
        fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        if (fd >= 0 || errno != EEXIST)
            break;
    }
    return fd;
}

static gboolean write_all(int fd, const char *data, gsize length)
{
    while (length > 0) {
        ssize_t put = write(fd, data, length);

        if (put < 0 && errno != EINTR)
            return FALSE;
        if (put > 0) {
            data += put;
            length -= (gsize)put;
        }
    }
    return TRUE;
}

/* Hashes of the old content: the kernel writes new ones (Documentation/ABI/testing/evm,
 * ima_policy), and a copy would make the new content look tampered with. */
static gboolean belongs_to_content(const char *attribute)
{
    return strcmp(attribute, "security.ima") == 0 || strcmp(attribute, "security.evm") == 0;
}

/* Labels that only the system may set and sets by its own policy (xattr(7)). */
static gboolean belongs_to_system(const char *attribute)
{
    return g_str_has_prefix(attribute, "security.") || g_str_has_prefix(attribute, "trusted.");
}

static gboolean copy_attribute(int from, int to, const char *attribute, const char *path,
                               GError **error)
{
    g_autofree char *value = g_malloc(XATTR_SIZE_MAX);
    g_autofree char *now = g_malloc(XATTR_SIZE_MAX);
    g_autofree char *operation = g_strdup_printf("keep the attribute %s of", attribute);
    ssize_t size, size_now;

    if (belongs_to_content(attribute))
        return TRUE;
    size = fgetxattr(from, attribute, value, XATTR_SIZE_MAX);
    if (size < 0)
        return fail(error, operation, path, errno);
    size_now = fgetxattr(to, attribute, now, XATTR_SIZE_MAX);
    if (size == size_now && memcmp(value, now, (gsize)size) == 0)
        return TRUE;
    if (fsetxattr(to, attribute, value, (gsize)size, 0) == 0)
        return TRUE;
    if (belongs_to_system(attribute) && (errno == EPERM || errno == ENOTSUP))
        return TRUE;
    return fail(error, operation, path, errno);
}

static gboolean copy_attributes(int from, int to, const char *path, GError **error)
{
    g_autofree char *names = g_malloc(XATTR_LIST_MAX);
    ssize_t size;

    /* A default ACL of the directory gave the new file entries that the old one may not have. */
    if (fremovexattr(to, "system.posix_acl_access") < 0 && errno != ENODATA && errno != ENOTSUP)
        return fail(error, "keep the permissions of", path, errno);
    size = flistxattr(from, names, XATTR_LIST_MAX);
    if (size < 0)
        return errno == ENOTSUP || fail(error, "keep the attributes of", path, errno);
    for (const char *name = names; name < names + size; name += strlen(name) + 1) {
        if (!copy_attribute(from, to, name, path, error))
            return FALSE;
    }
    return TRUE;
}

/* Owner first, since changing it clears set-id bits and capabilities; mode last, since it may take
 * away the right to set attributes (chown(2), xattr(7)). */
static gboolean copy_properties(int from, const struct stat *st, int to, const char *path,
                                GError **error)
{
    struct stat now;

    if (fstat(to, &now) < 0)
        return fail(error, "replace", path, errno);
    if ((now.st_uid != st->st_uid || now.st_gid != st->st_gid) &&
        fchown(to, st->st_uid, st->st_gid) < 0)
        return fail(error, "keep the owner of", path, errno);
    if (!copy_attributes(from, to, path, error))
        return FALSE;
    if (fchmod(to, st->st_mode & 07777) < 0)
        return fail(error, "keep the mode of", path, errno);
    return TRUE;
}

/* Everything between creating the temporary file FD and renaming it; closes FD. */
static gboolean fill(int fd, const char *data, gsize length, int old, const struct stat *st,
                     const char *path, GError **error)
{
    gboolean ok = write_all(fd, data, length) || fail(error, "write", path, errno);

    if (ok && old >= 0)
        ok = copy_properties(old, st, fd, path, error);
    if (ok && fsync(fd) < 0)
        ok = fail(error, "write", path, errno);
    /* EINTR: Linux has closed it all the same (close(2)), and the data is already on the disk. */
    if (close(fd) < 0 && errno != EINTR && ok)
        ok = fail(error, "write", path, errno);
    return ok;
}

/* Too late to go back: the message says that the new content is there. */
static gboolean sync_directory(int dir, const char *path, GError **error)
{
    /* EINVAL: a file system whose directories cannot be synced (fsync(2)). */
    if (fsync(dir) == 0 || errno == EINVAL)
        return TRUE;
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE,
                "cannot make the new name of '%s' permanent: %s; the new content is there, but "
                "may be lost if the power fails now: check the disk",
                path, g_strerror(errno));
    return FALSE;
}

gboolean dkvm_file_replace(const char *path, const char *data, gsize length, GError **error)
{
    g_autofree char *directory = NULL, *name = NULL;
    AUTO_FD dir = -1;
    AUTO_FD old = -1;
    char temporary[32];
    struct stat st;
    int fd;

    if (!locate(path, &directory, &name, error))
        return FALSE;
    dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return fail(error, "open the directory of", path, errno);
    if (!open_old(dir, name, path, &old, &st, error))
        return FALSE;

    /* A new file gets what the umask and the directory's default ACL say, from the kernel. */
    fd = create_temporary(dir, old < 0 ? 0666 : 0600, temporary, sizeof temporary);
    if (fd < 0)
        return fail(error, "create a temporary file beside", path, errno);
    if (!fill(fd, data, length, old, &st, path, error)) {
        (void)unlinkat(dir, temporary, 0);
        return FALSE;
    }
    if (renameat(dir, temporary, dir, name) < 0) {
        fail(error, "replace", path, errno);
        (void)unlinkat(dir, temporary, 0);
        return FALSE;
    }
    return sync_directory(dir, path, error);
}
