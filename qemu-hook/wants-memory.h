/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <libxml/tree.h>

#include "qemu-hook/wants.h"

/* QEMU has at most 128 NUMA nodes (MAX_NODES) and 256 slots for modules (ACPI_MAX_RAM_SLOTS). */
#define DKVM_MEMORY_PARTS 384

/* Fills in WANTS->memory.  FALSE: there are more parts than that. */
gboolean dkvm_wants_read_memory(DkvmWants *wants, const xmlNode *domain);
