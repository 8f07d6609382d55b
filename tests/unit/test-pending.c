/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a watcher that is killed leaves to the next one. */
#include "hooks/pending.h"

#include <glib/gstdio.h>
#define URI "qemu:///system"
#define UUID "01234567-89ab-4def-8123-456789abcdef"

static char *top; /* a directory of this process */

static const DkvmPending one = {.uri = (char *)URI,
                                .uuid = (char *)UUID,
                                .name = (char *)"a\nname = [x]",
                                .id = 7,
                                .digest = (char *)"d1",
                                .at = 1000000,
                                .full = TRUE};

static void test_files(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(dkvm_pending_write(top, &one, &error));
    g_assert_no_error(error);
    g_autoptr(GPtrArray) others = dkvm_pending_read(top, "qemu:///session");
    g_assert_cmpuint(others->len, ==, 0);
    g_autoptr(GPtrArray) list = dkvm_pending_read(top, URI);
    g_assert_cmpuint(list->len, ==, 1);
    const DkvmPending *read = list->pdata[0];
    g_assert_cmpstr(read->name, ==, one.name);
    g_assert_cmpstr(read->uuid, ==, UUID);
    g_assert_cmpstr(read->digest, ==, "d1");
    g_assert_cmpint(read->id, ==, 7);
    g_assert_cmpint(read->at, ==, 1000000);
    g_assert_true(read->full);
    dkvm_pending_remove(top, "qemu:///session", UUID);
    dkvm_pending_remove(top, URI, UUID);
    g_autoptr(GPtrArray) none = dkvm_pending_read(top, URI);
    g_assert_cmpuint(none->len, ==, 0);
}

static void test_garbage(void)
{
    static const char *const texts[] = {
        "",
        "no key file",
        "[restart]\nuri=" URI "\n",
        "[restart]\nuri=" URI "\nuuid=../x\nname=x\ndigest=d\nat=5\n",
        "[restart]\nuri=" URI "\nuuid=" UUID "\nname=x\ndigest=d\nat=-5\n",
    };
    g_autofree char *path = g_build_filename(top, "restart-x", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_assert_true(g_file_set_contents(path, texts[i], -1, NULL));
        g_autoptr(GPtrArray) list = dkvm_pending_read(top, URI);
        g_assert_cmpuint(list->len, ==, 0);
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    }
    g_autoptr(GPtrArray) nowhere = dkvm_pending_read("/nowhere", URI);
    g_assert_cmpuint(nowhere->len, ==, 0);
}

static void test_rule(void)
{
    gint64 soon = one.at + 1, late = one.at + DKVM_PENDING_AGE + 1;
    const struct {
        DkvmPower power;
        const char *digest;
        gint64 now;
        DkvmVerdict verdict;
    } cases[] = {
        {DKVM_OFF_DESTROYED, "d1", soon, DKVM_PENDING_START},
        {DKVM_OFF_DESTROYED, "d2", soon, DKVM_PENDING_REPORT},
        {DKVM_OFF_DESTROYED, NULL, soon, DKVM_PENDING_REPORT},
        {DKVM_OFF_DESTROYED, "d1", late, DKVM_PENDING_REPORT},
        {DKVM_OFF_DESTROYED, "d1", 0, DKVM_PENDING_REPORT}, /* another boot of the host */
        {DKVM_OFF, "d1", soon, DKVM_PENDING_REPORT},
        {DKVM_RUNS, "d1", soon, DKVM_PENDING_FORGET},
        {DKVM_GONE, NULL, soon, DKVM_PENDING_FORGET},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_cmpint(dkvm_pending_judge(&one, cases[i].power, cases[i].digest, cases[i].now), ==,
                        cases[i].verdict);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pending/files", test_files);
    g_test_add_func("/pending/garbage", test_garbage);
    g_test_add_func("/pending/rule", test_rule);
    top = g_dir_make_tmp("dkvm-XXXXXX", NULL);
    int result = g_test_run();
    g_rmdir(top);
    g_free(top);
    return result;
}
