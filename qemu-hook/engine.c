/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Doing and undoing: intent -> act -> read back -> done; backwards the same. */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/paths.h"
#include "qemu-hook/crash.h"
#include "qemu-hook/motd.h"
#include "qemu-hook/rundir.h"
#include "qemu-hook/step.h"
#include "qemu-hook/steplog.h"
#include "udev/sysfs.h"

#define NUMBER_SIZE 24
#define STUCK                                                                                      \
    "%s of %s is stuck in the kernel (process %d%s); end what uses the device, or start the host " \
    "again"

/* ---- for the steps ---------------------------------------------------------------------- */

/* What the kernel's process is doing there, for the message. */
static char *stuck_at(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/wchan", (int)pid);
    char text[128];

    if (dkvm_sysfs_line(AT_FDCWD, path, text, sizeof text) <= 0 || g_str_equal(text, "0"))
        return g_strdup("");
    return g_strdup_printf(", in %s", text);
}

static void write_late(DkvmHandover *handover, const DkvmAction *action)
{
    char number[NUMBER_SIZE], pid[NUMBER_SIZE], start[NUMBER_SIZE];

    (void)g_snprintf(number, sizeof number, "%u", action->number);
    (void)g_snprintf(pid, sizeof pid, "%d", (int)action->late);
    (void)g_snprintf(start, sizeof start, "%" G_GUINT64_FORMAT, action->late_start);
    (void)dkvm_journal_append(handover->journal, NULL, DKVM_RECORD_LATE, number, pid, start, NULL);
}

static void note_late(DkvmHandover *handover, DkvmAction *action, GError **error)
{
    g_autofree char *where = NULL;

    action->late = dkvm_worker_late(handover->worker, &action->late_start);
    where = stuck_at(action->late);
    write_late(handover, action);
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_HOST, STUCK, action->step->name, action->target,
                (int)action->late, where);
}

/* Before it gets its first work: what it does goes on when this process is killed. */
static void note_worker(DkvmHandover *handover)
{
    char text[NUMBER_SIZE], start[NUMBER_SIZE];

    dkvm_worker_start(handover->worker);
    pid_t pid = dkvm_worker_pid(handover->worker);

    if (pid == 0 || pid == handover->worker_pid)
        return;
    handover->worker_pid = pid;
    handover->worker_start = dkvm_process_start(pid);
    (void)g_snprintf(text, sizeof text, "%d", (int)pid);
    (void)g_snprintf(start, sizeof start, "%" G_GUINT64_FORMAT, handover->worker_start);
    (void)dkvm_journal_append(handover->journal, NULL, DKVM_RECORD_WORKER, text, start, NULL);
}

static int try_within(DkvmHandover *handover, const DkvmAction *action, DkvmWorkKind kind,
                      const char *a, const char *b, guint milliseconds, GError **error)
{
    g_autofree char *text = NULL;

    note_worker(handover);
    int cause = dkvm_worker_do(handover->worker, kind, a, b, milliseconds, &text);

    if (cause == DKVM_WORK_LATE)
        note_late(handover, (DkvmAction *)action, error);
    else if (cause != 0)
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED, "%s of %s failed: %s",
                    action->step->name, action->target,
                    cause == DKVM_WORK_DIED ? "the worker was killed"
                    : text                  ? text
                                            : g_strerror(cause));
    return cause;
}

int dkvm_step_try(DkvmHandover *handover, const DkvmAction *action, DkvmWorkKind kind,
                  const char *a, const char *b, GError **error)
{
    return try_within(handover, action, kind, a, b, action->step->deadline, error);
}

gboolean dkvm_step_work_within(DkvmHandover *handover, const DkvmAction *action, DkvmWorkKind kind,
                               const char *a, const char *b, guint milliseconds, GError **error)
{
    return try_within(handover, action, kind, a, b, milliseconds, error) == 0;
}

