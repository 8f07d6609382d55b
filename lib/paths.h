/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every absolute path that dkvm opens goes through here, so that tests can swap the host.
 * The root prefix is the environment variable DKVM_ROOT (read once, ignored in a process that
 * gained privileges: secure_getenv(3)); unset or empty means "/". */
#pragma once

#include <glib.h>

/* The root prefix without a trailing slash; "" for the real root.  Owned by the library. */
const char *dkvm_paths_root(void);

/* PATH (absolute) below the root prefix.  Returns a new string; free with g_free(). */
char *dkvm_path(const char *path);
