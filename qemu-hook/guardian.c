/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/guardian.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/log.h"
#include "lib/paths.h"
#include "qemu-hook/channel.h"
#include "qemu-hook/commands.h"
#include "qemu-hook/inhibitor.h"
#include "qemu-hook/orphan.h"
#include "qemu-hook/plan.h"
#include "qemu-hook/reboot.h"
#include "qemu-hook/rundir.h"
#include "qemu-hook/shield.h"
#include "qemu-hook/step.h"

#define SECOND G_USEC_PER_SEC
#define NO_QEMU_SECONDS 10    /* caller gone and nobody has the group open */
#define NO_RELEASE_SECONDS 30 /* QEMU gone and no release */
#define LOOK_MS 500           /* how often /proc is looked at while that is waited for */
#define MESSAGE_MS 1000
#define AGAIN_SECONDS 2 /* before what could not be put back is tried again */
#define TRIES 3

typedef struct {
    char *uuid;
    int lock, listener, signals;
    DkvmHandover *handover;
    pid_t holder;       /* who had the group open when it was looked for last; 0: nobody */
    int caller, qemu;   /* pidfds; -1: gone or not known */
    gint64 caller_gone; /* when it was noticed, 0: there, or not known */
    gint64 qemu_gone;
    gboolean released; /* libvirt said release, or a person restore */
    gboolean leave;    /* systemd said stop */
    guint tries;
    gint64 again;
    char *reason;
} Guard;

/* ---- processes that are watched --------------------------------------------------------- */

