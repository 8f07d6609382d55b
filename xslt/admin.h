/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The admin's own stylesheets, /etc/dkvm/xslt.d/ *.xsl, applied after ours. */
#pragma once

#include "xslt/transform.h"

/* Reads them in strcmp order through directory descriptors.  The folder, everything above it (up to
 * the root prefix) and each file must belong to root and be writable by nobody else, and be no
 * symbolic link. Returns a list of DkvmStylesheet* (empty if there is no such folder). Errors:
 * DKVM_ERROR_FILE (owner, mode, unreadable), DKVM_ERROR_INPUT (no stylesheet). */
GPtrArray *dkvm_admin_stylesheets(GError **error);