gboolean dkvm_step_work(DkvmHandover *handover, const DkvmAction *action, DkvmWorkKind kind,
                        const char *a, const char *b, GError **error)
{
    return dkvm_step_try(handover, action, kind, a, b, error) == 0;
}

void dkvm_step_note_removed(DkvmHandover *handover, const DkvmAction *action)
{
    char number[NUMBER_SIZE];

    (void)g_snprintf(number, sizeof number, "%u", action->number);
    (void)dkvm_journal_append(handover->journal, NULL, DKVM_RECORD_REMOVED, number, NULL);
    ((DkvmAction *)action)->removed = TRUE;
}

/* ---- journal ---------------------------------------------------------------------------- */

static gboolean write_state(DkvmHandover *handover, DkvmAction *action, DkvmRecordType type,
                            const char *more, GError **error)
{
    char number[NUMBER_SIZE];

    (void)g_snprintf(number, sizeof number, "%u", action->number);
    return dkvm_journal_append(handover->journal, error, type, number, more, NULL) != 0;
}

void dkvm_step_problem(DkvmHandover *handover, const DkvmAction *action, const char *format, ...)
{
    va_list arguments;
    g_autofree char *text = NULL;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_string_append_printf(handover->problems, "%s%s", handover->problems->len ? "; " : "", text);
    dkvm_step_log(handover->uuid, action, TRUE, text);
}

/* ---- doing ------------------------------------------------------------------------------ */

static gboolean refuse(const DkvmAction *action, const char *now, GError **error)
{
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                "%s of %s: it is '%s' and not '%s' any more; %s", action->step->name,
                action->target, now ? now : "gone", action->pre,
                action->step->later ? "somebody else has changed it, it is left alone"
                                    : "start the VM again");
    return FALSE;
}

/* A guard that was killed leaves its worker in the middle of a call to the kernel, which is not to
 * be looked at before it is over. */
static void wait_for_worker(DkvmHandover *handover)
{
    pid_t pid = handover->worker_pid;
    DkvmAction *action = handover->touched;

    if (pid <= 0 || pid == getpid() || pid == dkvm_worker_pid(handover->worker))
        return;
    struct pollfd one = {.fd = dkvm_process_open(pid, handover->worker_start), .events = POLLIN};

    handover->worker_pid = 0;
    if (one.fd >= 0) {
        (void)poll(&one, 1, action ? (int)action->step->deadline : 0);
        (void)close(one.fd);
    }
    /* Whatever the wait came to: it is the process that counts. */
    if (!action || !dkvm_process_is(pid, handover->worker_start))
        return;
    action->late = pid;
    action->late_start = handover->worker_start;
    write_late(handover, action);
}

/* One that was planned keeps its number. */
static gboolean write_intent(DkvmHandover *handover, DkvmAction *action, GError **error)
{
    char planned[NUMBER_SIZE];

    (void)g_snprintf(planned, sizeof planned, "%u", action->number);
    guint32 number = dkvm_journal_append(handover->journal, error, DKVM_RECORD_INTENT,
                                         action->step->name, action->target, action->pre,
                                         action->post, action->number ? planned : NULL, NULL);

    if (number == 0)
        return FALSE;
    if (action->number == 0)
        action->number = number;
    action->state = DKVM_ACTION_INTENT;
    return TRUE;
}

