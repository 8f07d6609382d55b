/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What cannot be read in a definition, asked of libvirt: disks, running, the emulator. */
#pragma once

#include <libvirt/libvirt.h>
#include <libxml/tree.h>

#include "xslt/patch.h"

typedef struct DkvmAsk DkvmAsk;

/* What there is to ask about DOMAIN, whose definition is ROOT (not needed afterwards).  FACTS: the
 * connection's.  DOMAIN and FACTS must outlive it. */
DkvmAsk *dkvm_ask_new(virDomainPtr domain, const xmlNode *root, const DkvmFacts *facts);
void dkvm_ask_free(DkvmAsk *ask);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmAsk, dkvm_ask_free)

/* Begins to ask, in another thread. */
void dkvm_ask_start(DkvmAsk *ask);

/* What the answers will be for most domains that have not been patched; NULL: anybody's guess. */
const DkvmDomainState *dkvm_ask_likely(const DkvmAsk *ask);

/* The answers; asks, or waits for them.  A DkvmPatchCalls.state; ASK: DkvmAsk*. */
const DkvmDomainState *dkvm_ask_answer(gpointer ask);
