/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "lib/policy.h"
#include "xslt/added.h"
#include "xslt/addresses.h"
#include "xslt/commandline.h"
#include "xslt/domain.h"
#include "xslt/edited.h"
#include "xslt/marker.h"
#include "xslt/needs.h"
#include "xslt/report.h"
#include "xslt/undo.h"

/* The shape that we added does not outlive the number that it was for: libvirt refuses a topology
 * that is not the product.  An option that the user has put another one beside is still ours. */
static gboolean is_ours(const DkvmChange *change, gpointer data)
{
    gboolean shape = change->kind == DKVM_CHANGE_ADD && g_str_equal(change->at, "cpu/topology");
    if (change->needed) {
        return FALSE;
    }
    return !change->edited || change->doubled || (shape && !change->touched);
}

/* libvirt sorts disks by bus: back into the order that they had, which decides what boots. */
static void sort_disks(xmlNode *domain, const DkvmMarker *marker)
{
    xmlNode *devices = dkvm_xml_child(domain, "devices"), *last = NULL;
    g_auto(GStrv) order = g_strsplit(marker->disks ? marker->disks : "", " ", -1);
    for (char **dev = order; devices != NULL && *dev != NULL; dev++) {
        xmlNode *disk = dkvm_xml_element(devices->children);
        while (disk != NULL &&
               !(dkvm_xml_is(disk, "disk") &&
                 g_strcmp0(dkvm_xml_get(dkvm_xml_child(disk, "target"), "dev"), *dev) == 0)) {
            disk = dkvm_xml_element(disk->next);
        }
        if (disk != NULL) {
            xmlNode *first = dkvm_xml_child(devices, "disk");
            if (last != NULL && last->next != disk) {
                xmlAddNextSibling(last, disk);
            } else if (last == NULL && first != disk) {
                xmlAddPrevSibling(first, disk);
            }
            last = disk;
        }
    }
}

/* ---- the whole ---- */

/* The declaration that came with our <qemu:commandline>. */
static void drop_unused_namespace(xmlNode *domain)
{
    xmlNs **link = &domain->nsDef;
    for (xmlNode *n = dkvm_xml_element(domain->children); n != NULL;
         n = dkvm_xml_element(n->next)) {
        if (dkvm_xml_has_ns(n, DKVM_NS_QEMU)) {
            return;
        }
    }
    while (*link != NULL) {
        xmlNs *ns = *link;
        if (xmlStrEqual(ns->href, BAD_CAST DKVM_NS_QEMU)) {
            *link = ns->next;
            xmlFreeNs(ns);
        } else {
            link = &ns->next;
        }
    }
}

static void report_all(DkvmPatched *patched, const DkvmChanges *changes)
{
    g_autoptr(GHashTable) said = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(changes->list, i);
        if (is_ours(change, NULL)) {
            g_ptr_array_add(patched->done, dkvm_report_change(change, TRUE));
        } else if (g_hash_table_add(said, change->unit)) {
            g_ptr_array_add(
                patched->kept,
                g_strdup_printf("%s: %s: %s, left as it is", change->part, change->unit,
                                change->needed ? "needed by what you changed" : "changed by you"));
        }
    }
}

static void take_everything_back(xmlNode *domain, DkvmMarker *marker)
{
    dkvm_commandline_group(domain);
    dkvm_edited_look(domain, marker->changes);
    dkvm_needs_look(domain, marker->changes);
    g_autoptr(GHashTable) added = dkvm_added_before_undo(domain, marker, is_ours, NULL);
    dkvm_undo(domain, marker->changes, is_ours, NULL);
    dkvm_addresses_free_names(domain, marker->changes);
    dkvm_addresses_settle(domain, marker->changes);
    dkvm_added_after_undo(domain, marker, added);
    sort_disks(domain, marker);
    dkvm_commandline_ungroup(domain);
    if (marker->made != NULL && strstr(marker->made, "namespace") != NULL) {
        drop_unused_namespace(domain);
    }
}

static void leave_state_off(xmlNode *domain)
{
    DkvmMarker off = {.off = TRUE};
    off.choices = g_hash_table_new(NULL, NULL);
    off.changes = dkvm_changes_new();
    dkvm_marker_write(domain, &off);
    g_hash_table_unref(off.choices);
    dkvm_changes_free(off.changes);
}

DkvmPatched *dkvm_revert(const char *text, gsize length, const char *what, gboolean leave_off,
                         GError **error)
{
    g_autoptr(DkvmDoc) doc = dkvm_xml_parse(text, length, what, error);
    xmlNode *domain = doc ? xmlDocGetRootElement(doc) : NULL;
    if (domain == NULL || !dkvm_policy_allows(domain, what, error)) {
        return NULL;
    }
    g_autoptr(DkvmMarker) marker = dkvm_marker_read(domain, error);
    if (marker == NULL) {
        return NULL;
    }
    DkvmPatched *patched = dkvm_domain_patched(doc, text, length);
    patched->was_patched = marker->present && !marker->off;
    if (patched->was_patched) {
        take_everything_back(domain, marker);
        report_all(patched, marker->changes);
    }
    if (marker->present && !leave_off) {
        dkvm_marker_remove(domain);
    } else if (patched->was_patched) {
        leave_state_off(domain);
    }
    patched->xml = dkvm_xml_serialize(doc);
    g_autofree char *before = dkvm_patch_canonical(text, length);
    patched->changed = !g_str_equal(patched->xml, before);
    patched->up_to_date = !patched->changed;
    return patched;
}
