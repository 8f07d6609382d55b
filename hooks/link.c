/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/link.h"

#include <libvirt/virterror.h>

#include "hooks/resume.h"
#include "hooks/session.h"
#include "hooks/work.h"
#include "lib/log.h"
#include "xslt/edits.h"

#define KEEPALIVE_S 5
#define KEEPALIVE_COUNT 5
#define BACKOFF_FIRST (G_TIME_SPAN_SECOND / 4)
#define BACKOFF_MOST (15 * G_TIME_SPAN_SECOND)
#define TOOLS_AGAIN (60 * G_TIME_SPAN_SECOND) /* a missing QEMU may be installed meanwhile */
#define SESSION_LOOK (2 * G_TIME_SPAN_SECOND)
#define SCAN_AHEAD 64 /* jobs; bounds the memory of a scan, and lets new domains in between */

/* ---- records ---- */

DkvmRecord *dkvm_link_record(DkvmLink *link, const char *uuid, gboolean make)
{
    DkvmRecord *record = g_hash_table_lookup(link->records, uuid);
    if (record == NULL && make) {
        record = dkvm_record_new(uuid);
        g_hash_table_insert(link->records, record->uuid, record);
    }
    return record;
}

void dkvm_link_tidy(DkvmLink *link, const char *uuid)
{
    DkvmRecord *record = g_hash_table_lookup(link->records, uuid);
    if (record != NULL && dkvm_record_tidy(record, g_get_monotonic_time())) {
        g_hash_table_remove(link->records, uuid);
    }
}

static gboolean is_idle(gpointer uuid, gpointer record, gpointer now)
{
    return dkvm_record_tidy(record, *(gint64 *)now);
}

/* Machines that were started and never defined. */
static void tidy_all(DkvmLink *link)
{
    gint64 now = g_get_monotonic_time();
    g_hash_table_foreach_remove(link->records, is_idle, &now);
}

/* ---- events, in the thread of the event loop ---- */

/* With the lock held. */
static void note_event(DkvmLink *link, DkvmRecord *record, int event, int detail, gint64 now)
{
    dkvm_record_event(record, event, detail, now);
    if (event == VIR_DOMAIN_EVENT_DEFINED) {
        dkvm_guard_defined(&record->guard);
    } else if (event == VIR_DOMAIN_EVENT_STOPPED) {
        record->waits = FALSE;
        record->why = NULL;
    } else if (event == VIR_DOMAIN_EVENT_STARTED &&
               dkvm_record_phase(record) == DKVM_PHASE_STOPPED) {
        record->boot->phase = DKVM_PHASE_NONE;
        dkvm_log_note("%s: %s: started again by somebody else", link->uri, record->name);
    }
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr domain, int event, int detail, void *data)
{
    DkvmLink *link = data;
    gint64 now = g_get_monotonic_time();
    char uuid[VIR_UUID_STRING_BUFLEN] = "";
    gboolean gone =
        event == VIR_DOMAIN_EVENT_UNDEFINED && detail == VIR_DOMAIN_EVENT_UNDEFINED_REMOVED;
    virDomainGetUUIDString(domain, uuid);
    g_mutex_lock(&link->lock);
    gboolean quiet = link->quiet;
    DkvmRecord *record = dkvm_link_record(link, uuid, event == VIR_DOMAIN_EVENT_STARTED);
    gboolean listed = record != NULL && record->result != DKVM_RESULT_NONE;
    if (record != NULL) {
        note_event(link, record, event, detail, now);
        if (gone) {
            record->result = DKVM_RESULT_NONE;
            record->guard = (DkvmGuard){0};
            g_clear_pointer(&record->boot, g_free);
        }
        dkvm_link_tidy(link, uuid);
    }
    g_mutex_unlock(&link->lock);
    if (event == VIR_DOMAIN_EVENT_DEFINED && !quiet) {
        dkvm_work_look(link, domain, detail, now);
    }
    if (listed) {
        link->changed();
    }
    return 0;
}

/* virsh metadata changes a definition without a define event; so does virsh desc, but title and
 * description say nothing to us. */
static void on_metadata(virConnectPtr conn, virDomainPtr domain, int type, const char *uri,
                        void *data)
{
    DkvmLink *link = data;
    char uuid[VIR_UUID_STRING_BUFLEN] = "";
    virDomainGetUUIDString(domain, uuid);
    g_mutex_lock(&link->lock);
    gboolean quiet = link->quiet;
    DkvmRecord *record = dkvm_link_record(link, uuid, FALSE);
    if (record != NULL) {
        dkvm_guard_changed(&record->guard);
    }
    g_mutex_unlock(&link->lock);
    if (type == VIR_DOMAIN_METADATA_ELEMENT && !quiet) {
        dkvm_work_look(link, domain, VIR_DOMAIN_EVENT_DEFINED_UPDATED, g_get_monotonic_time());
    }
}

