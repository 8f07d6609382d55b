/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* <hostdev> elements (libvirt, docs/formatdomain.rst, "USB / PCI / SCSI devices"). */
#include "udev/report.h"

#include <string.h>

/* Names come from hwdb; "--" ends an XML comment. */
static char *comment_text(const DkvmDevice *device)
{
    g_autofree char *title = dkvm_device_title(device);
    g_auto(GStrv) parts = g_strsplit(title, "-", -1);
    GString *text = g_string_new(NULL);

    for (char **part = parts; *part; part++) {
        if (part != parts && **part && text->len && text->str[text->len - 1] != '-')
            g_string_append_c(text, '-');
        g_string_append(text, *part);
    }
    return g_string_free(text, FALSE);
}

static void add_element(GString *xml, const DkvmReport *report, const DkvmDevice *device, guint bus,
                        guint function, gboolean several)
{
    const DkvmBdf *bdf = &device->id.bdf;
    g_autofree char *title = comment_text(device);

    g_string_append_printf(xml, "<!-- %s: %s -->\n", dkvm_device_short(report->host, device),
                           title);
    g_string_append_printf(xml,
                           "<hostdev mode='subsystem' type='pci' managed='yes'>\n"
                           "  <driver name='vfio'/>\n"
                           "  <source>\n"
                           "    <address domain='0x%04x' bus='0x%02x' slot='0x%02x' "
                           "function='0x%x'/>\n"
                           "  </source>\n",
                           bdf->domain, bdf->bus, bdf->slot, bdf->function);
    g_string_append_printf(xml,
                           "  <address type='pci' domain='0x0000' bus='0x%02x' slot='0x00' "
                           "function='0x%x'%s/>\n"
                           "</hostdev>\n",
                           bus, function, several ? " multifunction='on'" : "");
}

/* macOS finds the sound of a card at function 1 of the GPU's slot, whatever the host has it at. */
char *dkvm_hostdev_xml(const DkvmReport *report, DkvmDevice *device, guint bus)
{
    const DkvmVerdict *verdict = dkvm_report_verdict(report, device);
    g_autoptr(GPtrArray) functions = g_ptr_array_new();
    GString *xml = g_string_new(NULL);

    for (guint i = 0; i < verdict->with->len; i++) {
        const DkvmWith *with = g_ptr_array_index(verdict->with, i);
        guint at = with->device->class_code >> 8 == 0x0403 ? 0 : functions->len;

        if (with->why == DKVM_WITH_CARD && functions->len < 7)
            g_ptr_array_insert(functions, (gint)at, with->device);
    }
    add_element(xml, report, device, bus, 0, functions->len > 0);
    for (guint i = 0; i < functions->len; i++)
        add_element(xml, report, g_ptr_array_index(functions, i), bus, i + 1, FALSE);
    return g_string_free(xml, FALSE);
}
