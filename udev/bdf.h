/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The address of a PCI function, "0000:01:00.0".  libc only: dkvm-udev uses it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint32_t domain; /* 0 on most hosts; above ffff behind Intel VMD */
    uint8_t bus;
    uint8_t slot;     /* 0 to 1f */
    uint8_t function; /* 0 to 7 */
} DkvmBdf;

/* Room for any formatted address and its NUL: "ffffffff:ff:1f.7". */
#define DKVM_BDF_SIZE 17

/* Strict: [DDDD:]BB:SS.F with 4 to 8, 2, 2 and 1 hexadecimal digits and nothing else; without a
 * domain it is 0.  Returns false and leaves *BDF untouched if TEXT is anything else. */
bool dkvm_bdf_parse(const char *text, DkvmBdf *bdf);

/* As the kernel names devices ("%04x:%02x:%02x.%d", drivers/pci/probe.c pci_setup_device). */
void dkvm_bdf_format(const DkvmBdf *bdf, char text[DKVM_BDF_SIZE]);

/* Order of domain, bus, slot, function; for sorting. */
int dkvm_bdf_compare(const DkvmBdf *a, const DkvmBdf *b);

/* Whether both are functions of one device (all but the function agrees). */
bool dkvm_bdf_same_slot(const DkvmBdf *a, const DkvmBdf *b);
