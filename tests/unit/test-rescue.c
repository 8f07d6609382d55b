/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device whose driver does not come back by itself, and what the next login is told of it. */
#include <glib.h>
#include <sys/stat.h>

#include "tests/unit/handover-run.h"

#define GPU "0000:01:00.0"
#define FOLDER "/sys/devices/pci0000:00/" GPU
#define MOTD "/run/motd.d/dkvm-" UUID

static char *content(const char *path)
{
    g_autofree char *full = at(path);

    return read_word(full);
}

static void make_rescue_host(gboolean can_reset)
{
    g_autofree char *motd = at("/run/motd.d");

    make_host();
    remove_tree(motd);
    put_config(GPU, 0xfc);
    if (can_reset)
        put(FOLDER "/reset", "");
}

/* There and back, where the GPU's driver comes back after HOW only. */
static void return_after(const char *how, gboolean can_reset, const char *resets, const char *said)
{
    make_rescue_host(can_reset);
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    if (how)
        put_stubborn(GPU, how);
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_assert_cmpstr(handover->problems->str, ==, "");
    assert_home();
    g_autofree char *count = content("/resets"), *text = content(MOTD);
    g_assert_cmpstr(count, ==, resets);
    if (!said) {
        g_assert_cmpstr(text, ==, "");
        return;
    }
    g_assert_nonnull(strstr(text, "VM mac has given its devices back, but not as usual"));
    g_assert_nonnull(strstr(text, said));
    g_assert_nonnull(strstr(text, "sudo rm /"));
}

static void test_reset(void)
{
    return_after(NULL, TRUE, "", NULL);
    return_after("reset", TRUE, "x",
                 GPU " came back to its driver bochs-drm only after it was reset.");
}

static void test_found_anew(void)
{
    return_after("rescan", TRUE, "x", "only after it was taken from the bus and found anew.");
    return_after("rescan", FALSE, "", "only after it was taken from the bus and found anew.");
    return_after("reset", FALSE, "", "only after it was taken from the bus and found anew.");
}

/* A reset keeps the registers, so one that lost its windows is not reset. */
static void test_lost(void)
{
    make_rescue_host(TRUE);
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    put_config(GPU, 0);
    g_assert_true(dkvm_handover_restore(handover, "test"));
    assert_home();
    g_autofree char *count = content("/resets"), *text = content(MOTD);
    g_assert_cmpstr(count, ==, "");
    g_assert_nonnull(strstr(text, "found anew"));
}

/* What is left is said, a second attempt does not reset it again, and the message goes with a
 * restore that is whole. */
static void test_left(void)
{
    make_rescue_host(TRUE);
    g_autofree char *file = at(MOTD);
    struct stat st;
    mode_t mask = umask(077);

    {
        g_autoptr(DkvmHandover) handover = must_load();

        g_assert_true(prepare(handover, NULL));
        put_stubborn(GPU, "never");
        g_assert_false(dkvm_handover_restore(handover, "test"));
        g_assert_false(dkvm_handover_restore(handover, "again"));
    }
    (void)umask(mask);
    g_autofree char *count = content("/resets"), *text = content(MOTD);
    g_assert_cmpstr(count, ==, "x");
    g_assert_nonnull(strstr(text, "VM mac could not give everything back"));
    g_assert_nonnull(strstr(text, GPU));
    g_assert_nonnull(strstr(text, "dkvm-gpu restore " UUID));
    g_assert_cmpint(stat(file, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 07777, ==, 0644);
    g_autofree char *folder = g_path_get_dirname(file);
    g_assert_cmpint(stat(folder, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 07777, ==, 0755);
    g_autofree char *stubborn = at(FOLDER "/stubborn");
    (void)g_unlink(stubborn);
    recover();
    assert_home();
    g_assert_cmpint(access(file, F_OK), !=, 0);
}

/* Names are anybody's, and this goes to a terminal. */
static void test_terminal(void)
{
    make_rescue_host(TRUE);
    vm_name = "a&#x9b;31m&#x202e;b&#10;c";
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    vm_name = "mac";
    put_stubborn(GPU, "reset");
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_autofree char *text = content(MOTD);
    g_assert_true(g_str_has_prefix(text, "dkvm: VM a?31m?b?c has given"));
}

static void add(void)
{
    g_test_add_func("/rescue/reset", test_reset);
    g_test_add_func("/rescue/found-anew", test_found_anew);
    g_test_add_func("/rescue/lost", test_lost);
    g_test_add_func("/rescue/left", test_left);
    g_test_add_func("/rescue/terminal", test_terminal);
}

int main(int argc, char **argv)
{
    return run_below_root(add, argc, argv);
}
