/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/report.h"

static gboolean is_secret(const DkvmChange *change)
{
    return g_str_equal(change->part, "osk");
}

static void put_values(GString *line, const xmlNode *from, const xmlNode *to)
{
    for (const xmlAttr *a = from->properties; a != NULL; a = a->next) {
        const char *name = (const char *)a->name, *now = dkvm_xml_get(to, name);
        g_string_append_printf(line, " %s %s -> %s", name, dkvm_xml_get(from, name),
                               now ? now : "(absent)");
    }
    for (const xmlAttr *a = to->properties; a != NULL; a = a->next) {
        const char *name = (const char *)a->name;
        if (dkvm_xml_get(from, name) == NULL) {
            g_string_append_printf(line, " %s (absent) -> %s", name, dkvm_xml_get(to, name));
        }
    }
    if (from->children != NULL || to->children != NULL) {
        g_autofree char *was = dkvm_xml_text(from), *now = dkvm_xml_text(to);
        g_string_append_printf(line, " %s -> %s", was, now);
    }
}

char *dkvm_report_change(const DkvmChange *change, gboolean taken_back)
{
    GString *line = g_string_new(NULL);
    g_string_append_printf(line, "%s: %s:", change->part, change->at);
    if (change->kind == DKVM_CHANGE_SET) {
        if (is_secret(change)) {
            g_string_append(line, " changed");
        } else {
            put_values(line, taken_back ? change->now : change->was,
                       taken_back ? change->was : change->now);
        }
        return g_string_free(line, FALSE);
    }
    gboolean added = (change->kind == DKVM_CHANGE_ADD) != taken_back;
    g_string_append(line, added ? " added" : " removed");
    const xmlNode *node = change->now ? change->now : change->was;
    g_autofree char *text = dkvm_xml_text(node);
    const char *value = dkvm_xml_get(node, "value");
    if (!is_secret(change) && (value || *text)) {
        g_string_append_printf(line, " %s", value ? value : text);
    }
    return g_string_free(line, FALSE);
}

char *dkvm_report_kept(const DkvmChange *change)
{
    return g_strdup_printf(
        "%s: %s: changed by you, left as it is (--set %s=auto lets dkvm decide again)",
        change->part, change->unit, change->part);
}
