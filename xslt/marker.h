/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* <dkvm:darwin> in a domain's <metadata>: that it is ours, for which Mac and macOS, the user's
 * choices, and every change with what was there before. */
#pragma once

#include "xslt/change.h"

typedef struct {
    gboolean present;
    gboolean off;        /* state="off": reverted; the watcher and --all leave it alone */
    char *model, *macos; /* as last written; NULL if absent */
    GHashTable *choices; /* key -> value, both owned */
    DkvmChanges *changes;
    char *made;        /* what there was not before: "metadata", "namespace"; NULL if nothing */
    char *disks;       /* the targets of the original's disks, in order */
    char *controllers; /* the controllers that the original had; NULL if absent */
} DkvmMarker;

void dkvm_marker_free(DkvmMarker *marker);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmMarker, dkvm_marker_free)

/* Reads DOMAIN's marker; one that says nothing if there is none.  Every value is checked: errors
 * are DKVM_ERROR_INPUT naming what is wrong and how to get rid of it. */
DkvmMarker *dkvm_marker_read(const xmlNode *domain, GError **error);

/* Whether MARKER, written, could be read again: its changes are at places that a marker may speak
 * of. */
gboolean dkvm_marker_is_readable(const DkvmMarker *marker);

/* Puts MARKER into DOMAIN's metadata, in the place of an earlier one. */
void dkvm_marker_write(xmlNode *domain, const DkvmMarker *marker);

/* Takes the marker out of DOMAIN, and <metadata> with it if nothing else is in there. */
void dkvm_marker_remove(xmlNode *domain);
