/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Released devices return to their host drivers without a boot. */
#pragma once

#include "udev/reserve.h"

/* For each of RELEASED (of DkvmReservation) that is on vfio-pci by our driver_override: clears it,
 * unbinds, and lets the kernel look for a driver.  Left alone, and said in TEXT: another device by
 * now, one whose group a process has open, one that another hand set to another driver.  Whatever
 * the kernel does, this returns within 10 seconds a device. */
void dkvm_give_back(const DkvmHost *host, const GArray *released, GString *text);
