/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Addresses of devices on their buses, after changes were taken back: what libvirt gave out
 * meanwhile must not be in the way.  A device without an address gets another from libvirt. */
#pragma once

#include "xslt/change.h"

/* Looks at the devices of DOMAIN after dkvm_undo() with CHANGES (their ->node says what was put
 * back) and lets go the addresses that cannot be: of two devices at one place, a device that
 * CHANGES are about gives way to one that was put back, and that to a device of the user's own. */
void dkvm_addresses_settle(xmlNode *domain, DkvmChanges *changes);

/* A disk that went back to its former name (<target dev>) finds it taken by a disk that the user
 * added since: gives it the next free one. */
void dkvm_addresses_free_names(xmlNode *domain, DkvmChanges *changes);

/* The USB controller that we made went: lets go what libvirt gave out on it, which may be a port
 * that the next one has not. */
void dkvm_addresses_drop_usb(xmlNode *domain, DkvmChanges *changes);
