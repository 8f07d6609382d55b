/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"

#define MAGIC 0x4a4d564bU /* "KVMJ" */

/* Host byte order: the file never leaves this boot of this host. */
typedef struct {
    guint32 magic, length, number, type, crc; /* crc: of the header with crc 0, and the payload */
} Header;

struct DkvmJournal {
    int fd;
    char *path;
    GPtrArray *records;
    off_t end;
};

void (*dkvm_journal_appended)(guint32 number);

/* CRC-32C (Castagnoli), reflected, RFC 3720 B.4. */
static guint32 crc32c(guint32 crc, const void *data, gsize length)
{
    const guint8 *p = data;

    crc = ~crc;
    for (gsize i = 0; i < length; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78U : crc >> 1;
    }
    return ~crc;
}

static guint32 record_crc(Header header, const void *payload)
{
    header.crc = 0;
    return crc32c(crc32c(0, &header, sizeof header), payload, header.length);
}

const char *dkvm_record_type_name(DkvmRecordType type)
{
    static const char *const names[] = {"?",         "BEGIN",   "DEVICE",  "CALLER",   "INTENT",
                                        "DONE",      "FAILED",  "SKIPPED", "PREPARED", "RUNNING",
                                        "RESTORING", "UNDO",    "UNDONE",  "FOREIGN",  "LATE",
                                        "CLOSED",    "PLANNED", "WORKER",  "REMOVED"};

    G_STATIC_ASSERT(G_N_ELEMENTS(names) == DKVM_RECORD_LAST + 1);
    return type <= DKVM_RECORD_LAST ? names[type] : names[0];
}

/* ---- reading ---------------------------------------------------------------------------- */

static void record_free(DkvmRecord *record)
{
    for (guint i = 0; i < DKVM_JOURNAL_MAX_FIELDS; i++)
        g_free(record->field[i]);
    g_free(record);
}

/* Fields end with NUL each.  NULL if PAYLOAD is not made like that. */
static DkvmRecord *record_new(const Header *header, const char *payload)
{
    g_autoptr(GPtrArray) fields = g_ptr_array_new_with_free_func(g_free);
    gsize at = 0;

    while (at < header->length) {
        gsize size = strnlen(payload + at, header->length - at);

        if (at + size == header->length || fields->len == DKVM_JOURNAL_MAX_FIELDS ||
            !g_utf8_validate(payload + at, (gssize)size, NULL))
            return NULL;
        g_ptr_array_add(fields, g_strndup(payload + at, size));
        at += size + 1;
    }
    DkvmRecord *record = g_new0(DkvmRecord, 1);
    record->number = header->number;
    record->type = header->type;
    record->fields = fields->len;
    for (guint i = 0; i < DKVM_JOURNAL_MAX_FIELDS; i++)
        record->field[i] = g_strdup(i < fields->len ? g_ptr_array_index(fields, i) : "");
    return record;
}

GPtrArray *dkvm_journal_parse(const guint8 *data, gsize length, gsize *whole)
{
    GPtrArray *records = g_ptr_array_new_with_free_func((GDestroyNotify)record_free);
    gsize at = 0;
    Header header;

    while (length - at >= sizeof header) {
        const char *payload = (const char *)data + at + sizeof header;

        (void)memcpy(&header, data + at, sizeof header);
        if (header.magic != MAGIC || header.length > DKVM_JOURNAL_MAX_PAYLOAD ||
            header.length > length - at - sizeof header || header.number != records->len + 1 ||
            header.type < 1 || header.type > DKVM_RECORD_LAST ||
            header.crc != record_crc(header, payload))
            break;
        DkvmRecord *record = record_new(&header, payload);
        if (!record)
            break;
        g_ptr_array_add(records, record);
        at += sizeof header + header.length;
    }
    *whole = at;
    return records;
}

/* ---- the file --------------------------------------------------------------------------- */

static gboolean fail(GError **error, const char *what, const char *path)
{
    int cause = errno;

    g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE,
                "cannot %s the journal %s: %s; check the file system that it is on", what, path,
                g_strerror(cause));
    return FALSE;
}

