/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A call that is made in another thread, because the answer takes a while and there is other work
 * to do until it is needed. */
#pragma once

#include <glib.h>

typedef struct DkvmAhead DkvmAhead;

/* Starts CALL(DATA).  DATA belongs to it until dkvm_ahead_wait() returns. */
DkvmAhead *dkvm_ahead_start(void (*call)(gpointer data), gpointer data);

/* Waits until the call has returned, and frees AHEAD.  Has the deadlines of the call itself. */
void dkvm_ahead_wait(DkvmAhead *ahead);
