/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* unbind, override, bind: a device leaves its host driver and is taken by vfio-pci, by
 * driver_override, so that no other device of the same ids is touched.  Undone backwards: off
 * vfio-pci, the override as it was, and the host driver takes it again. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/paths.h"
#include "qemu-hook/bus.h"
#include "qemu-hook/rundir.h"
#include "qemu-hook/sleep.h"
#include "qemu-hook/step.h"
#include "qemu-hook/steplog.h"
#include "qemu-hook/users.h"
#include "udev/sysfs.h"
#include "udev/verdict.h"

#define VFIO "vfio-pci"
#define BLOCKED_MS 10000 /* design: one blocked kernel write gets 10 s */

static char *attribute(const char *bdf, const char *name)
{
    return g_strconcat("/sys/bus/pci/devices/", bdf, "/", name, NULL);
}

static char *look_driver(DkvmHandover *handover, const DkvmAction *action)
{
    return dkvm_driver_of(handover, action->target);
}

/* ---- unbind ----------------------------------------------------------------------------- */

static gboolean is_free(const DkvmDevice *device)
{
    return device->driver == NULL;
}

/* One that a guest's driver has already (reserved at boot, detached by hand) stays as it is, before
 * and after. */
static gboolean is_there(const DkvmDevice *device)
{
    return device->driver && dkvm_driver_lets_go(device->driver);
}

static void plan_unbind(DkvmPlan *plan)
{
    for (guint i = 0; i < plan->targets->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);

        if (!is_free(device) && !is_there(device))
            dkvm_plan_add(plan, &dkvm_step_unbind, device->name, device->driver, "");
    }
}

/* An unbind that was begun while somebody has a node open may never end (facts/handoff.md F01, F03,
 * F08): asked again at the last moment. */
static gboolean is_unused(const DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    DkvmDevice device;

    dkvm_handover_as_device(handover, action->target, NULL, &device);
    g_autofree char *who = dkvm_users_text(&device);

#ifdef DKVM_FAILPOINTS
    if (g_getenv("DKVM_FORCE_UNBIND")) /* the test of an unbind that hangs */
        return TRUE;
#endif
    if (*who == '\0')
        return TRUE;
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                "%s is in use: %s; end it, and start the VM again", action->target, who);
    return FALSE;
}

static gboolean leave_driver(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autofree char *path = attribute(action->target, "driver/unbind");

    return dkvm_step_work(handover, action, DKVM_WORK_WRITE, path, action->target, error);
}

static gboolean apply_unbind(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return is_unused(handover, action, error) && leave_driver(handover, action, error);
}

/* BIND: the file of the driver that the device was taken from. */
static gboolean is_loaded(const DkvmAction *action, const char *bind, GError **error)
{
    g_autofree char *path = dkvm_path(bind);

    if (access(path, F_OK) == 0)
        return TRUE;
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                "%s has no driver: %s is not there any more; load its module, then 'dkvm-gpu "
                "restore'",
                action->target, action->pre);
    return FALSE;
}

/* What the kernel's own choice did not bring back is asked for by name. */
static gboolean probe_again(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autoptr(GError) first = NULL;
    g_autofree char *now = NULL;
    g_autofree char *bind = g_strconcat("/sys/bus/pci/drivers/", action->pre, "/bind", NULL);

    if (!dkvm_step_work(handover, action, DKVM_WORK_PROBE, action->target, NULL, &first) &&
        g_error_matches(first, DKVM_ERROR, DKVM_ERROR_HOST)) {
        g_propagate_error(error, g_steal_pointer(&first));
        return FALSE;
    }
    now = dkvm_driver_of(handover, action->target);
    if (!now || g_str_equal(now, action->pre))
        return TRUE;
    if (*now && !dkvm_driver_lets_go(now)) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                    "%s came back with the driver %s instead of %s", action->target, now,
                    action->pre);
        return FALSE;
    }
    /* vfio-pci was told to take all of its kind ("ids="), or nobody had taken it from there. */
    if (*now && !leave_driver(handover, action, error))
        return FALSE;
    return is_loaded(action, bind, error) &&
           dkvm_step_work(handover, action, DKVM_WORK_WRITE, bind, action->target, error);
}

/* The kernel looks at the bus above the device again: what is not known there is found, gets its
 * addresses and its driver. */
static gboolean scan_again(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    const DkvmTaken *taken = dkvm_handover_device(handover, action->target);
    g_autofree char *above = g_path_get_dirname(taken ? taken->sysfs : "");
    g_autofree char *rescan = g_strconcat(above, "/rescan", NULL);
    g_autofree char *there = dkvm_path(rescan);

    return dkvm_step_work(handover, action, DKVM_WORK_WRITE,
                          access(there, F_OK) == 0 ? rescan : "/sys/bus/pci/rescan", "1", error);
}

