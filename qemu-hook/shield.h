/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A libvirt that was dead or silent while devices were given back believes, when it is heard of
 * again, that their VM still has them.  It then resets each that has a driver of the host: by power
 * management, or by the bus above, after which the card has no addresses and the display is dark
 * (virHostdevReAttachPCIDevicesImpl(), step 4, and virPCIDeviceReset() of libvirt's
 * src/util/virpci.c; a device on vfio-pci is passed over).  For that it opens the device's "config"
 * for writing, and leaves the device alone if it cannot.  So that file is mounted over itself,
 * read-only, until libvirt has said "release" for that VM: the kernel's own drivers do not go by
 * it, and whoever reads it reads on. */
#pragma once

#include "qemu-hook/handover.h"

/* Keeps the devices of HANDOVER that are the VM's own (not those that went along) from being reset
 * by programs.  May be called again.  What cannot be kept is said in the log. */
void dkvm_shield_raise(const DkvmHandover *handover);
/* Lets programs write to BDF again, if they could not. */
void dkvm_shield_lower(const char *bdf);
/* The same for DEVICES (of DkvmTaken). */
void dkvm_shield_lower_all(const GPtrArray *devices);
/* The addresses of those that have a shield, with spaces between; NULL: none has.  g_free. */
char *dkvm_shield_text(void);
