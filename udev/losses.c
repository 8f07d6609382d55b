/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host's verdict: what would be lost. */
#include <string.h>

#include "udev/verdict-private.h"

static const DkvmDevice *taken(const DkvmDevice *device, const GPtrArray *with, guint i)
{
    if (i == 0)
        return device;
    return ((const DkvmWith *)g_ptr_array_index(with, i - 1))->device;
}

/* "It" for the device itself, "05:00.0 in its group" for what goes along. */
static char *subject(const DkvmHost *host, const DkvmDevice *device, const DkvmDevice *one)
{
    if (one == device)
        return g_strdup("It");
    return g_strdup_printf("%s, which goes along,", dkvm_device_short(host, one));
}

/* ---- storage and network ---------------------------------------------------------------- */

/* All uses of one kind in one text: "/ (sda2), /home (sda3)". */
static char *uses_text(const DkvmDevice *device, DkvmUseKind kind)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < device->uses->len; i++) {
        const DkvmUse *use = g_ptr_array_index(device->uses, i);

        if (use->kind == kind)
            g_string_append_printf(text, "%s%s", text->len ? ", " : "", use->what);
    }
    return g_string_free(text, FALSE);
}

static void judge_use(const DkvmHost *host, const DkvmDevice *device, const DkvmDevice *one,
                      GPtrArray *reasons)
{
    static const struct {
        DkvmUseKind kind;
        const char *code, *what, *todo;
    } table[] = {
        {DKVM_USE_MOUNT, "file-system", "holds mounted file systems",
         "Unmount them, and take them out of /etc/fstab; the system's own disk has to stay."},
        {DKVM_USE_SWAP, "swap", "holds active swap space",
         "Turn it off (swapoff), and take it out of /etc/fstab."},
        {DKVM_USE_STACK, "volume", "is part of an active volume (LVM, LUKS or RAID)",
         "Close the volume first."},
        {DKVM_USE_ROUTE, "default-route", "carries the default route",
         "Connect the host through another interface first."},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autofree char *text = uses_text(one, table[i].kind);
        g_autofree char *who = subject(host, device, one);

        if (*text)
            dkvm_reason_add(reasons, DKVM_ANSWER_NO, table[i].code, table[i].todo, "%s %s: %s.",
                            who, table[i].what, text);
    }
}

/* ---- the chipset ------------------------------------------------------------------------ */

static gboolean is_chipset(const DkvmDevice *device)
{
    switch (device->class_code >> 8) {
    case 0x0600: /* host bridge */
    case 0x0601: /* ISA bridge: firmware, sensors, TPM */
    case 0x0806: /* IOMMU */
    case 0x0c05: /* SMBus */
        return TRUE;
    default:
        return FALSE;
    }
}

/* Registers and sensors of the processor and the chipset, on a root bus: nothing that a guest could
 * use, but what a driver may be moved off when a neighbour goes. */
static gboolean is_platform(const DkvmDevice *device)
{
    switch (device->class_code >> 8) {
    case 0x0500: /* shared memory */
    case 0x0580: /* power management registers */
    case 0x0880: /* uncore registers */
    case 0x1101: /* performance counters */
    case 0x1180: /* thermal sensors, telemetry */
        return device->parent == NULL;
    default:
        return FALSE;
    }
}

static void judge_chipset(const DkvmHost *host, const DkvmDevice *device, const DkvmDevice *one,
                          GPtrArray *reasons)
{
    g_autofree char *who = subject(host, device, one);

    if (is_chipset(one) || (one == device && is_platform(one)))
        dkvm_reason_add(reasons, DKVM_ANSWER_NO, "chipset",
                        one == device ? NULL
                                      : "Put the card into another slot, or look for a firmware "
                                        "setting that separates the groups (ACS).",
                        "%s is a part of the chipset (%s) that the host itself needs.", who,
                        one->class_name);
}

/* ---- the display ------------------------------------------------------------------------ */

static gboolean is_taken(const DkvmDevice *one, const DkvmDevice *device, const GPtrArray *with)
{
    for (guint i = 0; i <= with->len; i++) {
        if (taken(device, with, i) == one)
            return TRUE;
    }
    return FALSE;
}