static void drop(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static void watch_caller(Guard *guard)
{
    drop(&guard->caller);
    guard->caller = dkvm_process_open(guard->handover->caller, guard->handover->caller_start);
    guard->caller_gone = guard->caller < 0 ? g_get_monotonic_time() : 0;
}

static void watch_qemu(Guard *guard)
{
    drop(&guard->qemu);
    guard->qemu = dkvm_process_open(guard->handover->qemu, guard->handover->qemu_start);
    guard->qemu_gone = guard->qemu < 0 ? g_get_monotonic_time() : 0;
}

static gboolean is_with_guest(const DkvmHandover *handover)
{
    return handover->phase == DKVM_PHASE_PREPARED || handover->phase == DKVM_PHASE_RUNNING;
}

/* Whoever has the group open is the QEMU that we watch; while all is being given back it is
 * somebody else's, and only waited for. */
static gboolean find_qemu(Guard *guard)
{
    guint64 start;
    pid_t pid = dkvm_handover_holder(guard->handover, &start);
    g_autoptr(GError) error = NULL;

    guard->holder = pid;
    if (pid == 0)
        return FALSE;
    if (!is_with_guest(guard->handover))
        return TRUE;
    if (!dkvm_handover_set_running(guard->handover, pid, start, &error))
        dkvm_log_warning("%s", error->message);
    guard->handover->qemu = pid;
    guard->handover->qemu_start = start;
    watch_qemu(guard);
    return TRUE;
}

/* ---- giving back ------------------------------------------------------------------------ */

static gboolean new_handover(Guard *guard, GError **error)
{
    g_clear_pointer(&guard->handover, dkvm_handover_free);
    dkvm_failpoint_set(NULL, 0);
    guard->handover = dkvm_handover_load(guard->uuid, error);
    dkvm_failpoint_set(guard->handover, 0);
    drop(&guard->caller);
    drop(&guard->qemu);
    guard->caller_gone = guard->qemu_gone = 0;
    guard->released = FALSE;
    guard->tries = 0;
    if (guard->handover)
        dkvm_worker_start(guard->handover->worker);
    return guard->handover != NULL;
}

/* A guard that cannot write down what it takes is of no use: the next start tries another. */
static void must_begin_anew(Guard *guard)
{
    g_autoptr(GError) error = NULL;

    if (new_handover(guard, &error))
        return;
    dkvm_log_error("%s", error->message);
    dkvm_rundir_clear(guard->uuid);
    exit(1);
}

static gboolean is_idle(const Guard *guard)
{
    return guard->handover->phase == DKVM_PHASE_NEW || guard->handover->phase == DKVM_PHASE_CLOSED;
}

/* Before the host's drivers have the devices, and after: one that was found anew has lost it.  The
 * note of a release comes before whoever wrote it lowers the shield, so one of the two sees it. */
static void shield(const Guard *guard)
{
    if (!guard->handover->was_prepared || guard->released || *dkvm_paths_root() != '\0')
        return;
    dkvm_shield_raise(guard->handover);
    if (dkvm_rundir_is_released(guard->uuid))
        dkvm_shield_lower_all(guard->handover->devices);
}

/* TRUE: nothing is left. */
static gboolean restore(Guard *guard, const char *reason)
{
    DkvmHandover *handover = guard->handover;

    guard->tries++;
    handover->last_try = guard->leave || guard->tries >= TRIES;
    shield(guard);
    if (dkvm_handover_restore(handover, reason)) {
        shield(guard);
        if (handover->problems->len > 0)
            dkvm_log_warning("VM %s: given back, but: %s", handover->name, handover->problems->str);
        dkvm_reboot_call_off(handover);
        must_begin_anew(guard);
        return TRUE;
    }
    guard->again = g_get_monotonic_time() + AGAIN_SECONDS * SECOND;
    dkvm_log_error("VM %s: not everything could be given back: %s", handover->name,
                   handover->problems->str);
    if (!guard->leave && (guard->tries >= TRIES || dkvm_handover_is_wedged(handover)))
        dkvm_reboot_ask(handover);
    return FALSE;
}

/* ---- requests --------------------------------------------------------------------------- */

static gboolean is_hung_up(gpointer data)
{
    struct pollfd one = {.fd = GPOINTER_TO_INT(data), .events = POLLRDHUP};

    return poll(&one, 1, 0) > 0 && (one.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static DkvmPlan *make_plan(Guard *guard, const DkvmWants *wants, const DkvmConfig *config,
                           GError **error)
{
    g_autoptr(DkvmPlan) plan = NULL;

    if (!g_str_equal(wants->uuid, guard->uuid)) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT, "the domain has another UUID, %s",
                    wants->uuid);
        return NULL;
    }
    plan = dkvm_plan_new(wants, config, error);
    if (plan && plan->refusals->len > 0) {
        g_autofree char *reasons = dkvm_plan_reasons(plan);

        g_set_error_literal(error, DKVM_ERROR, DKVM_ERROR_REFUSED, reasons);
        return NULL;
    }
    return g_steal_pointer(&plan);
}

static gboolean do_prepare(Guard *guard, int client, int xml, pid_t caller, guint64 start,
                           GError **error)
{
    gsize length = 0;
    g_autofree char *text = dkvm_channel_read_domain(xml, &length, error);
    g_autoptr(DkvmConfig) config = text ? dkvm_config_load(error) : NULL;
    g_autoptr(DkvmWants) wants = config ? dkvm_wants_parse(text, length, config, error) : NULL;
    g_autoptr(DkvmPlan) plan = wants ? make_plan(guard, wants, config, error) : NULL;
    DkvmHandover *handover = guard->handover;

    if (!plan)
        return FALSE;
    /* libvirt starts a VM with them, so it does not believe any more that one runs. */
    dkvm_shield_lower_all(plan->devices);
    handover->gave_up = is_hung_up;
    handover->gave_up_data = GINT_TO_POINTER(client);
    if (!dkvm_handover_begin(handover, wants->name, g_steal_pointer(&plan->devices),
                             g_steal_pointer(&plan->actions), error) ||
        !dkvm_handover_set_caller(handover, caller, start, error)) {
        (void)dkvm_handover_restore(handover, "journal");
        return FALSE;
    }
    return dkvm_handover_prepare(handover, error);
}

/* FALSE: nobody is there to hear it. */
static gboolean answer(int client, const char *word, const char *text)
{
    g_autofree char *message = g_strconcat(word, " ", text ? text : "", NULL);

    return dkvm_channel_send(client, message, -1);
}

static void refuse_for_guest(const Guard *guard, int client)
{
    g_autofree char *text =
        g_strdup_printf("A running VM has the devices of VM %s (process %d); shut it down first.",
                        guard->handover->name, (int)guard->holder);

    (void)answer(client, "no", text);
}

static void on_prepare(Guard *guard, int client, int xml, pid_t caller, guint64 start)
{
    g_autoptr(GError) error = NULL;

    /* What an earlier run left is put back first; that the VM runs is known from the group. */
    if (!is_idle(guard) && find_qemu(guard)) {
        refuse_for_guest(guard, client);
        return;
    }
    if (!is_idle(guard) && !restore(guard, "before another start")) {
        g_autofree char *text =
            g_strdup_printf("The devices of the last run could not be given back: %s. 'dkvm-gpu "
                            "status' shows the rest.",
                            guard->handover->problems->str);
        (void)answer(client, "no", text);
        return;
    }
    dkvm_rundir_forget_release(guard->uuid);
    if (do_prepare(guard, client, xml, caller, start, &error)) {
        watch_caller(guard);
        /* Whoever did not hear it starts no VM. */
        if (!answer(client, "ok", NULL))
            (void)restore(guard, "nobody took the answer");
        return;
    }
    dkvm_log_error("%s", error->message);
    (void)answer(client, "no", error->message);
    if (guard->handover->phase == DKVM_PHASE_CLOSED)
        must_begin_anew(guard);
}

/* Short: nothing happened between prepare and now that libvirt has not seen. */
static void on_start(Guard *guard, int client)
{
    if (is_idle(guard)) {
        (void)answer(client, "no", "Its devices were given back meanwhile. Start the VM again.");
        return;
    }
    for (guint i = 0; i < guard->handover->devices->len; i++) {
        const DkvmTaken *taken = g_ptr_array_index(guard->handover->devices, i);
        g_autofree char *driver = dkvm_driver_of(guard->handover, taken->bdf);

        if (driver &&
            (*driver == '\0' || strstr(driver, "vfio") || g_str_equal(driver, "pci-stub")))
            continue;
        g_autofree char *text = g_strdup_printf(
            "%s was taken from vfio-pci by somebody else (its driver is %s). Start the VM again.",
            taken->bdf, driver ? driver : "gone");
        (void)answer(client, "no", text);
        return;
    }
    (void)answer(client, "ok", NULL);
}

static void on_reconnect(Guard *guard, pid_t caller, guint64 start)
{
    g_autoptr(GError) error = NULL;

    if (!is_with_guest(guard->handover))
        return;
    if (!dkvm_handover_set_caller(guard->handover, caller, start, &error))
        dkvm_log_warning("%s", error->message);
    watch_caller(guard);
    (void)find_qemu(guard);
    dkvm_inhibitor_take(guard->handover);
}

/* A person's "restore": answered when it is done. */
static void on_restore(Guard *guard, int client)
{
    if (!is_idle(guard) && find_qemu(guard)) {
        refuse_for_guest(guard, client);
        return;
    }
    if (is_idle(guard) || restore(guard, "asked for")) {
        (void)answer(client, "ok", NULL);
        return;
    }
    g_autofree char *text = g_strdup_printf(
        "not everything could be given back: %s. 'dkvm-gpu status' shows the rest, dmesg may say "
        "why; then run this again",
        guard->handover->problems->str);

    (void)answer(client, dkvm_handover_is_wedged(guard->handover) ? "wedged" : "no", text);
}

static void handle(Guard *guard, int client, const char *message, int fd)
{
    g_auto(GStrv) words = g_strsplit(message, " ", 3);
    guint count = g_strv_length(words);
    pid_t caller = count > 1 ? (pid_t)g_ascii_strtoull(words[1], NULL, 10) : 0;
    guint64 start = count > 2 ? g_ascii_strtoull(words[2], NULL, 10) : 0;
    const char *what = count > 0 ? words[0] : "";

    struct ucred peer = {0};
    socklen_t size = sizeof peer;

    (void)getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &size);
    dkvm_failpoint_set(guard->handover, peer.pid);
    gboolean heard = dkvm_channel_send(client, "accepted", -1);

    if (g_str_equal(what, "prepare")) {
        /* Only what is told and not asked holds whether somebody waits or not. */
        if (heard)
            on_prepare(guard, client, fd, caller, start);
    } else if (g_str_equal(what, "start")) {
        on_start(guard, client);
    } else if (g_str_equal(what, "started")) {
        if (!is_idle(guard))
            (void)find_qemu(guard);
    } else if (g_str_equal(what, "reconnect")) {
        on_reconnect(guard, caller, start);
    } else if (g_str_equal(what, "release")) {
        guard->released = !is_idle(guard);
    } else if (g_str_equal(what, "restore")) {
        on_restore(guard, client);
    }
}

