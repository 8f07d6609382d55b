# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2154
# What the device tests share: dkvm-iommu and dkvm-udev on a real kernel with a real IOMMU (emulated VT-d), real vfio-pci
# and real udev.

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
