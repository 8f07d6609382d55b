/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/diff.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/error.h"

#define MAX_SECONDS 60 /* of computing */

static int memory_file(const char *text)
{
    int fd = memfd_create("dkvm-diff", MFD_CLOEXEC);
    gsize length = strlen(text), done = 0;
    while (fd >= 0 && done < length) {
        ssize_t n = write(fd, text + done, length - done);
        if (n < 0) {
            close(fd);
            return -1;
        }
        done += (gsize)n;
    }
    if (fd >= 0) {
        lseek(fd, 0, SEEK_SET);
    }
    return fd;
}

static char *fail(GError **error, const char *reason)
{
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE,
                "cannot make a diff: %s; is diff(1) installed (package diffutils)?", reason);
    return NULL;
}

/* Both files are in memory, so time that passes is time that it computes. */
static void limit_time(gpointer data)
{
    const struct rlimit limit = {MAX_SECONDS, MAX_SECONDS};
    setrlimit(RLIMIT_CPU, &limit);
}

char *dkvm_diff(const char *before, const char *after, const char *label, GError **error)
{
    g_autoptr(GError) inner = NULL;
    g_autofree char *old_label = g_strconcat(label, " (before)", NULL);
    g_autofree char *new_label = g_strconcat(label, " (after)", NULL);
    g_autoptr(GBytes) out = NULL;
    int a = memory_file(before), b = memory_file(after);
    if (a < 0 || b < 0) {
        return fail(error, g_strerror(errno));
    }
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE);
    g_subprocess_launcher_set_child_setup(launcher, limit_time, NULL, NULL);
    g_subprocess_launcher_take_fd(launcher, a, 3);
    g_subprocess_launcher_take_fd(launcher, b, 4);
    g_autoptr(GSubprocess) diff =
        g_subprocess_launcher_spawn(launcher, &inner, "diff", "-u", "--label", old_label, "--label",
                                    new_label, "/dev/fd/3", "/dev/fd/4", NULL);
    if (diff == NULL || !g_subprocess_communicate(diff, NULL, NULL, &out, NULL, &inner)) {
        return fail(error, inner->message);
    }
    /* 0: equal, 1: different */
    if (!g_subprocess_get_if_exited(diff) || g_subprocess_get_exit_status(diff) > 1) {
        return fail(error, "diff(1) failed, or took too long");
    }
    gsize length = 0;
    const char *text = g_bytes_get_data(out, &length);
    return g_strndup(text ? text : "", length); /* no bytes: no pointer */
}
