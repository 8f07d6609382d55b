/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/restart.h"

#include <libvirt/virterror.h>
#include <string.h>

#include "hooks/machine.h"
#include "hooks/pending.h"
#include "lib/error.h"
#include "lib/log.h"
#include "xslt/connection.h"

#define OTHERS_MS 4000 /* virt-manager starts it within 150 ms, or not at all */
#define LOOK_MS 100    /* for a console */
#define AGAIN_MS 500   /* while libvirtd is away */
#define GIVE_UP (60 * G_TIME_SPAN_SECOND)

/* One restart; goes from job to timer to job. */
typedef struct {
    DkvmLink *link;
    virDomainPtr domain;
    char uuid[VIR_UUID_STRING_BUFLEN];
    int id;         /* of the machine that is stopped */
    gint64 settle;  /* microseconds */
    gint64 patched; /* when its definition was, monotonic microseconds */
    char *running;  /* the XML of the machine that is stopped */
    char *before; /* the definition before media were carried over, NULL if none were; and after */
    char *after;
    gboolean noted; /* there is a note of it (pending.h) */
    gint64 stopped; /* when we stopped it; monotonic microseconds */
    DkvmJob next;
} Restart;

static Restart *restart_new(DkvmLink *link, virDomainPtr domain)
{
    Restart *restart = g_new0(Restart, 1);
    restart->link = link;
    restart->domain = domain;
    virDomainRef(domain);
    virDomainGetUUIDString(domain, restart->uuid);
    restart->id = (int)virDomainGetID(domain);
    return restart;
}

static void restart_free(gpointer data)
{
    Restart *restart = data;
    virDomainFree(restart->domain);
    g_free(restart->running);
    g_free(restart->before);
    g_free(restart->after);
    g_free(restart);
}

static const char *name_of(const Restart *restart)
{
    return virDomainGetName(restart->domain);
}

/* It has come to an end, whatever it is. */
static void end(Restart *restart)
{
    if (restart->noted) {
        dkvm_pending_remove(restart->link->directory, restart->link->uri, restart->uuid);
    }
    restart_free(restart);
}

/* ---- timers ---- */

typedef struct {
    Restart *restart; /* NULL once it is in the queue */
} Timer;

static void timer_free(void *data)
{
    Timer *timer = data;
    g_clear_pointer((gpointer *)&timer->restart, restart_free);
    g_free(timer);
}

static void on_time(int id, void *data)
{
    Timer *timer = data;
    Restart *restart = g_steal_pointer(&timer->restart);
    if (restart != NULL) {
        dkvm_queue_push(restart->link->queue, restart->uuid, restart->next, restart, NULL);
    }
    virEventRemoveTimeout(id);
}

/* NEXT after MS, in the queue of this domain.  Each job frees its data or calls this again. */
static void later(Restart *restart, guint ms, DkvmJob next)
{
    Timer *timer = g_new0(Timer, 1);
    timer->restart = restart;
    restart->next = next;
    virEventAddTimeout((int)ms, on_time, timer, timer_free);
}

/* ---- the phases ---- */

static void set_phase(Restart *restart, DkvmPhase phase, const char *why)
{
    g_mutex_lock(&restart->link->lock);
    DkvmRecord *record = dkvm_link_record(restart->link, restart->uuid, FALSE);
    if (record != NULL) {
        record->waits = why != NULL;
        record->why = why;
    }
    if (record != NULL && record->boot != NULL) {
        record->boot->phase = phase;
    }
    g_mutex_unlock(&restart->link->lock);
    restart->link->changed();
}

static void leave_running(Restart *restart, const char *why)
{
    set_phase(restart, DKVM_PHASE_NONE, why);
    dkvm_log_note("%s: %s: left running; the patch takes effect at its next start, because %s",
                  restart->link->uri, name_of(restart), why);
    end(restart);
}

static DkvmWritten ask_disk(virDomainPtr domain, const char *target)
{
    virDomainBlockStatsStruct stats;
    if (virDomainBlockStats(domain, target, &stats, sizeof stats) < 0 || stats.wr_bytes < 0) {
        return DKVM_WRITTEN_UNKNOWN;
    }
    return stats.wr_bytes > 0 ? DKVM_WRITTEN_YES : DKVM_WRITTEN_NO;
}

