#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Devices on a real kernel: the reservation with dracut, the other layouts, the storage stacks.

load devices

@test "the kernel verdict is what the kernel does: ports, functions, a shared group; then a card and a disk are reserved" {
    # shellcheck disable=SC2034 # verdicts reads it
    keep=(--keep "$disk")
    verdicts full '' '' 'bash /rig/device-reserve-1'
    [ -s "$RIG_KEEP/reserved" ]
}

@test "the reservation across a boot with dracut's initramfs" {
    boots dracut device-reserve-dracut
}

@test "the kernel verdict is what the kernel does: ports without ACS, in one group with what is behind them" {
    verdicts noacs
}

@test "the kernel verdict is what the kernel does: behind a switch" {
    verdicts switch
}

@test "the kernel verdict is what the kernel does: ports, functions, a shared group behind a PCIe-PCI bridge; with spares, so that what a host needs (NIC, chipset) is tried too" {
    verdicts spare --all
}

@test "a bridge on a driver of its own: the kernel verdict is no, and so does the kernel" {
    verdicts shpc '' '[ -e /sys/bus/pci/drivers/shpchp/0000:04:00.0 ] || echo 0000:04:00.0 > /sys/bus/pci/drivers/shpchp/bind || exit 1
/rig/dkvm-iommu 05:01.0 | grep -q "is driven by shpchp" || { echo "not ok the report does not name shpchp"; exit 1; }'
}

@test "what the host needs: through LVM, LUKS and RAID, the default route, who has devices open; virtual functions" {
    # shellcheck disable=SC2154 # devices.bash sets it
    "$RIG/run" storage "$BATS_TEST_DIRNAME/device-stacks" "${files[@]}"
}
