/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One look at one domain: is it ours, is it patched, may it be restarted? */
#pragma once

#include "hooks/link.h"

/* Looks at DOMAIN, in the queue.  DEFINED: the detail of the event, or -1: found by a scan; AT:
 * when it came. */
void dkvm_work_look(DkvmLink *link, virDomainPtr domain, int defined, gint64 at);
