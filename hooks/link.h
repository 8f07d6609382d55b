/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One connection that is watched: a thread that connects, scans and connects again for as long as
 * it takes, and the records of its domains. */
#pragma once

#include <libvirt/libvirt.h>

#include "hooks/queue.h"
#include "hooks/record.h"
#include "hooks/tools.h"

typedef struct {
    char *uri;
    gboolean session; /* connect only while its daemon runs for somebody else */
    DkvmQueue *queue;
    const char *directory; /* of notes about first boots (pending.h); NULL: there is none */
    void (*changed)(void); /* something that --status shows has changed; any thread */
    GThread *thread;
    gboolean resumed;   /* notes of a watcher before us have been taken up; the thread's */
    gint64 definitions; /* of a session: dkvm_session_definitions() when we left it; the thread's */

    GMutex lock;        /* guards what follows */
    GCond wake;         /* for the thread */
    virConnectPtr conn; /* NULL: not connected */
    DkvmTools *tools;   /* NULL: domains cannot be patched, for the reason in trouble */
    char *trouble; /* why it is not connected, or why nothing can be patched; NULL: all is well */
    GHashTable *records; /* UUID -> DkvmRecord */
    gboolean lost;       /* the connection has been closed by the other side */
    gboolean rescan;     /* the configuration is new */
    gboolean quiet;      /* no new work */
    gboolean stopping;   /* disconnect and end */
} DkvmLink;

/* Starts to watch URI.  Jobs go to QUEUE.  DIRECTORY (outlives it; may be NULL): see above. */
DkvmLink *dkvm_link_new(const char *uri, gboolean session, DkvmQueue *queue, const char *directory,
                        void (*changed)(void));

/* Gathers facts and stylesheets anew and looks at every domain. */
void dkvm_link_rescan(DkvmLink *link);

/* No new work from here on; what has been stopped is still started again. */
void dkvm_link_quiet(DkvmLink *link);
/* Disconnects. */
void dkvm_link_stop(DkvmLink *link);
/* Whether a domain that we stopped has to be started yet. */
gboolean dkvm_link_is_restarting(DkvmLink *link);
/* Waits for the thread, which may be waiting for libvirt.  No jobs may be left. */
void dkvm_link_free(DkvmLink *link);

/* The record of UUID; with MAKE it is made if there is none.  With the lock held. */
DkvmRecord *dkvm_link_record(DkvmLink *link, const char *uuid, gboolean make);
/* Drops it if nothing in it is worth keeping.  With the lock held. */
void dkvm_link_tidy(DkvmLink *link, const char *uuid);
