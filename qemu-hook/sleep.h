/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host sleeps for some seconds, so that a GPU which no reset brings back loses its power
 * (facts/handoff.md D.6, F35).  Only where dkvm.conf says "suspend = rescue". */
#pragma once

#include <glib.h>

#include "qemu-hook/handover.h"

/* This host can suspend to memory and wake itself up
 * (Documentation/admin-guide/pm/sleep-states.rst: "deep"; s2idle leaves the cards their power). */
gboolean dkvm_sleep_is_possible(void);

/* Suspends it and comes back when it is awake again.  The alarm of the clock and the kind of sleep
 * are as before then, also if the host did not sleep or the worker was killed; what is not so is a
 * problem of HANDOVER.  ACTION: for which device. */
gboolean dkvm_sleep_now(DkvmHandover *handover, const DkvmAction *action, GError **error);
