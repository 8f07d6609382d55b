/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What outlives a watcher that is killed: the note, written before a first boot is stopped, that
 * the machine has to be started again.  One file in the watcher's runtime directory for each, so
 * nothing of it outlives the host. */
#pragma once

#include <glib.h>

/* After that nobody expects the machine to start any more. */
#define DKVM_PENDING_AGE (120 * G_TIME_SPAN_SECOND)

typedef struct {
    char *uri, *uuid, *name;
    int id;        /* libvirt's id of the machine that is to be stopped */
    char *digest;  /* of the definition that it is to be started from; dkvm_pending_digest() */
    gint64 at;     /* when it was written, monotonic microseconds */
    gboolean full; /* a medium is carried over in the definition */
} DkvmPending;

void dkvm_pending_free(DkvmPending *pending);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmPending, dkvm_pending_free)

/* XML as it is kept in a note: no definition, which has secrets.  New string. */
char *dkvm_pending_digest(const char *xml);

/* Writes PENDING into DIRECTORY.  Errors: DKVM_ERROR_FILE. */
gboolean dkvm_pending_write(const char *directory, const DkvmPending *pending, GError **error);

/* Removes the note about UUID on URI, if there is one. */
void dkvm_pending_remove(const char *directory, const char *uri, const char *uuid);

/* The notes about domains of URI (DkvmPending*).  What cannot be read as one is removed. */
GPtrArray *dkvm_pending_read(const char *directory, const char *uri);

/* What libvirt says of the domain now. */
typedef enum {
    DKVM_OFF_DESTROYED, /* it is off since somebody destroyed it */
    DKVM_OFF,           /* for another reason, or it is not known */
    DKVM_RUNS,
    DKVM_GONE,
} DkvmPower;

typedef enum {
    DKVM_PENDING_START,  /* it is ours to start */
    DKVM_PENDING_FORGET, /* it was not stopped yet, or somebody has taken it over */
    DKVM_PENDING_REPORT, /* it is off and should not be, but it may be somebody's wish by now */
} DkvmVerdict;

/* What is to be done.  DIGEST: of the definition now (NULL: not known).  No input or output. */
DkvmVerdict dkvm_pending_judge(const DkvmPending *pending, DkvmPower power, const char *digest,
                               gint64 now);
