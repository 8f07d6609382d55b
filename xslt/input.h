/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one tree that stylesheets see: <dkvm:input><domain/><facts/><models/><choices/></dkvm:input>.
 */
#pragma once

#include "lib/xml.h"
#include "xslt/patch.h"
#include "xslt/vcpus.h"

typedef struct {
    const DkvmFacts *facts;
    const DkvmDomainState *state;
    const DkvmCpuModel *cpu;
    const DkvmVcpus *vcpus;
    const char *model;
    DkvmMacos macos;
    GHashTable *choices; /* key -> value */
    const char *osk;     /* the configured key, or NULL */
    gboolean original;   /* the domain is as it was before dkvm, nothing that dkvm made is in it */
} DkvmInput;

/* A new input document with models in it and no domain yet. */
DkvmDoc *dkvm_input_new(void);

/* Puts a copy of DOMAIN (or DOMAIN itself, if it is already in DOC) first and fills facts and
 * choices in; what was there before is freed.  Returns the domain in DOC. */
xmlNode *dkvm_input_set_domain(DkvmDoc *doc, xmlNode *domain);
void dkvm_input_fill(DkvmDoc *doc, const DkvmInput *input);
