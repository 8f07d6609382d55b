/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The journal of a hand-over: any bytes as the file; and records with any fields, which is what a
 * checksum keeps random bytes from ever being. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "qemu-hook/handover.h"
#include "qemu-hook/rundir.h"
#include "qemu-hook/step.h"
#include "tests/fuzz/fuzz.h"

#define UUID "11111111-2222-3333-4444-555555555555"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    g_autofree char *root = fuzz_root("proc/sys/kernel/random");
    g_autofree char *boot = g_build_filename(root, "proc/sys/kernel/random/boot_id", NULL);

    HOLDS(g_file_set_contents(boot, "b007\n", -1, NULL));
    HOLDS(g_setenv("DKVM_ROOT", root, TRUE));
    HOLDS(dkvm_rundir_make(UUID, NULL));
    return 0;
}

static void check_bytes(const uint8_t *data, size_t size)
{
    gsize whole = size + 1;
    g_autoptr(GPtrArray) records = dkvm_journal_parse(data, size, &whole);

    HOLDS(whole <= size);
    for (guint i = 0; i < records->len; i++) {
        const DkvmRecord *record = g_ptr_array_index(records, i);

        HOLDS(record->number == i + 1 && record->fields <= DKVM_JOURNAL_MAX_FIELDS);
    }
}

/* A field ends with a byte of 0xff, a record with 0xfe. */
static char *next_field(const uint8_t **data, const uint8_t *end)
{
    const uint8_t *begin = *data;

    while (*data < end && **data < 0xfe)
        (*data)++;
    char *text = g_strndup((const char *)begin, (gsize)(*data - begin));

    return text;
}

static void append(DkvmJournal *journal, const uint8_t **data, const uint8_t *end)
{
    DkvmRecordType type = (DkvmRecordType)(*(*data)++ % (DKVM_RECORD_LAST + 1));
    char *field[4] = {NULL};
    guint count = 0;

    while (count < 4 && *data < end) {
        field[count++] = next_field(data, end);
        if (*data < end && *(*data)++ == 0xfe)
            break;
    }
    if (type > 0)
        (void)dkvm_journal_append(journal, NULL, type, field[0], field[1], field[2], field[3],
                                  NULL);
    for (guint i = 0; i < 4; i++)
        g_free(field[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *path = dkvm_rundir_path(UUID, "journal");
    const uint8_t *end = data + size;

    check_bytes(data, size);
    (void)unlink(path);
    g_autoptr(DkvmJournal) journal = dkvm_journal_open(path, TRUE, NULL);
    HOLDS(journal != NULL);
    (void)dkvm_journal_append(journal, NULL, DKVM_RECORD_BEGIN, DKVM_JOURNAL_VERSION, "b007", UUID,
                              "fuzz", NULL);
    while (data < end)
        append(journal, &data, end);
    guint count = dkvm_journal_records(journal)->len;
    g_autoptr(DkvmJournal) again = dkvm_journal_open(path, FALSE, NULL);
    HOLDS(again != NULL && dkvm_journal_records(again)->len == count);
    g_autoptr(DkvmHandover) handover = dkvm_handover_peek(UUID, NULL);
    for (guint i = 0; handover && i < handover->actions->len; i++) {
        g_autofree char *text = dkvm_action_text(g_ptr_array_index(handover->actions, i));

        HOLDS(text != NULL);
    }
    for (guint i = 0; handover && i < handover->devices->len; i++) {
        const DkvmTaken *taken = g_ptr_array_index(handover->devices, i);

        HOLDS(strchr(taken->bdf, '/') == NULL);
    }
    return 0;
}
