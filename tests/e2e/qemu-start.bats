#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU starts the patched domains, and is what their definitions ask for.

load helpers

@test "QEMU 7.2 of Debian 12 starts the patched domains" {
    beside bookworm start.py
}

@test "QEMU 10 of Debian 13 starts the patched domains" {
    beside trixie start.py
}
