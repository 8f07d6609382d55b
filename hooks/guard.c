/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/guard.h"

#include <string.h>

static guint32 milliseconds(gint64 now)
{
    return (guint32)(now / G_TIME_SPAN_MILLISECOND); /* wraps; differences do not mind */
}

void dkvm_guard_store(DkvmGuard *guard, gint64 now)
{
    if (guard->count == DKVM_GUARD_STORES) {
        memmove(&guard->stores[0], &guard->stores[1],
                sizeof guard->stores - sizeof guard->stores[0]);
        guard->count--;
    }
    guard->stores[guard->count++] = milliseconds(now);
    guard->expected += guard->expected < G_MAXUINT8;
}

void dkvm_guard_not_stored(DkvmGuard *guard)
{
    guard->count -= guard->count > 0;
    guard->expected -= guard->expected > 0;
}

void dkvm_guard_changed(DkvmGuard *guard)
{
    guard->count = 0;
    guard->tripped = FALSE;
}

void dkvm_guard_defined(DkvmGuard *guard)
{
    if (guard->expected > 0) {
        guard->expected--;
        return;
    }
    dkvm_guard_changed(guard);
}

gboolean dkvm_guard_trips(DkvmGuard *guard, gint64 now)
{
    gboolean full = guard->count == DKVM_GUARD_STORES;
    if (full && milliseconds(now) - guard->stores[0] <= DKVM_GUARD_MS) {
        guard->tripped = TRUE;
    }
    return guard->tripped;
}
