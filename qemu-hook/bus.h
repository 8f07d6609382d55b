/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* systemd and logind over the system bus; every call has a deadline. */
#pragma once

#include <gio/gio.h>

/* systemd runs this host (sd_booted(3)), and no other root is looked at. */
gboolean dkvm_bus_has_systemd(void);

/* Starts UNIT (mode "fail"); does not wait until it runs.  Errors: DKVM_ERROR_HOST. */
gboolean dkvm_bus_start_unit(const char *unit, GError **error);

/* A block inhibitor for sleep, idle and the lid, held as long as the returned descriptor is open;
 * -1 with DKVM_ERROR_HOST. */
int dkvm_bus_inhibit(const char *why, GError **error);
