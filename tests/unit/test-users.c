/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-hook/users.c and what the preflight makes of it: a look at /proc that did not see all, and
 * whoever is not ended, whatever dkvm.conf allows. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "qemu-hook/users.h"
#include "tests/unit/fake-bus.h"
#include "tests/unit/guard-run.h"

#define GPU "0000:01:00.0"
#define CONF "/etc/dkvm/dkvm.conf"
#define UNSEEN " may be in use: not all processes can be looked into."

/* ---- a kernel that does not let a process be looked into -------------------------------- */

static struct Blind {
    char name[8]; /* the file or folder of a process; "": all can be opened */
    guint first, times;
    guint asked;
} * blind;                      /* shared with those that the product forks for a look */
static void (*meanwhile)(void); /* when the first is asked for */

static gboolean is_hidden(const char *name)
{
    if (!blind || !g_str_equal(name, blind->name))
        return FALSE;
    blind->asked++;
    if (blind->asked == blind->first && meanwhile)
        meanwhile();
    return blind->asked >= blind->first && blind->asked < blind->first + blind->times;
}

/* By its name in the program: with _FORTIFY_SOURCE openat() is an inline function already. */
int blind_openat(int dir, const char *name, int flags, mode_t mode) __asm__("openat");

int blind_openat(int dir, const char *name, int flags, mode_t mode)
{
    if (!is_hidden(name))
        return (int)syscall(SYS_openat, dir, name, flags, mode);
    errno = EACCES;
    return -1;
}

/* From the FIRST on, which is 1, NAME cannot be opened so many TIMES. */
static void hide(const char *name, guint first, guint times)
{
    *blind = (struct Blind){.first = first, .times = times};
    (void)g_strlcpy(blind->name, name, sizeof blind->name);
}

/* ---- looks ------------------------------------------------------------------------------ */

/* Looks at one process, which has nothing of the GPU; its NAME can be opened after TIMES. */
static char *refusal_if_hidden(const char *name, guint times)
{
    make_host();
    put_holder("idler\n", "0::/\n");
    g_autofree char *fd = at(HOLDER "/fd/5");
    g_assert_cmpint(unlink(fd), ==, 0);
    put(HOLDER "/maps", "");
    hide(name, 1, times);
    char *text = refusal();

    blind->name[0] = '\0';
    return text;
}

/* A process that comes or goes just then is seen the next time; two looks more are enough, and not
 * to have seen all is a reason then.  Whose folder cannot be listed is looked at for the GPU alone,
 * the only one that has a node. */
static void test_looks(void)
{
    static const struct {
        const char *name;
        guint times, looks;
        gboolean refused;
    } cases[] = {
        {"fd", 0, 1, FALSE},   {"fd", 1, 2, FALSE},   {"fd", 2, 3, FALSE},   {"fd", 3, 3, TRUE},
        {"maps", 0, 1, FALSE}, {"maps", 1, 0, FALSE}, {"maps", 2, 0, FALSE}, {"maps", 3, 0, TRUE},
    };

    if (geteuid() != 0) {
        g_test_skip("only root is to see all processes");
        return;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = refusal_if_hidden(cases[i].name, cases[i].times);

        g_test_message("%s is hidden %u times", cases[i].name, cases[i].times);
        if (cases[i].looks)
            g_assert_cmpuint(blind->asked, ==, cases[i].looks);
        g_assert_cmpint(text != NULL, ==, cases[i].refused);
        g_assert_true(!text || strstr(text, UNSEEN));
    }
}

static void take_node(void)
{
    put_link(HOLDER "/fd/5", "/dev/null");
}

/* The last look counts: who has let go since the first is in nobody's way, who has come is. */
static void test_meanwhile(void)
{
    if (geteuid() != 0) {
        g_test_skip("only root is to see all processes");
        return;
    }
    make_host();
    put_holder("player\n", "0::/\n");
    put("/proc/4999978/fd/0", ""); /* looked into behind the player */
    put("/proc/4999978/maps", "");
    put(HOLDER "/maps", "");
    hide("fd", 2, 1);
    meanwhile = end_holder;
    g_autofree char *gone = refusal();
    g_assert_cmpstr(gone, ==, NULL);
    g_assert_cmpuint(blind->asked, ==, 3); /* the player, twice the other one */
    meanwhile = take_node;
    g_autofree char *text = refusal_if_hidden("fd", 1);
    meanwhile = NULL;
    g_assert_nonnull(text);
    g_assert_nonnull(strstr(text, "Programs use it: idler (4999977"));
    g_assert_null(strstr(text, UNSEEN));
}

