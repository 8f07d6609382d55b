/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The reservation file, sysconfdir/dkvm/reserved: the devices that vfio-pci takes at boot, before
 * any host driver is loaded.  One device a line, written by dkvm-iommu --reserve:
 *
 *     0000:01:00.0 10de:2484 1462:3909 0000:00/01.0/00.0 for=0000:01:00.0 [serial=HEX] [reset=NAME]
 *
 * address, ids, subsystem ids, slot path, the device that it was reserved with, and what is known
 * besides.  "#" begins a comment line.  libc only: dkvm-udev uses it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "udev/identity.h"

#define DKVM_RESERVATION_FILE DKVM_SYSCONFDIR "/dkvm/reserved"
#define DKVM_RESERVATION_MAX_FILE 65536 /* bytes */
#define DKVM_RESERVATION_MAX_LINE 512
#define DKVM_RESERVATION_MAX 256 /* devices */
#define DKVM_RESET_SIZE 64

typedef struct {
    DkvmIdentity id;
    DkvmBdf with;                /* for=: reserved and released together with this one */
    char reset[DKVM_RESET_SIZE]; /* reset=: for reset_method, "" leaves the kernel's choice */
} DkvmReservation;

/* Parses one line of LENGTH bytes (without its end).  Returns 1 with *ENTRY filled, 0 for an empty
 * line or comment, -1 for anything else with the reason in *WHY (a literal). */
int dkvm_reservation_parse(const char *line, size_t length, DkvmReservation *entry,
                           const char **why);

/* The line for ENTRY, without its end, into LINE of DKVM_RESERVATION_MAX_LINE bytes.  Parsing it
 * gives ENTRY again. */
void dkvm_reservation_format(const DkvmReservation *entry, char *line);

/* Calls LINE_BAD for each bad line and fills ENTRIES (at most DKVM_RESERVATION_MAX).  Returns how
 * many there are.  What is above the limit is a bad line too. */
size_t dkvm_reservation_parse_all(const char *text, size_t length, DkvmReservation *entries,
                                  void (*line_bad)(unsigned line, const char *why, void *data),
                                  void *data);
