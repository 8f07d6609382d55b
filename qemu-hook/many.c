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

char *dkvm_many_read(const DkvmMany *many, guint number)
{
    g_autofree char *file = path_of(many, number);
    g_autofree char *path = dkvm_path(file);
    char text[VALUE_MAX + 1];
    ssize_t length = dkvm_sysfs_line(AT_FDCWD, path, text, sizeof text);

    return length < 0 || length >= VALUE_MAX ? NULL : g_strdup(text);
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
    guint at_pre, at_post, elsewhere;
    char *other; /* of the first that is elsewhere */
} Now;

static void look_at(const DkvmMany *many, const DkvmAction *action, Now *now)
{
    DkvmNumbers numbers;

    *now = (Now){0};
    if (!dkvm_numbers_parse(action->target, &numbers))
        return;
    for (guint i = 0; i < DKVM_NUMBERS_MAX; i++) {
        g_autofree char *value = dkvm_numbers_has(&numbers, i) ? dkvm_many_read(many, i) : NULL;

        if (!value)
            continue;
        if (g_str_equal(value, action->post))
            now->at_post++;
        else if (g_str_equal(value, action->pre))
            now->at_pre++;
        else if (now->elsewhere++ == 0)
            now->other = g_steal_pointer(&value);
    }
}

char *dkvm_many_look(const DkvmMany *many, const DkvmAction *action)
{
    Now now;

    look_at(many, action, &now);
    g_autofree char *other = now.other;

    if (now.at_post > 0)
        return g_strdup(action->post);
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

/* All are tried, whatever becomes of one; a worker that is stuck ends it. */
gboolean dkvm_many_undo(const DkvmMany *many, DkvmHandover *handover, const DkvmAction *action,
                        GError **error)
{
    g_autoptr(GError) first = NULL;
    DkvmNumbers numbers;
    Now now;

    if (!dkvm_numbers_parse(action->target, &numbers))
        return FALSE;
    for (guint i = 0; i < DKVM_NUMBERS_MAX && action->late == 0; i++) {
        g_autoptr(GError) cause = NULL;

        if (dkvm_numbers_has(&numbers, i) &&
            !change_one(many, handover, action, i, action->post, action->pre, FALSE, &cause) &&
            !first)
            first = g_steal_pointer(&cause);
    }
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
