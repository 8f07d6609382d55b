/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt's event loop, without which no event and no keepalive arrives.  Exactly one thread runs
 * it: a daemon's main thread by virEventRunDefaultImpl(), or a thread of its own (start, stop). */
#pragma once

#include <glib.h>

/* Runs the loop in a thread of its own; virEventRegisterDefaultImpl() was called before. */
void dkvm_loop_start(void);
/* Ends that thread, if there is one. */
void dkvm_loop_stop(void);

/* Waits until every event that this process had received before the call is delivered, at most
 * TIMEOUT_MS.  Not from the thread that runs the loop. */
void dkvm_loop_fence(guint timeout_ms);
