/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* display-manager, session, drain: the desktop lets go of the devices, if dkvm.conf says that it
 * may be made to; then whoever still holds one of them. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/paths.h"
#include "qemu-hook/bus.h"
#include "qemu-hook/rundir.h"
#include "qemu-hook/step.h"
#include "qemu-hook/unit.h"
#include "qemu-hook/users.h"

#define FREE "free"
#define STOP_MS 15000
#define SESSION_MS 10000
#define TERM_MS 5000
#define NODE_MS 5000

/* Devices are held by the desktop. */
static gboolean desktop_holds(const DkvmPlan *plan)
{
    for (guint i = 0; i < plan->targets->len; i++) {
        g_autoptr(GPtrArray) users =
            dkvm_users(g_ptr_array_index(plan->targets, i), plan->mappings);

        for (guint k = 0; k < users->len; k++) {
            const DkvmUser *user = g_ptr_array_index(users, k);

            if (user->kind == DKVM_USER_MANAGER || user->kind == DKVM_USER_SESSION ||
                user->kind == DKVM_USER_KEEPER)
                return TRUE;
        }
    }
    return FALSE;
}

/* ---- the display manager ---------------------------------------------------------------- */

static void plan_manager(DkvmPlan *plan)
{
    g_autofree char *unit =
        plan->config->desktop_stop && dkvm_bus_has_systemd() ? dkvm_display_manager() : NULL;
    const char *state = unit && desktop_holds(plan) ? dkvm_unit_state(unit) : DKVM_UNIT_DOWN;

    if (plan->config->desktop_stop && !dkvm_bus_has_systemd() && desktop_holds(plan))
        dkvm_plan_note(plan,
                       "This host is not run by systemd: \"desktop = stop\" in dkvm.conf ends "
                       "sessions and processes, but stops no display manager.");
    if (!state)
        dkvm_unit_refuse_silent(plan, unit);
    else if (g_str_equal(state, DKVM_UNIT_UP))
        dkvm_plan_add(plan, &dkvm_step_manager, unit, DKVM_UNIT_UP, DKVM_UNIT_DOWN);
}

/* Not before the card is there again, or it starts in a loop (facts/handoff.md F21). */
static void wait_for_cards(const DkvmHandover *handover)
{
    for (guint i = 0; i < handover->devices->len; i++) {
        const DkvmTaken *taken = g_ptr_array_index(handover->devices, i);
        g_autofree char *drm =
            g_strconcat(dkvm_paths_root(), "/sys/bus/pci/devices/", taken->bdf, "/drm", NULL);
        g_autofree char *node = g_strconcat("/dev/dri/by-path/pci-", taken->bdf, "-card", NULL);

        if (g_file_test(drm, G_FILE_TEST_IS_DIR))
            (void)dkvm_wait_for_file(node, NODE_MS);
    }
}

static gboolean undo_manager(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    if (!dkvm_bus_is_stopping())
        wait_for_cards(handover);
    return dkvm_unit_start(handover, action, error);
}

static char *text_manager(const DkvmAction *action)
{
    return g_strdup_printf("stop the display manager %s", action->target);
}

const DkvmStep dkvm_step_manager = {
    .name = "display-manager",
    .needs_devices = TRUE,
    .deadline = STOP_MS,
    .plan = plan_manager,
    .look = dkvm_unit_look,
    .apply = dkvm_unit_stop,
    .undo = undo_manager,
    .text = text_manager,
};

/* ---- sessions --------------------------------------------------------------------------- */

static void plan_session(DkvmPlan *plan)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    for (guint i = 0; plan->config->desktop_stop && i < plan->targets->len; i++) {
        g_autoptr(GPtrArray) users =
            dkvm_users(g_ptr_array_index(plan->targets, i), plan->mappings);

        for (guint k = 0; k < users->len; k++) {
            const DkvmUser *user = g_ptr_array_index(users, k);

            if (user->kind != DKVM_USER_SESSION || !g_str_has_prefix(user->unit, "session-"))
                continue;
            const char *begin = user->unit + strlen("session-");
            g_autofree char *id = g_strndup(begin, strcspn(begin, "."));
            g_autofree char *type = dkvm_session_type(id);

            if (type && g_hash_table_add(seen, g_strdup(id)))
                dkvm_plan_add(plan, &dkvm_step_session, id, type, "");
        }
    }
}

/* One that ended with the display manager is as it should be. */
static char *look_session(DkvmHandover *handover, const DkvmAction *action)
{
    char *type = dkvm_session_type(action->target);

    return type && !g_str_equal(type, "") ? type : g_strdup("");
}

static gboolean apply_session(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return dkvm_bus_end_session(action->target, action->step->deadline, error);
}

