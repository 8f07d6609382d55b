/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/orphan.h"

#include <fcntl.h>
#include <glib.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "qemu-hook/rundir.h"
#include "qemu-hook/worker.h"

static char orphan_uuid[DKVM_UUID_LENGTH + 1];

/* In the worker, whose only descriptor is useless by now. */
static void become_guard(void)
{
    char name[] = "dkvm-gpu", command[] = "guard";
    char *arguments[] = {name, command, orphan_uuid, NULL};
    sigset_t none;

    (void)syscall(SYS_close_range, 0U, ~0U, 0U);
    if (open("/dev/null", O_RDWR) == 0) {
        (void)dup2(0, 1);
        (void)dup2(0, 2);
    }
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)execv("/proc/self/exe", arguments);
}

void dkvm_orphan_prepare(const char *uuid)
{
    (void)g_strlcpy(orphan_uuid, uuid, sizeof orphan_uuid);
    /* systemd sets it (systemd.exec(5)), and starts a guard that was killed again. */
    if (!g_getenv("INVOCATION_ID"))
        dkvm_worker_orphaned = become_guard;
}