/* Who has the group open decides whether anything is given back: a look that did not see all says
 * nothing of it, and where none sees all, the QEMU that was seen before counts as long as it lives.
 */
static void test_holder(void)
{
    guint64 start = 0;

    if (geteuid() != 0) {
        g_test_skip("only root is to see all processes");
        return;
    }
    make_host();
    hide("", 1, 0);
    g_autoptr(DkvmHandover) handover = must_load();
    g_assert_true(prepare(handover, NULL));
    pid_t qemu = start_qemu();
    g_autofree char *name = g_strdup_printf("/proc/%d/fd/5", (int)qemu), *fd = at(name);
    g_autofree char *group = g_file_read_link(fd, NULL);

    show_group();
    g_assert_cmpint(unlink(fd), ==, 0);
    hide("fd", 1, 0);
    g_assert_cmpint(dkvm_handover_holder(handover, &start), ==, 0);
    guint looks = blind->asked; /* of one time: for each device */
    g_assert_cmpint(symlink(group, fd), ==, 0);
    hide("fd", 1, 2 * looks);
    g_assert_cmpint(dkvm_handover_holder(handover, &start), ==, qemu);
    g_assert_cmpuint(start, ==, dkvm_process_start(qemu));
    hide("fd", 1, 3 * looks);
    g_assert_cmpint(dkvm_handover_holder(handover, &start), ==, 0);
    g_assert_cmpuint(blind->asked, ==, 3 * looks);
    handover->qemu = qemu;
    handover->qemu_start = dkvm_process_start(qemu);
    hide("fd", 1, 3 * looks);
    g_assert_cmpint(dkvm_handover_holder(handover, &start), ==, qemu);
    g_assert_cmpuint(start, ==, handover->qemu_start);
    handover->qemu_start++;
    hide("fd", 1, 3 * looks);
    g_assert_cmpint(dkvm_handover_holder(handover, &start), ==, 0);
    g_assert_cmpuint(start, ==, 0);
    hide("", 1, 0);
    end_process(qemu, SIGKILL);
    g_assert_true(dkvm_handover_restore(handover, "test"));
}

/* ---- who is not ended ------------------------------------------------------------------- */

static const char *const keepers[] = {"systemd-logind", "elogind-daemon", "elogind", "seatd"};
static const char *const guarded[] = {"dbus-daemon", "dbus-broker",  "dbus-broker-lau",
                                      "libvirtd",    "virtqemud",    "virtnodedevd",
                                      "sshd",        "sshd-session", "dkvm-gpu"};

/* A VM that may end what holds its GPU, and COMMAND, which does. */
static char *refusal_of(const char *pid, const char *command)
{
    g_autofree char *comm = g_strconcat("/proc/", pid, "/comm", NULL);
    g_autofree char *fd = g_strconcat("/proc/", pid, "/fd/5", NULL);

    make_host();
    put_holder("", "");
    end_holder();
    put(CONF, "[handoff]\nholders = terminate\n");
    put("/etc/libvirt/qemu/mac.xml", "<domain><name>mac</name><uuid>" UUID "</uuid></domain>");
    put(comm, command);
    put_link(fd, "/dev/null");
    return refusal();
}

static void expect_refusal(const char *pid, const char *command, const char *why)
{
    g_autofree char *text = refusal_of(pid, command);
    g_autofree char *who = g_strdup_printf("%s: %s (%s) has /dev/null open", why, command, pid);

    g_test_message("%s", who);
    g_assert_nonnull(text);
    g_assert_nonnull(strstr(text, who));
    g_assert_null(strstr(text, "(2)")); /* one reason */
}

/* "holders = terminate" is for programs: what the desktop or the host lives on refuses the start
 * all the same, and what would help is not "holders = terminate". */
