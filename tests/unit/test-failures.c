/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Failure modes of qemu-hook/FAILURES.md that need a kernel which does, or does not do, what it is
 * told: each act of the worker is written down, in order. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "lib/error.h"
#include "qemu-hook/crash.h"
#include "qemu-hook/plan.h"
#include "qemu-hook/rundir.h"
#include "tests/unit/handover-host.h"

#define CONSOLE "/sys/class/vtconsole/vtcon1"

static const char *const domain =
    "<domain type='kvm'><name>mac</name><uuid>" UUID "</uuid><devices>"
    "<hostdev mode='subsystem' type='pci' managed='yes'><source>"
    "<address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source></hostdev>"
    "</devices></domain>";

/* ---- a kernel that is listened to ------------------------------------------------------- */

static gboolean deaf;      /* the console takes the write and does nothing */
static gboolean forbidden; /* a group is not viable */
static const char *deadly; /* the write that the host would die of: its crash memory is kept */

#define MEMORY "/var/lib/dkvm/doing-" UUID

static void keep_memory(void)
{
    g_autofree char *from = at(MEMORY), *to = at("/memory");
    g_autofree char *text = NULL;

    if (g_file_get_contents(from, &text, NULL, NULL))
        (void)g_file_set_contents(to, text, -1, NULL);
}

static int note_act(DkvmWorkKind kind, const char *a, const char *b)
{
    g_autofree char *path = at("/acts");
    g_autofree char *line = g_strdup_printf("%d %s %s\n", (int)kind, a, b);
    (void)g_strdelimit(line, "\n", ' '); /* what an override is cleared with */
    line[strlen(line) - 1] = '\n';
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    gboolean whole = fd >= 0 && write(fd, line, strlen(line)) == (ssize_t)strlen(line);

    return fd >= 0 && close(fd) == 0 && whole ? 0 : EIO;
}

static int witness(DkvmWorkKind kind, const char *a, const char *b, char **text)
{
    *text = NULL;
    if (note_act(kind, a, b) != 0)
        return EIO;
    if (deadly && kind == DKVM_WORK_WRITE && strstr(a, deadly))
        keep_memory();
    if (kind == DKVM_WORK_GROUP)
        return forbidden ? EPERM : 0;
    if (kind == DKVM_WORK_MODULE) {
        put("/sys/bus/pci/drivers/vfio-pci/x", "");
        return 0;
    }
    if (kind == DKVM_WORK_WRITE && g_str_has_prefix(a, "/sys/class/vtconsole/")) {
        if (!deaf)
            put(a, b);
        return 0;
    }
    return fake_kernel(kind, a, b, text);
}

/* The number of the first act with PART in it; -1: there is none. */
static int act(const char *part)
{
    g_autofree char *path = at("/acts");
    g_autofree char *text = NULL;
    int found = -1;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return -1;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (int i = 0; lines[i] && found < 0; i++)
        found = strstr(lines[i], part) ? i : -1;
    return found;
}

/* ---- hand-overs ------------------------------------------------------------------------- */

static gboolean prepare(DkvmHandover *handover, GError **error)
{
    return hand_over(handover, domain, error);
}

/* ---- F07, F15, F16: the text console ---------------------------------------------------- */

static void put_console(const char *fb, const char *bdf)
{
    g_autofree char *link = g_strconcat("/sys/class/graphics/", fb, NULL);
    g_autofree char *target = g_strconcat("../../devices/pci0000:00/", bdf, "/graphics/", fb, NULL);

    put("/sys/class/vtconsole/vtcon0/name", "(S) dummy device\n");
    put("/sys/class/vtconsole/vtcon0/bind", "0\n");
    put(CONSOLE "/name", "(M) frame buffer device\n");
    put(CONSOLE "/bind", "1\n");
    put_link(link, target);
}

static char *console_is(void)
{
    g_autofree char *path = at(CONSOLE "/bind");

    return read_word(path);
}

