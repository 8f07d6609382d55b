/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the XML of a running machine says.  Text in; knows nothing of libvirt connections. */
#pragma once

#include "hooks/history.h"

/* XML may be NULL: then it is not readable. */
DkvmMachine dkvm_machine_read(const char *xml);

/* The targets ("vda") of the disks that it can write to; a disk without one is "".  NULL if XML is
 * not readable. New list of new strings. */
GPtrArray *dkvm_machine_disks(const char *xml);

/* DEFINITION with what RUNNING has and it has not any more: media in its CD-ROM and floppy drives,
 * and the order to boot from (virt-manager defines a machine as it is to be after the
 * installation). NULL if there is nothing to carry over, or one of them is not readable.  New
 * string. */
char *dkvm_machine_carry(const char *definition, const char *running);