static DkvmWritten ask_disks(const Restart *restart)
{
    g_autoptr(GPtrArray) disks = dkvm_machine_disks(restart->running);
    DkvmWritten worst = disks ? DKVM_WRITTEN_NO : DKVM_WRITTEN_UNKNOWN;
    for (guint i = 0; worst == DKVM_WRITTEN_NO && i < disks->len; i++) {
        worst = ask_disk(restart->domain, disks->pdata[i]);
    }
    return worst;
}

/* May it be stopped now?  NULL: yes. */
static const char *refusal_now(Restart *restart)
{
    DkvmLink *link = restart->link;
    const char *why = "it is not there any more";
    DkvmWritten written = ask_disks(restart);
    g_mutex_lock(&link->lock);
    const DkvmRecord *record = dkvm_link_record(link, restart->uuid, FALSE);
    if (record != NULL && dkvm_record_phase(record) == DKVM_PHASE_SETTLING) {
        why = dkvm_first_boot_late_refusal(&record->boot->first, &record->boot->history, written,
                                           restart->settle, g_get_monotonic_time());
    }
    why = link->quiet ? "dkvm-watchd is being stopped" : why;
    g_mutex_unlock(&link->lock);
    return why;
}

/* ---- carrying the install medium over ---- */

static DkvmPatched *make_carried(DkvmUpdate *update, const char *xml, gpointer data, GError **error)
{
    Restart *restart = data;
    DkvmLink *link = restart->link;
    g_autofree char *carried = dkvm_machine_carry(xml, restart->running);
    g_mutex_lock(&link->lock);
    g_autoptr(DkvmTools) tools = carried && link->tools ? dkvm_tools_ref(link->tools) : NULL;
    g_mutex_unlock(&link->lock);
    DkvmPatcher *patcher = tools ? dkvm_tools_borrow(tools, error) : NULL;
    if (patcher == NULL) {
        return NULL;
    }
    DkvmDoc *doc = dkvm_xml_parse(carried, strlen(carried), name_of(restart), error);
    DkvmPatched *patched = doc ? dkvm_connection_patch(update, patcher, doc, carried,
                                                       dkvm_tools_facts(tools), NULL, error)
                               : NULL;
    dkvm_tools_give_back(tools, patcher);
    if (patched != NULL) {
        patched->changed = TRUE;
        g_free(restart->before);
        restart->before = g_strdup(xml);
    }
    return patched;
}

static DkvmPatched *make_as_before(DkvmUpdate *update, const char *xml, gpointer data,
                                   GError **error)
{
    Restart *restart = data;
    if (restart->after == NULL || !g_str_equal(xml, restart->after)) {
        return NULL; /* somebody has edited it since */
    }
    DkvmPatched *back = g_new0(DkvmPatched, 1);
    back->xml = g_strdup(restart->before);
    back->changed = TRUE;
    return back;
}

/* Tells the loop guard of a store of ours, or that it came to nothing. */
static void count_store(Restart *restart, gboolean stored)
{
    g_mutex_lock(&restart->link->lock);
    DkvmRecord *record = dkvm_link_record(restart->link, restart->uuid, FALSE);
    if (record != NULL && stored) {
        dkvm_guard_store(&record->guard, g_get_monotonic_time());
    } else if (record != NULL) {
        dkvm_guard_not_stored(&record->guard);
    }
    g_mutex_unlock(&restart->link->lock);
}

/* Stores what MAKE makes.  Returns whether it did. */
static gboolean store(Restart *restart, DkvmMake make, GError **error)
{
    gboolean stored = FALSE;
    count_store(restart, TRUE);
    g_autoptr(DkvmPatched) patched G_GNUC_UNUSED =
        dkvm_connection_update(restart->domain, make, restart, TRUE, &stored, error);
    if (!stored) {
        count_store(restart, FALSE);
    }
    return stored;
}

static gboolean carry(Restart *restart, GError **error)
{
    g_autoptr(GError) inner = NULL;
    if (store(restart, make_carried, &inner)) {
        restart->after = dkvm_connection_read(restart->domain, NULL);
    }
    if (inner != NULL) {
        g_propagate_error(error, g_steal_pointer(&inner));
        return FALSE;
    }
    return TRUE;
}

/* The machine goes on running: its definition must not boot the installer again. */
static void carry_back(Restart *restart)
{
    if (restart->before != NULL && !store(restart, make_as_before, NULL)) {
        dkvm_log_warning("%s: %s: its definition has the medium and boot order that it was "
                         "installed with; eject it when the installation is over",
                         restart->link->uri, name_of(restart));
    }
}

/* ---- start ---- */

