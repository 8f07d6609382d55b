/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A kernel that does not let some file be read: the read(2) of the program that includes this. */
#pragma once

#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *bad_file; /* a part of its path; NULL: all can be read */
static int bad_cause;
static guint bad_times; /* so often, and then no more */

static void cannot_read(const char *file, int cause, guint times)
{
    bad_file = file;
    bad_cause = cause;
    bad_times = times;
}

static gboolean is_bad(int fd)
{
    g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
    char path[4096];
    ssize_t length = bad_file && bad_times > 0 ? readlink(link, path, sizeof path - 1) : -1;

    if (length < 0)
        return FALSE;
    path[length] = '\0';
    return strstr(path, bad_file) != NULL;
}

/* By its name in the program: with _FORTIFY_SOURCE read() is an inline function already. */
ssize_t bad_read(int fd, void *buffer, size_t size) __asm__("read");

ssize_t bad_read(int fd, void *buffer, size_t size)
{
    if (!is_bad(fd))
        return syscall(SYS_read, fd, buffer, size);
    bad_times--;
    errno = bad_cause;
    return -1;
}

/* What the compiler makes of it where it knows the size of BUFFER (_FORTIFY_SOURCE). */
ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room);

ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room)
{
    return bad_read(fd, buffer, size);
}
