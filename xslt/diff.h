/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A unified diff, made by diff(1). */
#pragma once

#include <gio/gio.h>

/* The unified diff from BEFORE to AFTER, labelled LABEL; "" if they are equal.  New string.
 * Errors: DKVM_ERROR_FILE if diff(1) cannot be run. */
char *dkvm_diff(const char *before, const char *after, const char *label, GError **error);
