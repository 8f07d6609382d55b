/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which device this is, across boots: the address alone changes when a card is added or the
 * firmware is updated, the ids alone are the same for two identical cards.  All must agree.
 * libc only: dkvm-udev uses it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "udev/bdf.h"

/* "0000:00/01.0/00.0": the root bus, then slot and function of each bridge and of the device.
 * Unlike the address it does not depend on bus numbers below the root. */
#define DKVM_SLOT_PATH_SIZE 192

typedef struct {
    DkvmBdf bdf;
    uint16_t vendor, device;
    uint16_t subvendor, subdevice; /* 0 where there are none: bridges */
    char path[DKVM_SLOT_PATH_SIZE];
    bool has_serial;
    uint64_t serial; /* PCIe Device Serial Number capability; only root can read it */
} DkvmIdentity;

/* Reads the identity of BDF from ROOT/sys (ROOT "" is the host's own).  WITH_SERIAL: look for a
 * serial number too, which takes reading 4 KiB of configuration space.  Returns 0, or an errno:
 * ENOENT no such device, EINVAL sysfs says something that is no identity. */
int dkvm_identity_read(const char *root, const DkvmBdf *bdf, bool with_serial, DkvmIdentity *id);

/* The same from the open directory of the device and the target of its link in
 * /sys/bus/pci/devices. */
int dkvm_identity_read_at(int dir, const char *link, const DkvmBdf *bdf, bool with_serial,
                          DkvmIdentity *id);

/* The slot path of a sysfs path; false if there is no PCI device in it or it does not fit. */
bool dkvm_slot_path(const char *sysfs_path, char path[DKVM_SLOT_PATH_SIZE]);
/* Whether TEXT has the form of a slot path. */
bool dkvm_slot_path_is_valid(const char *text);

/* The serial number in LENGTH bytes of configuration space: the extended capability 0003h, PCIe
 * Base Specification 7.9.3. */
bool dkvm_config_serial(const unsigned char *config, size_t length, uint64_t *serial);
/* Whether there is the extended capability ID (000Dh: ACS). */
bool dkvm_config_has_extended(const unsigned char *config, size_t length, unsigned id);

/* NULL if NOW is the device that SAVED was, else the first difference in words: "other ids",
 * "another subsystem", "another slot", "another serial number", "another address".  A serial number
 * counts only where both have one. */
const char *dkvm_identity_difference(const DkvmIdentity *saved, const DkvmIdentity *now);