/* The domain on the connection that there is now; libvirtd may have been restarted.  NULL: none. */
static virDomainPtr find_now(Restart *restart)
{
    DkvmLink *link = restart->link;
    g_mutex_lock(&link->lock);
    virConnectPtr conn = link->conn;
    if (conn != NULL) {
        virConnectRef(conn);
    }
    g_mutex_unlock(&link->lock);
    virDomainPtr domain = conn ? virDomainLookupByUUIDString(conn, restart->uuid) : NULL;
    if (conn != NULL) {
        virConnectClose(conn);
    }
    return domain;
}

/* Takes it, if nobody else has: from here on the event of its start is that of our own. */
static gboolean take(Restart *restart)
{
    g_mutex_lock(&restart->link->lock);
    DkvmRecord *record = dkvm_link_record(restart->link, restart->uuid, FALSE);
    DkvmPhase phase = record ? dkvm_record_phase(record) : DKVM_PHASE_NONE;
    gboolean ours = (phase == DKVM_PHASE_STOPPED || phase == DKVM_PHASE_STARTING) &&
                    dkvm_first_boot_is_ours(&record->boot->at_stop, &record->boot->history);
    if (ours) {
        record->boot->phase = DKVM_PHASE_STARTING;
    }
    g_mutex_unlock(&restart->link->lock);
    return ours;
}

static void say_not_started(Restart *restart)
{
    g_autofree char *reason = g_strdup(virGetLastErrorMessage());
    DkvmLink *link = restart->link;
    g_autofree char *message = g_strdup_printf(
        "cannot start %s again, which was stopped on its first boot: libvirt says: %s; start it "
        "when that is settled",
        name_of(restart), reason);
    g_mutex_lock(&link->lock);
    DkvmRecord *record = dkvm_link_record(link, restart->uuid, FALSE);
    if (record != NULL) {
        record->result = DKVM_RESULT_FAILED;
        dkvm_record_set(&record->error, message);
    }
    g_mutex_unlock(&link->lock);
    dkvm_log_error("%s: %s", link->uri, message);
}

static void start(gpointer data)
{
    Restart *restart = data;
    gint64 now = g_get_monotonic_time();
    if (!take(restart)) {
        set_phase(restart, DKVM_PHASE_NONE, NULL); /* somebody started it, or it is gone */
        end(restart);
        return;
    }
    virDomainPtr domain = find_now(restart);
    if (domain == NULL && now - restart->stopped < GIVE_UP) {
        later(restart, AGAIN_MS, start);
        return;
    }
    gboolean runs =
        domain != NULL && (virDomainIsActive(domain) == 1 || virDomainCreate(domain) == 0 ||
                           virDomainIsActive(domain) == 1);
    if (runs) {
        dkvm_log_note("%s: %s: started again as a Darwin guest", restart->link->uri,
                      name_of(restart));
    } else {
        say_not_started(restart);
    }
    g_clear_pointer(&domain, virDomainFree);
    set_phase(restart, DKVM_PHASE_NONE, NULL);
    end(restart);
}

/* ---- stop ---- */

/* From here on we may be killed at any time: what follows is noted for whoever comes next. */
static gboolean note(Restart *restart, GError **error)
{
    DkvmLink *link = restart->link;
    g_autofree char *xml =
        restart->after ? g_strdup(restart->after) : dkvm_connection_read(restart->domain, error);
    g_autofree char *digest = xml ? dkvm_pending_digest(xml) : NULL;
    if (digest == NULL) {
        return FALSE;
    }
    if (link->directory == NULL) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE,
                    "cannot note that %s is about to be started again: dkvm-watchd has no runtime "
                    "directory; see the warning at its start",
                    name_of(restart));
        return FALSE;
    }
    DkvmPending pending = {.uri = link->uri,
                           .uuid = restart->uuid,
                           .name = (char *)name_of(restart),
                           .id = restart->id,
                           .digest = digest,
                           .at = g_get_monotonic_time(),
                           .full = restart->before != NULL};
    restart->noted = TRUE;
    return dkvm_pending_write(link->directory, &pending, error);
}

/* What has to be in place before it is stopped.  NULL, or why it cannot be. */
static const char *prepare(Restart *restart)
{
    g_autoptr(GError) error = NULL;
    const char *why = NULL;
    if (!carry(restart, &error)) {
        why = "what it is installed from could not be kept";
    } else if (!note(restart, &error)) {
        why = "it could not be noted that it has to be started again";
    }
    if (error != NULL) {
        dkvm_log_error("%s: %s", restart->link->uri, error->message);
    }
    return why;
}

