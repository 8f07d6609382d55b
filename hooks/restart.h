/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The first boot done over: virt-manager starts a machine before it defines it, so what runs is not
 * what the definition says.  Facts: facts/define.md 3. */
#pragma once

#include "hooks/link.h"

/* DOMAIN runs and its definition, which event DEFINED (its detail, or -1: a scan) told of at AT,
 * has been patched.  Returns NULL if it will be stopped after the configured wait and started
 * again; else why not (static text, to go on "because ...").  In the queue. */
const char *dkvm_restart_consider(DkvmLink *link, virDomainPtr domain, const DkvmConfig *config,
                                  int defined, gint64 at);

/* DOMAIN was stopped on its first boot, by a watcher that has been killed since, and its record
 * says so (DKVM_PHASE_STOPPED): starts it unless somebody else does. */
void dkvm_restart_finish(DkvmLink *link, virDomainPtr domain);