static gboolean do_one(DkvmHandover *handover, DkvmAction *action, GError **error)
{
    const DkvmStep *step = action->step;
    g_autofree char *before = step->look(handover, action);
    g_autofree char *after = NULL;

    /* Another hand (udev, a module that was loaded) may have done it: it is undone all the same. */
    gboolean there = step->property && g_strcmp0(before, action->post) == 0;
    /* A guard that was killed has begun it; it is finished. */
    gboolean begun =
        step->later && action->state == DKVM_ACTION_INTENT && g_strcmp0(before, action->post) == 0;

    if (!there && !begun && g_strcmp0(before, action->pre) != 0)
        return refuse(action, before, error);
    if (!write_intent(handover, action, error))
        return FALSE;
    if (step->risky)
        dkvm_crash_note(handover, action, "apply");
    gboolean done = there || step->apply(handover, action, error);

    if (step->risky && action->late == 0)
        dkvm_crash_clear(handover);
    if (!done)
        return FALSE;
    if (step->later && action->over)
        return TRUE;
    after = step->look(handover, action);
    if (g_strcmp0(after, action->post) != 0) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                    "%s of %s had no effect: it is '%s', not '%s'", step->name, action->target,
                    after ? after : "gone", action->post);
        return FALSE;
    }
    if (!write_state(handover, action, DKVM_RECORD_DONE, NULL, error))
        return FALSE;
    action->state = DKVM_ACTION_DONE;
    dkvm_step_log(handover->uuid, action, FALSE, "done");
    return TRUE;
}

/* From here on the journal says what is to be done when the guest runs; no configuration does. */
static gboolean write_plan(DkvmHandover *handover, DkvmAction *action, GError **error)
{
    action->number =
        dkvm_journal_append(handover->journal, error, DKVM_RECORD_PLANNED, action->step->name,
                            action->target, action->pre, action->post, NULL);
    action->state = DKVM_ACTION_PLANNED;
    return action->number != 0;
}

static gboolean do_all(DkvmHandover *handover, GError **error)
{
    for (guint i = 0; i < handover->actions->len; i++) {
        DkvmAction *action = g_ptr_array_index(handover->actions, i);

        if (handover->gave_up && handover->gave_up(handover->gave_up_data)) {
            g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                        "whoever asked for it is gone, or the time is up");
            return FALSE;
        }
        if (!(action->step->later ? write_plan : do_one)(handover, action, error))
            return FALSE;
    }
    return dkvm_journal_append(handover->journal, error, DKVM_RECORD_PREPARED, NULL) != 0;
}

gboolean dkvm_handover_prepare(DkvmHandover *handover, GError **error)
{
    g_autoptr(GError) cause = NULL;

    if (do_all(handover, &cause)) {
        handover->phase = DKVM_PHASE_PREPARED;
        handover->was_prepared = TRUE;
        return TRUE;
    }
    gboolean back = dkvm_handover_restore(handover, cause->message);

    if (!back)
        g_set_error(error, DKVM_ERROR, cause->code,
                    "%s. Not everything could be put back: %s; 'dkvm-gpu status' shows the rest",
                    cause->message, handover->problems->str);
    else
        g_set_error(error, DKVM_ERROR, cause->code,
                    "%s. %s%s; dmesg and 'journalctl -t dkvm-gpu' may say why, then start the VM "
                    "again",
                    cause->message,
                    handover->problems->len ? "What was done is undone, but "
                                            : "What was done is undone",
                    handover->problems->str);
    return FALSE;
}

/* ---- undoing ---------------------------------------------------------------------------- */

/* What the target was before the hand-over changed it for the first time. */
static const char *original(const DkvmHandover *handover, const DkvmAction *action)
{
    for (guint i = 0; action->step->property && i < handover->actions->len; i++) {
        const DkvmAction *first = g_ptr_array_index(handover->actions, i);

        if (g_str_equal(first->target, action->target) &&
            g_strcmp0(first->step->property, action->step->property) == 0)
            return first->pre;
    }
    return action->pre;
}

static void is_undone(DkvmHandover *handover, DkvmAction *action, const char *how)
{
    (void)write_state(handover, action, DKVM_RECORD_UNDONE, NULL, NULL);
    action->state = DKVM_ACTION_UNDONE;
    dkvm_step_log(handover->uuid, action, FALSE, how);
}