/* Off the screen, seen to be off, before anything leaves its driver; back at the end. */
static void test_console(void)
{
    GError *error = NULL;

    make_host();
    put_console("fb0", "0000:01:00.0");
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, &error));
    g_assert_no_error(error);
    g_autofree char *during = console_is();
    g_assert_cmpstr(during, ==, "0");
    g_assert_cmpint(act("vtcon1/bind 0"), >=, 0);
    g_assert_cmpint(act("vtcon1/bind 0"), <, act("driver/unbind"));
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_autofree char *after = console_is();
    g_assert_cmpstr(after, ==, "1");
}

/* A kernel that takes the write and does nothing: refused, and no driver is touched. */
static void test_deaf_console(void)
{
    g_autoptr(GError) error = NULL;

    make_host();
    put_console("fb0", "0000:01:00.0");
    g_autoptr(DkvmHandover) handover = must_load();

    deaf = TRUE; /* the worker begins with prepare */
    g_assert_false(prepare(handover, &error));
    deaf = FALSE;
    g_assert_nonnull(strstr(error->message, "had no effect: it is '1', not '0'"));
    g_assert_cmpint(act("vtcon1/bind 0"), >=, 0);
    g_assert_cmpint(act("driver/unbind"), ==, -1);
    g_assert_cmpint(handover->phase, ==, DKVM_PHASE_CLOSED);
}

/* The host has another frame buffer: the kernel moves the console there by itself. */
static void test_other_console(void)
{
    make_host();
    put_console("fb0", "0000:01:00.0");
    put_console("fb1", "0000:00:02.0");
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    g_assert_cmpint(act("vtconsole"), ==, -1);
    g_assert_true(dkvm_handover_restore(handover, "test"));
}

/* The host dies while A is written: the next boot refuses the GPU and names STEP. */
static void assert_remembered(const char *a, const char *step)
{
    g_autofree char *kept = at("/memory"), *said = g_strdup_printf("(step %s, kernel 6.1.0", step);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;

    make_host();
    put_console("fb0", "0000:01:00.0");
    put_frame_buffer("  fd000000-fd3fffff : efifb");
    g_autoptr(DkvmHandover) handover = must_load();

    deadly = a; /* the worker begins with prepare */
    g_assert_true(prepare(handover, NULL));
    deadly = NULL;
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_assert_true(g_file_get_contents(kept, &text, NULL, NULL));
    put("/proc/sys/kernel/random/boot_id", "a07e4\n");
    put(MEMORY, text);
    g_assert_cmpuint(dkvm_crash_recover(), ==, 1);
    g_clear_pointer(&handover, dkvm_handover_free);
    handover = must_load();
    g_assert_false(prepare(handover, &error));
    g_assert_nonnull(strstr(error->message, "0000:01:00.0: The host died the last time it was"));
    g_assert_nonnull(strstr(error->message, said));
}

static void test_deadly_console(void)
{
    assert_remembered("vtcon1/bind", "console");
}

static void test_deadly_firmware(void)
{
    assert_remembered("efi-framebuffer.0/driver/unbind", "firmware");
}

/* ---- F13: the firmware's frame buffer --------------------------------------------------- */

/* Before the drivers, as long as the region is known to lie in a window of the GPU; only where it
 * is there at all. */
static void test_firmware_first(void)
{
    make_host();
    put_frame_buffer("  fd000000-fd3fffff : efifb");
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    g_assert_cmpint(act("efi-framebuffer.0/driver/unbind"), >=, 0);
    g_assert_cmpint(act("efi-framebuffer.0/driver/unbind"), <, act("0000:01:00.1/driver/unbind"));
    g_assert_true(dkvm_handover_restore(handover, "test"));
    make_host();
    g_clear_pointer(&handover, dkvm_handover_free);
    handover = must_load();
    g_assert_true(prepare(handover, NULL));
    g_assert_cmpint(act("framebuffer"), ==, -1);
    g_assert_true(dkvm_handover_restore(handover, "test"));
}

/* ---- F19: modules ----------------------------------------------------------------------- */

