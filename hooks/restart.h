/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The first boot done over: virt-manager starts a machine before it defines it, so what runs is not
 * what the definition says.  Facts: facts/define.md 3. */
#pragma once

#include "hooks/link.h"

/* DOMAIN, which is patched, was looked at because of DEFINED (its detail, or -1: a scan) at AT.  If
 * it is on its first boot and nothing can be lost, it is stopped after the configured wait and
 * started again.  In the queue. */
void dkvm_restart_consider(DkvmLink *link, virDomainPtr domain, int defined, gint64 at);
