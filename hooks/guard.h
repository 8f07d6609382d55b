/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard against loops: a definition that we store again and again, although nobody else changes
 * it, is left alone.  No input or output. */
#pragma once

#include <glib.h>

#define DKVM_GUARD_STORES 3
#define DKVM_GUARD_MS 60000

/* Small, since there is one for each domain. */
typedef struct {
    guint32 stores[DKVM_GUARD_STORES]; /* when we stored it, oldest first, milliseconds */
    guint8 count;                      /* how many of them are used */
    guint8 expected;                   /* define events of our own that have not come yet */
    guint8 tripped;
} DkvmGuard;

/* We are about to store the definition.  NOW: monotonic microseconds, here and below. */
void dkvm_guard_store(DkvmGuard *guard, gint64 now);
/* It was not stored after all. */
void dkvm_guard_not_stored(DkvmGuard *guard);

/* A define event came: our own, or somebody else's, which frees a domain that was set aside. */
void dkvm_guard_defined(DkvmGuard *guard);
/* Somebody else changed it, without a define event. */
void dkvm_guard_changed(DkvmGuard *guard);

/* Whether storing it once more is too much: three stores within 60 seconds without a change by
 * somebody else.  Says so from then on. */
gboolean dkvm_guard_trips(DkvmGuard *guard, gint64 now);
