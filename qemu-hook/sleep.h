/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host sleeps for some seconds, so that a GPU which no reset brings back loses its power
 * (facts/handoff.md D.6, F35).  Only where dkvm.conf says "suspend = rescue". */
#pragma once

#include <glib.h>

#define DKVM_SLEEP_MS 60000 /* of being awake, until it has slept and woken up */

/* This host can suspend to memory and wake itself up
 * (Documentation/admin-guide/pm/sleep-states.rst: "deep"; s2idle leaves the cards their power). */
gboolean dkvm_sleep_is_possible(void);

/* Suspends it and comes back when it is awake again.  The alarm of the clock and the kind of sleep
 * are as before then.  For the worker.  Returns 0 or an errno; *TEXT is what there is to say about
 * a failure, or NULL (g_free). */
int dkvm_sleep_now(char **text);
