/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/record.h"

DkvmRecord *dkvm_record_new(void)
{
    DkvmRecord *record = g_new0(DkvmRecord, 1);
    record->history = DKVM_HISTORY_NONE;
    return record;
}

void dkvm_record_free(DkvmRecord *record)
{
    g_free(record->name);
    g_free(record->why);
    g_free(record->error);
    g_free(record);
}

void dkvm_record_set(char **text, const char *new_text)
{
    char *copy = g_strdup(new_text);
    g_free(*text);
    *text = copy;
}

#define KEEP (60 * G_TIME_SPAN_SECOND) /* a history that is too old should be known to be that */

gboolean dkvm_record_is_idle(const DkvmRecord *record, gint64 now)
{
    return record->result == DKVM_RESULT_NONE && record->phase == DKVM_PHASE_NONE &&
           record->guard.count == 0 &&
           (record->history.booted == 0 || now - record->history.booted > KEEP);
}
