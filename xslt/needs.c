/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/needs.h"

/* ---- ACPI ---- */

static gboolean has_uefi(const xmlNode *domain)
{
    const xmlNode *os = dkvm_xml_child(domain, "os");
    return g_strcmp0(dkvm_xml_get(os, "firmware"), "efi") == 0 ||
           g_strcmp0(dkvm_xml_get(dkvm_xml_child(os, "loader"), "type"), "pflash") == 0;
}

static gboolean is_firmware_edited(const DkvmChanges *changes)
{
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(changes->list, i);
        if (g_str_equal(change->part, "firmware") && change->edited) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean is_acpi(const DkvmChange *change)
{
    return change->kind == DKVM_CHANGE_ADD && g_str_equal(change->at, "features/acpi");
}

/* ---- USB ---- */

static gboolean is_no_usb(const xmlNode *element)
{
    return dkvm_xml_is(element, "controller") &&
           g_strcmp0(dkvm_xml_get(element, "type"), "usb") == 0 &&
           g_strcmp0(dkvm_xml_get(element, "model"), "none") == 0;
}

static gboolean forbade_usb(const DkvmChanges *changes)
{
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(changes->list, i);
        if (change->kind == DKVM_CHANGE_REMOVE && is_no_usb(change->was)) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean is_usb_value(const xmlNode *element, const char *name)
{
    return element != NULL && g_strcmp0(dkvm_xml_get(element, name), "usb") == 0;
}

static gboolean is_usb_device(const xmlNode *device)
{
    if (dkvm_xml_is(device, "controller")) {
        return FALSE;
    }
    return is_usb_value(device, "bus") || is_usb_value(device, "type") ||
           is_usb_value(dkvm_xml_child(device, "target"), "bus") ||
           is_usb_value(dkvm_xml_child(device, "address"), "type") ||
           (dkvm_xml_is(device, "sound") && is_usb_value(device, "model"));
}

/* Whether DEVICE is on USB by a change that is taken back. */
static gboolean is_ours(const DkvmChanges *changes, const xmlNode *device)
{
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(changes->list, i);
        gboolean about =
            change->node == device || (change->node != NULL && change->node->parent == device);
        if (about && !change->edited && change->kind != DKVM_CHANGE_REMOVE) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean has_own_usb(const xmlNode *domain, const DkvmChanges *changes)
{
    const xmlNode *devices = dkvm_xml_child(domain, "devices");
    for (const xmlNode *n = devices ? dkvm_xml_element(devices->children) : NULL; n != NULL;
         n = dkvm_xml_element(n->next)) {
        if (is_usb_device(n) && !is_ours(changes, n)) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean is_usb_controller(const DkvmChange *change)
{
    const xmlNode *element = change->kind == DKVM_CHANGE_REMOVE ? change->was : change->now;
    return dkvm_xml_is(element, "controller") && is_usb_value(element, "type");
}

/* ---- both ---- */

void dkvm_needs_look(xmlNode *domain, DkvmChanges *changes)
{
    gboolean acpi = has_uefi(domain) && is_firmware_edited(changes);
    gboolean usb = forbade_usb(changes) && has_own_usb(domain, changes);
    for (guint i = 0; i < changes->list->len; i++) {
        DkvmChange *change = g_ptr_array_index(changes->list, i);
        change->needed = (acpi && is_acpi(change)) || (usb && is_usb_controller(change));
    }
}