static void take_client(Guard *guard)
{
    int client = dkvm_channel_accept(guard->listener), fd = -1;

    if (client < 0)
        return;
    g_autofree char *message = dkvm_channel_receive(client, MESSAGE_MS, &fd);

    if (message)
        handle(guard, client, message, fd);
    if (fd >= 0)
        (void)close(fd);
    (void)close(client);
}

/* ---- what is to be done now ------------------------------------------------------------- */

static gboolean passed(gint64 since, gint64 seconds)
{
    return since > 0 && g_get_monotonic_time() >= since + seconds * SECOND;
}

/* The descriptor of a worker that is stuck; -1: none is. */
static int stuck_worker(const DkvmHandover *handover)
{
    for (guint i = 0; i < handover->actions->len; i++) {
        const DkvmAction *action = g_ptr_array_index(handover->actions, i);
        int fd = action->late ? dkvm_process_open(action->late, action->late_start) : -1;

        if (fd >= 0)
            return fd;
    }
    return -1;
}

static const char *why_restore(const Guard *guard)
{
    if (guard->released)
        return "released";
    if (guard->qemu_gone && passed(guard->qemu_gone, NO_RELEASE_SECONDS))
        return "QEMU is gone, and libvirt said nothing";
    /* Nobody is left who could release. */
    if (guard->caller_gone && (guard->qemu_gone || guard->handover->phase == DKVM_PHASE_PREPARED) &&
        passed(MAX(guard->caller_gone, guard->qemu_gone), NO_QEMU_SECONDS))
        return "libvirt is gone, and no QEMU has the devices";
    return NULL;
}

