/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a hand-over did, in the order in which it did it: an append-only file below /run, so it is
 * gone when its effects are.  Each record is written with one write(2) before the next act; a
 * process that is killed at any moment leaves a file of whole records and at most one torn one,
 * which is dropped.  Everything that giving back needs is in it. */
#pragma once

#include <glib.h>

typedef enum {
    DKVM_RECORD_BEGIN = 1, /* version, boot_id, uuid, name */
    DKVM_RECORD_DEVICE,    /* bdf, identity, sysfs path, group, how (see plan.h) */
    DKVM_RECORD_CALLER,    /* pid, start */
    DKVM_RECORD_INTENT,    /* step, target, pre, post: written before the act; then, if it was
                            * planned, the number of that */
    DKVM_RECORD_DONE,      /* number of the intent: written after it was read back */
    DKVM_RECORD_FAILED,    /* number of the intent or plan, reason: not tried again */
    DKVM_RECORD_SKIPPED,   /* step, reason */
    DKVM_RECORD_PREPARED,
    DKVM_RECORD_RUNNING,   /* pid, start of QEMU */
    DKVM_RECORD_RESTORING, /* reason */
    DKVM_RECORD_UNDO,      /* number of the intent: written before the undoing */
    DKVM_RECORD_UNDONE,    /* number of the intent */
    DKVM_RECORD_FOREIGN,   /* number of the intent, value found: somebody else changed it */
    DKVM_RECORD_LATE,      /* number of the intent, pid, start of the worker that is stuck */
    DKVM_RECORD_CLOSED,
    DKVM_RECORD_PLANNED, /* step, target, pre, post: to be done when the guest runs; its number
                          * stands for the action from then on */
    DKVM_RECORD_WORKER,  /* pid, start of the process that does the acts that follow */
    DKVM_RECORD_REMOVED, /* number of the intent: its device is taken from the bus, to be found
                          * anew */
    DKVM_RECORD_LAST = DKVM_RECORD_REMOVED,
} DkvmRecordType;

#define DKVM_JOURNAL_VERSION "1"
#define DKVM_JOURNAL_MAX_FIELDS 8
#define DKVM_JOURNAL_MAX_PAYLOAD 16384           /* bytes of one record */
#define DKVM_JOURNAL_MAX_BYTES (4 * 1024 * 1024) /* of the file; more is not read */

typedef struct {
    guint32 number; /* from 1 on, without gaps */
    DkvmRecordType type;
    guint fields;
    char *field[DKVM_JOURNAL_MAX_FIELDS]; /* "" where there are fewer */
} DkvmRecord;

typedef struct DkvmJournal DkvmJournal;

/* Opens PATH (as it is), makes it if CREATE, and reads what is whole.  Errors: DKVM_ERROR_FILE. */
DkvmJournal *dkvm_journal_open(const char *path, gboolean create, GError **error);
void dkvm_journal_close(DkvmJournal *journal);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmJournal, dkvm_journal_close)

/* Of DkvmRecord, owned by the journal; grows with each append. */
const GPtrArray *dkvm_journal_records(const DkvmJournal *journal);

/* Appends a record with the given fields (NULL ends them) and returns its number, or 0 with
 * DKVM_ERROR_FILE; then the file is as before. */
guint32 dkvm_journal_append(DkvmJournal *journal, GError **error, DkvmRecordType type,
                            ...) G_GNUC_NULL_TERMINATED;

/* "INTENT" */
const char *dkvm_record_type_name(DkvmRecordType type);

/* The records in LENGTH bytes of DATA; *WHOLE is how many bytes they take.  A new array (of
 * DkvmRecord, owned).  Never fails: what is not a record ends it. */
GPtrArray *dkvm_journal_parse(const guint8 *data, gsize length, gsize *whole);

/* Called after each append with the record's number; NULL for none.  For tests: it may end the
 * process. */
extern void (*dkvm_journal_appended)(guint32 number);
