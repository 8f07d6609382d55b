/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"

struct DkvmOutput {
    int fd;
    char *directory;
    gboolean written;
};

static gboolean fail(const DkvmOutput *output, const char *operation, const char *name,
                     GError **error)
{
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE,
                "cannot %s %s/%s: %s; is there room, and may this user write there?", operation,
                output->directory, name, g_strerror(errno));
    return FALSE;
}

DkvmOutput *dkvm_output_open(const char *directory, GError **error)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE,
                    "cannot open the directory %s: %s; make it, or name another", directory,
                    g_strerror(errno));
        return NULL;
    }
    DkvmOutput *output = g_new0(DkvmOutput, 1);
    output->fd = fd;
    output->directory = g_strdup(directory);
    return output;
}

static gboolean write_all(int fd, const char *data, gsize length)
{
    while (length > 0) {
        ssize_t n = write(fd, data, length);
        if (n < 0 && errno != EINTR) {
            return FALSE;
        }
        data += n > 0 ? n : 0;
        length -= n > 0 ? (gsize)n : 0;
    }
    return TRUE;
}

static gboolean give_up(const DkvmOutput *output, const char *temporary, const char *name,
                        GError **error)
{
    fail(output, "write", name, error);
    unlinkat(output->fd, temporary, 0);
    return FALSE;
}

gboolean dkvm_output_write(DkvmOutput *output, const char *name, const char *data, gsize length,
                           GError **error)
{
    g_autofree char *temporary = g_strdup_printf(".dkvm-%08x%08x", g_random_int(), g_random_int());
    int fd =
        openat(output->fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) {
        return fail(output, "create a file for", name, error);
    }
    gboolean good = write_all(fd, data, length);
    good = close(fd) == 0 && good;
    if (!good || renameat(output->fd, temporary, output->fd, name) != 0) {
        return give_up(output, temporary, name, error);
    }
    output->written = TRUE;
    return TRUE;
}

gboolean dkvm_output_close(DkvmOutput *output, GError **error)
{
    if (output == NULL) {
        return TRUE;
    }
    gboolean good =
        !output->written || syncfs(output->fd) == 0 || fail(output, "bring to disk", "", error);
    close(output->fd);
    g_free(output->directory);
    g_free(output);
    return good;
}