/* Called at every event and at least every LOOK_MS while something is waited for. */
static void look(Guard *guard)
{
    DkvmHandover *handover = guard->handover;
    const char *reason;

    if (handover->phase == DKVM_PHASE_RESTORING || handover->phase == DKVM_PHASE_PREPARING) {
        if (guard->tries < TRIES && g_get_monotonic_time() >= guard->again &&
            !dkvm_handover_is_wedged(handover) && !find_qemu(guard))
            (void)restore(guard, "left over");
        return;
    }
    if (is_idle(guard) || guard->qemu >= 0)
        return;
    reason = why_restore(guard);
    /* While a process has the group open nothing is given back, whatever libvirt says. */
    if ((reason || guard->caller_gone || guard->qemu_gone) && find_qemu(guard))
        return;
    if (reason)
        (void)restore(guard, reason);
}

/* Nothing to guard, or nothing that waiting would change. */
static gboolean is_over(const Guard *guard)
{
    if (guard->leave)
        return TRUE;
    if (is_idle(guard))
        return TRUE;
    return guard->handover->phase == DKVM_PHASE_RESTORING && guard->tries >= TRIES &&
           !dkvm_handover_is_wedged(guard->handover);
}

/* ---- the loop --------------------------------------------------------------------------- */

/* systemd stops us: what no QEMU has is given back, the rest is left to a guest that runs. */
static void on_signal(Guard *guard)
{
    struct signalfd_siginfo info;

    while (read(guard->signals, &info, sizeof info) == sizeof info)
        guard->leave = TRUE;
    if (guard->leave && !is_idle(guard) && !find_qemu(guard))
        (void)restore(guard, "stopped");
}

static void notice(Guard *guard, const struct pollfd *caller, const struct pollfd *qemu)
{
    if (guard->caller >= 0 && caller->revents) {
        drop(&guard->caller);
        guard->caller_gone = g_get_monotonic_time();
    }
    if (guard->qemu >= 0 && qemu->revents) {
        drop(&guard->qemu);
        guard->qemu_gone = g_get_monotonic_time();
    }
}

/* What was left for when the guest runs: one at a time, so that whoever calls is heard between. */
static gboolean may_go_on(const Guard *guard)
{
    return guard->qemu >= 0 && !guard->leave && !guard->released &&
           dkvm_handover_has_more(guard->handover);
}

