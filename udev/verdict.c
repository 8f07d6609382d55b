/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "udev/verdict.h"

#include <string.h>

#include "udev/verdict-private.h"

#define CLASS_UCSI 0x0c80
#define CLASS_USB 0x0c03
#define CLASS_AUDIO 0x0403

/* ---- reasons ---------------------------------------------------------------------------- */

static void reason_free(DkvmReason *reason)
{
    g_free(reason->text);
    g_free(reason->todo);
    g_free(reason);
}

void dkvm_reason_add(GPtrArray *reasons, DkvmAnswer weight, const char *code, const char *todo,
                     const char *format, ...)
{
    DkvmReason *reason = g_new0(DkvmReason, 1);
    va_list arguments;

    reason->weight = weight;
    reason->code = code;
    reason->todo = g_strdup(todo);
    va_start(arguments, format);
    reason->text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_ptr_array_add(reasons, reason);
}

GPtrArray *dkvm_reasons_new(void)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify)reason_free);
}

DkvmAnswer dkvm_reasons_weight(const GPtrArray *reasons)
{
    DkvmAnswer weight = DKVM_ANSWER_YES;

    for (guint i = 0; i < reasons->len; i++) {
        const DkvmReason *reason = g_ptr_array_index(reasons, i);

        weight = MAX(weight, reason->weight);
    }
    return weight;
}

const char *dkvm_answer_name(DkvmAnswer answer)
{
    static const char *const names[] = {"yes", "costs", "no"};

    return names[answer];
}

/* ---- what the kernel allows ------------------------------------------------------------- */

gboolean dkvm_driver_lets_go(const char *driver)
{
    /* Variants are named after the card: mlx5_vfio_pci, hisi-acc-vfio-pci, nvgrace-gpu-vfio-pci. */
    return !driver || strstr(driver, "vfio") || g_str_equal(driver, "pci-stub");
}

/* vfio_pci_dev_in_denylist(), drivers/vfio/pci/vfio_pci.c: known to be unsafe. */
static gboolean is_denied(const DkvmHost *host, const DkvmDevice *device)
{
    static const guint16 quick_assist[] = {0x19e2, 0x19e3, 0x37c8, 0x37c9, 0x0435, 0x0443};
    static const guint16 accelerators[] = {0x0b25, 0x0cfe};

    if (device->id.vendor != 0x8086)
        return FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(quick_assist); i++) {
        if (device->id.device == quick_assist[i])
            return host->version == 0 || host->version >= 0x050900;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(accelerators); i++) {
        if (device->id.device == accelerators[i])
            return host->version == 0 || host->version >= 0x060900;
    }
    return FALSE;
}

/* Bridges stay with the host; what matters is who drives them. */
static gboolean bridge_blocks(const DkvmHost *host, const DkvmDevice *bridge)
{
    if (!host->dma_ownership) /* vfio_dev_driver_allowed(): any device that is not type 0 */
        return FALSE;
    /* driver_managed_dma, drivers/pci/pcie/portdrv.c. */
    return !dkvm_driver_lets_go(bridge->driver) && !g_str_equal(bridge->driver, "pcieport");
}

static void judge_group(const DkvmHost *host, const DkvmGroup *group, GPtrArray *reasons)
{
    /* Without a driver they are as good as a PCI device without one. */
    for (guint i = 0; i < group->driven->len; i++) {
        const char *name = g_ptr_array_index(group->driven, i);

        dkvm_reason_add(reasons, DKVM_ANSWER_NO, "not-pci",
                        "Look for a firmware setting that turns that device off.",
                        "Its group %d also has %s, which is no PCI device and cannot be moved to "
                        "vfio-pci.",
                        group->number, name);
    }
    for (guint i = 0; i < group->devices->len; i++) {
        const DkvmDevice *member = g_ptr_array_index(group->devices, i);

        if (dkvm_device_is_bridge(member) && bridge_blocks(host, member)) {
            g_autofree char *todo =
                g_strdup_printf("Keep %s off it: unbind it in "
                                "/sys/bus/pci/drivers/%s, or blacklist the module.",
                                member->driver, member->driver);

            dkvm_reason_add(reasons, DKVM_ANSWER_NO, "bridge-driver", todo,
                            "The bridge %s in its group %d is driven by %s, which this kernel "
                            "does not let share a group with a guest.",
                            dkvm_device_short(host, member), group->number, member->driver);
        } else if (member->virtuals > 0) {
            /* vfio_pci_core_register_device(), drivers/vfio/pci/vfio_pci_core.c. */
            dkvm_reason_add(reasons, DKVM_ANSWER_NO, "has-virtual",
                            "Pass one of the virtual functions, or end them: write 0 to its "
                            "sriov_numvfs in sysfs.",
                            "%s has %u virtual functions (SR-IOV), and vfio-pci takes no device "
                            "that has some.",
                            dkvm_device_short(host, member), member->virtuals);
        } else if (!dkvm_device_is_bridge(member) && is_denied(host, member)) {
            dkvm_reason_add(reasons, DKVM_ANSWER_NO, "denied", NULL,
                            "vfio-pci refuses %s by its ids: it is known not to be safe in a "
                            "guest.",
                            dkvm_device_short(host, member));
        }
    }
    if (group->direct)
        dkvm_reason_add(reasons, DKVM_ANSWER_NO, "direct",
                        "Update the firmware, or turn off what it uses the device for (remote "
                        "management, legacy support).",
                        "The firmware keeps a memory region of its own for group %d (RMRR), so "
                        "the kernel gives it to no guest.",
                        group->number);
}

