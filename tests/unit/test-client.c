/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-hook/client.c: a systemd that does not answer.  The guard without systemd is the program of
 * its client, which is this one. */
#include "qemu-hook/client.h"
#include "qemu-hook/commands.h"
#include "tests/unit/guard-run.h"
#include "tests/unit/handover-run.h"
#include "tests/unit/silent-bus.h"

#define ASK_MS 4000 /* less than what systemd would get at most if it got all */
#define GUARD "/guard"
#define SAID "/said"

static const char domain[] =
    "<domain type='kvm'><name>mac</name><uuid>" UUID "</uuid><devices>"
    "<hostdev mode='subsystem' type='pci' managed='no'><source>"
    "<address domain='0x0' bus='0x01' slot='0x00' function='0x0'/></source></hostdev>"
    "</devices></domain>";

/* Without systemd: started by the client, as "dkvm-gpu guard UUID". */
static int be_guard(const char *uuid)
{
    root = g_strdup(g_getenv("DKVM_ROOT"));
    put(GUARD, uuid);
    dkvm_worker_act = fake_kernel;
    return dkvm_guardian_run(uuid);
}

/* CLIENT's exit code; GDBus has threads, so it is a process of its own. */
static int run_client(int (*client)(void))
{
    g_autofree char *said = at(SAID);
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        g_assert_nonnull(freopen(said, "w", stderr));
        int code = client();

        (void)fflush(stderr);
        _exit(code);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* systemd was asked, and then it was done without. */
static void is_without_systemd(int bus)
{
    g_autofree char *said = at(SAID), *text = read_word(said);
    g_autofree char *guard = at(GUARD), *uuid = read_word(guard);
    int connection = accept4(bus, NULL, NULL, SOCK_CLOEXEC);

    g_assert_cmpint(connection, >=, 0);
    (void)close(connection);
    (void)close(bus);
    g_assert_nonnull(strstr(text, "cannot start dkvm-guard@" UUID
                                  ".service: the system bus does not answer; a guard without "
                                  "systemd is started instead"));
    g_assert_cmpstr(uuid, ==, UUID);
}

/* Guards and their workers are this program's children, as they are init's elsewhere. */
static void wait_for_all(void)
{
    while (waitpid(-1, NULL, 0) > 0)
        continue;
    g_assert_cmpint(errno, ==, ECHILD);
}

static int silent_systemd(void)
{
    put("/run/systemd/system/x", "");
    return silent_bus_start();
}

static int ask_restore(void)
{
    g_autofree char *text = NULL;

    return (int)dkvm_client_ask(UUID, "restore", -1, TRUE, ASK_MS, &text);
}

/* Time is left for another guard, and for its answer. */
static void test_answer(void)
{
    make_host();
    int bus = silent_systemd();

    g_assert_cmpint(run_client(ask_restore), ==, DKVM_SAYS_OK);
    is_without_systemd(bus);
    wait_for_all();
}

static int hook_release(void)
{
    int input = memfd_create("xml", MFD_CLOEXEC);

    g_assert_cmpint(write(input, domain, strlen(domain)), ==, (gssize)strlen(domain));
    g_assert_cmpint(lseek(input, 0, SEEK_SET), ==, 0);
    g_assert_cmpint(dup2(input, STDIN_FILENO), ==, STDIN_FILENO);
    return dkvm_command_hook("release");
}

/* libvirt's release, after the guard was killed: it has a second, and all is given back. */
static void test_release(void)
{
    if (geteuid() != 0) {
        g_test_skip("the hook does nothing for others than root");
        return;
    }
    make_host();
    pid_t guard = start_guard();
    g_autofree char *answer = tell("prepare", domain);

    g_assert_cmpstr(answer, ==, "ok ");
    g_assert_cmpint(kill(guard, SIGKILL), ==, 0);
    wait_for_all();
    int bus = silent_systemd();

    g_assert_cmpint(run_client(hook_release), ==, 0);
    wait_for_all();
    is_without_systemd(bus);
    assert_home();
    g_assert_null(dkvm_handover_peek(UUID, NULL));
}

static void add(void)
{
    g_test_add_func("/client/answer", test_answer);
    g_test_add_func("/client/release", test_release);
}

int main(int argc, char **argv)
{
    if (argc == 3 && g_str_equal(argv[1], "guard"))
        return be_guard(argv[2]);
    g_assert_true(g_setenv("INVOCATION_ID", "x", TRUE)); /* no worker becomes a guard */
    g_assert_cmpint(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), ==, 0);
    (void)alarm(120); /* a guard that does not end is a failure, not a wait */
    return run_below_root(add, argc, argv);
}
