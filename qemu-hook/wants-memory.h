/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <libxml/tree.h>

#include "qemu-hook/wants.h"

/* Fills in WANTS->memory. */
void dkvm_wants_read_memory(DkvmWants *wants, const xmlNode *domain);