/* FALSE: there is no more to ask. */
static gboolean judge_place(const DkvmHost *host, const DkvmDevice *device, GPtrArray *reasons)
{
    if (dkvm_device_is_bridge(device)) {
        dkvm_reason_add(reasons, DKVM_ANSWER_NO, "bridge",
                        "Pass what is behind it; the bridge itself stays with the host.",
                        "It is a bridge, and vfio-pci takes endpoints only.");
        return FALSE;
    }
    if (!device->group) {
        dkvm_reason_add(reasons, DKVM_ANSWER_NO, "no-group",
                        host->groups->len == 0 ? "Turn the IOMMU on; dkvm-iommu says how." : NULL,
                        "It is in no IOMMU group, so nothing confines its memory access.");
        return FALSE;
    }
    return TRUE;
}

/* ONE is DEVICE, which is asked about, or goes along with it. */
static void judge_answer(const DkvmHost *host, const DkvmDevice *device, const DkvmDevice *one,
                         GPtrArray *reasons)
{
    if (one->gone)
        dkvm_reason_add(reasons, DKVM_ANSWER_NO, "no-answer",
                        "Start the host again; power-cycle it if that does not help.",
                        "%s does not answer: its configuration space reads all ones, as after a "
                        "failed reset or in deep sleep.",
                        one == device ? "It" : dkvm_device_short(host, one));
}

static void judge_kernel(const DkvmHost *host, const DkvmDevice *device, GPtrArray *reasons)
{
    if (!judge_place(host, device, reasons))
        return;
    judge_answer(host, device, device, reasons);
    judge_group(host, device->group, reasons);
}

/* ---- companions ------------------------------------------------------------------------- */

/* The upstream port of a switch on the card itself: made by the maker of the GPU. */
static const DkvmDevice *own_switch(const DkvmDevice *gpu)
{
    const DkvmDevice *down = gpu->parent, *up = down ? down->parent : NULL;

    if (!up || !up->parent || up->id.vendor != down->id.vendor)
        return NULL;
    /* Vega's switch has AMD's other number, 1022 instead of 1002. */
    if (up->id.vendor != gpu->id.vendor && !(gpu->id.vendor == 0x1002 && up->id.vendor == 0x1022))
        return NULL;
    /* An integrated GPU and its root ports are of one vendor too; a switch is below a port. */
    return dkvm_device_is_bridge(up) && dkvm_device_is_bridge(up->parent) ? up : NULL;
}

static gboolean is_below(const DkvmDevice *device, const DkvmDevice *bridge)
{
    for (const DkvmDevice *up = device->parent; up; up = up->parent) {
        if (up == bridge)
            return TRUE;
    }
    return FALSE;
}

/* In AMD's processors the USB controllers and the sound of the board share the slot of the GPU;
 * their vendor is 1022, what belongs to the GPU is 1002. */
static gboolean is_of_chipset(const DkvmDevice *gpu, const DkvmDevice *other)
{
    return gpu->id.vendor == 0x1002 && other->id.vendor != 0x1002;
}

GPtrArray *dkvm_device_companions(const DkvmHost *host, DkvmDevice *device)
{
    GPtrArray *found = g_ptr_array_new();
    const DkvmDevice *card = own_switch(device);

    if (!dkvm_device_is_gpu(device) || dkvm_device_is_bridge(device))
        return found;
    for (guint i = 0; i < host->devices->len; i++) {
        DkvmDevice *other = g_ptr_array_index(host->devices, i);
        guint class = other->class_code >> 8;

        if (other == device || dkvm_device_is_bridge(other) || is_of_chipset(device, other))
            continue;
        if (class != CLASS_AUDIO && class != CLASS_USB && class != CLASS_UCSI)
            continue;
        /* Root bus: the sound and USB of an Intel chipset are no part of its graphics. */
        if ((device->parent && dkvm_bdf_same_slot(&other->id.bdf, &device->id.bdf)) ||
            (card && is_below(other, card)))
            g_ptr_array_add(found, other);
    }
    return found;
}

/* ---- the verdict ------------------------------------------------------------------------ */

static int by_address(gconstpointer a, gconstpointer b)
{
    const DkvmWith *const *first = a, *const *second = b;

    return dkvm_bdf_compare(&(*first)->device->id.bdf, &(*second)->device->id.bdf);
}