/* Somebody opened the console of a machine that may be on its first boot. */
static void on_graphics(virConnectPtr conn, virDomainPtr domain, int phase,
                        const virDomainEventGraphicsAddress *local,
                        const virDomainEventGraphicsAddress *remote, const char *scheme,
                        const virDomainEventGraphicsSubject *subject, void *data)
{
    DkvmLink *link = data;
    char uuid[VIR_UUID_STRING_BUFLEN] = "";
    virDomainGetUUIDString(domain, uuid);
    g_mutex_lock(&link->lock);
    DkvmRecord *record = dkvm_link_record(link, uuid, FALSE);
    if (record != NULL && record->boot != NULL && phase != VIR_DOMAIN_EVENT_GRAPHICS_DISCONNECT) {
        record->boot->viewed = g_get_monotonic_time();
    }
    g_mutex_unlock(&link->lock);
}

static void on_close(virConnectPtr conn, int reason, void *data)
{
    DkvmLink *link = data;
    g_mutex_lock(&link->lock);
    link->lost = TRUE;
    g_cond_broadcast(&link->wake);
    g_mutex_unlock(&link->lock);
}

/* ---- the thread ---- */

/* Says what is wrong, once as long as it is the same. */
static void set_trouble(DkvmLink *link, const char *trouble)
{
    g_mutex_lock(&link->lock);
    gboolean is_new = trouble != NULL && g_strcmp0(trouble, link->trouble) != 0;
    dkvm_record_set(&link->trouble, trouble);
    g_mutex_unlock(&link->lock);
    if (is_new) {
        dkvm_log_warning("%s: %s", link->uri, trouble);
    }
    link->changed();
}

/* Until it is told to stop, to scan, that the connection is lost, or for SPAN.  With the lock held.
 */
static void sleep_locked(DkvmLink *link, gint64 span)
{
    gint64 end = g_get_monotonic_time() + span;
    while (!link->stopping && !link->lost && !link->rescan &&
           g_cond_wait_until(&link->wake, &link->lock, end)) {
    }
}

static gboolean is_over(DkvmLink *link)
{
    g_mutex_lock(&link->lock);
    gboolean over = link->stopping || link->lost;
    g_mutex_unlock(&link->lock);
    return over;
}

static void set_tools(DkvmLink *link, DkvmTools *tools)
{
    g_mutex_lock(&link->lock);
    DkvmTools *old = link->tools;
    link->tools = tools;
    g_mutex_unlock(&link->lock);
    g_clear_pointer(&old, dkvm_tools_unref);
}

/* FALSE: nothing can be patched now. */
static gboolean renew_tools(DkvmLink *link, virConnectPtr conn)
{
    g_autoptr(GError) error = NULL;
    DkvmTools *tools = dkvm_tools_new(conn, &error);
    set_tools(link, tools);
    set_trouble(link, error ? error->message : NULL);
    return tools != NULL;
}

/* Every domain that is defined and not listed any more was undefined while nobody looked. */
static void forget_missing(DkvmLink *link, GHashTable *listed)
{
    GHashTableIter iter;
    gpointer uuid, record;
    g_mutex_lock(&link->lock);
    g_hash_table_iter_init(&iter, link->records);
    while (g_hash_table_iter_next(&iter, &uuid, &record)) {
        if (((DkvmRecord *)record)->result != DKVM_RESULT_NONE &&
            !g_hash_table_contains(listed, uuid)) {
            g_hash_table_iter_remove(&iter);
        }
    }
    g_mutex_unlock(&link->lock);
}

static void scan(DkvmLink *link, virConnectPtr conn, gboolean forget)
{
    g_autoptr(GHashTable) listed = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    virDomainPtr *domains = NULL;
    int count = virConnectListAllDomains(conn, &domains, VIR_CONNECT_LIST_DOMAINS_PERSISTENT);
    for (int i = 0; i < count && forget; i++) {
        char uuid[VIR_UUID_STRING_BUFLEN] = "";
        virDomainGetUUIDString(domains[i], uuid);
        g_hash_table_add(listed, g_strdup(uuid));
    }
    if (count >= 0 && forget) {
        forget_missing(link, listed);
    }
    for (int i = 0; i < count; i++) {
        while (!is_over(link) && !dkvm_queue_wait(link->queue, SCAN_AHEAD, 1000)) {
        }
        if (!is_over(link)) {
            dkvm_work_look(link, domains[i], -1, g_get_monotonic_time());
        }
        virDomainFree(domains[i]);
    }
    free(domains);
}

