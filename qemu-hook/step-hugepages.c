/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hugepages: what a VM with <hugepages> needs and is not free is made, before the desktop is
 * stopped for it (facts/handoff.md F33), and taken away again.
 *
 * A value before and after says nothing of a counter that others change, too.  So this step's value
 * is another one: whether the VM is in the list of those that count on pages of this pool, where it
 * stands from before the first page is made until the last one is taken away (hugepages.c).  The
 * journal's values are for people, and for how many. */
#include <unistd.h>

#include "qemu-hook/memory.h"
#include "qemu-hook/step.h"

static void plan(DkvmPlan *plan)
{
    g_autoptr(GArray) list = plan->config->hugepages_allocate ? dkvm_memory_pages(plan) : NULL;

    for (guint i = 0; list && i < list->len; i++) {
        const DkvmPages *pages = &g_array_index(list, DkvmPages, i);
        g_autofree char *name = dkvm_pool_name(&pages->pool);
        g_autofree char *pre = g_strdup_printf("%" G_GUINT64_FORMAT " free", pages->available);
        g_autofree char *post = g_strdup_printf("%" G_GUINT64_FORMAT " kept free", pages->need);

        /* Also where none is missing: of two VMs that start at once, each needs its own. */
        if (pages->need > 0)
            dkvm_plan_add(plan, &dkvm_step_hugepages, name, pre, post);
    }
}

static char *look(DkvmHandover *handover, const DkvmAction *action)
{
    DkvmPool pool;
    int has =
        dkvm_pool_parse(action->target, &pool) ? dkvm_hugepages_has(handover->uuid, &pool) : 0;

    return g_strdup(has < 0 ? DKVM_UNREADABLE : has ? action->post : action->pre);
}

static gboolean apply(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autofree char *what =
        g_strdup_printf("%s %" G_GUINT64_FORMAT " %d", handover->uuid,
                        g_ascii_strtoull(action->post, NULL, 10), (int)getpid());

    return dkvm_step_work(handover, action, DKVM_WORK_TAKE_PAGES, action->target, what, error);
}

static gboolean undo(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return dkvm_step_work(handover, action, DKVM_WORK_GIVE_PAGES, action->target, handover->uuid,
                          error);
}

static char *text(const DkvmAction *action)
{
    guint64 there = g_ascii_strtoull(action->pre, NULL, 10);
    guint64 need = g_ascii_strtoull(action->post, NULL, 10);

    if (need <= there)
        return g_strdup_printf("keep %" G_GUINT64_FORMAT " huge pages free for the VM (%s)", need,
                               action->target);
    return g_strdup_printf("keep %" G_GUINT64_FORMAT " huge pages free for the VM, having made "
                           "%" G_GUINT64_FORMAT " of them (%s)",
                           need, need - there, action->target);
}

const DkvmStep dkvm_step_hugepages = {
    .name = "hugepages",
    .deadline = 20000, /* 10 seconds, and as many for another VM's */
    .plan = plan,
    .look = look,
    .apply = apply,
    .undo = undo,
    .text = text,
};
