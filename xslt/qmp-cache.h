/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* $XDG_CACHE_HOME/dkvm/qemu-facts.json: what dkvm_qmp_ask() answered, for as long as nothing that
 * it depends on has changed.  Any problem with the file only means that QEMU is asked again. */
#pragma once

#include "xslt/qmp.h"

/* What an answer of EMULATOR depends on: its path, size and mtime, ACCEL, and for kvm this CPU's
 * features and the kernel.  Returns a new string; NULL if there is no such file. */
char *dkvm_qmp_cache_key(const char *emulator, const char *accel);

/* NULL if there is nothing usable under KEY. */
DkvmQmpAnswer *dkvm_qmp_cache_load(const char *key);
void dkvm_qmp_cache_store(const char *key, const DkvmQmpAnswer *answer);
