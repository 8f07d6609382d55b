/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Graphviz: groups as clusters, the PCI tree as edges. */
#include <string.h>

#include "udev/report.h"

static char *quoted(const char *text)
{
    GString *out = g_string_new("\"");

    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            g_string_append_c(out, '\\');
        g_string_append_c(out, *text);
    }
    g_string_append_c(out, '"');
    return g_string_free(out, FALSE);
}

static const char *fill_of(const DkvmReport *report, const DkvmDevice *device)
{
    static const char *const fills[] = {"#d4edda", "#fff1c9", "#f8d7da"};

    if (dkvm_device_is_bridge(device))
        return "#eceff3";
    return fills[dkvm_report_verdict(report, device)->answer];
}

static void add_node(GString *out, const DkvmReport *report, const DkvmDevice *device)
{
    g_autofree char *title = dkvm_device_title(device);
    g_autofree char *title_quoted = quoted(title);
    g_autofree char *notes = dkvm_report_notes(report, device);
    g_autofree char *notes_quoted = quoted(notes);

    /* The quoted parts without their quotation marks, joined by line ends that dot understands. */
    title_quoted[strlen(title_quoted) - 1] = '\0';
    notes_quoted[strlen(notes_quoted) - 1] = '\0';
    g_string_append_printf(
        out,
        "        \"%s\" [label=\"%s  %s\\n%s\\n%s%s%s\", fillcolor=\"%s\", "
        "tooltip=\"%s\"];\n",
        device->name, dkvm_device_short(report->host, device), device->class_name, title_quoted + 1,
        device->driver ? device->driver : "no driver", *notes ? "; " : "", notes_quoted + 1,
        fill_of(report, device), dkvm_report_word(report, device));
}

static void add_edges(GString *out, const DkvmHost *host)
{
    for (guint i = 0; i < host->devices->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(host->devices, i);

        if (device->parent)
            g_string_append_printf(out, "    \"%s\" -- \"%s\";\n", device->parent->name,
                                   device->name);
    }
}

char *dkvm_report_dot(const DkvmReport *report)
{
    GString *out = g_string_new("graph iommu {\n");
    g_autofree char *title = dkvm_report_title(report);
    g_autofree char *title_quoted = quoted(title);
    g_autoptr(GPtrArray) alone = dkvm_report_ungrouped(report);

    g_string_append_printf(out,
                           "    graph [label=%s, labelloc=t, rankdir=LR, fontname=\"sans-serif\", "
                           "nodesep=0.15];\n"
                           "    node [shape=box, style=\"filled,rounded\", "
                           "fontname=\"sans-serif\", fontsize=10];\n"
                           "    edge [color=\"#98a2b3\"];\n",
                           title_quoted);
    for (guint i = 0; i < report->host->groups->len; i++) {
        const DkvmGroup *group = g_ptr_array_index(report->host->groups, i);

        g_string_append_printf(out,
                               "    subgraph cluster_%d {\n"
                               "        label=\"Group %d\"; style=rounded; color=\"#667085\";\n",
                               group->number, group->number);
        for (guint k = 0; k < group->devices->len; k++)
            add_node(out, report, g_ptr_array_index(group->devices, k));
        g_string_append(out, "    }\n");
    }
    for (guint i = 0; i < alone->len; i++)
        add_node(out, report, g_ptr_array_index(alone, i));
    add_edges(out, report->host);
    g_string_append(out, "}\n");
    return g_string_free(out, FALSE);
}
