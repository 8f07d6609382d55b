/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What can be a Darwin guest, and which domains are patched without being named (--all, the
 * watcher): [define] of dkvm.conf. */
#pragma once

#include "lib/config.h"
#include "lib/xml.h"

/* Whether DOMAIN is something that can become a Darwin guest: <domain type='kvm|qemu'>, named, hvm,
 * x86_64.  Errors: DKVM_ERROR_INPUT. */
gboolean dkvm_policy_allows(const xmlNode *domain, const char *what, GError **error);

/* Whether the policy of CONFIG matches DOMAIN (its root element).  A domain that was reverted
 * (state="off"), and one that is not for x86_64, never does. */
gboolean dkvm_policy_matches(const DkvmConfig *config, const xmlNode *domain);
