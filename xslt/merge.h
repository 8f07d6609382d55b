/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Carrying changes over to the definition as it is: only what differs is touched, so that
 * everything that libvirt and the user put there stays, and a second patch finds nothing to do. */
#pragma once

#include "xslt/change.h"

/* Remembers for every element of COPY (a copy of ORIGINAL, not yet changed) the element that it is
 * a copy of. */
void dkvm_merge_link(xmlNode *copy, xmlNode *original);

/* Applies CHANGE (from dkvm_compare()) to the linked original.  NUMBERED: as given to
 * dkvm_compare(). MADE: elements of the result -> what was made of them in the original (for
 * children of new elements). */
void dkvm_merge_apply(DkvmChange *change, const GPtrArray *numbered, GHashTable *made);
