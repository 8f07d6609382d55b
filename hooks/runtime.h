/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The directory of a running watcher: its lock, by which there is one of it, and status.json. */
#pragma once

#include <glib.h>

/* systemd's $RUNTIME_DIRECTORY, else /run/dkvm-watchd below the root prefix; SESSION:
 * $XDG_RUNTIME_DIR/dkvm-watchd.  New string. */
char *dkvm_runtime_directory(gboolean session);

typedef enum { DKVM_LOCK_TAKEN, DKVM_LOCK_BUSY, DKVM_LOCK_FAILED } DkvmLock;

/* Makes DIRECTORY (0755) and takes its lock until the process ends.  BUSY: another watcher has it.
 * FAILED: with a DKVM_ERROR_FILE. */
DkvmLock dkvm_runtime_take(const char *directory, GError **error);

/* Whether a watcher has the lock of DIRECTORY. */
gboolean dkvm_runtime_is_taken(const char *directory);
