/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Many new files into one directory: each appears whole or not at all, all are on disk when the
 * directory is closed.  For results that can be made again; a file that is rewritten is file.h's.
 */
#pragma once

#include <glib.h>

typedef struct DkvmOutput DkvmOutput;

/* Opens DIRECTORY, which must exist.  Errors: DKVM_ERROR_FILE. */
DkvmOutput *dkvm_output_open(const char *directory, GError **error);

/* Creates or replaces the file NAME (no slash in it) in the directory by LENGTH bytes of DATA:
 * temporary file, rename.  No temporary file stays behind on failure.  Errors: DKVM_ERROR_FILE. */
gboolean dkvm_output_write(DkvmOutput *output, const char *name, const char *data, gsize length,
                           GError **error);

/* Brings everything to disk (syncfs) and closes.  OUTPUT may be NULL.  Errors: DKVM_ERROR_FILE. */
gboolean dkvm_output_close(DkvmOutput *output, GError **error);
