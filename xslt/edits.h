/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Did somebody else change a definition while we did?  libvirt has no compare-and-swap, so the
 * events of a domain are counted between our read and our own event.  Safe from any thread but the
 * one that runs the event loop. */
#pragma once

#include <glib.h>
#include <libvirt/libvirt.h>

/* Listens on CONN; once for a connection. */
void dkvm_edits_follow(virConnectPtr conn);
/* Stops listening, so that CONN can be freed. */
void dkvm_edits_unfollow(virConnectPtr conn);

typedef struct DkvmEdits DkvmEdits;

typedef struct {
    guint changes;      /* definitions, metadata changes and undefines that were seen */
    gboolean undefined; /* somebody undefined the domain (a rename is none) */
    gboolean made_anew; /* the last of them made a domain that was not there */
} DkvmEditsSeen;

/* Counts from here on what happens to DOMAIN; what had arrived before is not counted. */
DkvmEdits *dkvm_edits_watch(virDomainPtr domain);

/* How many have arrived, without waiting for any. */
guint dkvm_edits_count(DkvmEdits *edits);

/* What has arrived up to now; waits until there are at least CHANGES, at most TIMEOUT_MS. */
DkvmEditsSeen dkvm_edits_seen(DkvmEdits *edits, guint changes, guint timeout_ms);

void dkvm_edits_free(DkvmEdits *edits);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmEdits, dkvm_edits_free)
