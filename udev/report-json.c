/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The report for programs; its members are documented in dkvm-iommu(1), JSON. */
#include "udev/report.h"

#include <json-glib/json-glib.h>

#include "udev/holders.h"

#define SCHEMA 1

static void add_text(JsonBuilder *b, const char *member, const char *text)
{
    json_builder_set_member_name(b, member);
    if (text)
        json_builder_add_string_value(b, text);
    else
        json_builder_add_null_value(b);
}

static void add_number(JsonBuilder *b, const char *member, gint64 number)
{
    json_builder_set_member_name(b, member);
    json_builder_add_int_value(b, number);
}

static void add_flag(JsonBuilder *b, const char *member, gboolean flag)
{
    json_builder_set_member_name(b, member);
    json_builder_add_boolean_value(b, flag);
}

/* -1: not known. */
static void add_tristate(JsonBuilder *b, const char *member, int value)
{
    json_builder_set_member_name(b, member);
    if (value < 0)
        json_builder_add_null_value(b);
    else
        json_builder_add_boolean_value(b, value == 1);
}

static void begin_array(JsonBuilder *b, const char *member)
{
    json_builder_set_member_name(b, member);
    json_builder_begin_array(b);
}

static void add_ids(JsonBuilder *b, const char *member, guint first, guint second)
{
    char text[16];

    (void)g_snprintf(text, sizeof text, "%04x:%04x", first, second);
    add_text(b, member, text);
}

static void add_identity(JsonBuilder *b, const DkvmIdentity *id)
{
    add_ids(b, "ids", id->vendor, id->device);
    add_ids(b, "subsystem", id->subvendor, id->subdevice);
    add_text(b, "path", id->path);
    g_autofree char *serial =
        id->has_serial ? g_strdup_printf("%016" G_GINT64_MODIFIER "x", id->serial) : NULL;
    add_text(b, "serial", serial);
}