/* From here on the event of a start by somebody else ends the restart. */
static void enter_stopped(Restart *restart)
{
    g_mutex_lock(&restart->link->lock);
    DkvmRecord *record = dkvm_link_record(restart->link, restart->uuid, FALSE);
    if (record != NULL && record->boot != NULL) {
        record->boot->phase = DKVM_PHASE_STOPPED;
        record->boot->at_stop = record->boot->history;
    }
    g_mutex_unlock(&restart->link->lock);
}

/* Whether it is too early to stop it; *VIEWED: somebody has opened its console. */
static gboolean must_wait(Restart *restart, gboolean *viewed)
{
    gboolean wait = FALSE;
    g_mutex_lock(&restart->link->lock);
    const DkvmRecord *record = dkvm_link_record(restart->link, restart->uuid, FALSE);
    if (record != NULL && record->boot != NULL) {
        *viewed = record->boot->viewed != 0;
        wait = dkvm_first_boot_waits(&record->boot->first.machine, record->boot->viewed,
                                     restart->patched, restart->settle, g_get_monotonic_time());
    }
    g_mutex_unlock(&restart->link->lock);
    return wait;
}

static void stop(gpointer data)
{
    Restart *restart = data;
    const char *why = refusal_now(restart);
    gboolean viewed = FALSE;
    if (why == NULL && must_wait(restart, &viewed)) {
        later(restart, LOOK_MS, stop);
        return;
    }
    why = why ? why : prepare(restart);
    why = why ? why : refusal_now(restart);
    if (why != NULL) {
        carry_back(restart);
        leave_running(restart, why);
        return;
    }
    enter_stopped(restart);
    if (virDomainDestroyFlags(restart->domain, VIR_DOMAIN_DESTROY_GRACEFUL) < 0) {
        carry_back(restart);
        leave_running(restart, "it did not let itself be stopped");
        return;
    }
    restart->stopped = g_get_monotonic_time();
    dkvm_log_note("%s: %s: first boot stopped, nothing was written yet%s", restart->link->uri,
                  name_of(restart), viewed ? "; its console was open" : "");
    later(restart, OTHERS_MS, start);
}

/* ---- decide ---- */

static char *read_running(virDomainPtr domain)
{
    char *xml = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_SECURE);
    char *copy = g_strdup(xml);
    free(xml);
    return copy;
}

/* With the first-boot facts complete: NULL and the phase begun, or why not. */
static const char *begin(DkvmLink *link, const char *uuid, DkvmFirstBoot *first)
{
    g_mutex_lock(&link->lock);
    DkvmRecord *record = dkvm_link_record(link, uuid, FALSE);
    DkvmBoot *boot = record ? record->boot : NULL;
    first->history = boot ? boot->history : DKVM_HISTORY_NONE;
    const char *why = dkvm_first_boot_refusal(first);
    if (boot != NULL && boot->phase != DKVM_PHASE_NONE) {
        why = "it is about to be restarted";
    } else if (boot != NULL && why == NULL) {
        boot->first = *first;
        boot->phase = DKVM_PHASE_SETTLING;
    }
    g_mutex_unlock(&link->lock);
    return why;
}

const char *dkvm_restart_consider(DkvmLink *link, virDomainPtr domain, const DkvmConfig *config,
                                  int defined, gint64 at)
{
    char uuid[VIR_UUID_STRING_BUFLEN] = "";
    virDomainGetUUIDString(domain, uuid);
    DkvmFirstBoot first = {.restart = config->first_boot_restart,
                           .scanned = defined == -1,
                           .defined = defined,
                           .defined_at = at};
    g_autofree char *running = read_running(domain);
    first.machine = dkvm_machine_read(running);
    const char *why = begin(link, uuid, &first);
    if (why != NULL) {
        return why;
    }
    Restart *restart = restart_new(link, domain);
    restart->settle = (gint64)(config->settle_seconds * G_TIME_SPAN_SECOND);
    restart->patched = g_get_monotonic_time();
    restart->running = g_steal_pointer(&running);
    later(restart, (guint)(config->settle_seconds * 1000) + 1, stop);
    return NULL;
}

/* ---- what another watcher began ---- */

void dkvm_restart_finish(DkvmLink *link, virDomainPtr domain)
{
    Restart *restart = restart_new(link, domain);
    restart->noted = TRUE;
    restart->stopped = g_get_monotonic_time();
    later(restart, OTHERS_MS, start);
}