typedef void (*RecordFunction)(DkvmRecord *record);

/* With the lock held. */
static void each_record(DkvmLink *link, RecordFunction call)
{
    GHashTableIter iter;
    gpointer record;
    g_hash_table_iter_init(&iter, link->records);
    while (g_hash_table_iter_next(&iter, NULL, &record)) {
        call(record);
    }
}

/* While nobody listens, the history of a machine has a gap, and events of our own are lost. */
static void forget_events(DkvmRecord *record)
{
    if (record->boot != NULL) {
        record->boot->history.booted = 0;
    }
    record->guard.expected = 0;
}

/* Whatever was the reason to set a domain aside may be over. */
static void free_guard(DkvmRecord *record)
{
    record->guard = (DkvmGuard){.expected = record->guard.expected};
}

typedef struct {
    int lifecycle, metadata, graphics;
} Callbacks;

static gboolean listen(DkvmLink *link, virConnectPtr conn, Callbacks *callbacks)
{
    virConnectSetKeepAlive(conn, KEEPALIVE_S, KEEPALIVE_COUNT); /* refused by a local test driver */
    dkvm_edits_follow(conn);
    callbacks->lifecycle =
        virConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                         VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), link, NULL);
    callbacks->metadata =
        virConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
                                         VIR_DOMAIN_EVENT_CALLBACK(on_metadata), link, NULL);
    callbacks->graphics =
        virConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_GRAPHICS,
                                         VIR_DOMAIN_EVENT_CALLBACK(on_graphics), link, NULL);
    return virConnectRegisterCloseCallback(conn, on_close, link, NULL) == 0 &&
           callbacks->lifecycle >= 0;
}

/* The callbacks hold references: a connection that is lost is freed only without them. */
static void unlisten(virConnectPtr conn, const Callbacks *callbacks)
{
    virConnectUnregisterCloseCallback(conn, on_close);
    if (callbacks->lifecycle >= 0) {
        virConnectDomainEventDeregisterAny(conn, callbacks->lifecycle);
    }
    if (callbacks->metadata >= 0) {
        virConnectDomainEventDeregisterAny(conn, callbacks->metadata);
    }
    if (callbacks->graphics >= 0) {
        virConnectDomainEventDeregisterAny(conn, callbacks->graphics);
    }
    dkvm_edits_unfollow(conn);
}

/* Until there is something to do.  With the lock held. */
static void wait_locked(DkvmLink *link, gboolean able)
{
    gint64 again = g_get_monotonic_time() + TOOLS_AGAIN;
    for (;;) {
        sleep_locked(link, link->session ? SESSION_LOOK : TOOLS_AGAIN);
        if (link->stopping || link->lost || link->rescan) {
            return;
        }
        tidy_all(link);
        if (link->session && !dkvm_session_in_use(1) && dkvm_queue_wait(link->queue, 1, 0)) {
            link->definitions = dkvm_session_definitions();
            link->lost = TRUE; /* our own connection would keep its daemon from ending */
            return;
        }
        if (!able && g_get_monotonic_time() >= again) {
            return;
        }
    }
}

/* What a watcher before us left, once: later there are notes of our own. */
static GPtrArray *take_up(DkvmLink *link, virConnectPtr conn)
{
    gboolean done = link->resumed;
    link->resumed = TRUE;
    return done ? NULL : dkvm_resume(link, conn);
}

static void serve(DkvmLink *link, virConnectPtr conn)
{
    Callbacks callbacks = {-1, -1, -1};
    if (!listen(link, conn, &callbacks)) {
        set_trouble(link, "cannot listen to the events of this connection");
    }
    for (gboolean first = TRUE; !is_over(link); first = FALSE) {
        g_mutex_lock(&link->lock);
        link->rescan = FALSE;
        each_record(link, free_guard);
        g_mutex_unlock(&link->lock);
        gboolean able = renew_tools(link, conn);
        if (able && first) {
            dkvm_log_note("%s: watching", link->uri);
        }
        g_autoptr(GPtrArray) left = first ? take_up(link, conn) : NULL;
        if (able) {
            scan(link, conn, first);
        }
        dkvm_resume_report(link, left);
        g_mutex_lock(&link->lock);
        wait_locked(link, able);
        g_mutex_unlock(&link->lock);
    }
    unlisten(conn, &callbacks);
}

