#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The host ends while a VM has its GPU: cut off, shut down, a driver that panics.

load handoff.bash

setup_file() {
    handoff_setup bookworm
}

# two_boots NAME [OPTION...]
two_boots() {
    local name=$1 disk=$BATS_TEST_TMPDIR/disk-$1
    shift
    in_guest --keep "$disk" --ends "$@" single -- boot.py "$name-1"
    grep -q '^the host ends now' "$BATS_TEST_TMPDIR/log"
    cases --keep "$disk" "$@" single -- boot.py "$name-2"
}

@test "cut off in the middle: the next boot is clean" {
    two_boots reboot
}

@test "cut off in the middle of prepare, and of release: the next boot is clean" {
    two_boots prepare
    two_boots release
}

@test "shut down with a running VM: the guest first, no display manager, no delay" {
    two_boots shutdown
}

@test "a card whose driver panics when it is given back: the second attempt is refused with the reason" {
    two_boots panic --gpu qxl-vga
}

@test "the host sleeps for a GPU that does not come back, and is as before when it wakes up" {
    two_boots sleep
}
