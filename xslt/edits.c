/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/edits.h"

#include <string.h>

#include "xslt/loop.h"

#define FENCE_MS 2000

struct DkvmEdits {
    virConnectPtr conn; /* to compare with only */
    char uuid[VIR_UUID_STRING_BUFLEN];
    DkvmEditsSeen seen;
};

/* One for each domain that is being stored at this moment, so a list will do. */
static GMutex lock;
static GCond changed;
static GSList *watched;

typedef struct {
    int lifecycle, metadata;
} Callbacks;

static GHashTable *followed; /* virConnectPtr -> Callbacks */

static void count(virConnectPtr conn, virDomainPtr domain, gboolean undefined, gboolean made_anew)
{
    char uuid[VIR_UUID_STRING_BUFLEN] = "";
    virDomainGetUUIDString(domain, uuid);
    g_mutex_lock(&lock);
    for (GSList *link = watched; link != NULL; link = link->next) {
        DkvmEdits *edits = link->data;
        if (edits->conn == conn && g_str_equal(edits->uuid, uuid)) {
            edits->seen.changes++;
            edits->seen.undefined |= undefined;
            edits->seen.made_anew = made_anew;
            g_cond_broadcast(&changed);
        }
    }
    g_mutex_unlock(&lock);
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr domain, int event, int detail, void *data)
{
    if (event == VIR_DOMAIN_EVENT_DEFINED) {
        count(conn, domain, FALSE, detail == VIR_DOMAIN_EVENT_DEFINED_ADDED);
    } else if (event == VIR_DOMAIN_EVENT_UNDEFINED) {
        count(conn, domain, detail == VIR_DOMAIN_EVENT_UNDEFINED_REMOVED, FALSE);
    }
    return 0;
}

/* virsh desc and virsh metadata change a definition without a define event. */
static void on_metadata(virConnectPtr conn, virDomainPtr domain, int type, const char *uri,
                        void *data)
{
    count(conn, domain, FALSE, FALSE);
}

void dkvm_edits_follow(virConnectPtr conn)
{
    Callbacks *callbacks = g_new0(Callbacks, 1);
    callbacks->lifecycle =
        virConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                         VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), NULL, NULL);
    callbacks->metadata =
        virConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
                                         VIR_DOMAIN_EVENT_CALLBACK(on_metadata), NULL, NULL);
    g_mutex_lock(&lock);
    followed = followed ? followed : g_hash_table_new_full(NULL, NULL, NULL, g_free);
    g_hash_table_insert(followed, conn, callbacks);
    g_mutex_unlock(&lock);
}

void dkvm_edits_unfollow(virConnectPtr conn)
{
    gpointer key = NULL, value = NULL;
    g_mutex_lock(&lock);
    gboolean found = followed != NULL && g_hash_table_steal_extended(followed, conn, &key, &value);
    g_mutex_unlock(&lock);
    if (found) {
        Callbacks *callbacks = value;
        virConnectDomainEventDeregisterAny(conn, callbacks->lifecycle);
        virConnectDomainEventDeregisterAny(conn, callbacks->metadata);
        g_free(callbacks);
    }
}

DkvmEdits *dkvm_edits_watch(virDomainPtr domain)
{
    DkvmEdits *edits = g_new0(DkvmEdits, 1);
    edits->conn = virDomainGetConnect(domain);
    virDomainGetUUIDString(domain, edits->uuid);
    dkvm_loop_fence(FENCE_MS);
    g_mutex_lock(&lock);
    watched = g_slist_prepend(watched, edits);
    g_mutex_unlock(&lock);
    return edits;
}

guint dkvm_edits_count(DkvmEdits *edits)
{
    g_mutex_lock(&lock);
    guint changes = edits->seen.changes;
    g_mutex_unlock(&lock);
    return changes;
}

DkvmEditsSeen dkvm_edits_seen(DkvmEdits *edits, guint changes, guint timeout_ms)
{
    gint64 end = g_get_monotonic_time() + timeout_ms * G_TIME_SPAN_MILLISECOND;
    dkvm_loop_fence(FENCE_MS);
    g_mutex_lock(&lock);
    while (edits->seen.changes < changes && g_cond_wait_until(&changed, &lock, end)) {
    }
    DkvmEditsSeen seen = edits->seen;
    g_mutex_unlock(&lock);
    return seen;
}

void dkvm_edits_free(DkvmEdits *edits)
{
    g_mutex_lock(&lock);
    watched = g_slist_remove(watched, edits);
    g_mutex_unlock(&lock);
    g_free(edits);
}
