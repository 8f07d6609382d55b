#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Patched again nothing changes, reverted everything is as it was: over all golden inputs, in a real libvirtd.

load helpers

@test "there and back on libvirt 9.0 of Debian 12" {
    beside bookworm roundtrip.py
}

@test "there and back on libvirt 11 of Debian 13" {
    beside trixie roundtrip.py
}
