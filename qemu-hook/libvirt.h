/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two questions that dkvm-gpu has for libvirt's daemon.  Never to be asked while libvirt waits
 * for the hook: it would wait for us for ever. */
#pragma once

#include <glib.h>

/* The stored definition of the domain with that name or UUID (g_free), or NULL with
 * DKVM_ERROR_LIBVIRT. */
char *dkvm_libvirt_definition(const char *name, GError **error);

/* virNodeDeviceReAttach() of the PCI device BDF at the connection URI: else libvirt thinks for as
 * long as it runs that the device is as a managed='no' domain left it, and gives it back to nobody
 * any more (facts/rig.md 5, virhostdev.c).  Returns 0, EINVAL for a bad address, or EIO and *TEXT,
 * why not (g_free).  For the worker. */
int dkvm_libvirt_reattach(const char *bdf, const char *uri, char **text);