static gboolean miss(DkvmHandover *handover, DkvmAction *action, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static gboolean miss(DkvmHandover *handover, DkvmAction *action, const char *format, ...)
{
    va_list arguments;

    g_free(action->missed);
    va_start(arguments, format);
    action->missed = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    dkvm_step_problem(handover, action, "%s", action->missed);
    return FALSE;
}

static gboolean undo_now(DkvmHandover *handover, DkvmAction *action)
{
    const DkvmStep *step = action->step;
    g_autoptr(GError) error = NULL;
    g_autofree char *now = NULL;

    (void)write_state(handover, action, DKVM_RECORD_UNDO, NULL, NULL);
    if (step->risky)
        dkvm_crash_note(handover, action, "undo");
    gboolean done = step->undo(handover, action, &error);

    if (step->risky && action->late == 0)
        dkvm_crash_clear(handover);
    now = action->late ? NULL : step->look(handover, action);
    /* One that can be looked for is not gone because the first attempt lost it. */
    gboolean back = now ? g_str_equal(now, action->pre) : done || !step->seek;

    if (action->late == 0 && back) {
        is_undone(handover, action, "undone");
        return TRUE;
    }
    if (done)
        return miss(handover, action, "undoing %s of %s had no effect: it is '%s', not '%s'",
                    step->name, action->target, now ? now : "gone", action->pre);
    return miss(handover, action, "undoing %s", error->message);
}

static gboolean is_at_rest(const DkvmHandover *handover, const DkvmAction *action, const char *now)
{
    return !now || g_str_equal(now, action->pre) || g_strcmp0(now, original(handover, action)) == 0;
}

/* Another step of ours made it so, and that was only half undone: the kernel's own choice of a
 * driver, for one, may be the guest's. */
static gboolean is_ours(const DkvmHandover *handover, const DkvmAction *action, const char *now)
{
    for (guint i = 0; action->step->property && i < handover->actions->len; i++) {
        const DkvmAction *other = g_ptr_array_index(handover->actions, i);

        if (g_str_equal(other->target, action->target) &&
            g_strcmp0(other->step->property, action->step->property) == 0 &&
            g_str_equal(other->post, now))
            return TRUE;
    }
    return g_str_equal(now, action->post);
}

/* What is closed is never looked at again: that nothing is left to do has to be seen twice. */
static char *look_well(DkvmHandover *handover, const DkvmAction *action)
{
    char *now = action->step->look(handover, action);

    if (!is_at_rest(handover, action, now))
        return now;
    g_free(now);
    return action->step->look(handover, action);
}

/* The rule of facts/handoff.md D.2.  TRUE: nothing is left to do here. */
static gboolean undo_one(DkvmHandover *handover, DkvmAction *action)
{
    g_autofree char *now = NULL;

    if (dkvm_process_is(action->late, action->late_start)) {
        g_autofree char *where = stuck_at(action->late);

        dkvm_step_problem(handover, action, STUCK, action->step->name, action->target,
                          (int)action->late, where);
        return FALSE;
    }
    action->late = 0;
    if (action->step->one_way) {
        is_undone(handover, action, "cannot be undone");
        return TRUE;
    }
    now = look_well(handover, action);
    if (!now && action->step->seek && action->step->seek(handover, action))
        now = look_well(handover, action);
    if (!now && action->removed) {
        dkvm_step_problem(handover, action,
                          "%s was taken from the bus, to bring it back, and is not found there "
                          "again; start the host again",
                          action->target);
        return FALSE;
    }
    if (is_at_rest(handover, action, now)) {
        /* What the host's driver has again cannot be put back any more.  All else is by the next
         * try, and then this is what is still to be told. */
        if (!now && action->step->lesser && action->missed)
            dkvm_step_problem(handover, action, "%s", action->missed);
        is_undone(handover, action, now ? "nothing to undo" : "gone, nothing to undo");
        return TRUE;
    }
    if (g_str_equal(now, DKVM_UNREADABLE))
        return miss(handover, action, "how %s of %s is now cannot be read", action->step->name,
                    action->target);
    if (!is_ours(handover, action, now)) {
        (void)write_state(handover, action, DKVM_RECORD_FOREIGN, now, NULL);
        action->state = DKVM_ACTION_FOREIGN;
        dkvm_step_problem(handover, action,
                          "%s of %s was changed to '%s' by somebody else and stays",
                          action->step->name, action->target, now);
        return TRUE;
    }
    return undo_now(handover, action);
}

/* ---- when the guest runs ---------------------------------------------------------------- */

/* In the order of the plan; what another guard had begun when it was killed comes first. */
static DkvmAction *next_later(const DkvmHandover *handover)
{
    for (guint i = 0; i < handover->actions->len; i++) {
        DkvmAction *action = g_ptr_array_index(handover->actions, i);

        if (action->step->later && !action->failure &&
            (action->state == DKVM_ACTION_PLANNED || action->state == DKVM_ACTION_INTENT))
            return action;
    }
    return NULL;
}

gboolean dkvm_handover_has_more(const DkvmHandover *handover)
{
    return handover->phase == DKVM_PHASE_RUNNING && next_later(handover);
}

/* What was half done is taken back now; what cannot be is left to restore. */
static void give_up(DkvmHandover *handover, DkvmAction *action, const char *reason)
{
    action->failure = g_strdup(reason);
    (void)write_state(handover, action, DKVM_RECORD_FAILED, reason, NULL);
    dkvm_step_log(handover->uuid, action, TRUE, reason);
    if (action->state == DKVM_ACTION_INTENT)
        (void)undo_one(handover, action);
}

void dkvm_handover_go_on(DkvmHandover *handover)
{
    DkvmAction *action = next_later(handover);
    g_autoptr(GError) error = NULL;

    if (!action)
        return;
    wait_for_worker(handover);
    if (!do_one(handover, action, &error))
        give_up(handover, action, error->message);
    else if (action->over)
        is_undone(handover, action, "nothing of it can be changed");
}

/* ---- giving back ------------------------------------------------------------------------ */

static gboolean waits_for(const GHashTable *stuck, const DkvmAction *action)
{
    return action->step->on_device && g_hash_table_contains((GHashTable *)stuck, action->target);
}

static void clear_folder(DkvmHandover *handover)
{
    g_autofree char *journal = dkvm_rundir_path(handover->uuid, "journal");

    (void)unlink(journal);
    /* Once more: what is left of it would be taken for a crash at the next boot. */
    dkvm_crash_clear(handover);
}

gboolean dkvm_handover_restore(DkvmHandover *handover, const char *reason)
{
    g_autoptr(GHashTable) stuck = g_hash_table_new(g_str_hash, g_str_equal);
    gboolean left = FALSE, comes_again = FALSE;

    g_string_truncate(handover->problems, 0);
    if (handover->phase == DKVM_PHASE_NEW || handover->phase == DKVM_PHASE_CLOSED)
        return TRUE;
    if (handover->phase != DKVM_PHASE_RESTORING) {
        (void)dkvm_journal_append(handover->journal, NULL, DKVM_RECORD_RESTORING, reason, NULL);
        handover->phase = DKVM_PHASE_RESTORING;
    }
    wait_for_worker(handover);
    for (guint i = handover->actions->len; i > 0; i--) {
        DkvmAction *action = g_ptr_array_index(handover->actions, i - 1);

        if (action->number == 0 || action->state == DKVM_ACTION_PLANNED ||
            action->state == DKVM_ACTION_UNDONE || action->state == DKVM_ACTION_FOREIGN)
            continue;
        gboolean waits = action->step->needs_devices && comes_again && !handover->last_try;

        if (!waits && !waits_for(stuck, action) && undo_one(handover, action))
            continue;
        left = TRUE;
        if (action->step->on_device && (!action->step->lesser || action->late)) {
            g_hash_table_add(stuck, action->target);
            comes_again = comes_again || action->late == 0;
        }
    }
    dkvm_motd_update(handover, left);
    if (left)
        return FALSE;
    (void)dkvm_journal_append(handover->journal, NULL, DKVM_RECORD_CLOSED, NULL);
    handover->phase = DKVM_PHASE_CLOSED;
    clear_folder(handover);
    return TRUE;
}
