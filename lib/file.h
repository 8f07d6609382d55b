/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bounded reading and atomic replacement of files.  Paths are used as they are: the caller applies
 * dkvm_path() where the host's own files are meant, and not for a file that the user named. */
#pragma once

#include <glib.h>

/* Reads the whole file (or, with PATH "-", standard input) of at most MAX bytes.
 * Returns a new NUL-terminated buffer (g_free) and its length without the NUL in *LENGTH (may be
 * NULL).  Errors: DKVM_ERROR_FILE with the system's reason; DKVM_ERROR_INPUT if larger than MAX. */
char *dkvm_file_read(const char *path, gsize max, gsize *length, GError **error);

/* Replaces (or creates) PATH by LENGTH bytes of DATA: temporary file in the same directory
 * (O_EXCL, mode 0600), write all, copy mode, owner and extended attributes of the old file, fsync,
 * close checked, rename, fsync of the directory.  A symbolic link keeps pointing where it pointed:
 * its target is replaced.  On failure the old file is untouched and no temporary file is left.
 * Errors: DKVM_ERROR_FILE. */
gboolean dkvm_file_replace(const char *path, const char *data, gsize length, GError **error);
