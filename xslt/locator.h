/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the marker names an element of a domain: a path of steps from <domain>, a step being a name
 * and, where siblings share it, what tells them apart: "devices/disk[vda]/target",
 * "devices/controller[usb-0-qemu-xhci]", "qemu:commandline/option[-device%20isa-applesmc]".
 * The key is what libvirt and people identify the thing by, so that it survives reordering and
 * additions; equal or absent keys are counted ("video[#1]" is the second). */
#pragma once

#include "lib/xml.h"

/* The locator of ELEMENT, a descendant of DOMAIN; "" for DOMAIN itself.  Returns a new string. */
char *dkvm_locator(const xmlNode *domain, const xmlNode *element);

/* One step: how ELEMENT is called among its siblings.  Returns a new string. */
char *dkvm_locator_step(const xmlNode *element);

/* The element that LOCATOR names below DOMAIN; NULL if there is none. */
xmlNode *dkvm_locator_find(xmlNode *domain, const char *locator);

/* Whether TEXT has the form of a locator (bounded, no empty step). */
gboolean dkvm_locator_is_valid(const char *text);
