/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* systemd and logind over the system bus; every call has a deadline. */
#pragma once

#include <gio/gio.h>

/* systemd runs this host (sd_booted(3)).  Below a root prefix: only if DBUS_SYSTEM_BUS_ADDRESS
 * names a bus for it, so that nobody talks to the real one by mistake. */
gboolean dkvm_bus_has_systemd(void);

/* Starts UNIT; does not wait until it runs, only MILLISECONDS at most until systemd has heard of
 * it. Errors: DKVM_ERROR_HOST. */
gboolean dkvm_bus_start_unit(const char *unit, guint milliseconds, GError **error);

/* A block inhibitor for sleep, idle and the lid, held as long as the returned descriptor is open;
 * -1 with DKVM_ERROR_HOST. */
int dkvm_bus_inhibit(const char *why, GError **error);

/* "active", "inactive", "failed" ..., and "deactivating" also where a stop is only asked for; NULL:
 * systemd cannot be asked.  g_free. */
char *dkvm_bus_unit_state(const char *unit);
/* systemd has a file of UNIT. */
gboolean dkvm_bus_unit_exists(const char *unit);
/* Stops or starts UNIT and waits at most MILLISECONDS until it is inactive (or failed), or active.
 * Errors: DKVM_ERROR_REFUSED. */
gboolean dkvm_bus_stop_unit(const char *unit, guint milliseconds, GError **error);
gboolean dkvm_bus_start_unit_and_wait(const char *unit, guint milliseconds, GError **error);
/* The host is going down. */
gboolean dkvm_bus_is_stopping(void);

/* AllowedCPUs of a slice or scope, as a list; "" if it may run on all.  NULL: systemd cannot be
 * asked.  g_free. */
char *dkvm_bus_allowed_cpus(const char *unit);
/* Sets it until the next boot ("" takes it away).  Errors: DKVM_ERROR_REFUSED. */
gboolean dkvm_bus_set_allowed_cpus(const char *unit, const char *cpus, GError **error);

/* logind's TerminateSession; waits at most MILLISECONDS until it is gone.  Errors:
 * DKVM_ERROR_REFUSED. */
gboolean dkvm_bus_end_session(const char *session, guint milliseconds, GError **error);

/* Who but dkvm holds off WHAT ("shutdown", "sleep") in block mode: "apt (installing packages)";
 * NULL: nobody, or logind cannot be asked.  g_free. */
char *dkvm_bus_blocker(const char *what);

/* logind starts the host again after SECONDS, tells WHY to everybody who is logged in, and lets
 * "shutdown -c" call it off.  Errors: DKVM_ERROR_HOST. */
gboolean dkvm_bus_reboot_in(guint seconds, const char *why, GError **error);
void dkvm_bus_cancel_reboot(void);