static gboolean read_all(DkvmJournal *journal, GError **error)
{
    g_autoptr(GByteArray) data = g_byte_array_new();
    guint8 buffer[65536];
    ssize_t got;
    gsize whole;

    for (;;) {
        got = read(journal->fd, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(error, "read", journal->path);
        if (got == 0 || data->len + (gsize)got > DKVM_JOURNAL_MAX_BYTES)
            break;
        g_byte_array_append(data, buffer, (guint)got);
    }
    journal->records = dkvm_journal_parse(data->data, data->len, &whole);
    journal->end = (off_t)whole;
    return TRUE;
}

DkvmJournal *dkvm_journal_open(const char *path, gboolean create, GError **error)
{
    g_autoptr(DkvmJournal) journal = g_new0(DkvmJournal, 1);

    journal->path = g_strdup(path);
    journal->fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | (create ? O_CREAT : 0), 0600);
    if (journal->fd < 0) {
        (void)fail(error, "open", path);
        return NULL;
    }
    return read_all(journal, error) ? g_steal_pointer(&journal) : NULL;
}

void dkvm_journal_close(DkvmJournal *journal)
{
    if (!journal)
        return;
    if (journal->fd >= 0)
        (void)close(journal->fd);
    g_clear_pointer(&journal->records, g_ptr_array_unref);
    g_free(journal->path);
    g_free(journal);
}

const GPtrArray *dkvm_journal_records(const DkvmJournal *journal)
{
    return journal->records;
}

/* ---- writing ---------------------------------------------------------------------------- */

/* One write(2) behind what is whole; what is torn there is overwritten and cut off. */
static gboolean put(DkvmJournal *journal, const GByteArray *bytes, GError **error)
{
    ssize_t wrote;

    if (journal->end + (off_t)bytes->len > DKVM_JOURNAL_MAX_BYTES) {
        errno = EFBIG;
        return fail(error, "write", journal->path);
    }
    if (ftruncate(journal->fd, journal->end) != 0)
        return fail(error, "cut", journal->path);
    do {
        wrote = pwrite(journal->fd, bytes->data, bytes->len, journal->end);
    } while (wrote < 0 && errno == EINTR);
    if (wrote != (ssize_t)bytes->len) {
        if (wrote >= 0)
            errno = ENOSPC;
        (void)fail(error, "write", journal->path);
        (void)!ftruncate(journal->fd, journal->end);
        return FALSE;
    }
    return TRUE;
}

guint32 dkvm_journal_append(DkvmJournal *journal, GError **error, DkvmRecordType type, ...)
{
    g_autoptr(GByteArray) payload = g_byte_array_new(), bytes = g_byte_array_new();
    Header header = {.magic = MAGIC, .type = type, .number = journal->records->len + 1};
    const char *field;
    va_list fields;

    va_start(fields, type);
    for (guint i = 0; i < DKVM_JOURNAL_MAX_FIELDS && (field = va_arg(fields, const char *)); i++) {
        g_autofree char *valid = g_utf8_make_valid(field, -1);

        g_byte_array_append(payload, (const guint8 *)valid, (guint)strlen(valid) + 1);
    }
    va_end(fields);
    if (payload->len > DKVM_JOURNAL_MAX_PAYLOAD) {
        errno = EMSGSIZE;
        (void)fail(error, "write", journal->path);
        return 0;
    }
    header.length = payload->len;
    header.crc = record_crc(header, payload->data);
    g_byte_array_append(bytes, (const guint8 *)&header, sizeof header);
    if (payload->len > 0)
        g_byte_array_append(bytes, payload->data, payload->len);
    if (!put(journal, bytes, error))
        return 0;
    journal->end += bytes->len;
    g_ptr_array_add(journal->records, record_new(&header, (const char *)payload->data));
    if (dkvm_journal_appended)
        dkvm_journal_appended(header.number);
    return header.number;
}
