/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a change is about, in the words of --set and --diff, and how far an edit of the user
 * reaches. */
#pragma once

#include "xslt/change.h"

/* "nic", "disk", "firmware", ...: from where the change is.  A literal. */
const char *dkvm_part_of(const DkvmChange *change);

/* What is left to the user as a whole once they edit any of it: one device; the firmware; the
 * machine; the topology; otherwise the element itself.  Returns a new string. */
char *dkvm_unit_of(const DkvmChange *change);

/* Whether NAME is a part (for --set PART=auto). */
gboolean dkvm_part_exists(const char *name);

/* Parts whose state an installed system depends on: what works as it is now is kept when a domain
 * is patched again, instead of being decided anew from the original. */
gboolean dkvm_part_is_settled(const char *part);
