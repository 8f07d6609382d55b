/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/work.h"

#include <libvirt/virterror.h>
#include <string.h>

#include "hooks/restart.h"
#include "lib/error.h"
#include "lib/log.h"
#include "lib/policy.h"
#include "xslt/connection.h"

typedef struct {
    DkvmLink *link;
    virDomainPtr domain;
    char uuid[VIR_UUID_STRING_BUFLEN];
    int defined; /* the detail of the event; -1: a scan */
    gint64 at;
    DkvmTools *tools; /* while it runs */
    gboolean matches, set_aside, counted;
} Look;

static void look_free(gpointer data)
{
    Look *look = data;
    g_clear_pointer(&look->tools, dkvm_tools_unref);
    virDomainFree(look->domain);
    g_free(look);
}

/* ---- making the new definition ---- */

/* FALSE: it was stored too often. */
static gboolean count_store(Look *look)
{
    DkvmLink *link = look->link;
    gint64 now = g_get_monotonic_time();
    g_mutex_lock(&link->lock);
    DkvmRecord *record = dkvm_link_record(link, look->uuid, TRUE);
    look->set_aside = dkvm_guard_trips(&record->guard, now);
    if (!look->set_aside && !look->counted) {
        dkvm_guard_store(&record->guard, now);
        look->counted = TRUE;
    }
    g_mutex_unlock(&link->lock);
    return !look->set_aside;
}

static DkvmPatched *make(DkvmUpdate *update, const char *xml, gpointer data, GError **error)
{
    Look *look = data;
    const char *name = virDomainGetName(look->domain);
    g_autoptr(DkvmDoc) doc = dkvm_xml_parse(xml, strlen(xml), name, NULL);
    const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
    look->matches = doc && dkvm_policy_matches(dkvm_tools_config(look->tools), root);
    if (!look->matches) {
        return NULL;
    }
    DkvmPatcher *patcher = dkvm_tools_borrow(look->tools, error);
    if (patcher == NULL) {
        return NULL;
    }
    g_autoptr(DkvmPatched) patched = dkvm_connection_patch(
        update, patcher, g_steal_pointer(&doc), xml, dkvm_tools_facts(look->tools), NULL, error);
    dkvm_tools_give_back(look->tools, patcher);
    if (patched != NULL && patched->changed && !count_store(look)) {
        return NULL;
    }
    return g_steal_pointer(&patched);
}

/* ---- what came of it ---- */

static const char *occasion(const Look *look)
{
    switch (look->defined) {
    case -1:
        return "found by a scan";
    case VIR_DOMAIN_EVENT_DEFINED_ADDED:
        return "new";
    case VIR_DOMAIN_EVENT_DEFINED_RENAMED:
        return "renamed";
    case VIR_DOMAIN_EVENT_DEFINED_FROM_SNAPSHOT:
        return "reverted to a snapshot";
    default:
        return "changed";
    }
}

static void say_patched(Look *look, const DkvmPatched *patched, const char *then)
{
    for (guint i = 0; !patched->was_patched && i < patched->notes->len; i++) {
        const char *note = g_ptr_array_index(patched->notes, i);
        if (g_str_has_prefix(note, "warning|")) {
            dkvm_log_warning("%s: %s: %s", look->link->uri, patched->name, strchr(note, '|') + 1);
        }
    }
    dkvm_log_note("%s: %s (%s): patched as a Darwin guest, %u changes%s", look->link->uri,
                  patched->name, occasion(look), patched->done->len, then);
}

/* What follows for a machine that runs: a line for people.  New string. */
static char *what_then(Look *look, gboolean stored, const char **why)
{
    gboolean first = look->defined == VIR_DOMAIN_EVENT_DEFINED_ADDED;
    if ((!stored && !first) || virDomainIsActive(look->domain) != 1) {
        return g_strdup("");
    }
    *why = dkvm_restart_consider(look->link, look->domain, dkvm_tools_config(look->tools),
                                 look->defined, look->at);
    return *why ? g_strdup_printf("; takes effect at its next start, because %s", *why)
                : g_strdup("; it is on its first boot, which is done over");
}