static void add_with(GPtrArray *with, const DkvmDevice *self, DkvmDevice *device, DkvmWithWhy why)
{
    if (device == self)
        return;
    for (guint i = 0; i < with->len; i++) {
        DkvmWith *old = g_ptr_array_index(with, i);

        if (old->device == device) {
            old->why = MAX(old->why, why);
            return;
        }
    }
    DkvmWith *new = g_new0(DkvmWith, 1);
    new->device = device;
    new->why = why;
    g_ptr_array_add(with, new);
}

/* Everything in DEVICE's group that has to leave its driver. */
static void add_group(GPtrArray *with, const DkvmDevice *self, const DkvmDevice *device)
{
    for (guint i = 0; device->group && i < device->group->devices->len; i++) {
        DkvmDevice *member = g_ptr_array_index(device->group->devices, i);

        if (!dkvm_device_is_bridge(member) && !dkvm_driver_lets_go(member->driver))
            add_with(with, self, member, DKVM_WITH_GROUP);
    }
}

/* A companion in another group goes along if it can; if not, the card goes without it. */
static void add_companion(const DkvmHost *host, DkvmVerdict *verdict, DkvmDevice *device,
                          DkvmDevice *companion)
{
    g_autoptr(GPtrArray) reasons = dkvm_reasons_new();
    g_autoptr(GPtrArray) with = g_ptr_array_new_with_free_func(g_free);

    if (companion->group != device->group) {
        judge_kernel(host, companion, reasons);
        add_group(with, companion, companion);
        dkvm_judge_host(host, companion, with, reasons);
    }
    for (guint i = 0; i < reasons->len; i++) {
        const DkvmReason *reason = g_ptr_array_index(reasons, i);

        if (reason->weight == DKVM_ANSWER_NO) {
            dkvm_reason_add(verdict->host_reasons, DKVM_ANSWER_YES, "companion-stays", reason->todo,
                            "%s of the same card stays with the host: %s",
                            dkvm_device_short(host, companion), reason->text);
            return;
        }
    }
    add_with(verdict->with, device, companion, DKVM_WITH_CARD);
    add_group(verdict->with, device, companion);
}

DkvmVerdict *dkvm_verdict(const DkvmHost *host, DkvmDevice *device)
{
    DkvmVerdict *verdict = g_new0(DkvmVerdict, 1);
    g_autoptr(GPtrArray) companions = dkvm_device_companions(host, device);

    verdict->with = g_ptr_array_new_with_free_func(g_free);
    verdict->kernel_reasons = dkvm_reasons_new();
    verdict->host_reasons = dkvm_reasons_new();
    judge_kernel(host, device, verdict->kernel_reasons);
    verdict->kernel = dkvm_reasons_weight(verdict->kernel_reasons);
    if (!dkvm_device_is_bridge(device)) {
        add_group(verdict->with, device, device);
        for (guint i = 0; i < companions->len; i++)
            add_companion(host, verdict, device, g_ptr_array_index(companions, i));
        g_ptr_array_sort(verdict->with, by_address);
        dkvm_judge_host(host, device, verdict->with, verdict->host_reasons);
        dkvm_judge_hints(host, device, verdict->host_reasons);
    }
    verdict->host = dkvm_reasons_weight(verdict->host_reasons);
    verdict->answer = MAX(verdict->kernel, verdict->host);
    return verdict;
}

DkvmVerdict *dkvm_verdict_together(const DkvmHost *host, const GPtrArray *devices)
{
    DkvmVerdict *verdict = g_new0(DkvmVerdict, 1);
    DkvmDevice *last = g_ptr_array_index(devices, devices->len - 1);
    g_autoptr(GHashTable) groups = g_hash_table_new(NULL, NULL);

    verdict->with = g_ptr_array_new_with_free_func(g_free);
    verdict->kernel_reasons = dkvm_reasons_new();
    verdict->host_reasons = dkvm_reasons_new();
    for (guint i = 0; i < devices->len; i++) {
        DkvmDevice *device = g_ptr_array_index(devices, i);

        /* A group is judged once; each member has to answer for itself. */
        if (judge_place(host, device, verdict->kernel_reasons)) {
            judge_answer(host, last, device, verdict->kernel_reasons);
            if (g_hash_table_add(groups, device->group))
                judge_group(host, device->group, verdict->kernel_reasons);
        }
        add_with(verdict->with, last, device, DKVM_WITH_GROUP);
    }
    verdict->kernel = dkvm_reasons_weight(verdict->kernel_reasons);
    dkvm_judge_host(host, last, verdict->with, verdict->host_reasons);
    verdict->host = dkvm_reasons_weight(verdict->host_reasons);
    verdict->answer = MAX(verdict->kernel, verdict->host);
    return verdict;
}

void dkvm_verdict_free(DkvmVerdict *verdict)
{
    if (!verdict)
        return;
    g_ptr_array_unref(verdict->kernel_reasons);
    g_ptr_array_unref(verdict->host_reasons);
    g_ptr_array_unref(verdict->with);
    g_free(verdict);
}
