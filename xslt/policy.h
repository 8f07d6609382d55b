/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which domains are patched without being named (--all, the watcher): [define] of dkvm.conf. */
#pragma once

#include "lib/config.h"
#include "xslt/xml.h"

/* Whether the policy of CONFIG matches DOMAIN (its root element).  A domain that was reverted
 * (state="off"), and one that is not for x86_64, never does. */
gboolean dkvm_policy_matches(const DkvmConfig *config, const xmlNode *domain);
