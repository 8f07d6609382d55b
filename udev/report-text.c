/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tree for people. */
#include "udev/report.h"

#include <string.h>

#define RED "\033[31m"
#define GREEN "\033[32m"
#define YELLOW "\033[33m"
#define DIM "\033[2m"
#define BOLD "\033[1m"
#define PLAIN "\033[0m"

/* Names beyond this are cut, so that one odd device does not push a whole column away. */
#define MAX_TITLE 58

typedef struct {
    const DkvmReport *report;
    gboolean colour;
    GString *out;
    glong word, name, class, title, driver; /* widths in characters */
} Table;

static char *cut_title(const DkvmDevice *device)
{
    g_autofree char *title = dkvm_device_title(device);

    if (g_utf8_strlen(title, -1) <= MAX_TITLE)
        return g_steal_pointer(&title);
    g_autofree char *start = g_utf8_substring(title, 0, MAX_TITLE - 3);
    return g_strconcat(g_strchomp(start), "...", NULL);
}

static void measure(Table *table)
{
    const DkvmHost *host = table->report->host;

    for (guint i = 0; i < host->devices->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(host->devices, i);
        g_autofree char *title = cut_title(device);

        table->word = MAX(table->word, g_utf8_strlen(dkvm_report_word(table->report, device), -1));
        table->name = MAX(table->name, (glong)strlen(dkvm_device_short(host, device)));
        table->class = MAX(table->class, g_utf8_strlen(device->class_name, -1));
        table->title = MAX(table->title, g_utf8_strlen(title, -1));
        table->driver =
            MAX(table->driver, g_utf8_strlen(device->driver ? device->driver : "-", -1));
    }
}

static const char *colour_of(const DkvmReport *report, const DkvmDevice *device)
{
    static const char *const colours[] = {GREEN, YELLOW, RED};

    if (dkvm_device_is_bridge(device))
        return DIM;
    return colours[dkvm_report_verdict(report, device)->answer];
}

static void put(Table *table, const char *text, glong width, const char *colour)
{
    glong pad = width - g_utf8_strlen(text, -1);

    if (table->colour && colour)
        g_string_append_printf(table->out, "%s%s" PLAIN, colour, text);
    else
        g_string_append(table->out, text);
    for (; pad > 0; pad--)
        g_string_append_c(table->out, ' ');
    g_string_append(table->out, "  ");
}

static void end_line(Table *table)
{
    while (table->out->len > 0 && table->out->str[table->out->len - 1] == ' ')
        g_string_truncate(table->out, table->out->len - 1);
    g_string_append_c(table->out, '\n');
}

static void put_device(Table *table, const DkvmDevice *device)
{
    const DkvmReport *report = table->report;
    g_autofree char *title = cut_title(device);
    g_autofree char *notes = dkvm_report_notes(report, device);
    g_autofree char *with = dkvm_report_with(report, device);
    const char *dim = dkvm_device_is_bridge(device) ? DIM : NULL;
    gboolean goes = dkvm_report_verdict(report, device)->answer != DKVM_ANSWER_NO;
    char ids[16];

    (void)g_snprintf(ids, sizeof ids, "%04x:%04x", device->id.vendor, device->id.device);
    g_string_append(table->out, "  ");
    put(table, dkvm_report_word(report, device), table->word, colour_of(report, device));
    put(table, dkvm_device_short(report->host, device), table->name, dim ? dim : BOLD);
    put(table, device->class_name, table->class, dim);
    put(table, title, table->title, dim);
    put(table, ids, 9, dim);
    put(table, device->driver ? device->driver : "-", table->driver, dim);
    if (goes && *with)
        g_string_append_printf(table->out, "with %s%s", with, *notes ? "; " : "");
    g_string_append(table->out, notes);
    end_line(table);
}

static void put_reasons(Table *table, const GPtrArray *devices)
{
    for (guint i = 0; i < devices->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(devices, i);
        const DkvmVerdict *verdict = dkvm_report_verdict(table->report, device);
        const GPtrArray *both[] = {verdict->kernel_reasons, verdict->host_reasons};

        /* Nobody asks about a bridge or the chipset; why a card cannot go is asked. */
        if (verdict->answer != DKVM_ANSWER_NO || !dkvm_device_is_gpu(device))
            continue;
        for (gsize k = 0; k < G_N_ELEMENTS(both); k++) {
            for (guint r = 0; r < both[k]->len; r++) {
                const DkvmReason *reason = g_ptr_array_index(both[k], r);

                if (reason->weight == DKVM_ANSWER_NO)
                    g_string_append_printf(table->out, "      %s: %s\n",
                                           dkvm_device_short(table->report->host, device),
                                           reason->text);
            }
        }
    }
}

static void put_group(Table *table, const char *title, const GPtrArray *devices,
                      const GPtrArray *others)
{
    g_string_append_printf(table->out, "\n%s%s%s\n", table->colour ? BOLD : "", title,
                           table->colour ? PLAIN : "");
    for (guint i = 0; i < devices->len; i++)
        put_device(table, g_ptr_array_index(devices, i));
    for (guint i = 0; others && i < others->len; i++)
        g_string_append_printf(table->out, "  %-*s  %s (no PCI device)\n", (int)table->word, "-",
                               (const char *)g_ptr_array_index(others, i));
    put_reasons(table, devices);
}

char *dkvm_report_text(const DkvmReport *report, gboolean colour)
{
    Table table = {.report = report, .colour = colour, .out = g_string_new(NULL)};
    g_autofree char *title = dkvm_report_title(report);
    g_autoptr(GPtrArray) alone = dkvm_report_ungrouped(report);

    measure(&table);
    g_string_append_printf(table.out, "%s\n", title);
    for (guint i = 0; i < report->warnings->len; i++)
        g_string_append_printf(table.out, "%sWarning:%s %s\n", colour ? YELLOW : "",
                               colour ? PLAIN : "",
                               (const char *)g_ptr_array_index(report->warnings, i));
    for (guint i = 0; i < report->host->groups->len; i++) {
        const DkvmGroup *group = g_ptr_array_index(report->host->groups, i);
        g_autofree char *name = g_strdup_printf("Group %d", group->number);

        put_group(&table, name, group->devices, group->others);
    }
    if (alone->len > 0)
        put_group(&table, "In no group", alone, NULL);
    return g_string_free(table.out, FALSE);
}
