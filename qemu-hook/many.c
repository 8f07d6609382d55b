/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/many.h"

#include <errno.h>
#include <fcntl.h>

#include "lib/error.h"
#include "lib/paths.h"
#include "qemu-hook/steplog.h"
#include "udev/sysfs.h"

#define VALUE_MAX 1024   /* as much as the worker writes */
#define MOST_NUMBERS 512 /* in one action: its record stays small */

/* ---- files ------------------------------------------------------------------------------ */

static char *path_of(const DkvmMany *many, guint number)
{
    return g_strdup_printf("%s%u%s", many->before, number, many->after);
}

static char *read_one(const DkvmMany *many, guint number, int *cause)
{
    g_autofree char *file = path_of(many, number);
    g_autofree char *path = dkvm_path(file);
    char text[VALUE_MAX + 1];
    ssize_t length = dkvm_sysfs_line(AT_FDCWD, path, text, sizeof text);

    *cause = length < 0 ? errno : length >= VALUE_MAX ? EOVERFLOW : 0;
    return *cause ? NULL : g_strdup(text);
}

char *dkvm_many_read(const DkvmMany *many, guint number)
{
    int cause;

    return read_one(many, number, &cause);
}

static gboolean is_gone(int cause)
{
    return cause == ENOENT || cause == ENODEV;
}

/* It is there and has no value, as a frequency policy whose CPUs are all offline: show() in
 * drivers/cpufreq/cpufreq.c says EBUSY since d4627a287e25; before, show_scaling_governor() said
 * EINVAL.  What fails in other ways failed for us, and the next attempt may read it. */
static gboolean is_asleep(int cause)
{
    return cause == EBUSY || cause == EINVAL;
}

/* ---- planning --------------------------------------------------------------------------- */

typedef struct {
    char *value;
    DkvmNumbers numbers;
    guint count;
} Bunch;

static void bunch_free(Bunch *bunch)
{
    g_free(bunch->value);
    g_free(bunch);
}

static Bunch *bunch_of(GPtrArray *bunches, const char *value)
{
    for (guint i = 0; i < bunches->len; i++) {
        Bunch *bunch = g_ptr_array_index(bunches, i);

        if (bunch->count < MOST_NUMBERS && g_str_equal(bunch->value, value))
            return bunch;
    }
    Bunch *bunch = g_new0(Bunch, 1);

    bunch->value = g_strdup(value);
    g_ptr_array_add(bunches, bunch);
    return bunch;
}

void dkvm_many_plan(DkvmPlan *plan, const DkvmStep *step, const DkvmMany *many,
                    const DkvmNumbers *numbers, const char *post)
{
    g_autoptr(GPtrArray) bunches = g_ptr_array_new_with_free_func((GDestroyNotify)bunch_free);

    for (guint i = 0; i < DKVM_NUMBERS_MAX; i++) {
        g_autofree char *value = dkvm_numbers_has(numbers, i) ? dkvm_many_read(many, i) : NULL;

        if (!value || g_str_equal(value, post))
            continue;
        Bunch *bunch = bunch_of(bunches, value);

        dkvm_numbers_put(&bunch->numbers, i);
        bunch->count++;
    }
    for (guint i = 0; i < bunches->len; i++) {
        const Bunch *bunch = g_ptr_array_index(bunches, i);
        g_autofree char *target = dkvm_numbers_text(&bunch->numbers);

        dkvm_plan_add(plan, step, target, bunch->value, post);
    }
}

/* ---- what they are now ------------------------------------------------------------------ */

typedef struct {
    guint at_pre, at_post, elsewhere, asleep, unreadable;
    char *other; /* of the first that is elsewhere */
} Now;

static void look_at(const DkvmMany *many, const DkvmAction *action, Now *now)
{
    DkvmNumbers numbers;

    *now = (Now){0};
    if (!dkvm_numbers_parse(action->target, &numbers))
        return;
    for (guint i = 0; i < DKVM_NUMBERS_MAX; i++) {
        int cause = ENOENT;
        g_autofree char *value = dkvm_numbers_has(&numbers, i) ? read_one(many, i, &cause) : NULL;

        if (!value && is_asleep(cause))
            now->asleep++;
        else if (!value && !is_gone(cause))
            now->unreadable++;
        else if (!value)
            continue;
        else if (g_str_equal(value, action->post))
            now->at_post++;
        else if (g_str_equal(value, action->pre))
            now->at_pre++;
        else if (now->elsewhere++ == 0)
            now->other = g_steal_pointer(&value);
    }
}

/* Something of it may have been done. */
static gboolean is_begun(const DkvmAction *action)
{
    return action->state == DKVM_ACTION_INTENT || action->state == DKVM_ACTION_DONE;
}

char *dkvm_many_look(const DkvmMany *many, const DkvmAction *action)
{
    Now now;

    look_at(many, action, &now);
    g_autofree char *other = now.other;

    /* What is asleep may have been changed by us before, until undo has tried. */
    if (now.at_post > 0 || (now.asleep > 0 && is_begun(action) && !action->over))
        return g_strdup(action->post);
    if (now.unreadable > 0)
        return g_strdup(DKVM_UNREADABLE);
    return now.at_pre > 0 ? g_strdup(action->pre) : g_steal_pointer(&other);
}

/* ---- writing ---------------------------------------------------------------------------- */

