#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Debian's virt-manager under Xvfb, with dkvm-watchd beside it.

load helpers

setup_file() {
    # The OS list as it is installed.
    export OSINFO=$BATS_FILE_TMPDIR/usr/share/osinfo BESIDE_SECONDS=1500
    [ -z "${DKVM_LONG-}" ] || BESIDE_SECONDS=7200
    make -s -C "$BATS_TEST_DIRNAME/../.." install-osinfo DESTDIR="$BATS_FILE_TMPDIR" prefix=/usr
}

@test "New VM and what a person changes afterwards, virt-manager 4.1" {
    # What is changed afterwards takes two more boots of firmware: check-long.
    if [ -n "${DKVM_LONG-}" ]; then
        beside bookworm gui.py
    else
        beside bookworm gui.py 'the OS list' 'four ways'
    fi
}
