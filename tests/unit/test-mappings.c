/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* udev/mappings.c: a process that has mapped a device and closed it, a real one. */
#include <fcntl.h>
#include <glib.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>

#include "qemu-hook/users.h"
#include "tests/unit/handover-run.h"

#define GPU "/sys/devices/pci0000:00/0000:01:00.0"

static void end_process(pid_t pid)
{
    g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
    (void)waitpid(pid, NULL, 0);
}

/* Maps NODE, which stands for the GPU's node, in two places; CLOSES it then or not.  0: it may not
 * be used. */
static pid_t start_mapper(const char *node, gboolean closes, const char *name)
{
    int pair[2];
    char byte;
    pid_t parent = getpid();

    g_assert_cmpint(pipe(pair), ==, 0);
    pid_t pid = fork();

    if (pid == 0) {
        int fd = open(node, O_RDWR);
        void *area = mmap(NULL, 3 * 4096L, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

        if (area != MAP_FAILED)
            (void)munmap((char *)area + 4096, 4096);
        (void)prctl(PR_SET_NAME, name);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (area == MAP_FAILED || getppid() != parent)
            (void)!write(pair[1], "-", 1);
        if (closes)
            (void)close(fd);
        (void)!write(pair[1], "x", 1);
        for (;;)
            (void)pause();
    }
    g_assert_cmpint(read(pair[0], &byte, 1), ==, 1);
    (void)close(pair[0]);
    (void)close(pair[1]);
    if (byte == 'x')
        return pid;
    end_process(pid);
    return 0;
}

static void put_process(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d", (int)pid);

    put_link(path, path);
}

static void put_node(const char *number)
{
    make_host();
    put(GPU "/drm/card1/dev", number);
    put_link(GPU "/drm/card1/subsystem", "../../../../../class/drm");
}

static char *users_text(void)
{
    const DkvmDevice device = {.sysfs = (char *)GPU, .name = "0000:01:00.0"};

    return dkvm_users_text(&device);
}

static void test_mapped(void)
{
    put_node("1:5\n");
    pid_t pid = start_mapper("/dev/zero", TRUE, "renderer");
    g_autofree char *wanted = g_strdup_printf("renderer (%d", (int)pid);

    put_process(pid);
    g_autofree char *text = users_text();
    g_assert_true(g_str_has_prefix(text, wanted));
    g_assert_true(g_str_has_suffix(text, ") has /dev/zero mapped"));
    g_autofree char *why = refusal();
    g_assert_nonnull(strstr(why, wanted));
    /* Another device is not the one that is mapped. */
    put(GPU "/drm/card1/dev", "1:7\n");
    g_autofree char *none = users_text();
    g_assert_cmpstr(none, ==, "");
    end_process(pid);
    put(GPU "/drm/card1/dev", "1:5\n");
    g_autofree char *gone = users_text();
    g_assert_cmpstr(gone, ==, "");
}

/* However often it is mapped: what it costs to look is not up to whoever maps it. */
static void test_twice(void)
{
    put_node("1:5\n");
    pid_t pid = start_mapper("/dev/zero", TRUE, "renderer");

    put_process(pid);
    g_autoptr(DkvmMappings) mappings = dkvm_mappings_read();
    g_assert_cmpuint(mappings->all->len, ==, 1);
    g_assert_true(mappings->complete);
    end_process(pid);
}

/* A process that has a folder open which a file server of USER serves, who never answers.  0: none
 * can be made here. */
static pid_t start_served(const char *user)
{
    g_autofree char *folder = g_dir_make_tmp("dkvm-served-XXXXXX", NULL);
    int pair[2];
    char byte = '-';

    g_assert_cmpint(pipe(pair), ==, 0);
    pid_t pid = fork();

    if (pid == 0) {
        int fuse = open("/dev/fuse", O_RDWR);
        g_autofree char *options =
            g_strdup_printf("fd=%d,rootmode=40000,user_id=%s,group_id=%s", fuse, user, user);

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
            mount("dkvm-test", folder, "fuse", MS_NODEV | MS_NOSUID, options) == 0 &&
            open(folder, O_PATH) >= 0)
            byte = 'x';
        (void)!write(pair[1], &byte, 1);
        for (;;)
            (void)pause();
    }
    g_assert_cmpint(read(pair[0], &byte, 1), ==, 1);
    (void)close(pair[0]);
    (void)close(pair[1]);
    (void)g_rmdir(folder);
    if (byte == 'x')
        return pid;
    end_process(pid);
    return 0;
}

/* A desktop has files of FUSE open (the document portal), which root may not even stat, and a
 * server may be dead: neither is a reason to take a GPU for one that may be in use, or to wait. */
static void test_served(void)
{
    static const char *const users[] = {"65534", "0"};

    for (gsize i = 0; i < G_N_ELEMENTS(users); i++) {
        put_node("1:5\n");
        pid_t pid = start_served(users[i]);

        if (pid == 0) {
            g_test_skip("no FUSE can be mounted here");
            return;
        }
        put_process(pid);
        (void)alarm(20);
        g_autofree char *text = users_text();
        (void)alarm(0);
        g_assert_cmpstr(text, ==, "");
        end_process(pid);
    }
}

/* Once, where it is open as well. */
static void test_open_too(void)
{
    put_node("1:5\n");
    pid_t pid = start_mapper("/dev/zero", FALSE, "both");

    put_process(pid);
    g_autofree char *text = users_text();
    g_assert_true(g_str_has_suffix(text, ") has /dev/zero open"));
    g_assert_null(strchr(text, ';'));
    end_process(pid);
}