/* A GPU that shows, or could show, the host's desktop. */
static gboolean is_display(const DkvmDevice *device)
{
    return dkvm_device_is_gpu(device) && (device->has_card || device->boot_vga == 1);
}

/* Displays of the host; only those that stay if LEFT. */
static guint displays(const DkvmHost *host, const DkvmDevice *device, const GPtrArray *with,
                      gboolean left)
{
    guint count = 0;

    for (guint i = 0; i < host->devices->len; i++) {
        const DkvmDevice *one = g_ptr_array_index(host->devices, i);

        count += is_display(one) && !(left && is_taken(one, device, with));
    }
    return count;
}

/* Asking about a card's sound is asking about the card. */
static gboolean is_function_of(const DkvmHost *host, const DkvmDevice *device,
                               const DkvmDevice *gpu)
{
    g_autoptr(GPtrArray) companions = dkvm_device_companions(host, (DkvmDevice *)gpu);

    return g_ptr_array_find(companions, device, NULL);
}

static void judge_display(const DkvmHost *host, const DkvmDevice *device, const GPtrArray *with,
                          GPtrArray *reasons)
{
    const DkvmDevice *shown = NULL;

    for (guint i = 0; i <= with->len && !shown; i++) {
        const DkvmDevice *one = taken(device, with, i);

        shown = is_display(one) ? one : NULL;
    }
    if (!shown)
        return;
    guint left = displays(host, device, with, TRUE);
    gboolean console = dkvm_device_has_use(shown, DKVM_USE_CONSOLE);

    if (!dkvm_device_is_gpu(device) && !is_function_of(host, device, shown)) {
        dkvm_reason_add(reasons, left ? DKVM_ANSWER_COSTS : DKVM_ANSWER_NO, "takes-display",
                        "If the display is to go too, ask about it instead.",
                        "The graphics card %s is in the same group and would go along%s.",
                        dkvm_device_short(host, shown),
                        left ? "" : ", and it is the only display of this host");
    } else if (left == 0) {
        dkvm_reason_add(reasons, DKVM_ANSWER_COSTS, "only-display",
                        "Log in over the network as well before you try it, and say "
                        "\"desktop = stop\" in dkvm.conf if the desktop may be ended.",
                        "It is the only display of this host: the desktop ends before the guest "
                        "starts, and the screen is the guest's until it is shut down.");
    } else if (console) {
        dkvm_reason_add(reasons, DKVM_ANSWER_COSTS, "console",
                        "Make the other card the first one in the firmware setup, and connect the "
                        "screen there.",
                        "The console and the start of this host are shown on it; another card "
                        "has to take them over.");
    }
}

/* ---- input, interfaces ------------------------------------------------------------------ */

typedef struct {
    guint keyboards, mice, nics;
} Count;

static Count count_taken(const DkvmDevice *device, const GPtrArray *with)
{
    Count count = {0};

    for (guint i = 0; i <= with->len; i++) {
        const DkvmDevice *one = taken(device, with, i);

        count.keyboards += one->keyboards;
        count.mice += one->mice;
        count.nics += one->nics;
    }
    return count;
}

static void judge_last(const DkvmHost *host, const DkvmDevice *device, const GPtrArray *with,
                       GPtrArray *reasons)
{
    Count count = count_taken(device, with);
    /* With one display the person sits at the guest, and the keyboard may go there with it. */
    gboolean one_display = displays(host, device, with, FALSE) < 2;

    if (count.nics > 0 && count.nics == host->nics)
        dkvm_reason_add(reasons, DKVM_ANSWER_NO, "last-nic", "Give the host another interface.",
                        "The host would be left without any network interface.");
    if (count.keyboards > 0 && count.keyboards == host->keyboards)
        dkvm_reason_add(reasons, one_display ? DKVM_ANSWER_COSTS : DKVM_ANSWER_NO, "only-keyboard",
                        "Plug a keyboard into another USB controller, or pass the keyboard as a "
                        "USB device or through evdev instead.",
                        "All keyboards of this host hang on it or on what goes along.");
    if (count.mice > 0 && count.mice == host->mice)
        dkvm_reason_add(reasons, DKVM_ANSWER_COSTS, "only-mouse",
                        "Plug a mouse into another USB controller if the host needs one.",
                        "All mice of this host hang on it or on what goes along.");
}

