/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A hand-over as its journal has it. */
#include "qemu-hook/handover.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/error.h"
#include "qemu-hook/rundir.h"
#include "qemu-hook/step.h"
#include "udev/holders.h"

#define NUMBER_SIZE 24
#define LOOKS 3 /* at /proc, for one in which nothing was missed */
#define MAY_SUSPEND "suspend"
#define MAY_REBOOT "reboot"

const char *dkvm_phase_name(DkvmPhase phase)
{
    static const char *const names[] = {"new",     "preparing", "prepared",
                                        "running", "restoring", "closed"};

    return names[phase];
}

/* ---- parts ------------------------------------------------------------------------------ */

void dkvm_taken_free(DkvmTaken *taken)
{
    if (!taken)
        return;
    g_free(taken->identity);
    g_free(taken->sysfs);
    g_free(taken);
}

DkvmAction *dkvm_action_new(const DkvmStep *step, const char *target, const char *pre,
                            const char *post)
{
    DkvmAction *action = g_new0(DkvmAction, 1);

    action->step = step;
    action->target = g_strdup(target);
    action->pre = g_strdup(pre);
    action->post = g_strdup(post);
    return action;
}

void dkvm_action_free(DkvmAction *action)
{
    if (!action)
        return;
    g_free(action->target);
    g_free(action->pre);
    g_free(action->post);
    g_free(action->failure);
    g_free(action->missed);
    g_free(action);
}

GPtrArray *dkvm_actions_new(void)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify)dkvm_action_free);
}

char *dkvm_action_text(const DkvmAction *action)
{
    return action->step->text(action);
}

DkvmTaken *dkvm_handover_device(const DkvmHandover *handover, const char *bdf)
{
    for (guint i = 0; i < handover->devices->len; i++) {
        DkvmTaken *taken = g_ptr_array_index(handover->devices, i);

        if (g_str_equal(taken->bdf, bdf))
            return taken;
    }
    return NULL;
}

void dkvm_handover_as_device(const DkvmHandover *handover, const char *bdf, DkvmGroup *group,
                             DkvmDevice *device)
{
    const DkvmTaken *taken = dkvm_handover_device(handover, bdf);

    *device = (DkvmDevice){.sysfs = taken ? taken->sysfs : (char *)"", .group = group};
    (void)g_strlcpy(device->name, bdf, sizeof device->name);
    if (group)
        *group = (DkvmGroup){.number = taken ? taken->group : -1};
}

/* ---- reading a journal ------------------------------------------------------------------ */

static pid_t to_pid(const char *text)
{
    guint64 value = g_ascii_strtoull(text, NULL, 10);

    return value > 0 && value <= G_MAXINT32 ? (pid_t)value : 0;
}

static void replay_device(DkvmHandover *handover, const DkvmRecord *record)
{
    DkvmBdf bdf;

    if (!dkvm_bdf_parse(record->field[0], &bdf))
        return;
    DkvmTaken *taken = g_new0(DkvmTaken, 1);
    dkvm_bdf_format(&bdf, taken->bdf);
    taken->identity = g_strdup(record->field[1]);
    taken->sysfs = g_strdup(record->field[2]);
    taken->group = (int)g_ascii_strtoll(record->field[3], NULL, 10);
    taken->how =
        (DkvmTakenHow)CLAMP(g_ascii_strtoll(record->field[4], NULL, 10), 0, DKVM_TAKEN_ALONG);
    taken->may_suspend = g_str_equal(record->field[5], MAY_SUSPEND);
    taken->may_reboot = g_str_equal(record->field[6], MAY_REBOOT);
    g_ptr_array_add(handover->devices, taken);
}

static DkvmAction *find_action(DkvmHandover *handover, const char *number)
{
    guint64 wanted = g_ascii_strtoull(number, NULL, 10);

    for (guint i = 0; i < handover->actions->len; i++) {
        DkvmAction *action = g_ptr_array_index(handover->actions, i);

        if (action->number == wanted)
            return action;
    }
    return NULL;
}