static void test_not_terminated(void)
{
    static const char desktop[] = "The desktop of this host uses it",
                      host[] = "The host itself uses a device";
    g_autofree char *player = refusal_of("77", "player");

    g_assert_cmpstr(player, ==, NULL);
    expect_refusal("1", "systemd", desktop);
    for (gsize i = 0; i < G_N_ELEMENTS(keepers); i++)
        expect_refusal("77", keepers[i], desktop);
    for (gsize i = 0; i < G_N_ELEMENTS(guarded); i++)
        expect_refusal("77", guarded[i], host);
}

/* Nor is a program ended while somebody asks not to be interrupted; where nothing would be ended,
 * nobody is. */
static void test_blocker(void)
{
    blocker = "apt (installs packages)";
    g_autofree char *text = refusal_of("77", "player");
    end_holder();
    put("/proc/77/fd/5", "");
    g_autofree char *none = refusal();
    blocker = NULL;
    g_assert_nonnull(text);
    g_assert_nonnull(strstr(text, "must not be interrupted: apt (installs packages)."));
    g_assert_cmpstr(none, ==, NULL);
}

static pid_t start_holder(const char *command)
{
    pid_t parent = getpid(), pid = fork();

    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (getppid() == parent)
            (void)pause();
        _exit(0);
    }
    g_autofree char *comm = g_strdup_printf("/proc/%d/comm", (int)pid);
    g_autofree char *fd = g_strdup_printf("/proc/%d/fd/5", (int)pid);

    put(comm, command);
    put_link(fd, "/dev/null");
    return pid;
}

static gboolean drain_gpu(GError **error)
{
    g_autoptr(DkvmHandover) handover = must_load();
    DkvmAction *action = dkvm_action_new(&dkvm_step_drain, GPU, "all", "");
    DkvmTaken *taken = g_new0(DkvmTaken, 1);

    (void)g_strlcpy(taken->bdf, GPU, sizeof taken->bdf);
    taken->sysfs = g_strdup("/sys/devices/pci0000:00/" GPU);
    g_ptr_array_add(handover->devices, taken);
    g_ptr_array_add(handover->actions, action);
    return dkvm_step_drain.apply(handover, action, error);
}

/* Those that opened it since: everything is allowed, and a program is ended; nobody else is. */
static void test_late_comers(void)
{
    pid_t pids[G_N_ELEMENTS(keepers) + G_N_ELEMENTS(guarded)];
    gsize count = 0;
    int status = 0;
    g_autoptr(GError) error = NULL;

    make_host();
    put_holder("", "");
    end_holder();
    for (gsize i = 0; i < G_N_ELEMENTS(keepers); i++)
        pids[count++] = start_holder(keepers[i]);
    for (gsize i = 0; i < G_N_ELEMENTS(guarded); i++)
        pids[count++] = start_holder(guarded[i]);
    pid_t player = start_holder("player");
    g_assert_false(drain_gpu(&error));
    g_assert_nonnull(strstr(error->message, GPU " is still in use: "));
    g_assert_cmpint(waitpid(player, &status, 0), ==, player);
    g_assert_true(WIFSIGNALED(status));
    g_assert_cmpint(WTERMSIG(status), ==, SIGTERM);
    for (gsize i = 0; i < count; i++) {
        g_assert_cmpint(waitpid(pids[i], NULL, WNOHANG), ==, 0);
        g_assert_cmpint(kill(pids[i], SIGKILL), ==, 0);
        g_assert_cmpint(waitpid(pids[i], NULL, 0), ==, pids[i]);
    }
}

static void add(void)
{
    g_test_add_func("/users/looks", test_looks);
    g_test_add_func("/users/meanwhile", test_meanwhile);
    g_test_add_func("/users/holder", test_holder);
    g_test_add_func("/users/not-terminated", test_not_terminated);
    g_test_add_func("/users/blocker", test_blocker);
    g_test_add_func("/users/late-comers", test_late_comers);
}

int main(int argc, char **argv)
{
    blind = mmap(NULL, sizeof *blind, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert_true(blind != MAP_FAILED);
    return run_below_root(add, argc, argv);
}