/* vfio-pci is loaded before anything is reserved for it, and stays: other guests may use it. */
static void test_module(void)
{
    make_host();
    g_autofree char *driver = at("/sys/bus/pci/drivers/vfio-pci");
    remove_tree(driver);
    put("/lib/modules/6.1.0-test/modules.dep", "kernel/drivers/vfio/pci/vfio-pci.ko:\n");
    g_autofree char *load = g_strdup_printf("%d vfio-pci ", (int)DKVM_WORK_MODULE);
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    g_assert_cmpint(act(load), ==, 0);
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_assert_true(g_file_test(driver, G_FILE_TEST_IS_DIR));

    g_autofree char *path = at("/acts"), *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_null(strstr(text + strlen(load), load));
    g_auto(GStrv) lines = g_strsplit(g_strstrip(text), "\n", -1);
    for (char **line = lines; *line; line++) {
        guint64 kind = g_ascii_strtoull(*line, NULL, 10);

        /* A kind of work that is not known here may well be unloading. */
        g_assert_true(kind == DKVM_WORK_WRITE || kind == DKVM_WORK_PROBE ||
                      kind == DKVM_WORK_MODULE || kind == DKVM_WORK_GROUP);
    }
}

/* ---- F17: the kernel has the last word ---------------------------------------------------- */

static void test_not_viable(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *driver = at("/sys/bus/pci/devices/0000:01:00.0/driver");

    make_host();
    g_autoptr(DkvmHandover) handover = must_load();

    forbidden = TRUE;
    g_assert_false(prepare(handover, &error));
    forbidden = FALSE;
    g_assert_nonnull(strstr(error->message, "group 11 cannot be given to a guest"));
    g_assert_cmpint(handover->phase, ==, DKVM_PHASE_CLOSED);
    g_autofree char *link = g_file_read_link(driver, NULL);
    g_assert_cmpstr(link, ==, "../../../bus/pci/drivers/bochs-drm");
}

/* ---- F08, F10: who is who ------------------------------------------------------------------ */

/* What the plan says of a process PID, called COMMAND, in CGROUP, that has the sound open. */
static char *said_of(int pid, const char *command, const char *cgroup)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *comm = g_strdup_printf("/proc/%d/comm", pid);
    g_autofree char *group = g_strdup_printf("/proc/%d/cgroup", pid);
    g_autofree char *fd = g_strdup_printf("/proc/%d/fd/5", pid);
    g_autofree char *whole = g_strconcat("0::", cgroup, "\n", NULL);

    make_host();
    put("/sys/devices/pci0000:00/0000:01:00.1/sound/card0/controlC0/dev", "1:3\n");
    put("/run/systemd/sessions/2", "UID=1000\nTYPE=wayland\n");
    put("/run/systemd/sessions/3", "UID=1001\nTYPE=tty\n");
    put(comm, command);
    put(group, whole);
    put_link(fd, "/dev/null");
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_false(prepare(handover, &error));
    g_assert_null(strstr(error->message, "(2)")); /* one reason */
    return g_strdup(error->message);
}

static void test_kinds(void)
{
    static const char desktop[] = "The desktop of this host uses it: ";
    static const char programs[] = "Programs use it: ";
    static const struct {
        int pid;
        const char *command, *cgroup, *text;
    } cases[] = {
        {77, "gnome-shell\n", "/user.slice/user-1000.slice/session-2.scope", desktop},
        {77, "wireplumber\n",
         "/user.slice/user-1000.slice/user@1000.service/session.slice/wireplumber.service",
         desktop},
        {77, "wireplumber\n", "/user.slice/user-1001.slice/user@1001.service/a.service", programs},
        {77, "mpv\n", "/user.slice/user-1001.slice/session-3.scope", programs},
        {77, "mpd\n", "/system.slice/mpd.service", programs},
        {77, "systemd-logind\n", "/system.slice/systemd-logind.service", desktop},
        {1, "systemd\n", "/init.scope", desktop},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *said = said_of(cases[i].pid, cases[i].command, cases[i].cgroup);

        g_assert_nonnull(strstr(said, cases[i].text));
    }
}

/* ---- F05, F10: who is ended, and who is not --------------------------------------------- */

static char held[256]; /* what a process that ends closes */

static void let_go(int number)
{
    (void)unlink(held);
    _exit(0);
}