static void note_result(Look *look, const DkvmPatched *patched, gboolean stored, const char *why)
{
    g_mutex_lock(&look->link->lock);
    DkvmRecord *record = dkvm_link_record(look->link, look->uuid, TRUE);
    dkvm_record_set(&record->name, patched->name);
    dkvm_record_set(&record->error, NULL);
    if (stored) {
        record->result = DKVM_RESULT_PATCHED;
        record->patched = g_get_real_time() / G_TIME_SPAN_SECOND;
        record->waits = why != NULL;
        record->why = why;
    } else if (record->result != DKVM_RESULT_PATCHED) {
        record->result = DKVM_RESULT_UP_TO_DATE;
    }
    g_mutex_unlock(&look->link->lock);
}

static void done(Look *look, const DkvmPatched *patched, gboolean stored)
{
    const char *why = NULL;
    g_autofree char *then = what_then(look, stored, &why);
    note_result(look, patched, stored, why);
    if (stored) {
        say_patched(look, patched, then);
    }
    look->link->changed();
}

static void failed(Look *look, DkvmResult result, const char *message)
{
    DkvmLink *link = look->link;
    g_mutex_lock(&link->lock);
    DkvmRecord *record = dkvm_link_record(link, look->uuid, TRUE);
    gboolean is_new = record->result != result || g_strcmp0(record->error, message) != 0;
    record->result = result;
    dkvm_record_set(&record->name, virDomainGetName(look->domain));
    dkvm_record_set(&record->error, message);
    g_mutex_unlock(&link->lock);
    if (is_new) {
        dkvm_log_error("%s: %s", link->uri, message);
    }
    link->changed();
}

static void not_ours(Look *look)
{
    DkvmLink *link = look->link;
    g_mutex_lock(&link->lock);
    DkvmRecord *record = dkvm_link_record(link, look->uuid, FALSE);
    gboolean was_listed = record != NULL && record->result != DKVM_RESULT_NONE;
    if (record != NULL) {
        record->result = DKVM_RESULT_NONE;
        record->guard = (DkvmGuard){0};
        dkvm_link_tidy(link, look->uuid);
    }
    g_mutex_unlock(&link->lock);
    if (was_listed) {
        link->changed();
    }
}

static void take_back_count(Look *look)
{
    g_mutex_lock(&look->link->lock);
    DkvmRecord *record = dkvm_link_record(look->link, look->uuid, FALSE);
    if (record != NULL) {
        dkvm_guard_not_stored(&record->guard);
    }
    g_mutex_unlock(&look->link->lock);
}

/* The domain or the whole connection is not there any more: nothing that the domain did wrong. */
static gboolean is_gone(Look *look)
{
    return virConnectIsAlive(virDomainGetConnect(look->domain)) != 1 ||
           virDomainIsPersistent(look->domain) != 1;
}

static void conclude(Look *look, const DkvmPatched *patched, gboolean stored, const GError *error)
{
    if (look->counted && !stored) {
        take_back_count(look);
    }
    gboolean nothing = error != NULL ? is_gone(look) : !look->set_aside && patched == NULL;
    if (nothing) {
        not_ours(look);
    } else if (error != NULL) {
        failed(look, DKVM_RESULT_FAILED, error->message);
    } else if (look->set_aside) {
        g_autofree char *message = g_strdup_printf(
            "%s is set aside: it was stored three times within a minute although nobody changed "
            "it, "
            "so something undoes what dkvm writes; change the definition, or reload dkvm-watchd, "
            "and it is tried again",
            virDomainGetName(look->domain));
        failed(look, DKVM_RESULT_SET_ASIDE, message);
    } else {
        done(look, patched, stored);
    }
}

static void run(gpointer data)
{
    Look *look = data;
    DkvmLink *link = look->link;
    g_autoptr(GError) error = NULL;
    gboolean stored = FALSE;
    g_mutex_lock(&link->lock);
    gboolean skip = link->quiet || link->tools == NULL;
    look->tools = skip ? NULL : dkvm_tools_ref(link->tools);
    g_mutex_unlock(&link->lock);
    if (skip) {
        return; /* the next scan will find it */
    }
    g_autoptr(DkvmPatched) patched =
        dkvm_connection_update(look->domain, make, look, TRUE, &stored, &error);
    conclude(look, patched, stored, error);
}

void dkvm_work_look(DkvmLink *link, virDomainPtr domain, int defined, gint64 at)
{
    Look *look = g_new0(Look, 1);
    look->link = link;
    look->domain = domain;
    look->defined = defined;
    look->at = at;
    virDomainRef(domain);
    virDomainGetUUIDString(domain, look->uuid);
    dkvm_queue_push(link->queue, look->uuid, run, look, look_free);
}