static virConnectPtr try_connect(DkvmLink *link)
{
    virConnectPtr conn = virConnectOpen(link->uri);
    if (conn == NULL) {
        g_autofree char *trouble =
            g_strdup_printf("cannot connect: libvirt says: %s; trying again until it works",
                            virGetLastErrorMessage());
        set_trouble(link, trouble);
        return NULL;
    }
    g_mutex_lock(&link->lock);
    link->conn = conn;
    link->lost = FALSE;
    each_record(link, forget_events);
    g_mutex_unlock(&link->lock);
    return conn;
}

static void disconnect(DkvmLink *link, virConnectPtr conn)
{
    g_mutex_lock(&link->lock);
    link->conn = NULL;
    gboolean stopping = link->stopping;
    g_mutex_unlock(&link->lock);
    set_tools(link, NULL);
    virConnectClose(conn);
    if (stopping) {
        return;
    }
    if (link->session) {
        dkvm_log_note("%s: let go", link->uri);
    } else {
        set_trouble(link, "the connection was closed by the other side; connecting again");
    }
}

/* Somebody uses the session's daemon, or used it since we looked last. */
static gboolean is_wanted(const DkvmLink *link)
{
    return !link->session || dkvm_session_in_use(0) ||
           (dkvm_session_runs() && dkvm_session_definitions() != link->definitions);
}

/* With the lock held: waits SPAN, or for a reason to connect to the session. */
static void wait_to_connect(DkvmLink *link, gint64 span)
{
    do {
        sleep_locked(link, link->session ? SESSION_LOOK : span);
        link->rescan = FALSE; /* there will be one */
    } while (!link->stopping && !is_wanted(link));
}

static gpointer run(gpointer data)
{
    DkvmLink *link = data;
    gint64 backoff = BACKOFF_FIRST;
    gboolean stopping = FALSE;
    while (!stopping) {
        virConnectPtr conn = is_wanted(link) ? try_connect(link) : NULL;
        if (conn != NULL) {
            serve(link, conn);
            disconnect(link, conn);
            backoff = BACKOFF_FIRST;
        }
        g_mutex_lock(&link->lock);
        link->lost = FALSE;
        wait_to_connect(link, backoff);
        stopping = link->stopping;
        g_mutex_unlock(&link->lock);
        backoff = MIN(backoff * 2, BACKOFF_MOST);
    }
    return NULL;
}

/* ---- the object ---- */

DkvmLink *dkvm_link_new(const char *uri, gboolean session, DkvmQueue *queue, const char *directory,
                        void (*changed)(void))
{
    DkvmLink *link = g_new0(DkvmLink, 1);
    link->uri = g_strdup(uri);
    link->session = session;
    link->queue = queue;
    link->directory = directory;
    link->changed = changed;
    g_mutex_init(&link->lock);
    g_cond_init(&link->wake);
    link->records =
        g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)dkvm_record_free);
    link->thread = g_thread_new("connection", run, link);
    return link;
}

void dkvm_link_rescan(DkvmLink *link)
{
    g_mutex_lock(&link->lock);
    link->rescan = TRUE;
    g_cond_broadcast(&link->wake);
    g_mutex_unlock(&link->lock);
}

void dkvm_link_quiet(DkvmLink *link)
{
    g_mutex_lock(&link->lock);
    link->quiet = TRUE;
    g_mutex_unlock(&link->lock);
}

void dkvm_link_stop(DkvmLink *link)
{
    g_mutex_lock(&link->lock);
    link->stopping = TRUE;
    g_cond_broadcast(&link->wake);
    g_mutex_unlock(&link->lock);
}

gboolean dkvm_link_is_restarting(DkvmLink *link)
{
    GHashTableIter iter;
    gpointer record;
    gboolean found = FALSE;
    g_mutex_lock(&link->lock);
    g_hash_table_iter_init(&iter, link->records);
    while (!found && g_hash_table_iter_next(&iter, NULL, &record)) {
        DkvmPhase phase = dkvm_record_phase(record);
        found = phase == DKVM_PHASE_STOPPED || phase == DKVM_PHASE_STARTING;
    }
    g_mutex_unlock(&link->lock);
    return found;
}

void dkvm_link_free(DkvmLink *link)
{
    g_thread_join(link->thread);
    g_hash_table_unref(link->records);
    g_mutex_clear(&link->lock);
    g_cond_clear(&link->wake);
    g_free(link->trouble);
    g_free(link->uri);
    g_free(link);
}
