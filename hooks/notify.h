/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Telling systemd how we are: sd_notify(3)'s protocol, a datagram to $NOTIFY_SOCKET.  Written here,
 * since it is less than what libsystemd would cost in memory, and hosts without systemd have no
 * such library. */
#pragma once

#include <glib.h>

/* Sends STATE ("READY=1", several lines allowed).  Nothing happens where nobody wants to know.
 * Returns whether it was sent. */
gboolean dkvm_notify(const char *state);

/* Whether somebody waits for "WATCHDOG=1", and how often it has to come; 0: nobody.  Microseconds.
 */
gint64 dkvm_notify_watchdog(void);
