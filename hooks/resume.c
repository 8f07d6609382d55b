/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/resume.h"

#include "hooks/pending.h"
#include "hooks/restart.h"
#include "lib/log.h"
#include "xslt/connection.h"

static DkvmPower power_of(virDomainPtr domain)
{
    int state = 0, reason = 0;
    if (domain == NULL) {
        return DKVM_GONE;
    }
    if (virDomainGetState(domain, &state, &reason, 0) < 0) {
        return DKVM_OFF;
    }
    if (state != VIR_DOMAIN_SHUTOFF) {
        return DKVM_RUNS;
    }
    return reason == VIR_DOMAIN_SHUTOFF_DESTROYED ? DKVM_OFF_DESTROYED : DKVM_OFF;
}

/* As if we had stopped it ourselves; from here on an event of somebody else's start counts. */
static void enter_stopped(DkvmLink *link, const DkvmPending *pending)
{
    g_mutex_lock(&link->lock);
    DkvmRecord *record = dkvm_link_record(link, pending->uuid, TRUE);
    dkvm_record_set(&record->name, pending->name);
    dkvm_record_stopped(record);
    g_mutex_unlock(&link->lock);
}

static void leave_stopped(DkvmLink *link, const DkvmPending *pending)
{
    g_mutex_lock(&link->lock);
    DkvmRecord *record = dkvm_link_record(link, pending->uuid, FALSE);
    if (record != NULL && record->boot != NULL) {
        record->boot->phase = DKVM_PHASE_NONE;
    }
    g_mutex_unlock(&link->lock);
}

static DkvmVerdict judge(const DkvmPending *pending, virDomainPtr domain)
{
    g_autofree char *xml = domain ? dkvm_connection_read(domain, NULL) : NULL;
    g_autofree char *digest = xml ? dkvm_pending_digest(xml) : NULL;
    return dkvm_pending_judge(pending, power_of(domain), digest, g_get_monotonic_time());
}

static void say_forgotten(const DkvmPending *pending, virDomainPtr domain)
{
    if (domain == NULL || virDomainGetID(domain) != (unsigned int)pending->id) {
        return;
    }
    dkvm_log_note("%s: %s: its first boot was to be done over when dkvm-watchd ended; left running",
                  pending->uri, pending->name);
    if (pending->full) {
        dkvm_log_warning("%s: %s: its definition has the medium and boot order that it was "
                         "installed with; eject it when the installation is over",
                         pending->uri, pending->name);
    }
}

/* Returns whether it is to be reported. */
static gboolean take_up(DkvmLink *link, virConnectPtr conn, const DkvmPending *pending)
{
    virDomainPtr domain = virDomainLookupByUUIDString(conn, pending->uuid);
    enter_stopped(link, pending); /* first, so that no event is missed */
    DkvmVerdict verdict = judge(pending, domain);
    if (verdict == DKVM_PENDING_START) {
        dkvm_log_note("%s: %s: stopped on its first boot when dkvm-watchd ended; it is started "
                      "again",
                      link->uri, pending->name);
        dkvm_restart_finish(link, domain);
    } else {
        leave_stopped(link, pending);
        dkvm_pending_remove(link->directory, link->uri, pending->uuid);
    }
    if (verdict == DKVM_PENDING_FORGET) {
        say_forgotten(pending, domain);
    }
    if (domain != NULL) {
        virDomainFree(domain);
    }
    return verdict == DKVM_PENDING_REPORT;
}

GPtrArray *dkvm_resume(DkvmLink *link, virConnectPtr conn)
{
    g_autoptr(GPtrArray) list =
        link->directory ? dkvm_pending_read(link->directory, link->uri) : g_ptr_array_new();
    for (guint i = list->len; i > 0; i--) {
        if (!take_up(link, conn, list->pdata[i - 1])) {
            g_ptr_array_remove_index(list, i - 1);
        }
    }
    return g_steal_pointer(&list);
}

/* ---- report ---- */

typedef struct {
    DkvmLink *link;
    char *uuid, *name;
} Report;

static void report_free(gpointer data)
{
    Report *report = data;
    g_free(report->uuid);
    g_free(report->name);
    g_free(report);
}

static void run(gpointer data)
{
    Report *report = data;
    g_autofree char *message = g_strdup_printf(
        "%s was stopped on its first boot by a dkvm-watchd that ended before it could start it "
        "again; it is off, and whether somebody wants that by now is not known; start it if not",
        report->name);
    g_mutex_lock(&report->link->lock);
    DkvmRecord *record = dkvm_link_record(report->link, report->uuid, TRUE);
    record->result = DKVM_RESULT_FAILED;
    dkvm_record_set(&record->name, report->name);
    dkvm_record_set(&record->error, message);
    g_mutex_unlock(&report->link->lock);
    dkvm_log_error("%s: %s", report->link->uri, message);
    report->link->changed();
}

void dkvm_resume_report(DkvmLink *link, GPtrArray *left)
{
    for (guint i = 0; left != NULL && i < left->len; i++) {
        const DkvmPending *pending = left->pdata[i];
        Report *report = g_new0(Report, 1);
        *report = (Report){link, g_strdup(pending->uuid), g_strdup(pending->name)};
        dkvm_queue_push(link->queue, pending->uuid, run, report, report_free);
    }
}
