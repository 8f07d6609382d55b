#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Devices on a real kernel: one layout, and the reservation across a boot.  devices-all.bats has the rest.

load devices

@test "the kernel verdict is what the kernel does: ports, functions, a shared group; then a card and a disk are reserved" {
    # shellcheck disable=SC2034 # verdicts reads it
    keep=(--keep "$disk")
    verdicts full '' '' 'bash /rig/device-reserve-1'
    [ -s "$RIG_KEEP/reserved" ]
}

@test "across a boot: the reserved card on vfio-pci, its twin on the host driver, in the initramfs too; release without a boot" {
    boots initramfs-tools device-reserve-2
}
