#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-iommu and dkvm-udev on a real kernel with a real IOMMU (emulated VT-d), real vfio-pci and real udev.

setup_file() {
    export TOP BUILD RIG
    TOP=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
    BUILD=${DKVM_BUILD:-$TOP/build}
    RIG=$BATS_TEST_DIRNAME/device-rig
    "$RIG/build" >&2
    export DKVM_CACHE=${DKVM_CACHE:-$TOP/build/cache}
}

# verdicts LAYOUT [ARGUMENT [BEFORE]]: every device that may be tried, in one boot; BEFORE is shell that is run first.
verdicts() {
    printf '%s\npython3 /rig/device-verdicts.py %s\n' "${3:-}" "${2:-}" > "$BATS_TEST_TMPDIR/job"
    run "$RIG/run" "$1" "$BATS_TEST_TMPDIR/job" "$BUILD/dkvm-iommu" "$BATS_TEST_DIRNAME/device-verdicts.py"
    printf '%s\n' "$output" | grep -v ' is back on ' | sed -n "s/^\(ok\|#\)/# $1: \1/p" >&3
    [ "$status" -eq 0 ] || { printf '%s\n' "$output" | grep -v '^ok'; return 1; }
    grep -q '^ok' <<< "$output"
    ! grep -q '^not ok' <<< "$output"
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

@test "a reservation across a boot: the reserved card on vfio-pci, its twin on the host driver, in the initramfs too; release without a boot" {
    export RIG_KEEP=$BATS_TEST_TMPDIR/keep
    mkdir -p "$RIG_KEEP"
    local files=("$BUILD/dkvm-iommu" "$BUILD/dkvm-udev" "$TOP/udev/rules.d" "$TOP/udev/initramfs"
        "$BATS_TEST_DIRNAME/device-install")
    RIG_TIMEOUT=600 "$RIG/run" --keep "$BATS_TEST_TMPDIR/disk" full "$BATS_TEST_DIRNAME/device-reserve-1" "${files[@]}"
    [ -s "$RIG_KEEP/initrd.gz" ]
    "$RIG/run" --keep "$BATS_TEST_TMPDIR/disk" --initrd "$RIG_KEEP/initrd.gz" full \
        "$BATS_TEST_DIRNAME/device-reserve-2" "${files[@]}"
}