static void turn(Guard *guard)
{
    int stuck = stuck_worker(guard->handover);
    gboolean waiting = !is_idle(guard) && guard->qemu < 0 && stuck < 0 &&
                       (guard->released || guard->caller_gone || guard->qemu_gone ||
                        !is_with_guest(guard->handover));
    struct pollfd fds[] = {{.fd = guard->listener, .events = POLLIN},
                           {.fd = guard->signals, .events = POLLIN},
                           {.fd = guard->caller, .events = POLLIN},
                           {.fd = guard->qemu, .events = POLLIN},
                           {.fd = stuck, .events = POLLIN}};
    int ready = poll(fds, G_N_ELEMENTS(fds), may_go_on(guard) ? 0 : waiting ? LOOK_MS : -1);

    if (ready > 0) {
        notice(guard, &fds[2], &fds[3]);
        if (fds[1].revents)
            on_signal(guard);
        if (fds[4].revents) {
            guard->tries = 0;
            (void)waitpid(-1, NULL, WNOHANG); /* the worker that was stuck */
        }
        if (fds[0].revents)
            take_client(guard);
    }
    if (stuck >= 0)
        (void)close(stuck);
    look(guard);
    if (may_go_on(guard))
        dkvm_handover_go_on(guard->handover);
}

/* A client that came meanwhile is still served; one that comes later finds no socket and starts
 * another guard. */
static gboolean has_client(const Guard *guard)
{
    struct pollfd one = {.fd = guard->listener, .events = POLLIN};

    return !guard->leave && poll(&one, 1, 0) > 0;
}

static int open_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static gboolean open_all(Guard *guard, GError **error)
{
    if (!dkvm_rundir_make(guard->uuid, error))
        return FALSE;
    guard->lock = dkvm_rundir_lock(guard->uuid, error);
    if (guard->lock < 0)
        return FALSE;
    guard->listener = dkvm_channel_listen(guard->uuid, error);
    guard->signals = open_signals();
    return guard->listener >= 0 && new_handover(guard, error);
}

/* What another guard left when it was killed. */
static void resume(Guard *guard)
{
    if (is_with_guest(guard->handover)) {
        watch_caller(guard);
        if (!find_qemu(guard) && guard->handover->phase == DKVM_PHASE_RUNNING)
            guard->qemu_gone = g_get_monotonic_time();
    }
    guard->released = !is_idle(guard) && dkvm_rundir_is_released(guard->uuid);
    look(guard);
    /* Last: a bus that is silent keeps nothing from being given back. */
    if (is_with_guest(guard->handover))
        dkvm_inhibitor_take(guard->handover);
}

int dkvm_guardian_run(const char *uuid)
{
    Guard guard = {.uuid = g_strdup(uuid),
                   .lock = -1,
                   .listener = -1,
                   .signals = -1,
                   .caller = -1,
                   .qemu = -1};
    g_autoptr(GError) error = NULL;
    int code = 0;

    (void)signal(SIGPIPE, SIG_IGN);
    dkvm_orphan_prepare(uuid);
    if (!open_all(&guard, &error)) {
        dkvm_log_error("%s", error->message);
        /* Another guard has it: all is well. */
        code = error->code == DKVM_ERROR_REFUSED ? 0 : 1;
    } else {
        resume(&guard);
        /* Whoever started it has something to say, or what was left is being put back. */
        gint64 patience = g_get_monotonic_time() + 5 * SECOND;
        gboolean served = FALSE;

        for (;;) {
            if (is_over(&guard) && !has_client(&guard)) {
                struct pollfd one = {.fd = guard.listener, .events = POLLIN};
                gint64 left = (patience - g_get_monotonic_time()) / 1000;

                if (served || guard.leave || left <= 0 || !is_idle(&guard) ||
                    poll(&one, 1, (int)left) <= 0)
                    break;
            }
            turn(&guard);
            served = TRUE;
        }
        if (is_idle(&guard))
            dkvm_rundir_clear(guard.uuid);
    }
    drop(&guard.caller);
    drop(&guard.qemu);
    drop(&guard.listener);
    drop(&guard.signals);
    g_clear_pointer(&guard.handover, dkvm_handover_free);
    drop(&guard.lock);
    g_free(guard.uuid);
    return code;
}
