/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two questions that dkvm-gpu has for libvirt's daemon.  Never to be asked while libvirt waits
 * for the hook: it would wait for us for ever. */
#pragma once

#include <glib.h>

/* The stored definition of the domain with that name or UUID (g_free), or NULL with
 * DKVM_ERROR_LIBVIRT. */
char *dkvm_libvirt_definition(const char *name, GError **error);

/* virNodeDeviceReAttach() of the PCI device BDF at the connection URI.  Returns 0, EINVAL for a bad
 * address, or EIO and *TEXT, why not (g_free). */
int dkvm_libvirt_reattach(const char *bdf, const char *uri, char **text);
