/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dkvm_file_replace() of lib/file.c.  The system calls below stand before libc's, so that each can
 * be made to fail. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/error.h"
#include "tests/unit/files.h"

/* ---- failing system calls ----------------------------------------------------------------- */

static struct {
    const char *call; /* NULL: none */
    int error;
    int skip;  /* let so many calls through first */
    int times; /* then fail so often; negative: always */
} fault;

static gboolean fails(const char *call)
{
    if (!fault.call || strcmp(fault.call, call) != 0 || fault.times == 0)
        return FALSE;
    if (fault.skip > 0) {
        fault.skip--;
        return FALSE;
    }
    if (fault.times > 0)
        fault.times--;
    errno = fault.error;
    return TRUE;
}

static void set_fault(const char *call, int error, int skip, int times)
{
    fault.call = call;
    fault.error = error;
    fault.skip = skip;
    fault.times = times;
}

ssize_t write(int fd, const void *data, size_t size)
{
    if (fails("write"))
        return -1;
    if (fault.call && strcmp(fault.call, "short") == 0 && size > 3)
        size = 3;
    return syscall(SYS_write, fd, data, size);
}

int close(int fd)
{
    long result = syscall(SYS_close, fd);

    return fails("close") ? -1 : (int)result;
}

int fsync(int fd)
{
    return fails("fsync") ? -1 : (int)syscall(SYS_fsync, fd);
}

int fchown(int fd, uid_t owner, gid_t group)
{
    return fails("fchown") ? -1 : (int)syscall(SYS_fchown, fd, owner, group);
}

int fchmod(int fd, mode_t mode)
{
    return fails("fchmod") ? -1 : (int)syscall(SYS_fchmod, fd, mode);
}

ssize_t flistxattr(int fd, char *list, size_t size)
{
    /* The kernel writes the attributes of the content itself; here they only have to be listed. */
    if (fault.call && strcmp(fault.call, "ima") == 0) {
        memcpy(list, "security.ima\0security.evm", 26);
        return 26;
    }
    return fails("flistxattr") ? -1 : syscall(SYS_flistxattr, fd, list, size);
}

ssize_t fgetxattr(int fd, const char *name, void *value, size_t size)
{
    return fails("fgetxattr") ? -1 : syscall(SYS_fgetxattr, fd, name, value, size);
}

int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)
{
    return fails("fsetxattr") ? -1 : (int)syscall(SYS_fsetxattr, fd, name, value, size, flags);
}

int fremovexattr(int fd, const char *name)
{
    return fails("fremovexattr") ? -1 : (int)syscall(SYS_fremovexattr, fd, name);
}