static DkvmAction *replay_action(DkvmHandover *handover, const DkvmRecord *record,
                                 DkvmActionState state)
{
    const DkvmStep *step = dkvm_step_find(record->field[0]);

    if (!step)
        return NULL;
    DkvmAction *action =
        dkvm_action_new(step, record->field[1], record->field[2], record->field[3]);
    action->number = record->number;
    action->state = state;
    g_ptr_array_add(handover->actions, action);
    return action;
}

static void replay_intent(DkvmHandover *handover, const DkvmRecord *record)
{
    DkvmAction *planned = find_action(handover, record->field[4]);

    if (planned)
        planned->state = DKVM_ACTION_INTENT;
    else if (record->field[4][0] == '\0')
        planned = replay_action(handover, record, DKVM_ACTION_INTENT);
    handover->touched = planned;
}

static void replay_state(DkvmHandover *handover, const DkvmRecord *record)
{
    DkvmAction *action = find_action(handover, record->field[0]);

    if (!action)
        return;
    switch (record->type) {
    case DKVM_RECORD_DONE:
        action->state = DKVM_ACTION_DONE;
        break;
    case DKVM_RECORD_UNDO:
        handover->touched = action;
        break;
    case DKVM_RECORD_REMOVED:
        action->removed = TRUE;
        break;
    case DKVM_RECORD_UNDONE:
        action->state = DKVM_ACTION_UNDONE;
        break;
    case DKVM_RECORD_FOREIGN:
        action->state = DKVM_ACTION_FOREIGN;
        break;
    case DKVM_RECORD_FAILED:
        g_free(action->failure);
        action->failure = g_strdup(record->field[1]);
        break;
    case DKVM_RECORD_LATE:
        action->late = to_pid(record->field[1]);
        action->late_start = g_ascii_strtoull(record->field[2], NULL, 10);
        break;
    default:
        break;
    }
}

static void replay(DkvmHandover *handover, const DkvmRecord *record)
{
    switch (record->type) {
    case DKVM_RECORD_BEGIN:
        g_free(handover->name);
        handover->name = g_strdup(record->field[3]);
        handover->phase = DKVM_PHASE_PREPARING;
        break;
    case DKVM_RECORD_DEVICE:
        replay_device(handover, record);
        break;
    case DKVM_RECORD_CALLER:
        handover->caller = to_pid(record->field[0]);
        handover->caller_start = g_ascii_strtoull(record->field[1], NULL, 10);
        break;
    case DKVM_RECORD_WORKER:
        handover->worker_pid = to_pid(record->field[0]);
        handover->worker_start = g_ascii_strtoull(record->field[1], NULL, 10);
        break;
    case DKVM_RECORD_INTENT:
        replay_intent(handover, record);
        break;
    case DKVM_RECORD_PLANNED:
        (void)replay_action(handover, record, DKVM_ACTION_PLANNED);
        break;
    case DKVM_RECORD_PREPARED:
        handover->phase = DKVM_PHASE_PREPARED;
        handover->was_prepared = TRUE;
        break;
    case DKVM_RECORD_RUNNING:
        handover->qemu = to_pid(record->field[0]);
        handover->qemu_start = g_ascii_strtoull(record->field[1], NULL, 10);
        handover->phase = DKVM_PHASE_RUNNING;
        break;
    case DKVM_RECORD_RESTORING:
        handover->phase = DKVM_PHASE_RESTORING;
        break;
    case DKVM_RECORD_CLOSED:
        handover->phase = DKVM_PHASE_CLOSED;
        break;
    default:
        replay_state(handover, record);
    }
}

/* Another boot's, or another format's: its effects are gone, or nobody can know them. */
static gboolean is_of_now(const DkvmHandover *handover)
{
    const GPtrArray *records = dkvm_journal_records(handover->journal);
    g_autofree char *boot = dkvm_boot_id();

    if (records->len == 0)
        return FALSE;
    const DkvmRecord *first = g_ptr_array_index(records, 0);

    return first->type == DKVM_RECORD_BEGIN && g_str_equal(first->field[0], DKVM_JOURNAL_VERSION) &&
           g_str_equal(first->field[1], boot) && g_str_equal(first->field[2], handover->uuid);
}