/* What the kernel says of one file, not of our worker or of time. */
static gboolean is_refusal(int cause)
{
    switch (cause) {
    case EIO:   /* an interrupt that the kernel manages itself (write_irq_affinity, */
    case EPERM: /* kernel/irq/proc.c; EPERM since 6.12) */
    case EINVAL:
    case EBUSY:
    case ENOSPC: /* no vector is left on those CPUs */
    case ENOENT:
    case ENODEV:
        return TRUE;
    default:
        return FALSE;
    }
}

/* From FROM to TO, read back.  TRUE also for one that is not at FROM, is gone, or may refuse. */
static gboolean change_one(const DkvmMany *many, DkvmHandover *handover, const DkvmAction *action,
                           guint number, const char *from, const char *to, gboolean may_refuse,
                           GError **error)
{
    g_autofree char *before = dkvm_many_read(many, number), *path = path_of(many, number);
    g_autoptr(GError) cause = NULL;

    if (g_strcmp0(before, from) != 0)
        return TRUE;
    int result = dkvm_step_try(handover, action, DKVM_WORK_WRITE, path, to, &cause);
    g_autofree char *after = dkvm_many_read(many, number);

    if (!after || g_str_equal(after, to) || (may_refuse && (result == 0 || is_refusal(result))))
        return TRUE;
    if (cause)
        g_propagate_prefixed_error(error, g_steal_pointer(&cause), "%s: ", path);
    else
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED, "%s is '%s' after '%s' was written",
                    path, after, to);
    return FALSE;
}

gboolean dkvm_many_apply(const DkvmMany *many, DkvmHandover *handover, const DkvmAction *action,
                         GError **error)
{
    DkvmNumbers numbers;
    Now now;

    if (!dkvm_numbers_parse(action->target, &numbers))
        return FALSE;
    for (guint i = 0; i < DKVM_NUMBERS_MAX; i++) {
        if (dkvm_numbers_has(&numbers, i) && !change_one(many, handover, action, i, action->pre,
                                                         action->post, many->some_refuse, error))
            return FALSE;
    }
    look_at(many, action, &now);
    g_free(now.other);
    ((DkvmAction *)action)->over = now.at_post == 0 && many->some_refuse;
    return TRUE;
}

/* One that cannot be compared.  FALSE: it is not known, and the next attempt may find out; or it is
 * ASLEEP, and was written to in vain. */
static gboolean undo_unread(const DkvmMany *many, DkvmHandover *handover, const DkvmAction *action,
                            guint number, int cause, gboolean *asleep, GError **error)
{
    g_autofree char *path = path_of(many, number);
    int result = is_asleep(cause)
                     ? dkvm_step_try(handover, action, DKVM_WORK_WRITE, path, action->pre, NULL)
                     : cause;

    /* Tried; whether it can be read afterwards or not. */
    ((DkvmAction *)action)->over |= is_asleep(cause) && (result == 0 || is_refusal(result));
    *asleep = is_asleep(cause) && is_refusal(result);
    if (result != 0)
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED, "%s cannot be read: %s", path,
                    g_strerror(cause));
    return result == 0;
}

static gboolean undo_one(const DkvmMany *many, DkvmHandover *handover, const DkvmAction *action,
                         guint number, gboolean *asleep, GError **error)
{
    int cause;
    g_autofree char *value = read_one(many, number, &cause);

    *asleep = FALSE;
    return value || is_gone(cause)
               ? change_one(many, handover, action, number, action->post, action->pre, FALSE, error)
               : undo_unread(many, handover, action, number, cause, asleep, error);
}

/* The kernel takes nothing for them, and when their CPUs come online again gives them the value
 * that they had (cpufreq_init_policy()): ours, if they were changed at all.  That may be never, and
 * no attempt would help before.  So it is said what is to be done then, and the rest is given back
 * and closed. */
static void report_asleep(const DkvmMany *many, DkvmHandover *handover, const DkvmAction *action,
                          const DkvmNumbers *numbers)
{
    g_autofree char *text = dkvm_numbers_text(numbers);

    dkvm_step_problem(handover, action,
                      "%s of %s cannot be set back, since the kernel takes nothing for it now (its "
                      "CPUs are offline?); if it is '%s' when they are online again, write '%s' to "
                      "%s%s%s",
                      action->step->name, text, action->post, action->pre, many->before, text,
                      many->after);
}

/* All are tried, whatever becomes of one; a worker that is stuck ends it. */
gboolean dkvm_many_undo(const DkvmMany *many, DkvmHandover *handover, const DkvmAction *action,
                        GError **error)
{
    g_autoptr(GError) first = NULL;
    DkvmNumbers numbers, asleep = {0};
    Now now;

    if (!dkvm_numbers_parse(action->target, &numbers))
        return FALSE;
    for (guint i = 0; i < DKVM_NUMBERS_MAX && action->late == 0; i++) {
        g_autoptr(GError) cause = NULL;
        gboolean sleeps;

        if (!dkvm_numbers_has(&numbers, i) || undo_one(many, handover, action, i, &sleeps, &cause))
            continue;
        if (sleeps)
            dkvm_numbers_put(&asleep, i);
        else if (!first)
            first = g_steal_pointer(&cause);
    }
    if (dkvm_numbers_count(&asleep) > 0)
        report_asleep(many, handover, action, &asleep);
    look_at(many, action, &now);
    if (now.elsewhere > 0) {
        g_autofree char *text =
            g_strdup_printf("%u of them were changed by somebody else (to '%s') and stay",
                            now.elsewhere, now.other);

        dkvm_step_log(handover->uuid, action, TRUE, text);
    }
    g_free(now.other);
    if (!first)
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&first));
    return FALSE;
}
