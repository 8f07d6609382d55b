/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What dkvm-udev does, apart from main().  libc only. */
#pragma once

/* Sets driver_override of every reserved device that is there and is the one that was reserved.
 * For the initramfs, before udev; ROOT is the root prefix, "" for none. */
void dkvm_helper_boot(const char *root);

/* A PCI device appeared: the same for all reserved devices (a driver that is loaded for one of two
 * identical cards would take the other too, before its own event is handled), and udev properties
 * on standard output if the device itself, SLOT, is reserved:
 *     DKVM_RESERVED=vfio-pci      and, if the reservation says so,      DKVM_RESET=NAME
 * After bind and unbind the properties only.
 * Any argument may be NULL or nonsense. */
void dkvm_helper_event(const char *root, const char *action, const char *subsystem,
                       const char *slot);

/* One line to the kernel's log (below the root prefix), or, where that cannot be written, to
 * standard error. */
void dkvm_helper_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
