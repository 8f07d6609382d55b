/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"

/* ---- JSON, straight into the file: there may be ten thousand domains ---- */

static void put_text(FILE *file, const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    fputc('"', file);
    for (const char *p = valid; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\') {
            fputc('\\', file);
            fputc(*p, file);
        } else if ((guchar)*p < 0x20) {
            fprintf(file, "\\u%04x", (guchar)*p);
        } else {
            fputc(*p, file);
        }
    }
    fputc('"', file);
}

static void put_member(FILE *file, const char *name, const char *text)
{
    if (text != NULL) {
        fprintf(file, ", \"%s\": ", name);
        put_text(file, text);
    }
}

static const char *result_word(const DkvmRecord *record)
{
    switch (record->result) {
    case DKVM_RESULT_PATCHED:
        return "patched";
    case DKVM_RESULT_FAILED:
        return "failed";
    case DKVM_RESULT_SET_ASIDE:
        return "set-aside";
    case DKVM_RESULT_UP_TO_DATE:
    case DKVM_RESULT_NONE:
        break;
    }
    return "up-to-date";
}

static void put_domain(FILE *file, const char *uuid, const DkvmRecord *record)
{
    fprintf(file, "{\"uuid\": \"%s\"", uuid);
    put_member(file, "name", record->name ? record->name : "");
    put_member(file, "result", result_word(record));
    if (record->patched != 0) {
        g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(record->patched);
        g_autofree char *text = g_date_time_format_iso8601(time);
        put_member(file, "patched", text);
    }
    fprintf(file, ", \"restarting\": %s, \"waits_for_restart\": %s",
            dkvm_record_phase(record) != DKVM_PHASE_NONE ? "true" : "false",
            record->waits ? "true" : "false");
    put_member(file, "why", record->why);
    put_member(file, "error", record->error);
    fputc('}', file);
}

static void put_link(FILE *file, DkvmLink *link)
{
    GHashTableIter iter;
    gpointer uuid, value;
    const char *separator = "";
    g_mutex_lock(&link->lock);
    fputs("{\"uri\": ", file);
    put_text(file, link->uri);
    put_member(file, "state", link->conn ? "connected" : link->session ? "idle" : "waiting");
    put_member(file, "trouble", link->trouble);
    fputs(", \"domains\": [", file);
    g_hash_table_iter_init(&iter, link->records);
    while (g_hash_table_iter_next(&iter, &uuid, &value)) {
        if (((DkvmRecord *)value)->result != DKVM_RESULT_NONE) {
            fprintf(file, "%s\n    ", separator);
            put_domain(file, uuid, value);
            separator = ",";
        }
    }
    g_mutex_unlock(&link->lock);
    fputs("]}", file);
}

static void put_all(FILE *file, const GPtrArray *links, const char *trouble)
{
    fprintf(file, "{\"version\": \"%s\", \"pid\": %d", DKVM_VERSION, (int)getpid());
    put_member(file, "configuration_error", trouble);
    fputs(", \"connections\": [", file);
    for (guint i = 0; i < links->len; i++) {
        fputs(i > 0 ? ",\n  " : "\n  ", file);
        put_link(file, links->pdata[i]);
    }
    fputs("]}\n", file);
}

static gboolean fail(GError **error, const char *path)
{
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE,
                "cannot write %s: %s; dkvm-watchd --status shows an old state", path,
                g_strerror(errno));
    return FALSE;
}

/* No fsync: it is of no use after a crash. */
gboolean dkvm_status_write(const char *directory, const GPtrArray *links, const char *trouble,
                           GError **error)
{
    g_autofree char *path = g_build_filename(directory, "status.json", NULL);
    g_autofree char *temporary = g_build_filename(directory, ".status.json.new", NULL);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (file == NULL) {
        return fail(error, temporary);
    }
    put_all(file, links, trouble);
    gboolean good = ferror(file) == 0;
    good = fclose(file) == 0 && good;
    if (!good || rename(temporary, path) != 0) {
        fail(error, path);
        unlink(temporary);
        return FALSE;
    }
    return TRUE;
}
