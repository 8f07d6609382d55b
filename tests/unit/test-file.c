/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dkvm_file_read() of lib/file.c; its other half is in test-file-replace.c. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/error.h"
#include "tests/unit/files.h"

/* ---- helpers ------------------------------------------------------------------------------ */

static void clear(void)
{
    g_autoptr(GDir) dir = g_dir_open(top, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = at(name);

        g_assert_cmpint(g_remove(path), ==, 0);
    }
}

static void expect_no_read(const char *path, gsize max, int code, const char *reason)
{
    g_autoptr(GError) error = NULL;
    gsize length = 4711;
    g_autofree char *text = dkvm_file_read(path, max, &length, &error);

    g_assert_null(text);
    g_assert_error(error, DKVM_ERROR, code);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, reason));
    g_assert_cmpuint(length, ==, 4711);
}

/* ---- reading ------------------------------------------------------------------------------ */

static void test_read(void)
{
    g_autofree char *path = at("f");
    g_autofree char *large = g_strnfill(200000, 'x');
    g_autofree char *text = NULL;
    g_autofree char *zero = NULL;
    gsize length = 0;

    put(path, "");
    g_assert_nonnull(zero = dkvm_file_read(path, 0, &length, NULL));
    g_assert_cmpuint(length, ==, 0);
    assert_content(path, "");
    put(path, "text");
    assert_content(path, "text");
    put(path, large);
    text = dkvm_file_read(path, G_MAXSIZE, &length, NULL);
    g_assert_cmpuint(length, ==, 200000);
    g_assert_cmpstr(text, ==, large);
    clear();
}

static void test_read_bound(void)
{
    g_autofree char *path = at("f");
    g_autofree char *text = NULL;
    gsize length = 0;

    put(path, "12345");
    text = dkvm_file_read(path, 5, &length, NULL);
    g_assert_cmpstr(text, ==, "12345");
    g_assert_cmpuint(length, ==, 5);
    expect_no_read(path, 4, DKVM_ERROR_INPUT, "limit of 4 bytes");
    expect_no_read(path, 0, DKVM_ERROR_INPUT, "limit of 0 bytes");
    expect_no_read("/dev/zero", 100000, DKVM_ERROR_INPUT, "limit of 100000 bytes");
    expect_no_read("/dev/full", 10, DKVM_ERROR_INPUT, "/dev/full");
    clear();
}

static void test_read_proc(void)
{
    /* A file that says it is empty and is not. */
    g_autofree char *text = dkvm_file_read("/proc/self/status", 65536, NULL, NULL);

    g_assert_nonnull(text);
    g_assert_true(g_str_has_prefix(text, "Name:"));
}

static void test_read_errors(void)
{
    g_autofree char *path = at("f");
    g_autofree char *below = at("f/g");
    g_autofree char *loop = at("loop");

    expect_no_read(path, 10, DKVM_ERROR_FILE, "No such file");
    expect_no_read("", 10, DKVM_ERROR_FILE, "No such file");
    expect_no_read(top, 10, DKVM_ERROR_FILE, "it is a directory");
    expect_no_read("/proc/self/mem", 10, DKVM_ERROR_FILE, "Input/output error");
    put(path, "x");
    expect_no_read(below, 10, DKVM_ERROR_FILE, "Not a directory");
    g_assert_cmpint(symlink("loop", loop), ==, 0);
    expect_no_read(loop, 10, DKVM_ERROR_FILE, "symbolic link");
    clear();
}

/* A FIFO as shells make it for <(command): slow, in pieces, but with a writer. */
static void test_read_fifo(void)
{
    g_autofree char *path = at("fifo");
    pid_t child;

    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    child = fork();
    if (child == 0) {
        int fd = open(path, O_WRONLY);

        (void)!write(fd, "one ", 4);
        g_usleep(50000);
        (void)!write(fd, "two", 3);
        _exit(0);
    }
    assert_content(path, "one two");
    g_assert_cmpint(waitpid(child, NULL, 0), ==, child);
    clear();
}

static void test_read_fifo_silent(void)
{
    g_autofree char *path = at("fifo");

    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    expect_no_read(path, 10, DKVM_ERROR_FILE, "timed out");
    clear();
}

static void on_alarm(int number)
{
}

/* Standard input in pieces, with signals between them. */
static void test_read_stdin(void)
{
    int saved = dup(STDIN_FILENO);
    int ends[2];
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval often = {{0, 5000}, {0, 5000}}, never = {{0, 0}, {0, 0}};
    pid_t child;

    g_assert_cmpint(pipe(ends), ==, 0);
    g_assert_cmpint(dup2(ends[0], STDIN_FILENO), ==, 0);
    child = fork();
    if (child == 0) {
        for (int i = 0; i < 5; i++) {
            g_usleep(20000);
            (void)!write(ends[1], "ab", 2);
        }
        _exit(0);
    }
    close(ends[0]);
    close(ends[1]);
    g_assert_cmpint(sigaction(SIGALRM, &action, NULL), ==, 0);
    setitimer(ITIMER_REAL, &often, NULL);
    assert_content("-", "ababababab");
    setitimer(ITIMER_REAL, &never, NULL);
    g_assert_cmpint(waitpid(child, NULL, 0), ==, child);
    g_assert_cmpint(dup2(saved, STDIN_FILENO), ==, STDIN_FILENO);
    close(saved);
}

static void test_read_stdin_bad(void)
{
    int saved = dup(STDIN_FILENO);
    int dir = open("/", O_RDONLY);

    g_assert_cmpint(dup2(dir, STDIN_FILENO), ==, 0);
    expect_no_read("-", 10, DKVM_ERROR_FILE, "standard input");
    close(STDIN_FILENO);
    expect_no_read("-", 10, DKVM_ERROR_FILE, "Bad file descriptor");
    g_assert_cmpint(dup2(saved, STDIN_FILENO), ==, STDIN_FILENO);
    close(saved);
    close(dir);
}

static guint open_files(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    guint count = 0;

    while (g_dir_read_name(dir))
        count++;
    return count;
}

int main(int argc, char **argv)
{
    guint before;
    int result;

    g_test_init(&argc, &argv, NULL);
    top = g_dir_make_tmp("dkvm-file-XXXXXX", NULL);
    before = open_files();
    g_test_add_func("/file/read", test_read);
    g_test_add_func("/file/read/bound", test_read_bound);
    g_test_add_func("/file/read/proc", test_read_proc);
    g_test_add_func("/file/read/errors", test_read_errors);
    g_test_add_func("/file/read/fifo", test_read_fifo);
    g_test_add_func("/file/read/fifo-silent", test_read_fifo_silent);
    g_test_add_func("/file/read/stdin", test_read_stdin);
    g_test_add_func("/file/read/stdin-bad", test_read_stdin_bad);
    result = g_test_run();
    g_assert_cmpuint(open_files(), ==, before);
    g_assert_cmpint(g_rmdir(top), ==, 0);
    g_free(top);
    return result;
}
