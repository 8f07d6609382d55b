/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-hook/journal.c: what was written is read, whatever becomes of the file's end. */
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "qemu-hook/journal.h"

static char *folder;

static char *new_path(void)
{
    static int count;

    return g_strdup_printf("%s/journal-%d", folder, count++);
}

static DkvmJournal *must_open(const char *path)
{
    GError *error = NULL;
    DkvmJournal *journal = dkvm_journal_open(path, TRUE, &error);

    g_assert_no_error(error);
    return journal;
}

static void fill(DkvmJournal *journal)
{
    g_assert_cmpuint(
        dkvm_journal_append(journal, NULL, DKVM_RECORD_BEGIN, "1", "boot", "uuid", "na\nme", NULL),
        ==, 1);
    g_assert_cmpuint(dkvm_journal_append(journal, NULL, DKVM_RECORD_INTENT, "unbind",
                                         "0000:01:00.0", "bochs-drm", "", NULL),
                     ==, 2);
    g_assert_cmpuint(dkvm_journal_append(journal, NULL, DKVM_RECORD_PREPARED, NULL), ==, 3);
}

static void check_records(const GPtrArray *records, guint count)
{
    g_assert_cmpuint(records->len, ==, count);
    const DkvmRecord *first = count > 0 ? g_ptr_array_index(records, 0) : NULL;
    const DkvmRecord *second = count > 1 ? g_ptr_array_index(records, 1) : NULL;
    const DkvmRecord *third = count > 2 ? g_ptr_array_index(records, 2) : NULL;

    if (first) {
        g_assert_cmpint(first->type, ==, DKVM_RECORD_BEGIN);
        g_assert_cmpuint(first->fields, ==, 4);
        g_assert_cmpstr(first->field[3], ==, "na\nme");
        g_assert_cmpstr(first->field[7], ==, "");
    }
    if (second) {
        g_assert_cmpuint(second->number, ==, 2);
        g_assert_cmpuint(second->fields, ==, 4);
        g_assert_cmpstr(second->field[2], ==, "bochs-drm");
        g_assert_cmpstr(second->field[3], ==, "");
    }
    if (third)
        g_assert_cmpuint(third->fields, ==, 0);
}

static void test_again(void)
{
    g_autofree char *path = new_path();
    g_autoptr(DkvmJournal) journal = must_open(path);

    fill(journal);
    check_records(dkvm_journal_records(journal), 3);
    g_clear_pointer(&journal, dkvm_journal_close);
    journal = must_open(path);
    check_records(dkvm_journal_records(journal), 3);
}

/* Cut anywhere: whole records are read, and the next one is appended behind them. */
static void test_torn(void)
{
    g_autofree char *path = new_path(), *whole = NULL;
    gsize length;

    g_autoptr(DkvmJournal) journal = must_open(path);
    fill(journal);
    g_assert_true(g_file_get_contents(path, &whole, &length, NULL));
    for (gsize cut = 0; cut <= length; cut++) {
        g_autofree char *other = new_path();
        gsize used;
        g_autoptr(GPtrArray) records = dkvm_journal_parse((const guint8 *)whole, cut, &used);
        guint before = records->len;

        g_assert_cmpuint(used, <=, cut);
        check_records(records, before);
        g_assert_true(g_file_set_contents(other, whole, (gssize)cut, NULL));
        g_autoptr(DkvmJournal) torn = must_open(other);
        g_assert_cmpuint(dkvm_journal_records(torn)->len, ==, before);
        g_assert_cmpuint(dkvm_journal_append(torn, NULL, DKVM_RECORD_CLOSED, NULL), ==, before + 1);
        g_clear_pointer(&torn, dkvm_journal_close);
        torn = must_open(other);
        g_assert_cmpuint(dkvm_journal_records(torn)->len, ==, before + 1);
        (void)g_unlink(other);
    }
}

/* A bit that turned over ends the journal there, and is never read as something else. */
static void test_flipped(void)
{
    g_autofree char *path = new_path(), *whole = NULL;
    gsize length, used;
    g_autoptr(DkvmJournal) journal = must_open(path);

    fill(journal);
    g_assert_true(g_file_get_contents(path, &whole, &length, NULL));
    for (gsize bit = 0; bit < length * 8; bit++) {
        whole[bit / 8] ^= (char)(1 << bit % 8);
        g_autoptr(GPtrArray) records = dkvm_journal_parse((const guint8 *)whole, length, &used);
        g_assert_cmpuint(records->len, <, 3);
        g_assert_cmpuint(used, <=, bit / 8);
        check_records(records, records->len);
        whole[bit / 8] ^= (char)(1 << bit % 8);
    }
}

static guint32 last;

static void note(guint32 number)
{
    last = number;
}

static void test_told(void)
{
    g_autofree char *path = new_path();
    g_autoptr(DkvmJournal) journal = must_open(path);

    dkvm_journal_appended = note;
    fill(journal);
    dkvm_journal_appended = NULL;
    g_assert_cmpuint(last, ==, 3);
}

static void test_limits(void)
{
    g_autofree char *path = new_path(), *big = g_strnfill(DKVM_JOURNAL_MAX_PAYLOAD + 1, 'x');
    g_autoptr(DkvmJournal) journal = must_open(path);
    GError *error = NULL;

    g_assert_cmpuint(dkvm_journal_append(journal, &error, DKVM_RECORD_SKIPPED, big, NULL), ==, 0);
    g_assert_nonnull(error);
    g_clear_error(&error);
    big[DKVM_JOURNAL_MAX_PAYLOAD - 1] = '\0';
    while (dkvm_journal_append(journal, &error, DKVM_RECORD_SKIPPED, big, NULL) != 0)
        ;
    g_assert_nonnull(error);
    g_clear_error(&error);
    guint count = dkvm_journal_records(journal)->len;
    g_clear_pointer(&journal, dkvm_journal_close);
    journal = must_open(path);
    g_assert_cmpuint(dkvm_journal_records(journal)->len, ==, count);
}

static void test_link(void)
{
    g_autofree char *path = new_path(), *target = new_path();
    GError *error = NULL;

    g_assert_cmpint(symlink(target, path), ==, 0);
    g_assert_null(dkvm_journal_open(path, TRUE, &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("dkvm-journal-XXXXXX", NULL);
    g_test_add_func("/journal/read-again", test_again);
    g_test_add_func("/journal/torn-anywhere", test_torn);
    g_test_add_func("/journal/every-bit", test_flipped);
    g_test_add_func("/journal/told", test_told);
    g_test_add_func("/journal/limits", test_limits);
    g_test_add_func("/journal/no-link", test_link);
    int failed = g_test_run();

    for (int i = 0; i < 2000; i++) {
        g_autofree char *path = g_strdup_printf("%s/journal-%d", folder, i);

        (void)g_unlink(path);
    }
    (void)g_rmdir(folder);
    g_free(folder);
    return failed;
}
