/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/paths.h"
#include "qemu-hook/commands.h"
#include "qemu-hook/handover.h"

static guint32 wanted;
static const char *target;
static const DkvmHandover *of;
static int client_pid;

static pid_t process(void)
{
    if (g_str_equal(target, "guard"))
        return getpid();
    if (g_str_equal(target, "client"))
        return client_pid;
    if (!of)
        return 0;
    if (g_str_equal(target, "worker"))
        return dkvm_worker_pid(of->worker);
    if (g_str_equal(target, "qemu"))
        return of->qemu;
    return g_str_equal(target, "libvirtd") ? of->caller : 0;
}

static void appended(guint32 number)
{
    pid_t pid = number == wanted ? process() : 0;

    if (pid > 1) {
        dkvm_log_note("failpoint %u: killing the %s, %d", number, target, (int)pid);
        (void)kill(pid, SIGKILL);
    }
}

void dkvm_failpoint_init(void)
{
#ifdef DKVM_FAILPOINTS
    const gboolean heard = TRUE;
#else
    const gboolean heard = *dkvm_paths_root() != '\0';
#endif
    const char *text = heard ? secure_getenv("DKVM_FAILPOINT") : NULL;
    char *end;

    if (!text)
        return;
    wanted = (guint32)strtoul(text, &end, 10);
    target = *end == ':' ? end + 1 : "guard";
    dkvm_journal_appended = appended;
}

void dkvm_failpoint_set(const DkvmHandover *handover, int client)
{
    of = handover;
    client_pid = client;
}
