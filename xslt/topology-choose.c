/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The search for a shape.  There are few: every candidate is put to the oracle, no rule of thumb.
 */
#include "xslt/topology-internal.h"

/* The CPU and QEMU of QUESTION, with no vCPU absent and the TSC gate left out: no shape cures it,
 * and a domain under TCG is warned elsewhere. */
static DkvmTopologyQuestion base_question(const DkvmTopologyQuestion *question)
{
    DkvmTopologyQuestion base = *question;

    base.skip_tsc = TRUE;
    base.present = NULL;
    base.present_count = 0;
    base.shape = (DkvmShape){1, 1, 1, 1, 1};
    return base;
}

/* TOTAL vCPUs in SOCKETS, THREADS per core, if that comes out even and boots. */
static gboolean try_shape(const DkvmTopologyQuestion *question, guint total, guint sockets,
                          guint threads, DkvmShape *shape)
{
    DkvmTopologyQuestion ask = *question;

    if (total % (sockets * threads) != 0)
        return FALSE;
    ask.shape = (DkvmShape){sockets, 1, 1, total / (sockets * threads), threads};
    if (dkvm_topology_ask(&ask, NULL, NULL) != DKVM_TOPOLOGY_BOOTS)
        return FALSE;
    *shape = ask.shape;
    return TRUE;
}

static gboolean search(const DkvmTopologyQuestion *question, guint total, gboolean smt,
                       DkvmShape *shape)
{
    for (guint sockets = 1; sockets <= total; sockets++)
        if (try_shape(question, total, sockets, smt ? 2 : 1, shape) ||
            try_shape(question, total, sockets, smt ? 1 : 2, shape))
            return TRUE;
    return FALSE;
}

gboolean dkvm_choose_exact(const DkvmTopologyQuestion *question, guint total, gboolean smt,
                           DkvmShape *shape)
{
    DkvmTopologyQuestion base = base_question(question);

    return search(&base, total, smt, shape);
}

guint dkvm_choose_near(const DkvmTopologyQuestion *question, guint total, gboolean smt,
                       DkvmShape shapes[DKVM_NEAR_MAX])
{
    guint count = 0;
    guint below = MIN(total - 1, DKVM_XNU_MAX_CPUS);

    while (below > 0 && !dkvm_choose_exact(question, below, smt, &shapes[count]))
        below--;
    count += below > 0 ? 1 : 0;
    for (guint above = total; above <= DKVM_XNU_MAX_CPUS; above++) {
        if (!dkvm_choose_exact(question, above, smt, &shapes[count]))
            continue;
        count++;
        if (above != total)
            break;
    }
    return count;
}

char *dkvm_choose_nearby(const DkvmTopologyQuestion *question, guint total, gboolean smt)
{
    DkvmShape shapes[DKVM_NEAR_MAX];
    guint count = dkvm_choose_near(question, total, smt, shapes);
    GString *out = g_string_new(NULL);

    for (guint i = 0; i < count; i++)
        g_string_append_printf(out, "%s%u as %ux%ux%u", i > 0 ? ", " : "",
                               dkvm_shape_total(&shapes[i]), shapes[i].sockets, shapes[i].cores,
                               shapes[i].threads);
    return g_string_free(out, count == 0);
}

static gboolean all_present(const DkvmTopologyWish *wish)
{
    if (!wish->present)
        return TRUE;
    for (guint i = 0; i < wish->vcpus; i++)
        if (i >= wish->present_count || !wish->present[i])
            return FALSE;
    return TRUE;
}

/* The largest total in one socket.  Two threads only where the host has them. */
static gboolean choose_largest(const DkvmTopologyQuestion *base, const DkvmTopologyWish *wish,
                               DkvmShape *shape)
{
    guint total = MIN(MAX(wish->vcpus, 1), DKVM_XNU_MAX_CPUS);

    if (wish->host_threads > 0)
        total = MIN(total, wish->host_threads);
    for (; total > 0; total--)
        if ((wish->smt && try_shape(base, total, 1, 2, shape)) ||
            try_shape(base, total, 1, 1, shape))
            return TRUE;
    return FALSE;
}

static char *no_shape(const DkvmTopologyQuestion *base, const DkvmTopologyWish *wish,
                      gboolean absent)
{
    g_autofree char *nearby =
        dkvm_choose_nearby(base, MIN(MAX(wish->vcpus, 1), DKVM_SHAPE_MAX), wish->smt);

    if (!nearby)
        return g_strdup(
            "No number of vCPUs boots with this CPU model, QEMU and macOS: use QEMU 7.2 or "
            "newer, or the CPU model Penryn.");
    return g_strdup_printf(
        "No shape of %u vCPUs boots with this CPU model and QEMU%s. "
        "These would (sockets x cores x threads%s): %s.",
        wish->vcpus,
        absent ? " while some are absent: absent vCPUs must leave whole sockets empty" : "",
        absent ? ", all vCPUs present" : "", nearby);
}

gboolean dkvm_topology_choose(const DkvmTopologyQuestion *question, const DkvmTopologyWish *wish,
                              DkvmShape *shape, char **why)
{
    DkvmTopologyQuestion base = base_question(question);
    gboolean absent = !all_present(wish);

    if (dkvm_topology_ask(&base, NULL, why) == DKVM_TOPOLOGY_CPU_GATE)
        return FALSE;
    g_clear_pointer(why, g_free);
    if (absent) {
        base.present = wish->present;
        base.present_count = wish->present_count;
    }
    if (!wish->keep_count && !absent) {
        if (choose_largest(&base, wish, shape))
            return TRUE;
    } else if (wish->vcpus >= 1 && wish->vcpus <= DKVM_SHAPE_MAX) {
        if (search(&base, wish->vcpus, wish->smt, shape))
            return TRUE;
    }
    *why = no_shape(&base, wish, absent);
    return FALSE;
}