/* One whose node has another name meanwhile, or none: udev may have made it anew. */
static void test_deleted(void)
{
    g_autofree char *folder = g_dir_make_tmp("dkvm-node-XXXXXX", NULL);
    g_autofree char *node = g_build_filename(folder, "node", NULL);
    gboolean made = mknod(node, S_IFCHR | 0600, makedev(1, 5)) == 0;
    pid_t pid = made ? start_mapper(node, TRUE, "renderer") : 0;

    (void)g_unlink(node);
    (void)g_rmdir(folder);
    if (pid == 0) {
        g_test_skip("no device can be made here");
        return;
    }
    put_node("1:5\n");
    put_process(pid);
    g_autofree char *text = users_text();
    g_assert_nonnull(strstr(text, "node (deleted) mapped"));
    end_process(pid);
}

/* One that is told to end lets go; one that came after the plan is seen before the unbind. */
static void test_drain(void)
{
    put_node("1:5\n");
    put("/etc/dkvm/dkvm.conf", "[handoff]\nholders = terminate\n");
    put("/etc/libvirt/qemu/mac.xml",
        "<domain><name>mac</name><uuid>" UUID "</uuid><devices/></domain>");
    pid_t pid = start_mapper("/dev/zero", TRUE, "renderer");

    put_process(pid);
    g_autoptr(DkvmHandover) handover = must_load();
    g_assert_true(prepare(handover, NULL));
    int status = 0;
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFSIGNALED(status));
    g_assert_cmpint(WTERMSIG(status), ==, SIGTERM);
    g_assert_true(dkvm_handover_restore(handover, "test"));
}

static void test_late_comer(void)
{
    put_node("1:5\n");
    g_autoptr(DkvmHandover) handover = must_load();
    g_autoptr(DkvmWants) wants = NULL;
    g_autoptr(DkvmConfig) config = NULL;
    g_autoptr(DkvmPlan) plan = must_plan(&wants, &config);
    pid_t pid = start_mapper("/dev/zero", TRUE, "renderer");
    g_autoptr(GError) error = NULL;

    put_process(pid);
    g_assert_cmpint(plan->refusals->len, ==, 0);
    g_assert_true(dkvm_handover_begin(handover, "mac", g_steal_pointer(&plan->devices),
                                      g_steal_pointer(&plan->actions), NULL));
    g_assert_false(dkvm_handover_prepare(handover, &error));
    g_assert_nonnull(strstr(error->message, "0000:01:00.0 is in use: renderer ("));
    assert_home();
    end_process(pid);
}

/* A process that hangs and holds its lock: reading its maps waits for ever. */
static void test_stuck(void)
{
    put_node("1:5\n");
    put("/proc/88/comm", "hung\n");
    g_autofree char *maps = at("/proc/88/maps");
    g_assert_cmpint(mkfifo(maps, 0600), ==, 0);
    gint64 begin = g_get_monotonic_time();
    g_autoptr(DkvmMappings) mappings = dkvm_mappings_read();

    g_assert_cmpint(mappings->stuck, ==, 88);
    g_assert_false(mappings->complete);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, 6 * G_USEC_PER_SEC);
    g_assert_cmpint(waitpid(-1, NULL, WNOHANG), ==, -1); /* no child is left */
    g_autoptr(DkvmWants) wants = NULL;
    g_autoptr(DkvmConfig) config = NULL;
    g_autoptr(DkvmPlan) plan = must_plan(&wants, &config);
    g_autofree char *text = dkvm_plan_text(plan);
    g_assert_nonnull(strstr(text, "Process 88 hangs in the kernel"));
    g_assert_cmpint(plan->refusals->len, >, 0); /* what may be in use is not taken */
}

/* What no kernel writes. */
static void test_nonsense(void)
{
    static const char text[] = "\nx\n1-\n1-2\n1-2 r\n1-2 r 0 0:\n1-2 r 0 zz:1 1 /dev/zero\n"
                               "1-2 r 0 0:1 x /dev/zero\n-1-2 r 0 00:06 4 /dev/zero\n";

    put_node("1:5\n");
    put("/proc/88/maps", text);
    g_autoptr(DkvmMappings) mappings = dkvm_mappings_read();

    g_assert_cmpint(mappings->all->len, ==, 0);
    g_assert_cmpint(mappings->stuck, ==, 0);
    g_assert_true(mappings->complete);
    /* One whose maps cannot be read may have it. */
    g_autofree char *maps = at("/proc/88/maps");
    g_assert_cmpint(g_unlink(maps), ==, 0);
    g_assert_cmpint(g_mkdir(maps, 0755), ==, 0);
    g_autoptr(DkvmMappings) unread = dkvm_mappings_read();
    g_assert_false(unread->complete);
    g_assert_cmpint(unread->stuck, ==, 0);
    if (geteuid() == 0) {
        g_autofree char *why = refusal();
        g_assert_nonnull(strstr(why, "may be in use: not all processes can be looked into"));
    }
}

static void add(void)
{
    g_test_add_func("/mappings/mapped", test_mapped);
    g_test_add_func("/mappings/twice", test_twice);
    g_test_add_func("/mappings/served", test_served);
    g_test_add_func("/mappings/open-too", test_open_too);
    g_test_add_func("/mappings/deleted", test_deleted);
    g_test_add_func("/mappings/drain", test_drain);
    g_test_add_func("/mappings/late-comer", test_late_comer);
    g_test_add_func("/mappings/stuck", test_stuck);
    g_test_add_func("/mappings/nonsense", test_nonsense);
}

int main(int argc, char **argv)
{
    return run_below_root(add, argc, argv);
}
