/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user's own libvirt daemon, which starts when a client wants it and ends when none does. */
#pragma once

#include <glib.h>

/* Whether anybody has a connection to it, beside the OURS that we have ourselves.  Looks at the
 * kernel's list of sockets, since a connection of our own would keep it alive. */
gboolean dkvm_session_in_use(guint ours);
