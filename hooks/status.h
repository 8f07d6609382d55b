/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the watcher does, as a file that anybody may read: status.json.  Format: dkvm-watchd(8). */
#pragma once

#include "hooks/link.h"

/* Replaces DIRECTORY/status.json by what LINKS (DkvmLink*) know.  TROUBLE: why the configuration
 * was not taken, or NULL.  Errors: DKVM_ERROR_FILE. */
gboolean dkvm_status_write(const char *directory, const GPtrArray *links, const char *trouble,
                           GError **error);

/* Prints DIRECTORY/status.json for people, or with JSON as it is.  Errors: DKVM_ERROR_FILE if no
 * watcher runs, or its file cannot be read. */
gboolean dkvm_status_print(const char *directory, gboolean json, GError **error);
