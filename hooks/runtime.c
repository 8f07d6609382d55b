/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/paths.h"

#define NAME "dkvm-watchd"

char *dkvm_runtime_directory(gboolean session)
{
    const char *given = g_getenv("RUNTIME_DIRECTORY");
    if (given != NULL && *given == '/') {
        g_auto(GStrv) several = g_strsplit(given, ":", 2);
        return g_strdup(several[0]);
    }
    return session ? g_build_filename(g_get_user_runtime_dir(), NAME, NULL)
                   : dkvm_path("/run/" NAME);
}

static DkvmLock fail(const char *what, const char *path, GError **error)
{
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE,
                "cannot %s %s: %s; dkvm-watchd --status will not work", what, path,
                g_strerror(errno));
    return DKVM_LOCK_FAILED;
}

DkvmLock dkvm_runtime_take(const char *directory, GError **error)
{
    g_autofree char *path = g_build_filename(directory, "lock", NULL);
    if (mkdir(directory, 0755) != 0 && errno != EEXIST) {
        return fail("make", directory, error);
    }
    /* Reading is enough for flock(2), and a watcher of another user may have left the file. */
    int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        return fail("open", path, error);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        return DKVM_LOCK_TAKEN; /* the descriptor stays open */
    }
    DkvmLock result = errno == EWOULDBLOCK ? DKVM_LOCK_BUSY : fail("lock", path, error);
    close(fd);
    return result;
}

gboolean dkvm_runtime_is_taken(const char *directory)
{
    g_autofree char *path = g_build_filename(directory, "lock", NULL);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return FALSE;
    }
    gboolean taken = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
    return taken;
}