static void add_bars(JsonBuilder *b, const DkvmDevice *device)
{
    begin_array(b, "bars");
    for (guint i = 0; i < DKVM_BARS; i++) {
        const DkvmBar *bar = &device->bars[i];

        if (bar->size == 0)
            continue;
        json_builder_begin_object(b);
        add_number(b, "bar", i);
        add_text(b, "space", bar->io ? "io" : "memory");
        add_number(b, "bytes", (gint64)bar->size);
        begin_array(b, "possible-mib");
        for (guint bit = 0; bit < 43; bit++) {
            if (bar->possible >> bit & 1)
                json_builder_add_int_value(b, (gint64)1 << bit);
        }
        json_builder_end_array(b);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

static void add_words(JsonBuilder *b, const char *member, const char *text)
{
    g_auto(GStrv) words = g_strsplit_set(text ? text : "", " ,", -1);

    begin_array(b, member);
    for (char **word = words; *word; word++) {
        if (**word)
            json_builder_add_string_value(b, *word);
    }
    json_builder_end_array(b);
}

static void add_uses(JsonBuilder *b, const DkvmDevice *device)
{
    begin_array(b, "uses");
    for (guint i = 0; i < device->uses->len; i++) {
        const DkvmUse *use = g_ptr_array_index(device->uses, i);

        json_builder_begin_object(b);
        add_text(b, "kind", dkvm_use_kind_name(use->kind));
        add_text(b, "what", use->what);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

/* Null unless devices were named: it takes a look at every process. */
static void add_holders(JsonBuilder *b, const DkvmDevice *device, gboolean named)
{
    g_autoptr(GPtrArray) holders = named ? dkvm_holders(device, NULL) : NULL;

    if (!holders) {
        add_text(b, "holders", NULL);
        return;
    }
    begin_array(b, "holders");
    for (guint i = 0; i < holders->len; i++) {
        const DkvmHolder *holder = g_ptr_array_index(holders, i);

        json_builder_begin_object(b);
        add_number(b, "pid", holder->pid);
        add_text(b, "command", holder->command);
        add_text(b, "node", holder->node);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

static void add_reasons(JsonBuilder *b, const char *member, DkvmAnswer answer,
                        const GPtrArray *reasons)
{
    json_builder_set_member_name(b, member);
    json_builder_begin_object(b);
    add_text(b, "verdict", dkvm_answer_name(answer));
    begin_array(b, "reasons");
    for (guint i = 0; i < reasons->len; i++) {
        const DkvmReason *reason = g_ptr_array_index(reasons, i);

        json_builder_begin_object(b);
        add_text(b, "code", reason->code);
        add_text(b, "weight", dkvm_answer_name(reason->weight));
        add_text(b, "text", reason->text);
        add_text(b, "todo", reason->todo);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    json_builder_end_object(b);
}

static void add_verdict(JsonBuilder *b, const DkvmVerdict *verdict)
{
    add_text(b, "answer", dkvm_answer_name(verdict->answer));
    begin_array(b, "with");
    for (guint i = 0; i < verdict->with->len; i++) {
        const DkvmWith *with = g_ptr_array_index(verdict->with, i);

        json_builder_begin_object(b);
        add_text(b, "bdf", with->device->name);
        add_text(b, "why", with->why == DKVM_WITH_CARD ? "card" : "group");
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    add_reasons(b, "kernel", verdict->kernel, verdict->kernel_reasons);
    add_reasons(b, "host", verdict->host, verdict->host_reasons);
}

static void add_reserved(JsonBuilder *b, const DkvmReport *report, const DkvmDevice *device)
{
    const char *difference = NULL;
    const DkvmReservation *entry = dkvm_reservation_of(report->reservations, device, &difference);

    add_flag(b, "reserved", entry && !difference);
}

static void add_device(JsonBuilder *b, const DkvmReport *report, DkvmDevice *device, gboolean named)
{
    g_auto(GStrv) modules = dkvm_device_modules(report->host, device);
    char class_code[8];

    dkvm_device_read_capabilities(device);
    json_builder_begin_object(b);
    add_text(b, "bdf", device->name);
    add_identity(b, &device->id);
    (void)g_snprintf(class_code, sizeof class_code, "%06x", device->class_code);
    add_text(b, "class", class_code);
    add_text(b, "class-name", device->class_name);
    add_text(b, "vendor-name", device->vendor_name);
    add_text(b, "device-name", device->device_name);
    add_number(b, "header-type", device->header_type);
    add_text(b, "parent", device->parent ? device->parent->name : NULL);
    add_text(b, "physical-function", device->physical_name);
    add_number(b, "virtual-functions", device->virtuals);
    json_builder_set_member_name(b, "group");
    if (device->group)
        json_builder_add_int_value(b, device->group->number);
    else
        json_builder_add_null_value(b);
    add_text(b, "driver", device->driver);
    add_text(b, "driver-override", device->driver_override);
    add_text(b, "modalias", device->modalias);
    begin_array(b, "modules");
    for (char **module = modules; *module; module++)
        json_builder_add_string_value(b, *module);
    json_builder_end_array(b);
    add_tristate(b, "boot-vga", device->boot_vga);
    add_tristate(b, "pcie", device->is_pcie);
    add_tristate(b, "acs", device->acs);
    add_words(b, "reset-methods", device->reset_methods);
    add_bars(b, device);
    add_uses(b, device);
    add_holders(b, device, named);
    add_reserved(b, report, device);
    add_verdict(b, dkvm_report_verdict(report, device));
    json_builder_end_object(b);
}

static void add_host(JsonBuilder *b, const DkvmReport *report)
{
    const DkvmHost *host = report->host;

    json_builder_set_member_name(b, "host");
    json_builder_begin_object(b);
    add_text(b, "kernel", host->kernel);
    add_text(b, "rule", host->dma_ownership ? "dma-ownership" : "viable-drivers");
    add_text(b, "cpu-vendor", host->cpu_vendor);
    add_flag(b, "iommu", host->groups->len > 0);
    add_flag(b, "firmware-describes-iommu", host->dmar || host->ivrs);
    add_text(b, "acs-override", host->acs_override);
    g_autofree char *advice = host->groups->len == 0 ? dkvm_iommu_advice(host) : NULL;
    add_text(b, "kernel-argument", host->groups->len == 0 ? dkvm_iommu_argument(host) : NULL);
    add_text(b, "advice", advice);
    begin_array(b, "warnings");
    for (guint i = 0; i < report->warnings->len; i++)
        json_builder_add_string_value(b, g_ptr_array_index(report->warnings, i));
    json_builder_end_array(b);
    json_builder_end_object(b);
}

static void add_groups(JsonBuilder *b, const DkvmReport *report)
{
    begin_array(b, "groups");
    for (guint i = 0; i < report->host->groups->len; i++) {
        const DkvmGroup *group = g_ptr_array_index(report->host->groups, i);

        json_builder_begin_object(b);
        add_number(b, "number", group->number);
        add_text(b, "type", group->type);
        begin_array(b, "devices");
        for (guint k = 0; k < group->devices->len; k++)
            json_builder_add_string_value(
                b, ((const DkvmDevice *)g_ptr_array_index(group->devices, k))->name);
        json_builder_end_array(b);
        begin_array(b, "others");
        for (guint k = 0; k < group->others->len; k++)
            json_builder_add_string_value(b, g_ptr_array_index(group->others, k));
        json_builder_end_array(b);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

char *dkvm_report_json(const DkvmReport *report, const GPtrArray *devices)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    g_autoptr(JsonNode) root = NULL;
    gboolean named = devices != NULL;

    devices = devices ? devices : report->host->devices;
    json_builder_begin_object(b);
    add_number(b, "schema", SCHEMA);
    add_host(b, report);
    add_groups(b, report);
    begin_array(b, "devices");
    for (guint i = 0; i < devices->len; i++)
        add_device(b, report, g_ptr_array_index(devices, i), named);
    json_builder_end_array(b);
    json_builder_end_object(b);
    root = json_builder_get_root(b);
    g_autofree char *text = json_to_string(root, TRUE);
    return g_strconcat(text, "\n", NULL);
}
