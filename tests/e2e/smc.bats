#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What a patched domain looks like from inside: a small Linux guest reads the SMC and its own CPUs.

load helpers

setup_file() {
    export GUEST=${DKVM_CACHE:-$BATS_TEST_DIRNAME/../../build/cache}/smc
    "$BATS_TEST_DIRNAME/smc-guest/build" >&2
}

@test "a guest under QEMU 7.2 of Debian 12 finds what Darwin looks for" {
    beside bookworm guest.py smc "$GUEST/vmlinuz" "$GUEST/initrd.gz"
}

@test "a guest under QEMU 10 of Debian 13 finds what Darwin looks for" {
    beside trixie guest.py smc "$GUEST/vmlinuz" "$GUEST/initrd.gz"
}
