/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/admin.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/paths.h"

#define FOLDER DKVM_SYSCONFDIR "/dkvm/xslt.d"
#define MAX_SHEETS 64
#define MAX_BYTES (1024 * 1024)

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}
#define AUTO_FD __attribute__((cleanup(close_fd))) int

static gboolean refuse(GError **error, const char *path, const char *reason)
{
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE, "cannot use the admin's stylesheets: %s: %s",
                path, reason);
    return FALSE;
}

static gboolean is_roots_alone(int fd, const char *path, GError **error)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return refuse(error, path, g_strerror(errno));
    }
    if (st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return refuse(error, path,
                      "must belong to root and be writable by nobody else (chown root, "
                      "chmod go-w)");
    }
    return TRUE;
}

/* Opens FOLDER step by step, each step checked.  -1 without an error: there is none. */
static int open_folder(GError **error)
{
    const char *root = *dkvm_paths_root() ? dkvm_paths_root() : "/";
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_auto(GStrv) steps = g_strsplit(&FOLDER[1], "/", -1);
    for (char **step = steps; *step != NULL && fd >= 0; step++) {
        if (!is_roots_alone(fd, FOLDER, error)) {
            close(fd);
            return -1;
        }
        int next = openat(fd, *step, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int saved = errno;
        close(fd);
        if (next < 0 && saved != ENOENT) {
            refuse(error, FOLDER, g_strerror(saved));
        }
        fd = next;
    }
    if (fd >= 0 && !is_roots_alone(fd, FOLDER, error)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int is_stylesheet(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && g_str_has_suffix(entry->d_name, ".xsl");
}

static DkvmStylesheet *read_one(int folder, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(FOLDER, name, NULL);
    AUTO_FD fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        refuse(error, path, g_strerror(errno));
        return NULL;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > MAX_BYTES) {
        refuse(error, path, "it is no regular file of at most 1 MiB");
        return NULL;
    }
    if (!is_roots_alone(fd, path, error)) {
        return NULL;
    }
    g_autofree char *text = g_malloc((gsize)st.st_size + 1);
    gsize length = 0;
    ssize_t n = 1;
    while (length < (gsize)st.st_size && n > 0) {
        n = read(fd, text + length, (gsize)st.st_size - length);
        length += n > 0 ? (gsize)n : 0;
    }
    if (n < 0) {
        refuse(error, path, g_strerror(errno));
        return NULL;
    }
    return dkvm_stylesheet_new(text, length, path, error);
}

static void free_names(struct dirent **names, int count)
{
    for (int i = 0; i < count; i++) {
        free(names[i]);
    }
    free(names);
}

GPtrArray *dkvm_admin_stylesheets(GError **error)
{
    g_autoptr(GPtrArray) sheets =
        g_ptr_array_new_with_free_func((GDestroyNotify)dkvm_stylesheet_free);
    g_autoptr(GError) inner = NULL;
    AUTO_FD folder = open_folder(&inner);
    if (inner != NULL) {
        g_propagate_error(error, g_steal_pointer(&inner));
        return NULL;
    }
    if (folder < 0) {
        return g_steal_pointer(&sheets);
    }
    struct dirent **names = NULL;
    int count = scandirat(folder, ".", &names, is_stylesheet, NULL);
    if (count < 0 || count > MAX_SHEETS) {
        refuse(error, FOLDER, count < 0 ? g_strerror(errno) : "more than 64 stylesheets");
        free_names(names, MAX(count, 0));
        return NULL;
    }
    gboolean good = TRUE;
    /* strcmp order, whatever the locale (alphasort is not). */
    for (int i = 1; i < count; i++) {
        for (int j = i; j > 0 && strcmp(names[j - 1]->d_name, names[j]->d_name) > 0; j--) {
            struct dirent *swap = names[j];
            names[j] = names[j - 1];
            names[j - 1] = swap;
        }
    }
    for (int i = 0; i < count && good; i++) {
        DkvmStylesheet *sheet = read_one(folder, names[i]->d_name, error);
        good = sheet != NULL;
        if (good) {
            g_ptr_array_add(sheets, sheet);
        }
    }
    free_names(names, count);
    return good ? g_steal_pointer(&sheets) : NULL;
}
