/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* irq-default, irq: interrupts of the host's own devices leave the CPUs that the guest's vCPUs are
 * pinned to (Documentation/core-api/irq/irq-affinity.rst).  Planned before the guest has its
 * devices, so that vfio's own interrupts are never among them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/paths.h"
#include "qemu-hook/cpus.h"
#include "qemu-hook/many.h"
#include "udev/host-private.h"
#include "udev/sysfs.h"

#define IRQS "/proc/irq"
#define DEFAULT IRQS "/default_smp_affinity"
#define MASK_MAX 1024  /* hexadecimal digits; as much as the worker writes */
#define WRITE_MS 10000 /* design: one blocked kernel write gets 10 s */

static const DkvmMany affinities = {IRQS "/", "/smp_affinity_list", TRUE};

/* ---- which CPUs ------------------------------------------------------------------------- */

/* FALSE: nothing is to be moved. */
static gboolean find_cpus(DkvmPlan *plan, DkvmNumbers *guest, DkvmNumbers *host)
{
    *guest = plan->wants->pinned;
    return plan->config->irqs_move && dkvm_numbers_count(guest) > 0 &&
           dkvm_cpus_of_host(plan, host) && dkvm_numbers_count(host) > 0 &&
           !dkvm_numbers_overlap(guest, host);
}

/* ---- irq-default ------------------------------------------------------------------------ */

/* Hexadecimal digits in groups, the lowest CPUs last: "ff", "0000000f,ffffffff" (%*pb). */
static gboolean parse_mask(const char *text, DkvmNumbers *cpus)
{
    guint first = 0;

    *cpus = (DkvmNumbers){0};
    for (const char *p = text + strlen(text); p > text; p--) {
        if (p[-1] == ',')
            continue;
        if (!g_ascii_isxdigit(p[-1]))
            return FALSE;
        for (guint bit = 0; bit < 4; bit++) {
            if (g_ascii_xdigit_value(p[-1]) >> bit & 1)
                dkvm_numbers_put(cpus, first + bit);
        }
        first += 4;
    }
    return first > 0;
}

/* CPUS in the shape of LIKE, as the kernel will print it. */
static char *mask_like(const char *like, const DkvmNumbers *cpus)
{
    static const char digits[] = "0123456789abcdef";
    char *mask = g_strdup(like);
    guint first = 0;

    for (char *p = mask + strlen(mask); p > mask; p--) {
        guint value = 0;

        if (p[-1] == ',')
            continue;
        for (guint bit = 0; bit < 4; bit++)
            value |= (guint)dkvm_numbers_has(cpus, first + bit) << bit;
        p[-1] = digits[value];
        first += 4;
    }
    return mask;
}

/* NULL, and why: 0 if it is not there. */
static char *read_default(int *cause)
{
    g_autofree char *path = dkvm_path(DEFAULT);
    char text[MASK_MAX];
    ssize_t length = dkvm_sysfs_line(AT_FDCWD, path, text, sizeof text);

    *cause = length >= 0 ? EOVERFLOW : errno == ENOENT ? 0 : errno;
    return length <= 0 || length >= MASK_MAX - 1 ? NULL : g_strdup(text);
}

static void plan_default(DkvmPlan *plan)
{
    int cause;
    g_autofree char *now = read_default(&cause);
    DkvmNumbers guest, host, mask;

    if (!now || !find_cpus(plan, &guest, &host) || !parse_mask(now, &mask) ||
        !dkvm_numbers_overlap(&mask, &guest))
        return;
    g_autofree char *then = mask_like(now, &host);

    dkvm_plan_add(plan, &dkvm_step_irq_default, "default_smp_affinity", now, then);
}

static char *look_default(DkvmHandover *handover, const DkvmAction *action)
{
    int cause;
    char *now = read_default(&cause);

    return now || cause == 0 ? now : g_strdup(DKVM_UNREADABLE);
}

static gboolean apply_default(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return dkvm_step_work(handover, action, DKVM_WORK_WRITE, DEFAULT, action->post, error);
}

static gboolean undo_default(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return dkvm_step_work(handover, action, DKVM_WORK_WRITE, DEFAULT, action->pre, error);
}

static char *text_default(const DkvmAction *action)
{
    return g_strdup_printf("new interrupts go to the CPUs in the mask %s instead of %s",
                           action->post, action->pre);
}

const DkvmStep dkvm_step_irq_default = {
    .name = "irq-default",
    .optional = TRUE,
    .later = TRUE,
    .deadline = WRITE_MS,
    .plan = plan_default,
    .look = look_default,
    .apply = apply_default,
    .undo = undo_default,
    .text = text_default,
};