/* A process called COMMAND that has the sound open; it ends at SIGTERM. */
static pid_t put_holder(const char *command)
{
    int ready[2];
    char byte;

    g_assert_cmpint(pipe(ready), ==, 0);
    pid_t pid = fork();

    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
        (void)g_snprintf(held, sizeof held, "%s/proc/%d/fd/5", root, (int)getpid());
        (void)signal(SIGTERM, let_go);
        (void)!write(ready[1], "", 1);
        for (;;)
            (void)pause();
    }
    g_assert_cmpint(read(ready[0], &byte, 1), ==, 1);
    (void)close(ready[0]);
    (void)close(ready[1]);
    g_autofree char *comm = g_strdup_printf("/proc/%d/comm", (int)pid);
    g_autofree char *fd = g_strdup_printf("/proc/%d/fd/5", (int)pid);

    put("/sys/devices/pci0000:00/0000:01:00.1/sound/card0/controlC0/dev", "1:3\n");
    put(comm, command);
    put_link(fd, "/dev/null");
    return pid;
}

static void allow_all(void)
{
    put("/etc/dkvm/dkvm.conf", "[handoff]\ndesktop = stop\nholders = terminate\n");
    put("/etc/libvirt/qemu/mac.xml", domain);
}

static void end(pid_t pid)
{
    g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
}

/* Everything is allowed: a program is ended, who keeps the seat for the session is not. */
static void test_keeper(void)
{
    g_autoptr(GError) error = NULL;
    int status = -1;

    make_host();
    allow_all();
    pid_t other = put_holder("player\n"), keeper = put_holder("seatd\n");
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_false(prepare(handover, &error));
    g_assert_nonnull(strstr(error->message, "0000:01:00.1 is still in use: seatd ("));
    g_assert_cmpint(waitpid(other, &status, WNOHANG), ==, other);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(waitpid(keeper, &status, WNOHANG), ==, 0);
    g_assert_cmpint(act("driver/unbind"), ==, -1);
    end(keeper);
}

/* The same with a program alone: the hand-over goes on. */
static void test_program(void)
{
    make_host();
    allow_all();
    pid_t other = put_holder("player\n");
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    g_assert_cmpint(waitpid(other, NULL, WNOHANG), ==, other);
    g_assert_true(dkvm_handover_restore(handover, "test"));
}

/* What the host itself lives on is named before anything is touched. */
static void test_guarded(void)
{
    static const char *const names[] = {"sshd\n", "libvirtd\n", "dbus-daemon\n"};

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GError) error = NULL;

        make_host();
        allow_all();
        pid_t pid = put_holder(names[i]);
        g_autoptr(DkvmHandover) handover = must_load();

        g_assert_false(prepare(handover, &error));
        g_assert_nonnull(strstr(error->message, "The host itself uses a device: "));
        g_assert_cmpint(handover->phase, ==, DKVM_PHASE_NEW);
        g_assert_cmpint(waitpid(pid, NULL, WNOHANG), ==, 0);
        end(pid);
    }
}

int main(int argc, char **argv)
{
    char shm[] = "/dev/shm/dkvm-failures-XXXXXX"; /* each step brings a note to disk */
    g_autofree char *folder =
        g_mkdtemp(shm) ? g_strdup(shm) : g_dir_make_tmp("dkvm-failures-XXXXXX", NULL);

    root = g_build_filename(folder, "root", NULL);
    g_assert_true(g_setenv("DKVM_ROOT", root, TRUE));
    g_test_init(&argc, &argv, NULL);
    dkvm_worker_act = witness;
    g_test_add_func("/failures/console", test_console);
    g_test_add_func("/failures/deaf-console", test_deaf_console);
    g_test_add_func("/failures/deadly-console", test_deadly_console);
    g_test_add_func("/failures/deadly-firmware", test_deadly_firmware);
    g_test_add_func("/failures/other-console", test_other_console);
    g_test_add_func("/failures/firmware-first", test_firmware_first);
    g_test_add_func("/failures/module", test_module);
    g_test_add_func("/failures/not-viable", test_not_viable);
    g_test_add_func("/failures/kinds", test_kinds);
    g_test_add_func("/failures/keeper", test_keeper);
    g_test_add_func("/failures/program", test_program);
    g_test_add_func("/failures/guarded", test_guarded);
    int failed = g_test_run();

    remove_tree(folder);
    g_free(root);
    return failed;
}