int renameat(int from, const char *old, int to, const char *new)
{
    return fails("renameat") ? -1 : (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

int fstatat(int dir, const char *name, struct stat *st, int flags)
{
    return fails("fstatat") ? -1 : (int)syscall(SYS_newfstatat, dir, name, st, flags);
}

int fstat(int fd, struct stat *st)
{
    return fails("fstat") ? -1 : (int)syscall(SYS_fstat, fd, st);
}

int openat(int dir, const char *name, int flags, ...)
{
    va_list arguments;
    mode_t mode;

    va_start(arguments, flags);
    mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return fails("openat") ? -1 : (int)syscall(SYS_openat, dir, name, flags, mode);
}

/* ---- helpers ------------------------------------------------------------------------------ */

static void assert_entries(guint expected)
{
    g_autoptr(GDir) dir = g_dir_open(top, 0, NULL);
    guint count = 0;

    while (g_dir_read_name(dir))
        count++;
    g_assert_cmpuint(count, ==, expected);
}

static void clear(void)
{
    g_autoptr(GDir) dir = g_dir_open(top, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = at(name);

        g_assert_cmpint(g_remove(path), ==, 0);
    }
    set_fault(NULL, 0, 0, 0);
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return st.st_mode & 07777;
}

static void replace(const char *path, const char *text)
{
    g_autoptr(GError) error = NULL;
    gboolean ok = dkvm_file_replace(path, text, strlen(text), &error);

    g_assert_no_error(error);
    g_assert_true(ok);
}

static void expect_no_replace(const char *path, const char *first, const char *second)
{
    g_autoptr(GError) error = NULL;
    gboolean ok = dkvm_file_replace(path, "new", 3, &error);

    set_fault(NULL, 0, 0, 0);
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_FILE);
    g_test_message("%s", error->message);
    g_assert_false(ok);
    g_assert_nonnull(strstr(error->message, first));
    g_assert_nonnull(strstr(error->message, second));
    g_assert_nonnull(strstr(error->message, path));
}

/* ---- replacing ---------------------------------------------------------------------------- */

static void test_create(void)
{
    g_autofree char *path = at("new");
    g_autofree char *longest = g_strnfill(255, 'n');
    g_autofree char *longest_path = at(longest);
    mode_t before = umask(0027);

    replace(path, "text");
    assert_content(path, "text");
    g_assert_cmpuint(mode_of(path), ==, 0640);
    umask(before);
    replace(longest_path, "");
    assert_content(longest_path, "");
    assert_entries(2);
    clear();
}

static void test_create_relative(void)
{
    g_autofree char *before = g_get_current_dir();
    g_autofree char *path = at("plain");

    g_assert_cmpint(chdir(top), ==, 0);
    replace("plain", "here");
    replace("plain", "there");
    g_assert_cmpint(chdir(before), ==, 0);
    assert_content(path, "there");
    clear();
}

static void test_replace(void)
{
    g_autofree char *path = at("f");
    char value[8] = "";
    struct stat st;

    put(path, "old and longer");
    if (geteuid() == 0)
        g_assert_cmpint(chown(path, 1, 2), ==, 0);
    g_assert_cmpint(chmod(path, 04751), ==, 0);
    if (setxattr(path, "user.a", "1", 1, 0) < 0 || setxattr(path, "user.b", "", 0, 0) < 0)
        g_test_message("no user attributes on this file system");
    replace(path, "new");
    assert_content(path, "new");
    g_assert_cmpuint(mode_of(path), ==, 04751);
    g_assert_cmpint(stat(path, &st), ==, 0);
    if (geteuid() == 0) {
        g_assert_cmpuint(st.st_uid, ==, 1);
        g_assert_cmpuint(st.st_gid, ==, 2);
    }
    if (getxattr(path, "user.a", value, sizeof value) < 0)
        g_assert_cmpint(errno, ==, ENOTSUP);
    else
        g_assert_cmpstr(value, ==, "1");
    assert_entries(1);
    clear();
}

static void test_replace_bytes(void)
{
    g_autofree char *path = at("f");
    g_autofree char *text = NULL;
    gsize length = 0;

    put(path, "old");
    set_fault("short", 0, 0, 0);
    g_assert_true(dkvm_file_replace(path, "a\0b\nlonger than one write", 25, NULL));
    set_fault("write", EINTR, 0, 2);
    g_assert_true(dkvm_file_replace(path, "a\0b\nlonger than one write", 25, NULL));
    text = dkvm_file_read(path, 100, &length, NULL);
    g_assert_cmpmem(text, length, "a\0b\nlonger than one write", 25);
    clear();
}

static void test_symlink(void)
{
    g_autofree char *target = at("target");
    g_autofree char *link = at("link");
    g_autofree char *second = at("second");
    g_autofree char *where = NULL;

    put(target, "old");
    g_assert_cmpint(symlink("target", link), ==, 0);
    g_assert_cmpint(symlink(link, second), ==, 0);
    replace(second, "new");
    g_assert_nonnull(where = g_file_read_link(link, NULL));
    g_assert_cmpstr(where, ==, "target");
    g_assert_true(g_file_test(second, G_FILE_TEST_IS_SYMLINK));
    g_assert_false(g_file_test(target, G_FILE_TEST_IS_SYMLINK));
    assert_content(target, "new");
    assert_entries(3);
    clear();
}

static void test_refused(void)
{
    g_autofree char *dangling = at("dangling");
    g_autofree char *loop = at("loop");
    g_autofree char *fifo = at("fifo");
    g_autofree char *file = at("f");
    g_autofree char *below = at("f/g");
    g_autofree char *slash = at("none/");
    g_autofree char *deep = at("none/f");
    g_autofree char *too_long = NULL;
    g_autofree char *name = g_strnfill(256, 'n');

    too_long = at(name);
    put(file, "old");
    g_assert_cmpint(symlink("nowhere", dangling), ==, 0);
    g_assert_cmpint(symlink("loop", loop), ==, 0);
    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
    expect_no_replace(dangling, "symbolic link", "does not exist");
    expect_no_replace(loop, "symbolic link", "leads back");
    expect_no_replace(fifo, "not a regular file", "replace");
    expect_no_replace(top, "not a regular file", "replace");
    expect_no_replace("/", "not a regular file", "replace");
    expect_no_replace("/dev/full", "not a regular file", "replace");
    expect_no_replace(below, "Not a directory", "spelling");
    expect_no_replace(slash, "No such file", "create");
    expect_no_replace("", "No such file", "create");
    expect_no_replace(deep, "No such file", "directory of");
    expect_no_replace(too_long, "too long", "spelling");
    assert_content(file, "old");
    assert_entries(4);
    clear();
}

/* Every step of replacing an old file fails once: it stays as it was, and no other file is left. */
static void test_failures(void)
{
    static const struct {
        const char *call;
        int error, skip;
        const char *message;
    } cases[] = {
        {"fstatat", EIO, 0, "check the file"},
        {"openat", EACCES, 0, "usually root"},
        {"fstat", EIO, 0, "check the file"},
        {"openat", EROFS, 1, "temporary file"},
        {"openat", ENOSPC, 1, "make room"},
        {"write", ENOSPC, 0, "make room"},
        {"fstat", EIO, 1, "replace"},
        {"fchown", EPERM, 0, "keep the owner"},
        {"fremovexattr", EIO, 0, "keep the permissions"},
        {"flistxattr", EIO, 0, "keep the attributes"},
        {"fgetxattr", EIO, 0, "the attribute user.a"},
        {"fsetxattr", EPERM, 0, "the attribute user.a"},
        {"fsetxattr", ENOSPC, 0, "the attribute user.a"},
        {"fsetxattr", ENOTSUP, 0, "the attribute user.a"},
        {"fchmod", EPERM, 0, "keep the mode"},
        {"fsync", EIO, 0, "write"},
        {"renameat", EBUSY, 0, "replace"},
    };
    g_autofree char *path = at("f");

    put(path, "old");
    if (geteuid() != 0 || setxattr(path, "user.a", "1", 1, 0) < 0 || chown(path, 1, 1) < 0) {
        g_test_skip("needs root and a file system with user attributes");
        clear();
        return;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s %d", cases[i].call, cases[i].skip);
        set_fault(cases[i].call, cases[i].error, cases[i].skip, 1);
        expect_no_replace(path, cases[i].message, "cannot ");
        assert_content(path, "old");
        assert_entries(1);
    }
    clear();
}

static void test_failures_new(void)
{
    g_autofree char *path = at("f");

    set_fault("openat", EEXIST, 0, -1);
    expect_no_replace(path, "File exists", "temporary file");
    set_fault("write", EDQUOT, 0, 1);
    expect_no_replace(path, "make room", "write");
    set_fault("close", EIO, 0, 1);
    expect_no_replace(path, "Input/output error", "write");
    assert_entries(0);
    set_fault("openat", EEXIST, 0, 3);
    replace(path, "new");
    set_fault("close", EINTR, 2, 1);
    replace(path, "newer");
    assert_content(path, "newer");
    assert_entries(1);
    clear();
}

static void test_sync_directory(void)
{
    g_autofree char *path = at("f");

    put(path, "old");
    set_fault("fsync", EIO, 1, 1);
    expect_no_replace(path, "the new content is there", "permanent");
    assert_content(path, "new");
    set_fault("fsync", EINVAL, 1, 1);
    replace(path, "newer");
    assert_content(path, "newer");
    assert_entries(1);
    clear();
}

/* Labels that only the system sets may be lost, if the system does not let us; nothing else. */
static void test_system_attributes(void)
{
    g_autofree char *path = at("f");
    char value[8];

    put(path, "old");
    if (setxattr(path, "trusted.a", "1", 1, 0) < 0) {
        g_test_skip("needs root and a file system with trusted attributes");
        clear();
        return;
    }
    set_fault("fsetxattr", EIO, 0, 1);
    expect_no_replace(path, "trusted.a", "keep the attribute");
    replace(path, "kept");
    g_assert_cmpint(getxattr(path, "trusted.a", value, sizeof value), ==, 1);
    set_fault("fsetxattr", EPERM, 0, 1);
    replace(path, "lost");
    g_assert_cmpint(getxattr(path, "trusted.a", value, sizeof value), <, 0);
    assert_content(path, "lost");
    clear();
}

static void test_attribute_support(void)
{
    g_autofree char *path = at("f");

    put(path, "old");
    set_fault("flistxattr", ENOTSUP, 0, 1);
    replace(path, "none");
    set_fault("fremovexattr", ENOTSUP, 0, 1);
    replace(path, "no lists");
    set_fault("ima", 0, 0, 0); /* listed, but not there: reading them would fail */
    replace(path, "hashes");
    assert_content(path, "hashes");
    clear();
}

/* A directory's default ACL must not open a file that had none (acl(5); the value is version 2 and
 * entries of tag, permissions, id in little endian: linux/posix_acl_xattr.h). */
static void test_default_acl(void)
{
    static const unsigned char acl[] = {
        2,    0, 0, 0,                         /* version */
        0x01, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, /* owner rwx */
        0x02, 0, 7, 0, 42,   0,    0,    0,    /* user 42 rwx */
        0x04, 0, 5, 0, 0xff, 0xff, 0xff, 0xff, /* group r-x */
        0x10, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, /* mask rwx */
        0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, /* others nothing */
    };
    g_autofree char *path = at("f");
    g_autofree char *created = at("new");
    const char *name = "system.posix_acl_access";
    char value[64];

    put(path, "old");
    g_assert_cmpint(chmod(path, 0660), ==, 0);
    if (setxattr(top, "system.posix_acl_default", acl, sizeof acl, 0) < 0) {
        g_test_skip("no access control lists on this file system");
        clear();
        return;
    }
    replace(path, "new");
    g_assert_cmpint(getxattr(path, name, value, sizeof value), <, 0);
    g_assert_cmpint(errno, ==, ENODATA);
    g_assert_cmpuint(mode_of(path), ==, 0660);
    replace(created, "new");
    g_assert_cmpint(getxattr(created, name, value, sizeof value), >, 0);
    replace(created, "its own list stays");
    g_assert_cmpint(getxattr(created, name, value, sizeof value), >, 0);
    g_assert_cmpint(removexattr(top, "system.posix_acl_default"), ==, 0);
    clear();
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
    top = g_dir_make_tmp("dkvm-file-replace-XXXXXX", NULL);
    before = open_files();
    g_test_add_func("/file-replace/create", test_create);
    g_test_add_func("/file-replace/relative", test_create_relative);
    g_test_add_func("/file-replace/old", test_replace);
    g_test_add_func("/file-replace/bytes", test_replace_bytes);
    g_test_add_func("/file-replace/symlink", test_symlink);
    g_test_add_func("/file-replace/refused", test_refused);
    g_test_add_func("/file-replace/failures", test_failures);
    g_test_add_func("/file-replace/failures-new", test_failures_new);
    g_test_add_func("/file-replace/sync-directory", test_sync_directory);
    g_test_add_func("/file-replace/system-attributes", test_system_attributes);
    g_test_add_func("/file-replace/attribute-support", test_attribute_support);
    g_test_add_func("/file-replace/default-acl", test_default_acl);
    result = g_test_run();
    g_assert_cmpuint(open_files(), ==, before);
    g_assert_cmpint(g_rmdir(top), ==, 0);
    g_free(top);
    return result;
}
