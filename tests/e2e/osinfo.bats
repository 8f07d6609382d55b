#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What virt-install derives from the OS list.

load helpers

setup_file() {
    export OSINFO=$BATS_FILE_TMPDIR/usr/share/osinfo
    make -s -C "$BATS_TEST_DIRNAME/../.." install-osinfo DESTDIR="$BATS_FILE_TMPDIR" prefix=/usr
}

@test "virt-install 4.1 with the OS list" {
    beside bookworm osinfo.py
}
