/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The vCPUs of a domain, as a question to the oracle (topology.h) and back. */
#pragma once

#include "lib/xml.h"
#include "xslt/facts.h"
#include "xslt/topology.h"

typedef struct {
    guint vcpus; /* the count that the domain gets */
    DkvmShape shape;
    gboolean leave; /* the domain's own <topology> boots and stays */
} DkvmVcpus;

/* Works out count and shape for DOMAIN with CPU and MACOS on this host.
 * CHOICE: "SxCxT" of --set topology, or NULL.  EDITED: the topology in DOMAIN is the user's own
 * edit of what dkvm wrote, so that several sockets stay as well. Errors: DKVM_ERROR_INPUT (no
 * number of vCPUs), DKVM_ERROR_HOST (nothing bootable; with the shapes that would do). */
gboolean dkvm_vcpus_choose(const xmlNode *domain, const DkvmFacts *facts, const DkvmCpuModel *cpu,
                           DkvmMacos macos, const char *choice, gboolean edited, DkvmVcpus *vcpus,
                           GError **error);

/* The oracle's question for CPU, MACOS and host, its shape left empty.  KVM: whether the domain is
 * of type kvm. */
DkvmTopologyQuestion dkvm_vcpus_question(const DkvmFacts *facts, const DkvmCpuModel *cpu,
                                         DkvmMacos macos, gboolean kvm);
