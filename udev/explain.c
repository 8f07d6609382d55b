/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One device, in sentences. */
#include <string.h>

#include "udev/holders.h"
#include "udev/report.h"

static void say_what(const DkvmReport *report, DkvmDevice *device, GString *text)
{
    g_autofree char *title = dkvm_device_title(device);
    g_auto(GStrv) modules = dkvm_device_modules(report->host, device);
    g_autofree char *list = g_strjoinv(", ", modules);

    g_string_append_printf(text, "%s is %s (%s, %04x:%04x", device->name, title, device->class_name,
                           device->id.vendor, device->id.device);
    if (device->id.subvendor)
        g_string_append_printf(text, ", subsystem %04x:%04x", device->id.subvendor,
                               device->id.subdevice);
    g_string_append(text, "), ");
    if (device->group)
        g_string_append_printf(text, "in IOMMU group %d%s%s%s, ", device->group->number,
                               device->group->type ? " (" : "",
                               device->group->type ? device->group->type : "",
                               device->group->type ? ")" : "");
    else
        g_string_append(text, "in no IOMMU group, ");
    g_string_append_printf(text, "%s%s.", device->driver ? "driven by " : "without a driver",
                           device->driver ? device->driver : "");
    if (device->physical_name)
        g_string_append_printf(text, " It is a virtual function (SR-IOV) of %s.",
                               device->physical_name);
    if (*list)
        g_string_append_printf(text, " Modules that would take it: %s.", list);
}

static void append_size(GString *text, guint64 bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    gsize unit = 0;

    while (bytes >= 1024 && bytes % 1024 == 0 && unit + 1 < G_N_ELEMENTS(units)) {
        bytes /= 1024;
        unit++;
    }
    g_string_append_printf(text, "%" G_GUINT64_FORMAT " %s", bytes, units[unit]);
}

static void say_bars(const DkvmDevice *device, GString *text)
{
    gboolean first = TRUE;

    for (guint i = 0; i < DKVM_BARS; i++) {
        const DkvmBar *bar = &device->bars[i];
        guint64 largest = 0;

        if (bar->size == 0 || bar->io)
            continue;
        g_string_append_printf(text, "%sBAR %u: ", first ? " Memory: " : ", ", i);
        append_size(text, bar->size);
        for (guint bit = 0; bit < 43; bit++)
            largest = bar->possible >> bit & 1 ? (guint64)1 << (bit + 20) : largest;
        if (largest > 0) {
            g_string_append(text, " (can be up to ");
            append_size(text, largest);
            g_string_append_c(text, ')');
        }
        first = FALSE;
    }
    if (!first)
        g_string_append_c(text, '.');
    if (device->reset_methods)
        g_string_append_printf(text, " Reset: %s.", device->reset_methods);
}

static void say_answer(const DkvmReport *report, const DkvmDevice *device, GString *text)
{
    static const char *const words[] = {"Yes: it can go to a guest", "Yes, but",
                                        "No: it cannot go to a guest as things are"};
    const DkvmVerdict *verdict = dkvm_report_verdict(report, device);
    g_autofree char *with = dkvm_report_with(report, device);

    g_string_append(text, words[verdict->answer]);
    if (verdict->answer == DKVM_ANSWER_COSTS)
        g_string_append(text, " the host goes without something: it can go to a guest");
    if (verdict->answer != DKVM_ANSWER_NO && *with)
        g_string_append_printf(text, ", together with %s", with);
    g_string_append_printf(text, ". (Kernel: %s. Host: %s.)\n", dkvm_answer_name(verdict->kernel),
                           dkvm_answer_name(verdict->host));
}

static void say_reasons(const GPtrArray *reasons, GString *text)
{
    for (guint i = 0; i < reasons->len; i++) {
        const DkvmReason *reason = g_ptr_array_index(reasons, i);

        g_string_append_printf(text, "- %s%s%s\n", reason->text, reason->todo ? " " : "",
                               reason->todo ? reason->todo : "");
    }
}

static void say_with(const DkvmReport *report, const DkvmDevice *device, GString *text)
{
    const DkvmVerdict *verdict = dkvm_report_verdict(report, device);

    for (guint i = 0; i < verdict->with->len; i++) {
        const DkvmWith *with = g_ptr_array_index(verdict->with, i);
        g_autofree char *title = dkvm_device_title(with->device);

        g_string_append_printf(text, "- %s, %s, goes along: %s.\n",
                               dkvm_device_short(report->host, with->device), title,
                               with->why == DKVM_WITH_CARD
                                   ? "it is a function of the same card"
                                   : "it is in the same group and has to leave its driver");
    }
}

static void say_use(const DkvmReport *report, const DkvmDevice *device, GString *text)
{
    g_autofree char *notes = dkvm_report_notes(report, device);
    g_autofree char *holders = dkvm_holders_text(device);

    if (*notes)
        g_string_append_printf(text, "In use on this host: %s.\n", notes);
    if (*holders)
        g_string_append_printf(text, "Held open by: %s.\n", holders);
}

char *dkvm_report_explain(const DkvmReport *report, DkvmDevice *device, guint bus)
{
    const DkvmVerdict *verdict = dkvm_report_verdict(report, device);
    GString *text = g_string_new(NULL);

    say_what(report, device, text);
    say_bars(device, text);
    g_string_append_c(text, '\n');
    say_answer(report, device, text);
    say_reasons(verdict->kernel_reasons, text);
    say_reasons(verdict->host_reasons, text);
    if (verdict->answer != DKVM_ANSWER_NO)
        say_with(report, device, text);
    say_use(report, device, text);
    if (verdict->answer != DKVM_ANSWER_NO) {
        g_autofree char *xml = dkvm_hostdev_xml(report, device, bus);

        g_string_append_printf(text,
                               "\nFor virt-manager's XML tab, inside <devices> (another bus than "
                               "0x%02x if the guest already uses it):\n\n%s",
                               bus, xml);
    }
    return g_string_free(text, FALSE);
}
