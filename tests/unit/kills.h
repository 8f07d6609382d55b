/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For tests that kill a guard, or its worker, after a record of the journal: a hand-over in a
 * process of its own, and what became of it. */
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qemu-hook/step.h"
#include "tests/unit/handover-host.h"

typedef enum {
    KILLED_NOBODY = 1, /* there are fewer records; 0 is nothing that run_and_kill() ends with */
    KILLED_NO_WORKER,  /* there was none at that record */
    KILLED_WORKER,
    KILLED_GUARD,
    KILLED_IN_VAIN, /* the worker lives on */
} Killed;

typedef enum { KILL_GUARD, KILL_WORKER } KillWhom;

static const DkvmHandover *kill_of;
static guint32 kill_after;
static KillWhom kill_whom;
static Killed kill_result = KILLED_NOBODY;

/* A process that cannot be waited for is not known to be dead; the product waits for it again. */
static Killed end_worker(pid_t pid)
{
    siginfo_t info = {0};

    if (pid <= 1)
        return KILLED_NO_WORKER;
    return kill(pid, SIGKILL) == 0 && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0 &&
                   info.si_code == CLD_KILLED && info.si_status == SIGKILL
               ? KILLED_WORKER
               : KILLED_IN_VAIN;
}

static void kill_now(guint32 number)
{
    if (number != kill_after)
        return;
    if (kill_whom == KILL_GUARD)
        (void)kill(getpid(), SIGKILL);
    kill_result = end_worker(dkvm_worker_pid(kill_of->worker));
}

/* RUN(), in a process of its own, of which WHOM is killed after record NUMBER.  That process ends
 * otherwise only when RUN() is over. */
static Killed run_and_kill(void (*run)(DkvmHandover *handover), KillWhom whom, guint32 number)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        DkvmHandover *handover = must_load();

        kill_of = handover;
        kill_after = number;
        kill_whom = whom;
        dkvm_journal_appended = kill_now;
        run(handover);
        _exit(kill_result);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    if (WIFSIGNALED(status)) {
        g_assert_cmpint(whom, ==, KILL_GUARD);
        g_assert_cmpint(WTERMSIG(status), ==, SIGKILL);
        return KILLED_GUARD;
    }
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), >=, KILLED_NOBODY);
    g_assert_cmpint(WEXITSTATUS(status), <=, KILLED_IN_VAIN);
    return (Killed)WEXITSTATUS(status);
}

/* RUN() killed after each record there is, and THEN() after each.  How many were killed. */
static guint kill_everywhere(void (*run)(DkvmHandover *handover), KillWhom whom, void (*then)(void))
{
    const char *name = whom == KILL_GUARD ? "guard" : "worker";
    guint killed = 0, none = 0;

    for (guint32 number = 1;; number++) {
        Killed result = run_and_kill(run, whom, number);

        g_test_message("record %u, %s: %d", number, name, result);
        then();
        if (result == KILLED_NOBODY)
            break;
        g_assert_cmpint(result, !=, KILLED_IN_VAIN);
        killed += result != KILLED_NO_WORKER;
        none += result == KILLED_NO_WORKER;
    }
    g_test_message("killed the %s after %u records; there was none at %u", name, killed, none);
    return killed;
}
