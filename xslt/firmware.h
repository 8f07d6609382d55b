/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which UEFI images a host has, from QEMU's firmware descriptors (docs/interop/firmware.json), else
 * from the paths where distributions are known to keep them. */
#pragma once

#include "xslt/facts.h"

/* Finds matched CODE+VARS pairs for x86_64 q35 without secure-boot, enrolled-keys and requires-smm,
 * raw before qcow2, otherwise in the search order of libvirt (qemuInteropFetchConfigs("firmware"):
 * /etc/qemu/firmware and, when CONFIG_HOME is given, CONFIG_HOME/qemu/firmware mask
 * /usr/share/qemu/firmware by file name; an empty file disables).  Appends DkvmFirmwarePair* to
 * PAIRS; both files must exist and be readable as regular files below the root prefix.  Finding
 * none is not an error. */
void dkvm_firmware_find(GPtrArray *pairs, const char *config_home);

/* DkvmFirmwarePair.source of a pair without descriptor */
#define DKVM_FIRMWARE_KNOWN_PATH "known path"

/* The pair of the table of known paths whose CODE is at this path, without looking whether it
 * exists (a remote host's path); NULL if it is not one of them. */
DkvmFirmwarePair *dkvm_firmware_known(const char *code);
