/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What patching the domains of one connection takes: the configuration, the facts of its host, the
 * stylesheets, and patchers, of which each thread borrows one.  Any thread. */
#pragma once

#include <libvirt/libvirt.h>

#include "hooks/settings.h"
#include "xslt/patch.h"

typedef struct DkvmTools DkvmTools;

/* Gathers everything; takes a while (QEMU is asked).  Errors as dkvm_facts_connection(),
 * dkvm_admin_stylesheets() and dkvm_patcher_new(). */
DkvmTools *dkvm_tools_new(virConnectPtr conn, GError **error);
DkvmTools *dkvm_tools_ref(DkvmTools *tools);
void dkvm_tools_unref(DkvmTools *tools);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmTools, dkvm_tools_unref)

const DkvmConfig *dkvm_tools_config(const DkvmTools *tools);
const DkvmFacts *dkvm_tools_facts(const DkvmTools *tools);

/* A patcher for the calling thread alone, until it is given back. */
DkvmPatcher *dkvm_tools_borrow(DkvmTools *tools, GError **error);
void dkvm_tools_give_back(DkvmTools *tools, DkvmPatcher *patcher);
