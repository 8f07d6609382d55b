/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of patch.h: one patch of one domain, and asking the stylesheets what it should become. */
#pragma once

#include "xslt/marker.h"
#include "xslt/patch.h"

struct DkvmPatcher {
    const DkvmFacts *facts;
    const char *osk, *model;
    const GPtrArray *admin;
    DkvmStylesheet *darwin;
    DkvmDoc *input, *admin_input;
};

/* One run over one domain. */
typedef struct {
    DkvmPatcher *patcher;
    const DkvmPatchCalls *calls;
    const DkvmDomainState *state; /* NULL: not asked yet */
    DkvmDoc *doc;                 /* the definition as it is; the result is made of it */
    xmlNode *domain;
    DkvmMarker *marker;
    DkvmMacos macos;
    const char *model;
    GHashTable
        *keep; /* settled units that were not taken back: they stay if the stylesheets let them */
    GHashTable *redo;  /* settled units that must be decided from the original */
    GHashTable *force; /* parts whose user edits are given up (--set) */
    xmlNode *base;     /* what the stylesheets saw */
    GPtrArray *numbered;
    DkvmDoc *target; /* what they made of it */
    DkvmChanges *fresh;
    DkvmPatched *patched;
} DkvmRun;

/* Puts what the user asked for into the marker's choices, and works out macOS and model from them.
 */
void dkvm_run_take_wishes(DkvmRun *run, const DkvmWishes *wishes);

/* Asks the stylesheets: fills base, numbered, target and fresh, and the units in keep and redo. */
gboolean dkvm_run_passes(DkvmRun *run, GError **error);

/* What cannot be read in the XML; waits for whoever finds it out. */
const DkvmDomainState *dkvm_run_state(DkvmRun *run);

/* Frees what the last pass made. */
void dkvm_run_forget_pass(DkvmRun *run);

/* The user's own edit: not undone, not written again. */
gboolean dkvm_run_is_pinned(const DkvmChange *change, const DkvmRun *run);
/* An edit that the user gave up (--set). */
gboolean dkvm_run_is_forced(const DkvmChange *change, const DkvmRun *run);
/* Whether CHANGE (of the marker) was undone in the base of this pass.  A DkvmChangeFilter; DATA:
 * DkvmRun*. */
gboolean dkvm_run_is_taken_back(const DkvmChange *change, gpointer data);
/* Whether CHANGE (of fresh) would make another kind of device of one that the last patch left as it
 * was, or that came later.  The tables had their say when the domain was patched; what is there now
 * is what the user chose since, be it good for this macOS or not.  Another macOS or --set asks
 * anew. */
gboolean dkvm_run_is_chosen_since(const DkvmRun *run, const DkvmChange *change);
/* Whether CHANGE is about something that the user changed. */
gboolean dkvm_run_has_pinned_unit(const DkvmRun *run, const DkvmChange *change);
