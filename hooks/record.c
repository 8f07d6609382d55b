/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/record.h"

#include <libvirt/libvirt.h>

#define KEEP (60 * G_TIME_SPAN_SECOND) /* a history that is too old should be known to be that */

DkvmRecord *dkvm_record_new(const char *uuid)
{
    DkvmRecord *record = g_new0(DkvmRecord, 1);
    g_strlcpy(record->uuid, uuid, sizeof record->uuid);
    return record;
}

void dkvm_record_free(DkvmRecord *record)
{
    g_free(record->name);
    g_free(record->error);
    g_free(record->boot);
    g_free(record);
}

void dkvm_record_set(char **text, const char *new_text)
{
    if (g_strcmp0(*text, new_text) != 0) {
        g_free(*text);
        *text = g_strdup(new_text);
    }
}

DkvmPhase dkvm_record_phase(const DkvmRecord *record)
{
    return record->boot ? record->boot->phase : DKVM_PHASE_NONE;
}

void dkvm_record_stopped(DkvmRecord *record)
{
    if (record->boot == NULL) {
        record->boot = g_new0(DkvmBoot, 1);
    }
    record->boot->history = (DkvmHistory){.last = VIR_DOMAIN_EVENT_STOPPED,
                                          .detail = VIR_DOMAIN_EVENT_STOPPED_DESTROYED};
    record->boot->at_stop = record->boot->history;
    record->boot->phase = DKVM_PHASE_STOPPED;
}

void dkvm_record_event(DkvmRecord *record, int event, int detail, gint64 now)
{
    if (record->boot == NULL && event == VIR_DOMAIN_EVENT_STARTED) {
        record->boot = g_new0(DkvmBoot, 1);
        record->boot->history = DKVM_HISTORY_NONE;
    }
    if (record->boot != NULL) {
        dkvm_history_event(&record->boot->history, event, detail, now);
    }
}

gboolean dkvm_record_tidy(DkvmRecord *record, gint64 now)
{
    const DkvmBoot *boot = record->boot;
    if (boot != NULL && boot->phase == DKVM_PHASE_NONE &&
        (boot->history.booted == 0 || now - boot->history.booted > KEEP)) {
        g_clear_pointer(&record->boot, g_free);
    }
    return record->boot == NULL && record->result == DKVM_RESULT_NONE && record->guard.count == 0;
}
