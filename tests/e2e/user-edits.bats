#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the user changes after the patch stays the user's.

load helpers

@test "edits of the user's own, libvirt 9.0 of Debian 12" {
    beside bookworm edits.py
}

@test "edits of the user's own, libvirt 11 of Debian 13" {
    beside trixie edits.py
}
