/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user's own libvirt daemon, which starts when a client wants it and ends when none does.  It
 * is watched from outside, since a connection of our own would keep it alive. */
#pragma once

#include <glib.h>

/* Whether it runs, and anybody has a connection to it beside the OURS that we have ourselves: by
 * the kernel's list of sockets. */
gboolean dkvm_session_in_use(guint ours);

/* Whether it runs. */
gboolean dkvm_session_runs(void);

/* A number that is another one after each change of a definition: when the directory of the
 * definitions changed, in nanoseconds; 0 if there is none. */
gint64 dkvm_session_definitions(void);