static gboolean undo_nothing(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return TRUE;
}

static char *text_session(const DkvmAction *action)
{
    return g_strdup_printf("end the graphical session %s (%s)", action->target, action->pre);
}

const DkvmStep dkvm_step_session = {
    .name = "session",
    .property = "session",
    .one_way = TRUE,
    .deadline = SESSION_MS,
    .plan = plan_session,
    .look = look_session,
    .apply = apply_session,
    .undo = undo_nothing,
    .text = text_session,
};

/* ---- whoever is left -------------------------------------------------------------------- */

static void plan_drain(DkvmPlan *plan)
{
    static const char *const policies[] = {NULL, "desktop", "holders", "all"};
    const char *policy =
        policies[(plan->config->desktop_stop ? 1 : 0) + (plan->config->holders_terminate ? 2 : 0)];

    for (guint i = 0; policy && i < plan->targets->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);
        g_autoptr(GPtrArray) users = dkvm_users(device, plan->mappings);

        if (users->len > 0)
            dkvm_plan_add(plan, &dkvm_step_drain, device->name, policy, FREE);
    }
}

/* What cannot be read back later is known to this run only: a process that has ended stays so. */
static char *look_drain(DkvmHandover *handover, const DkvmAction *action)
{
    return g_strdup(action->over ? FREE : action->pre);
}

static gboolean may_end(const char *policy, DkvmUserKind kind)
{
    gboolean desktop = g_str_equal(policy, "desktop") || g_str_equal(policy, "all");
    gboolean others = g_str_equal(policy, "holders") || g_str_equal(policy, "all");

    if (kind == DKVM_USER_MANAGER || kind == DKVM_USER_SESSION)
        return desktop;
    return kind == DKVM_USER_OTHER && others;
}

/* Through a pidfd, and only if it still is the process that was seen. */
static void send_signal(const DkvmUser *user, int number)
{
    int fd = dkvm_process_open(user->pid, user->start);

    if (fd < 0)
        return;
    (void)syscall(SYS_pidfd_send_signal, fd, number, NULL, 0);
    (void)close(fd);
}

/* Until one of them ends or lets go, at most MILLISECONDS; closing a file makes no event, so it is
 * looked again every now and then. */
static void wait_for_one(const GPtrArray *users, int milliseconds)
{
    const DkvmUser *first = g_ptr_array_index(users, 0);
    struct pollfd one = {.fd = dkvm_process_open(first->pid, first->start), .events = POLLIN};

    if (one.fd < 0 && first->kind != DKVM_USER_UNSEEN)
        return;
    (void)poll(&one, 1, MIN(milliseconds, 200));
    if (one.fd >= 0)
        (void)close(one.fd);
}

static gboolean drain(const DkvmAction *action, const DkvmDevice *device, int number,
                      guint milliseconds)
{
    gint64 end = g_get_monotonic_time() + (gint64)milliseconds * 1000;
    g_autoptr(GHashTable) told = g_hash_table_new(NULL, NULL);

    for (;;) {
        g_autoptr(GPtrArray) users = dkvm_users(device, NULL);
        gint64 left = (end - g_get_monotonic_time()) / 1000;

        if (users->len == 0)
            return TRUE;
        if (left <= 0)
            return FALSE;
        for (guint i = 0; i < users->len; i++) {
            const DkvmUser *user = g_ptr_array_index(users, i);

            if (may_end(action->pre, user->kind) &&
                g_hash_table_add(told, GINT_TO_POINTER(user->pid)))
                send_signal(user, number);
        }
        wait_for_one(users, (int)left);
    }
}

static gboolean apply_drain(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    DkvmGroup group;
    DkvmDevice device;

    dkvm_handover_as_device(handover, action->target, &group, &device);
    if (drain(action, &device, SIGTERM, TERM_MS) || drain(action, &device, SIGKILL, TERM_MS)) {
        ((DkvmAction *)action)->over = TRUE;
        return TRUE;
    }
    g_autoptr(GPtrArray) users = dkvm_users(&device, NULL);
    g_autofree char *who =
        users->len > 0 ? dkvm_user_text(g_ptr_array_index(users, 0)) : g_strdup("somebody");

    g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED, "%s is still in use: %s", action->target,
                who);
    return FALSE;
}

static char *text_drain(const DkvmAction *action)
{
    return g_strdup_printf("end the processes that hold %s (%s)", action->target, action->pre);
}

const DkvmStep dkvm_step_drain = {
    .name = "drain",
    .property = "users",
    .one_way = TRUE,
    .deadline = 2 * TERM_MS,
    .plan = plan_drain,
    .look = look_drain,
    .apply = apply_drain,
    .undo = undo_nothing,
    .text = text_drain,
};