/* ---- irq -------------------------------------------------------------------------------- */

static void add_numbers(const GPtrArray *names, DkvmNumbers *numbers)
{
    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        DkvmNumbers one;

        if (g_ascii_isdigit(*name) && dkvm_numbers_parse(name, &one))
            dkvm_numbers_add(numbers, &one);
    }
}

/* They end with the devices' drivers; their numbers may be the guest's afterwards. */
static void remove_taken(const DkvmPlan *plan, DkvmNumbers *irqs)
{
    DkvmNumbers taken = {0}, one;

    for (guint i = 0; i < plan->targets->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);
        g_autofree char *msi = g_strconcat(device->sysfs, "/msi_irqs", NULL);
        g_autofree char *line = g_strconcat(device->sysfs, "/irq", NULL);
        g_autofree char *text = dkvm_host_text(line, 16);
        g_autoptr(GPtrArray) names = dkvm_host_list(msi);

        add_numbers(names, &taken);
        if (text && dkvm_numbers_parse(text, &one))
            dkvm_numbers_add(&taken, &one);
    }
    dkvm_numbers_remove(irqs, &taken);
}

/* Since 6.12 one that the kernel manages itself cannot be written to (register_irq_proc); before
 * that only the attempt shows it. */
static gboolean is_fixed(guint irq)
{
    g_autofree char *file = g_strdup_printf(IRQS "/%u/smp_affinity_list", irq);
    g_autofree char *path = dkvm_path(file);
    struct stat st;

    return stat(path, &st) != 0 || (st.st_mode & S_IWUSR) == 0;
}

static gboolean is_on(guint irq, const DkvmNumbers *cpus)
{
    g_autofree char *text = dkvm_many_read(&affinities, irq);
    DkvmNumbers its;

    return text && dkvm_numbers_parse(text, &its) && dkvm_numbers_overlap(&its, cpus);
}

static gboolean balancer_runs(void)
{
    g_autoptr(GPtrArray) names = dkvm_host_list("/proc");

    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autofree char *file = g_strconcat("/proc/", name, "/comm", NULL);
        g_autofree char *comm = g_ascii_isdigit(*name) ? dkvm_host_text(file, 32) : NULL;

        if (comm && g_str_equal(g_strstrip(comm), "irqbalance"))
            return TRUE;
    }
    return FALSE;
}

static void plan_irq(DkvmPlan *plan)
{
    g_autoptr(GPtrArray) names = dkvm_host_list(IRQS);
    DkvmNumbers guest, host, irqs = {0}, moved = {0};

    if (!plan->config->irqs_move)
        return;
    if (!find_cpus(plan, &guest, &host)) {
        dkvm_plan_note(plan, "irqs = move does nothing: %s.",
                       dkvm_numbers_count(&guest) == 0 ? "the VM's vCPUs are not pinned (<vcpupin>)"
                                                       : "no CPU is left for the host");
        return;
    }
    add_numbers(names, &irqs);
    remove_taken(plan, &irqs);
    for (guint i = 0; i < DKVM_NUMBERS_MAX; i++) {
        if (dkvm_numbers_has(&irqs, i) && !is_fixed(i) && is_on(i, &guest))
            dkvm_numbers_put(&moved, i);
    }
    g_autofree char *to = dkvm_numbers_text(&host);

    dkvm_many_plan(plan, &dkvm_step_irq, &affinities, &moved, to);
    if (balancer_runs())
        dkvm_plan_note(plan, "irqbalance runs and will move interrupts back to the VM's CPUs: "
                             "stop it, or tell it with IRQBALANCE_BANNED_CPULIST.");
}

static char *look_irq(DkvmHandover *handover, const DkvmAction *action)
{
    return dkvm_many_look(&affinities, action);
}

static gboolean apply_irq(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return dkvm_many_apply(&affinities, handover, action, error);
}

static gboolean undo_irq(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return dkvm_many_undo(&affinities, handover, action, error);
}

static char *text_irq(const DkvmAction *action)
{
    return g_strdup_printf("move the interrupts %s from the CPUs %s to %s", action->target,
                           action->pre, action->post);
}

const DkvmStep dkvm_step_irq = {
    .name = "irq",
    .optional = TRUE,
    .later = TRUE,
    .deadline = WRITE_MS,
    .plan = plan_irq,
    .look = look_irq,
    .apply = apply_irq,
    .undo = undo_irq,
    .text = text_irq,
};
