/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel behind fake-sysfs.c: a tree of files, and what happens in it when one is written. */
#pragma once

#include <limits.h>

typedef struct {
    char text[PATH_MAX];
} FakePath;

/* TREE, without a link in its own path; its devices have the drivers that they come back to. */
void fake_begin(const char *tree);

/* Where PATH of the host is. */
FakePath fake_path(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* TEXT, without a line end, is written to PATH.  0 or an errno. */
int fake_write(const char *path, const char *text);

/* VFIO_GROUP_GET_STATUS of /dev/vfio/GROUP: 0 viable, EPERM not. */
int fake_status(const char *path, const char *text);