/* A killed guard may have left it between the two halves of find_anew(). */
static gboolean seek_device(DkvmHandover *handover, const DkvmAction *action)
{
    return scan_again(handover, action, NULL);
}

/* As if it had just been plugged in: facts/handoff.md D.6. Only this function, which has no driver.
 */
static gboolean find_anew(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autofree char *path = attribute(action->target, "remove");

    dkvm_step_note_removed(handover, action);
    return dkvm_step_work(handover, action, DKVM_WORK_WRITE, path, "1", error) &&
           scan_again(handover, action, error);
}

/* The kernel has a way to reset it, and we have not tried it (facts/handoff.md D.6). */
static gboolean reset_once(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    DkvmTaken *taken = dkvm_handover_device(handover, action->target);
    g_autofree char *file = attribute(action->target, "reset");
    g_autofree char *path = dkvm_path(file);

    if (!taken || taken->was_reset || access(path, F_OK) != 0)
        return FALSE;
    taken->was_reset = TRUE;
    return dkvm_step_work(handover, action, DKVM_WORK_WRITE, file, "1", error);
}

static gboolean is_back(const DkvmHandover *handover, const DkvmAction *action)
{
    g_autofree char *now = dkvm_driver_of(handover, action->target);

    return g_strcmp0(now, action->pre) == 0;
}

/* Why asking its driver was not enough: what helps in the end says nothing of it. */
static void note_need(const DkvmHandover *handover, const DkvmAction *action, gboolean lost,
                      const GError *cause)
{
    g_autofree char *text =
        lost    ? g_strdup_printf("%s has lost its addresses: its bus was reset", action->target)
        : cause ? g_strdup_printf("%s is not taken: %s", action->target, cause->message)
                : g_strdup_printf("%s is not taken by its driver %s", action->target, action->pre);

    dkvm_step_log(handover->uuid, action, TRUE, text);
}

/* What brought it back: for the next login, and for who reads the log. */
static gboolean note_rescue(DkvmHandover *handover, const DkvmAction *action, const char *how)
{
    g_autofree char *text = g_strdup_printf("%s came back to its driver %s only after it was %s",
                                            action->target, action->pre, how);

    g_string_append_printf(handover->rescues, "%s%s", handover->rescues->len ? "; " : "", text);
    dkvm_step_log(handover->uuid, action, TRUE, text);
    return TRUE;
}

/* Another VM would lose what it has. */
static gboolean is_only_one(const DkvmHandover *handover)
{
    g_auto(GStrv) uuids = dkvm_rundir_list();

    for (char **uuid = uuids; *uuid; uuid++) {
        g_autofree char *journal = dkvm_rundir_path(*uuid, "journal");

        if (!g_str_equal(*uuid, handover->uuid) && access(journal, F_OK) == 0)
            return FALSE;
    }
    return TRUE;
}

/* The host sleeps and the card with it, once for a hand-over, if dkvm.conf said so at its start. */
static gboolean sleep_once(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    const DkvmTaken *taken = dkvm_handover_device(handover, action->target);
    g_autofree char *blocker = NULL;

    if (!taken || !taken->may_suspend || handover->slept)
        return FALSE;
    blocker = is_only_one(handover) ? dkvm_bus_blocker("sleep") : g_strdup("another VM");
    if (blocker) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                    "the host is not suspended to bring %s back: %s stands in the way",
                    action->target, blocker);
        return FALSE;
    }
    handover->slept = TRUE;
    dkvm_step_log(handover->uuid, action, TRUE, "the host is suspended for some seconds");
    if (!dkvm_sleep_now(handover, action, error))
        return FALSE;
    g_autofree char *now = dkvm_driver_of(handover, action->target);

    return (now || scan_again(handover, action, error)) && probe_again(handover, action, error);
}

/* Resets it, then takes it away and finds it anew, then lets the host sleep; after each its driver
 * is asked again. */