static DkvmHandover *handover_new(const char *uuid)
{
    DkvmHandover *handover = g_new0(DkvmHandover, 1);

    handover->uuid = g_strdup(uuid);
    handover->name = g_strdup("");
    handover->devices = g_ptr_array_new_with_free_func((GDestroyNotify)dkvm_taken_free);
    handover->actions = dkvm_actions_new();
    handover->problems = g_string_new(NULL);
    handover->rescues = g_string_new(NULL);
    handover->inhibitor = -1;
    handover->worker = dkvm_worker_new();
    return handover;
}

void dkvm_handover_free(DkvmHandover *handover)
{
    if (!handover)
        return;
    if (handover->inhibitor >= 0)
        (void)close(handover->inhibitor);
    dkvm_worker_free(handover->worker);
    dkvm_journal_close(handover->journal);
    g_clear_pointer(&handover->devices, g_ptr_array_unref);
    g_clear_pointer(&handover->actions, g_ptr_array_unref);
    g_string_free(handover->problems, TRUE);
    g_string_free(handover->rescues, TRUE);
    g_free(handover->uuid);
    g_free(handover->name);
    g_free(handover);
}

static void replay_all(DkvmHandover *handover)
{
    const GPtrArray *records = dkvm_journal_records(handover->journal);

    for (guint i = 0; i < records->len; i++)
        replay(handover, g_ptr_array_index(records, i));
    if (handover->phase == DKVM_PHASE_CLOSED)
        g_ptr_array_set_size(handover->actions, 0);
}

DkvmHandover *dkvm_handover_load(const char *uuid, GError **error)
{
    g_autoptr(DkvmHandover) handover = handover_new(uuid);
    g_autofree char *path = dkvm_rundir_path(uuid, "journal");

    handover->journal = dkvm_journal_open(path, TRUE, error);
    if (!handover->journal)
        return NULL;
    if (is_of_now(handover)) {
        replay_all(handover);
        if (handover->phase != DKVM_PHASE_CLOSED)
            return g_steal_pointer(&handover);
    }
    /* Nothing in it holds any more. */
    dkvm_journal_close(g_steal_pointer(&handover->journal));
    (void)unlink(path);
    dkvm_handover_free(g_steal_pointer(&handover));
    handover = handover_new(uuid);
    handover->journal = dkvm_journal_open(path, TRUE, error);
    return handover->journal ? g_steal_pointer(&handover) : NULL;
}

DkvmHandover *dkvm_handover_peek(const char *uuid, GError **error)
{
    g_autoptr(DkvmHandover) handover = handover_new(uuid);
    g_autofree char *path = dkvm_rundir_path(uuid, "journal");

    if (access(path, F_OK) != 0)
        return NULL;
    handover->journal = dkvm_journal_open(path, FALSE, error);
    if (!handover->journal || !is_of_now(handover))
        return NULL;
    replay_all(handover);
    return handover->phase == DKVM_PHASE_CLOSED ? NULL : g_steal_pointer(&handover);
}

/* ---- writing ---------------------------------------------------------------------------- */

gboolean dkvm_handover_begin(DkvmHandover *handover, const char *name, GPtrArray *devices,
                             GPtrArray *actions, GError **error)
{
    g_autofree char *boot = dkvm_boot_id();

    g_ptr_array_unref(handover->devices);
    g_ptr_array_unref(handover->actions);
    handover->devices = devices;
    handover->actions = actions;
    g_free(handover->name);
    handover->name = g_strdup(name);
    if (dkvm_journal_append(handover->journal, error, DKVM_RECORD_BEGIN, DKVM_JOURNAL_VERSION, boot,
                            handover->uuid, name, NULL) == 0)
        return FALSE;
    handover->phase = DKVM_PHASE_PREPARING;
    for (guint i = 0; i < devices->len; i++) {
        const DkvmTaken *taken = g_ptr_array_index(devices, i);
        char group[NUMBER_SIZE], how[NUMBER_SIZE];

        (void)g_snprintf(group, sizeof group, "%d", taken->group);
        (void)g_snprintf(how, sizeof how, "%d", (int)taken->how);
        if (dkvm_journal_append(handover->journal, error, DKVM_RECORD_DEVICE, taken->bdf,
                                taken->identity, taken->sysfs, group, how,
                                taken->may_suspend ? MAY_SUSPEND : "",
                                taken->may_reboot ? MAY_REBOOT : "", NULL) == 0)
            return FALSE;
    }
    return TRUE;
}

