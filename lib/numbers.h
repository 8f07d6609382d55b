/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A set of small numbers (CPUs, interrupts) as the kernel, libvirt and people write it:
 * "0-3,8,10-11". */
#pragma once

#include <glib.h>

#define DKVM_NUMBERS_MAX 65536 /* each is below; x86 has at most 8192 CPUs */

typedef struct {
    guint8 bits[DKVM_NUMBERS_MAX / 8]; /* number n is bit n % 8 of byte n / 8 */
} DkvmNumbers;

/* The whole of TEXT, blanks allowed around its parts; "^2" takes a number out again, as libvirt has
 * it (virBitmapParse).  Empty text is the empty set.  FALSE: it is no such list, and *NUMBERS is
 * what it was. */
gboolean dkvm_numbers_parse(const char *text, DkvmNumbers *numbers);
/* In order, without spaces, neighbours as a range: as the kernel prints it (%*pbl), so that what
 * was written can be compared with what is read.  g_free. */
char *dkvm_numbers_text(const DkvmNumbers *numbers);

gboolean dkvm_numbers_has(const DkvmNumbers *numbers, guint number);
void dkvm_numbers_put(DkvmNumbers *numbers, guint number);
guint dkvm_numbers_count(const DkvmNumbers *numbers);
gboolean dkvm_numbers_overlap(const DkvmNumbers *a, const DkvmNumbers *b);
/* Adds what is in MORE, takes away what is in LESS. */
void dkvm_numbers_add(DkvmNumbers *numbers, const DkvmNumbers *more);
void dkvm_numbers_remove(DkvmNumbers *numbers, const DkvmNumbers *less);