static gboolean rescue(DkvmHandover *handover, const DkvmAction *action, gboolean lost,
                       GError **error)
{
    g_autoptr(GError) cause = NULL, found_cause = NULL, sleep_cause = NULL;

    /* A reset would save and restore the registers as they are: without the windows. */
    if (!lost && reset_once(handover, action, &cause)) {
        (void)probe_again(handover, action, &cause);
        if (is_back(handover, action))
            return note_rescue(handover, action, "reset");
    }
    if (action->late) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return FALSE;
    }
    gboolean found = find_anew(handover, action, &found_cause) &&
                     (is_back(handover, action) || probe_again(handover, action, &found_cause));

    g_autofree char *now = dkvm_driver_of(handover, action->target);

    if (found && !now) {
        found = FALSE;
        g_set_error(&found_cause, DKVM_ERROR, DKVM_ERROR_REFUSED,
                    "%s was taken from the bus, to bring it back, and is not found there again; "
                    "start the host again",
                    action->target);
    }
    if (found && is_back(handover, action))
        return note_rescue(handover, action, "taken from the bus and found anew");
    if (action->late == 0 && sleep_once(handover, action, &sleep_cause) &&
        is_back(handover, action))
        return note_rescue(handover, action, "suspended, with the whole host, and woken up");
    if (sleep_cause)
        dkvm_step_problem(handover, action, "%s", sleep_cause->message);
    if (!found)
        g_propagate_error(error, g_steal_pointer(&found_cause));
    return found;
}

static gboolean undo_unbind(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autoptr(GError) first = NULL;
    gboolean lost = dkvm_has_lost_its_place(action->target);
    gboolean asked = !lost && probe_again(handover, action, &first);
    g_autofree char *now = dkvm_driver_of(handover, action->target);

    if (asked && (!now || *now))
        return TRUE;
    if (!lost && (g_error_matches(first, DKVM_ERROR, DKVM_ERROR_HOST) || !now || *now)) {
        g_propagate_error(error, g_steal_pointer(&first));
        return FALSE;
    }
    note_need(handover, action, lost, first);
    return rescue(handover, action, lost, error);
}

static char *text_unbind(const DkvmAction *action)
{
    return g_strdup_printf("take %s from the driver %s", action->target, action->pre);
}

const DkvmStep dkvm_step_unbind = {
    .name = "unbind",
    .property = "driver",
    .on_device = TRUE,
    .risky = TRUE,
    .deadline = BLOCKED_MS,
    .plan = plan_unbind,
    .look = look_driver,
    .apply = apply_unbind,
    .undo = undo_unbind,
    .seek = seek_device,
    .text = text_unbind,
};

/* ---- override --------------------------------------------------------------------------- */

static void plan_override(DkvmPlan *plan)
{
    for (guint i = 0; i < plan->targets->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);
        const char *before = device->driver_override ? device->driver_override : "";

        /* Also a driverless one: as long as the guest runs nothing else may take it. */
        if (!is_there(device) && !g_str_equal(before, VFIO))
            dkvm_plan_add(plan, &dkvm_step_override, device->name, before, VFIO);
    }
}

static char *look_override(DkvmHandover *handover, const DkvmAction *action)
{
    g_autofree char *driver = dkvm_driver_of(handover, action->target);
    g_autofree char *file = attribute(action->target, "driver_override");
    g_autofree char *path = dkvm_path(file);
    char *now = driver ? dkvm_look_line(path) : NULL;

    if (g_strcmp0(now, "(null)") != 0)
        return now;
    g_free(now);
    return g_strdup("");
}

static gboolean apply_override(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autofree char *path = attribute(action->target, "driver_override");

    return dkvm_step_work(handover, action, DKVM_WORK_WRITE, path, VFIO, error);
}

static gboolean undo_override(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autofree char *path = attribute(action->target, "driver_override");

    return dkvm_step_work(handover, action, DKVM_WORK_WRITE, path,
                          *action->pre ? action->pre : "\n", error);
}

static char *text_override(const DkvmAction *action)
{
    return g_strdup_printf("reserve %s for " VFIO, action->target);
}

const DkvmStep dkvm_step_override = {
    .name = "override",
    .on_device = TRUE,
    .deadline = BLOCKED_MS,
    .plan = plan_override,
    .look = look_override,
    .apply = apply_override,
    .undo = undo_override,
    .text = text_override,
};

/* ---- bind ------------------------------------------------------------------------------- */

static void plan_bind(DkvmPlan *plan)
{
    for (guint i = 0; i < plan->targets->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);

        if (!is_there(device))
            dkvm_plan_add(plan, &dkvm_step_bind, device->name, "", VFIO);
    }
}

static gboolean apply_bind(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return dkvm_step_work(handover, action, DKVM_WORK_WRITE, "/sys/bus/pci/drivers_probe",
                          action->target, error);
}

static char *text_bind(const DkvmAction *action)
{
    return g_strdup_printf("give %s to " VFIO, action->target);
}

const DkvmStep dkvm_step_bind = {
    .name = "bind",
    .property = "driver",
    .on_device = TRUE,
    .risky = TRUE,
    .deadline = BLOCKED_MS,
    .plan = plan_bind,
    .look = look_driver,
    .apply = apply_bind,
    .undo = leave_driver,
    .text = text_bind,
};
