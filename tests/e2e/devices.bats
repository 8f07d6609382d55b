#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-iommu and dkvm-udev on a real kernel with a real IOMMU (emulated VT-d), real vfio-pci and real udev.  One layout
# and the reservation always; the other layouts, dracut and the storage stacks with DKVM_LONG=1.

setup_file() {
    export TOP BUILD RIG
    TOP=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
    BUILD=${DKVM_BUILD:-$TOP/build}
    RIG=$BATS_TEST_DIRNAME/device-rig
    "$RIG/build" >&2
    export DKVM_CACHE=${DKVM_CACHE:-$TOP/build/cache}
}

setup() {
    keep=()
    files=("$BUILD/dkvm-iommu" "$BUILD/dkvm-udev" "$TOP/udev/rules.d" "$TOP/udev/initramfs"
        "$BATS_TEST_DIRNAME"/device-{install,checks,reserve-1})
    # The guest whose disk lasts from one test to the next, and what it hands out.
    disk=$BATS_FILE_TMPDIR/disk
    export RIG_KEEP=$BATS_FILE_TMPDIR/keep RIG_TIMEOUT=${RIG_TIMEOUT:-600}
    mkdir -p "$RIG_KEEP"
}

long() {
    [ -n "${DKVM_LONG-}" ] || skip 'in check-long'
}

# boots INITRAMFS JOB: the disk of the reservation.
boots() {
    "$RIG/initramfs" "$1" "$RIG_KEEP/reserved" "$RIG_KEEP/initrd-$1" "${files[@]}"
    "$RIG/run" --keep "$disk" --initrd "$RIG_KEEP/initrd-$1" full "$BATS_TEST_DIRNAME/$2" "${files[@]}"
}

# verdicts LAYOUT [ARGUMENT [BEFORE [AFTER]]]: every device that may be tried, in one boot; BEFORE and AFTER are shell.
verdicts() {
    printf '%s\npython3 /rig/device-verdicts.py %s || exit 1\n%s\n' "${3:-}" "${2:-}" "${4:-}" > "$BATS_TEST_TMPDIR/job"
    run "$RIG/run" "${keep[@]}" "$1" "$BATS_TEST_TMPDIR/job" "${files[@]}" "$BATS_TEST_DIRNAME/device-verdicts.py"
    printf '%s\n' "$output" | grep -v ' is back on ' | sed -n "s/^\(ok\|#\)/# $1: \1/p" >&3
    [ "$status" -eq 0 ] || { printf '%s\n' "$output" | grep -v '^ok'; return 1; }
    grep -q '^ok' <<< "$output"
    ! grep -q '^not ok' <<< "$output"
}

@test "the kernel verdict is what the kernel does: ports, functions, a shared group; then a card and a disk are reserved" {
    keep=(--keep "$disk")
    verdicts full '' '' 'bash /rig/device-reserve-1'
    [ -s "$RIG_KEEP/reserved" ]
}

@test "the reservation across a boot with dracut's initramfs" {
    long
    boots dracut device-reserve-dracut
}

@test "across a boot: the reserved card on vfio-pci, its twin on the host driver, in the initramfs too; release without a boot" {
    boots initramfs-tools device-reserve-2
}

@test "the kernel verdict is what the kernel does: ports without ACS, in one group with what is behind them" {
    long
    verdicts noacs
}

@test "the kernel verdict is what the kernel does: behind a switch" {
    long
    verdicts switch
}

@test "the kernel verdict is what the kernel does: ports, functions, a shared group behind a PCIe-PCI bridge; with spares, so that what a host needs (NIC, chipset) is tried too" {
    long
    verdicts spare --all
}

@test "a bridge on a driver of its own: the kernel verdict is no, and so does the kernel" {
    long
    verdicts shpc '' '[ -e /sys/bus/pci/drivers/shpchp/0000:04:00.0 ] || echo 0000:04:00.0 > /sys/bus/pci/drivers/shpchp/bind || exit 1
/rig/dkvm-iommu 05:01.0 | grep -q "is driven by shpchp" || { echo "not ok the report does not name shpchp"; exit 1; }'
}

@test "what the host needs: through LVM, LUKS and RAID, the default route, who has devices open; virtual functions" {
    long
    "$RIG/run" storage "$BATS_TEST_DIRNAME/device-stacks" "${files[@]}"
}
