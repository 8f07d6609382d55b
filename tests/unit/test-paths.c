/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lib/paths.c and lib/log.c.  Both keep what they were told first, so each case is its own process.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/paths.h"

static gboolean in_child(void)
{
    if (g_test_subprocess())
        return TRUE;
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    return FALSE;
}

static void expect_path(const char *root, const char *expected_root, const char *expected)
{
    g_autofree char *path = NULL;

    if (root)
        g_setenv("DKVM_ROOT", root, TRUE);
    else
        g_unsetenv("DKVM_ROOT");
    path = dkvm_path("/etc/dkvm");
    g_assert_cmpstr(dkvm_paths_root(), ==, expected_root);
    g_assert_cmpstr(path, ==, expected);
}

static void test_unset(void)
{
    if (in_child())
        expect_path(NULL, "", "/etc/dkvm");
}

static void test_empty(void)
{
    if (in_child())
        expect_path("", "", "/etc/dkvm");
}

static void test_slash(void)
{
    if (in_child())
        expect_path("/", "", "/etc/dkvm");
}

static void test_prefix(void)
{
    if (in_child())
        expect_path("/tmp/root", "/tmp/root", "/tmp/root/etc/dkvm");
}

static void test_trailing(void)
{
    if (in_child())
        expect_path("/tmp/root//", "/tmp/root", "/tmp/root/etc/dkvm");
}

static void test_read_once(void)
{
    if (!in_child())
        return;
    expect_path("/first", "/first", "/first/etc/dkvm");
    expect_path("/second", "/first", "/first/etc/dkvm");
}

/* Runs in the child as far as SAY goes; in the parent checks what it wrote to standard error. */
static void expect_log(void (*say)(void), const char *pattern)
{
    if (g_test_subprocess()) {
        /* GTest makes warnings fatal, and here they are the subject. */
        g_log_set_always_fatal(G_LOG_LEVEL_ERROR);
        g_unsetenv("G_MESSAGES_DEBUG");
        dkvm_log_init("prog");
        say();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr(pattern);
}

static void say_levels(void)
{
    dkvm_log_error("cannot %s", "read");
    dkvm_log_warning("%d left", 3);
    dkvm_log_note("done");
}

static void test_levels(void)
{
    expect_log(say_levels, "prog: error: cannot read\nprog: warning: 3 left\nprog: note: done\n");
}

static void say_hostile(void)
{
    dkvm_log_note("a\nprog: error: b\x1b[31m\xff\xc3 \xe2\x80\xae\xe2\x80\xa8 M\xc3\xbcll %%");
}

static void test_hostile(void)
{
    expect_log(say_hostile, "prog: note: a\\nprog: error: b\\u{1b}[31m\\xff\\xc3 "
                            "\\u{202e}\\u{2028} M\xc3\xbcll %\n");
}

static void say_glib(void)
{
    g_log("Lib", G_LOG_LEVEL_CRITICAL, "bad");
    g_log("Lib", G_LOG_LEVEL_WARNING, "odd");
    g_log("Lib", G_LOG_LEVEL_MESSAGE, "fyi");
    g_log("Lib", G_LOG_LEVEL_DEBUG, "hidden");
    g_log_structured_array(G_LOG_LEVEL_MESSAGE, &(GLogField){"OTHER", "no message", -1}, 1);
    g_log_structured_array(G_LOG_LEVEL_MESSAGE, &(GLogField){"MESSAGE", "cut here", 3}, 1);
}

static void test_glib(void)
{
    expect_log(say_glib, "prog: error: Lib: bad\nprog: warning: Lib: odd\nprog: note: Lib: fyi\n"
                         "prog: note: \nprog: note: cut\n");
}

static void say_twice(void)
{
    dkvm_log_init("again");
    errno = ENOTTY;
    dkvm_log_note("%s", "one");
    g_assert_cmpint(errno, ==, ENOTTY);
    g_log(NULL, G_LOG_LEVEL_WARNING, "two");
}

static void test_twice(void)
{
    expect_log(say_twice, "again: note: one\nagain: warning: two\n");
}

static void say_closed(void)
{
    /* Standard error on a full disk: nobody to tell, and the errno of the caller stays. */
    g_assert_cmpint(dup2(open("/dev/full", O_WRONLY), STDERR_FILENO), ==, STDERR_FILENO);
    errno = ENOTTY;
    dkvm_log_error("lost");
    g_assert_cmpint(errno, ==, ENOTTY);
}

static void test_closed(void)
{
    expect_log(say_closed, "");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/paths/unset", test_unset);
    g_test_add_func("/paths/empty", test_empty);
    g_test_add_func("/paths/slash", test_slash);
    g_test_add_func("/paths/prefix", test_prefix);
    g_test_add_func("/paths/trailing", test_trailing);
    g_test_add_func("/paths/read-once", test_read_once);
    g_test_add_func("/log/levels", test_levels);
    g_test_add_func("/log/hostile", test_hostile);
    g_test_add_func("/log/glib", test_glib);
    g_test_add_func("/log/twice", test_twice);
    g_test_add_func("/log/closed", test_closed);
    return g_test_run();
}
