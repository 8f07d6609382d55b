/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "xslt/commandline.h"
#include "xslt/domain.h"
#include "xslt/marker.h"
#include "xslt/report.h"
#include "xslt/undo.h"

/* The shape that we added does not outlive the number that it was for: libvirt refuses a topology that is not
 * the product. */
static gboolean is_ours(const DkvmChange *change, gpointer data)
{
    gboolean shape = change->kind == DKVM_CHANGE_ADD && g_str_equal(change->at, "cpu/topology");
    return !change->edited || (shape && !change->touched);
}

/* ---- what libvirt only added because of us ---- */

static gboolean is_used_bus(const xmlNode *devices, const char *index)
{
    guint64 wanted = g_ascii_strtoull(index, NULL, 10);
    for (xmlNode *n = dkvm_xml_element(devices->children); n != NULL;
         n = dkvm_xml_element(n->next)) {
        const xmlNode *address = dkvm_xml_child(n, "address");
        const char *bus = dkvm_xml_get(address, "bus");
        if (bus != NULL && g_strcmp0(dkvm_xml_get(address, "type"), "pci") == 0 &&
            g_ascii_strtoull(bus, NULL, 0) == wanted) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean was_there(const DkvmMarker *marker, const char *type, const char *index)
{
    g_autofree char *word = g_strdup_printf("%s-%s", type, index);
    g_auto(GStrv) words = g_strsplit(marker->controllers ? marker->controllers : "", " ", -1);
    return g_strv_contains((const char *const *)words, word);
}

/* PCI bridges that the original did not have and nothing sits on. */
static void drop_added_bridges(xmlNode *domain, const DkvmMarker *marker)
{
    xmlNode *devices = dkvm_xml_child(domain, "devices");
    xmlNode *node = devices && marker->controllers ? dkvm_xml_element(devices->children) : NULL;
    while (node != NULL) {
        xmlNode *next = dkvm_xml_element(node->next);
        const char *index = dkvm_xml_get(node, "index");
        if (dkvm_xml_is(node, "controller") && g_strcmp0(dkvm_xml_get(node, "type"), "pci") == 0 &&
            index != NULL && !was_there(marker, "pci", index) && !is_used_bus(devices, index)) {
            dkvm_xml_remove(node);
        }
        node = next;
    }
}

/* ---- a machine that was not q35 ---- */

static gboolean goes_back_to_other_machine(const DkvmChanges *changes)
{
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(changes->list, i);
        if (g_str_equal(change->part, "machine") && !change->edited) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean is_q35_controller(const xmlNode *node)
{
    const char *type = dkvm_xml_get(node, "type"), *model = dkvm_xml_get(node, "model");
    return dkvm_xml_is(node, "controller") &&
           (g_strcmp0(type, "pci") == 0 || g_strcmp0(type, "sata") == 0) &&
           (g_strcmp0(type, "sata") == 0 || (model != NULL && g_str_has_prefix(model, "pcie-")));
}

/* Before the original's own addresses and controllers are put back: PCI Express and its addresses
 * mean nothing on the machine that the domain returns to. */
static void let_go_of_q35(xmlNode *domain, const DkvmMarker *marker)
{
    xmlNode *devices = dkvm_xml_child(domain, "devices");
    xmlNode *node = devices ? dkvm_xml_element(devices->children) : NULL;
    while (node != NULL) {
        xmlNode *next = dkvm_xml_element(node->next);
        xmlNode *address = dkvm_xml_child(node, "address");
        if (is_q35_controller(node) && !(g_strcmp0(dkvm_xml_get(node, "type"), "sata") == 0 &&
                                         was_there(marker, "sata", dkvm_xml_get(node, "index")))) {
            dkvm_xml_remove(node);
        } else if (address != NULL && g_strcmp0(dkvm_xml_get(address, "type"), "pci") == 0) {
            dkvm_xml_remove(address);
        }
        node = next;
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
        if (!change->edited) {
            g_ptr_array_add(patched->done, dkvm_report_change(change, TRUE));
        } else if (g_hash_table_add(said, change->unit)) {
            g_ptr_array_add(patched->kept, g_strdup_printf("%s: %s: changed by you, left as it is",
                                                           change->part, change->unit));
        }
    }
}

static void take_everything_back(xmlNode *domain, DkvmMarker *marker)
{
    dkvm_commandline_group(domain);
    dkvm_undo_look(domain, marker->changes);
    if (goes_back_to_other_machine(marker->changes)) {
        let_go_of_q35(domain, marker);
    }
    dkvm_undo(domain, marker->changes, is_ours, NULL);
    drop_added_bridges(domain, marker);
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
    if (domain == NULL || !dkvm_domain_check(domain, what, error)) {
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
