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

/* A machine that may be on its first boot. */
typedef struct {
    DkvmHistory history;
    DkvmPhase phase;
    gint64 viewed;       /* when its console was opened, monotonic microseconds; 0: it was not */
    DkvmFirstBoot first; /* in a phase */
    DkvmHistory at_stop; /* from DKVM_PHASE_STOPPED on: its history before we stopped it */
} DkvmBoot;

/* There may be ten thousand, so what few of them need is apart. */
typedef struct {
    char uuid[37];
    guint8 result;  /* DkvmResult */
    gboolean waits; /* its running machine is older than its definition */
    DkvmGuard guard;
    gint64 patched;  /* when we last stored it, seconds since the epoch; 0: we have not */
    const char *why; /* why it was not restarted (static), or NULL */
    char *name;      /* NULL as long as it is not known to be ours */
    char *error;     /* of a failure, or NULL */
    DkvmBoot *boot;  /* NULL: we have not seen it start */
} DkvmRecord;

DkvmRecord *dkvm_record_new(const char *uuid);

void dkvm_record_free(DkvmRecord *record);

/* Replaces *TEXT by a copy of NEW (may be NULL). */
void dkvm_record_set(char **text, const char *new_text);

DkvmPhase dkvm_record_phase(const DkvmRecord *record);

/* It was stopped on its first boot, by a watcher before us. */
void dkvm_record_stopped(DkvmRecord *record);

/* Notes a lifecycle event that came at NOW. */
void dkvm_record_event(DkvmRecord *record, int event, int detail, gint64 now);

/* Forgets the history of a machine that is too old to be restarted.  Returns whether nothing in the
 * record is worth keeping. */
gboolean dkvm_record_tidy(DkvmRecord *record, gint64 now);
