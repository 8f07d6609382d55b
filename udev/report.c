/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "udev/report.h"

#include <string.h>

static void add_warnings(DkvmReport *report)
{
    const DkvmHost *host = report->host;

    if (host->acs_override)
        g_ptr_array_add(
            report->warnings,
            g_strdup_printf("pcie_acs_override=%s is set: the groups are claimed, not enforced by "
                            "the hardware. A guest may reach the memory of devices that are shown "
                            "in other groups.",
                            host->acs_override));
    for (guint i = 0; i < host->notes->len; i++)
        g_ptr_array_add(report->warnings, g_strdup(g_ptr_array_index(host->notes, i)));
    for (guint i = 0; i < report->reservations->len; i++) {
        const DkvmReservation *entry = &g_array_index(report->reservations, DkvmReservation, i);
        const DkvmDevice *device = dkvm_host_device(host, &entry->id.bdf);
        const char *difference =
            device ? dkvm_identity_difference(&entry->id, &device->id) : "nothing there";
        char name[DKVM_BDF_SIZE];

        dkvm_bdf_format(&entry->id.bdf, name);
        if (difference)
            g_ptr_array_add(report->warnings,
                            g_strdup_printf("%s is reserved, but not the same device any more "
                                            "(%s), so nothing is done about it: dkvm-iommu "
                                            "--release %s, then reserve it anew.",
                                            name, difference, name));
    }
}

DkvmReport *dkvm_report_new(DkvmHost *host, GArray *reservations)
{
    DkvmReport *report = g_new0(DkvmReport, 1);

    report->host = host;
    report->reservations =
        reservations ? reservations : g_array_new(FALSE, FALSE, sizeof(DkvmReservation));
    report->warnings = g_ptr_array_new_with_free_func(g_free);
    report->verdicts = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)dkvm_verdict_free);
    for (guint i = 0; i < host->devices->len; i++) {
        DkvmDevice *device = g_ptr_array_index(host->devices, i);

        g_hash_table_insert(report->verdicts, device, dkvm_verdict(host, device));
    }
    add_warnings(report);
    return report;
}

void dkvm_report_free(DkvmReport *report)
{
    if (!report)
        return;
    g_hash_table_unref(report->verdicts);
    g_array_unref(report->reservations);
    g_ptr_array_unref(report->warnings);
    g_free(report);
}

const DkvmVerdict *dkvm_report_verdict(const DkvmReport *report, const DkvmDevice *device)
{
    return g_hash_table_lookup(report->verdicts, device);
}

const char *dkvm_report_word(const DkvmReport *report, const DkvmDevice *device)
{
    static const char *const words[] = {"yes", "yes, but", "no"};

    if (dkvm_device_is_bridge(device))
        return "-";
    return words[dkvm_report_verdict(report, device)->answer];
}

char *dkvm_report_notes(const DkvmReport *report, const DkvmDevice *device)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < device->uses->len; i++) {
        const DkvmUse *use = g_ptr_array_index(device->uses, i);
        const char *kind = dkvm_use_kind_name(use->kind);

        switch (use->kind) {
        case DKVM_USE_NIC:
            if (dkvm_device_has_use(device, DKVM_USE_ROUTE))
                continue;
            g_string_append_printf(text, "; %s", use->what);
            break;
        case DKVM_USE_MOUNT:
        case DKVM_USE_DISPLAY:
            g_string_append_printf(text, "; %s", use->what);
            break;
        case DKVM_USE_CONSOLE:
            g_string_append(text, "; console");
            break;
        case DKVM_USE_ROUTE:
            g_string_append_printf(text, "; default route (%s)", use->what);
            break;
        case DKVM_USE_KEYBOARD:
        case DKVM_USE_MOUSE:
            /* Names of input devices are long; one of each kind says enough. */
            if (!strstr(text->str, kind))
                g_string_append_printf(text, "; %s", kind);
            break;
        case DKVM_USE_SWAP:
        case DKVM_USE_STACK:
            g_string_append_printf(text, "; %s (%s)", kind, use->what);
            break;
        }
    }
    if (dkvm_reservation_of(report->reservations, device, NULL))
        g_string_append(text, "; reserved");
    if (text->len > 0)
        g_string_erase(text, 0, 2);
    return g_string_free(text, FALSE);
}

char *dkvm_report_with(const DkvmReport *report, const DkvmDevice *device)
{
    const DkvmVerdict *verdict = dkvm_report_verdict(report, device);
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < verdict->with->len; i++) {
        const DkvmWith *with = g_ptr_array_index(verdict->with, i);

        g_string_append_printf(text, "%s%s", i ? ", " : "",
                               dkvm_device_short(report->host, with->device));
    }
    return g_string_free(text, FALSE);
}

static const char *iommu_name(const DkvmHost *host)
{
    if (host->groups->len == 0)
        return "no IOMMU in use";
    if (host->dmar || g_strcmp0(host->cpu_vendor, "GenuineIntel") == 0)
        return "Intel VT-d";
    if (host->ivrs || g_strcmp0(host->cpu_vendor, "AuthenticAMD") == 0)
        return "AMD-Vi";
    return "IOMMU";
}

char *dkvm_report_title(const DkvmReport *report)
{
    const DkvmHost *host = report->host;

    return g_strdup_printf("Linux %s, %s, %u IOMMU group%s, %u devices",
                           host->kernel ? host->kernel : "of unknown version", iommu_name(host),
                           host->groups->len, host->groups->len == 1 ? "" : "s",
                           host->devices->len);
}

GPtrArray *dkvm_report_ungrouped(const DkvmReport *report)
{
    GPtrArray *devices = g_ptr_array_new();

    for (guint i = 0; i < report->host->devices->len; i++) {
        DkvmDevice *device = g_ptr_array_index(report->host->devices, i);

        if (!device->group)
            g_ptr_array_add(devices, device);
    }
    return devices;
}
