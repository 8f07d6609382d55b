/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the watcher knows of one domain.  Belongs to a connection, whose lock guards it. */
#pragma once

#include "hooks/guard.h"
#include "hooks/history.h"

typedef enum {
    DKVM_RESULT_NONE,       /* not one of ours, or not looked at yet */
    DKVM_RESULT_UP_TO_DATE, /* there was nothing to change */
    DKVM_RESULT_PATCHED,
    DKVM_RESULT_FAILED,
    DKVM_RESULT_SET_ASIDE, /* changed again and again; see guard.h */
} DkvmResult;

/* Restarting a first boot. */
typedef enum {
    DKVM_PHASE_NONE,
    DKVM_PHASE_SETTLING, /* patched, still running the old machine */
    DKVM_PHASE_STOPPED,  /* we stopped it, and somebody else may start it */
    DKVM_PHASE_STARTING, /* we start it */
} DkvmPhase;

typedef struct {
    char *name;
    DkvmHistory history;
    DkvmGuard guard;
    DkvmResult result;
    gint64 patched; /* when we last stored it, seconds since the epoch; 0: we have not */
    gboolean waits; /* its running machine is older than its definition */
    char *why;      /* why it was not restarted, or NULL */
    char *error;    /* of a failure, or NULL */
    DkvmPhase phase;
    DkvmFirstBoot first; /* in a phase */
    DkvmHistory at_stop; /* in DKVM_PHASE_STOPPED: its history before we stopped it */
} DkvmRecord;

DkvmRecord *dkvm_record_new(void);
void dkvm_record_free(DkvmRecord *record);

/* Replaces *TEXT by a copy of NEW (may be NULL). */
void dkvm_record_set(char **text, const char *new_text);

/* Whether nothing in it is worth keeping. */
gboolean dkvm_record_is_idle(const DkvmRecord *record, gint64 now);