static gboolean append_process(DkvmHandover *handover, DkvmRecordType type, pid_t pid,
                               guint64 start, GError **error)
{
    char number[NUMBER_SIZE], began[NUMBER_SIZE];

    (void)g_snprintf(number, sizeof number, "%d", (int)pid);
    (void)g_snprintf(began, sizeof began, "%" G_GUINT64_FORMAT, start);
    return dkvm_journal_append(handover->journal, error, type, number, began, NULL) != 0;
}

gboolean dkvm_handover_set_caller(DkvmHandover *handover, pid_t pid, guint64 start, GError **error)
{
    if (handover->caller == pid && handover->caller_start == start)
        return TRUE;
    if (!append_process(handover, DKVM_RECORD_CALLER, pid, start, error))
        return FALSE;
    handover->caller = pid;
    handover->caller_start = start;
    return TRUE;
}

gboolean dkvm_handover_set_running(DkvmHandover *handover, pid_t pid, guint64 start, GError **error)
{
    if (handover->phase == DKVM_PHASE_RUNNING && handover->qemu == pid &&
        handover->qemu_start == start)
        return TRUE;
    if (!append_process(handover, DKVM_RECORD_RUNNING, pid, start, error))
        return FALSE;
    handover->qemu = pid;
    handover->qemu_start = start;
    handover->phase = DKVM_PHASE_RUNNING;
    return TRUE;
}

/* ---- who has it ------------------------------------------------------------------------- */

static pid_t look_for_holder(const DkvmHandover *handover, gboolean *complete)
{
    *complete = TRUE;
    for (guint i = 0; i < handover->devices->len; i++) {
        const DkvmTaken *taken = g_ptr_array_index(handover->devices, i);
        DkvmGroup group = {.number = taken->group};
        DkvmDevice device = {.sysfs = taken->sysfs, .group = taken->group >= 0 ? &group : NULL};
        gboolean all = FALSE;
        g_autoptr(GPtrArray) holders = dkvm_holders(&device, &all);

        *complete = *complete && all;
        for (guint k = 0; k < holders->len; k++) {
            const DkvmHolder *holder = g_ptr_array_index(holders, k);

            /* /dev/vfio/GROUP, or /dev/vfio/devices/vfioN of newer kernels. */
            if (strstr(holder->node, "/vfio/") && holder->pid != getpid() &&
                dkvm_process_start(holder->pid) != 0)
                return holder->pid;
        }
    }
    return 0;
}

/* A look that did not see all is done again.  One that never does cannot keep a host without its
 * display: then only the QEMU that was seen before counts. */
pid_t dkvm_handover_holder(const DkvmHandover *handover, guint64 *start)
{
    gboolean complete = FALSE;
    pid_t pid = 0;

    for (int i = 0; i < LOOKS && pid == 0 && !complete; i++)
        pid = look_for_holder(handover, &complete);
    if (pid == 0 && !complete && dkvm_process_is(handover->qemu, handover->qemu_start))
        pid = handover->qemu;
    *start = dkvm_process_start(pid);
    return *start != 0 ? pid : 0;
}

gboolean dkvm_handover_is_wedged(const DkvmHandover *handover)
{
    for (guint i = 0; i < handover->actions->len; i++) {
        const DkvmAction *action = g_ptr_array_index(handover->actions, i);

        if (dkvm_process_is(action->late, action->late_start))
            return TRUE;
    }
    return FALSE;
}

gboolean dkvm_host_is_wedged(char **text)
{
    g_auto(GStrv) uuids = dkvm_rundir_list();

    for (char **uuid = uuids; *uuid; uuid++) {
        g_autoptr(DkvmHandover) handover = dkvm_handover_peek(*uuid, NULL);

        for (guint i = 0; handover && i < handover->actions->len; i++) {
            const DkvmAction *action = g_ptr_array_index(handover->actions, i);

            if (!dkvm_process_is(action->late, action->late_start))
                continue;
            if (text)
                *text = g_strdup_printf("%s (%s, process %d)", action->target, action->step->name,
                                        (int)action->late);
            return TRUE;
        }
    }
    return FALSE;
}
