/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a revert leaves, because something of the user's own depends on it. */
#pragma once

#include "xslt/change.h"

/* Sets ->needed of those of CHANGES without which libvirt would refuse what the user has made of
 * DOMAIN since: ACPI for UEFI firmware of their own (libvirt: "UEFI requires ACPI on this
 * architecture"), a USB controller for their USB devices where the original forbade USB ("USB is
 * disabled for this domain").  After dkvm_edited_look(). */
void dkvm_needs_look(xmlNode *domain, DkvmChanges *changes);