void dkvm_judge_host(const DkvmHost *host, const DkvmDevice *device, const GPtrArray *with,
                     GPtrArray *reasons)
{
    for (guint i = 0; i <= with->len; i++) {
        judge_use(host, device, taken(device, with, i), reasons);
        judge_chipset(host, device, taken(device, with, i), reasons);
    }
    judge_display(host, device, with, reasons);
    judge_last(host, device, with, reasons);
}

/* ---- hints ------------------------------------------------------------------------------ */

/* AMD GPUs that come back from a guest in a state that only vendor-reset repairs: Polaris, Vega,
 * Navi 10, 12 and 14 (its README). */
static gboolean has_reset_bug(const DkvmDevice *device)
{
    static const struct {
        guint16 first, last;
    } ranges[] = {{0x67c0, 0x67ff}, {0x6980, 0x699f}, {0x6860, 0x687f}, {0x69a0, 0x69af},
                  {0x66a0, 0x66af}, {0x7310, 0x731f}, {0x7340, 0x734f}, {0x7360, 0x7362}};

    for (gsize i = 0; device->id.vendor == 0x1002 && i < G_N_ELEMENTS(ranges); i++) {
        if (device->id.device >= ranges[i].first && device->id.device <= ranges[i].last)
            return !device->reset_methods || !strstr(device->reset_methods, "device_specific");
    }
    return FALSE;
}

static gboolean other_has_panel(const DkvmHost *host, const DkvmDevice *device)
{
    for (guint i = 0; i < host->devices->len; i++) {
        const DkvmDevice *one = g_ptr_array_index(host->devices, i);

        if (one != device && dkvm_device_is_gpu(one) && one->connectors > 0)
            return TRUE;
    }
    return FALSE;
}

static gboolean shares_bus(const DkvmHost *host, const DkvmDevice *device)
{
    for (guint i = 0; i < host->devices->len; i++) {
        const DkvmDevice *one = g_ptr_array_index(host->devices, i);

        if (one != device && one->parent == device->parent && one->group != device->group &&
            device->parent && !dkvm_bdf_same_slot(&one->id.bdf, &device->id.bdf))
            return TRUE;
    }
    return FALSE;
}

void dkvm_judge_hints(const DkvmHost *host, const DkvmDevice *device, GPtrArray *reasons)
{
    if (dkvm_device_is_gpu(device) && has_reset_bug(device))
        dkvm_reason_add(reasons, DKVM_ANSWER_YES, "reset-bug",
                        "Install the vendor-reset module, and reserve the card with "
                        "reset=device_specific; without it start the guest once per host boot.",
                        "This AMD GPU does not reset properly: the second start of a guest shows "
                        "nothing or hangs.");
    if (device->class_code >> 8 == 0x0302 ||
        (device->has_card && dkvm_device_is_gpu(device) && device->connectors == 0)) {
        if (other_has_panel(host, device))
            dkvm_reason_add(reasons, DKVM_ANSWER_YES, "no-outputs", NULL,
                            "It has no outputs of its own (a laptop without a mux): macOS cannot "
                            "show anything with it.");
    }
    if (host->version < 0x050f00 || dkvm_device_is_bridge(device) || is_chipset(device) ||
        is_platform(device))
        return;
    if (!device->reset_methods)
        dkvm_reason_add(reasons, DKVM_ANSWER_YES, "no-reset", NULL,
                        "The kernel knows no way to reset it, so a guest gets it as the one "
                        "before left it.");
    else if (g_str_equal(device->reset_methods, "bus") && shares_bus(host, device))
        dkvm_reason_add(reasons, DKVM_ANSWER_YES, "bus-reset", NULL,
                        "It can only be reset together with its whole bus, and other devices are "
                        "on that bus.");
}
