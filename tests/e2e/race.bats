#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Two clients at the same time: no edit of the other one's is lost silently.

load helpers

@test "somebody else edits at the same time, libvirt 9.0 of Debian 12" {
    beside bookworm race.py
}

@test "somebody else edits at the same time, libvirt 11 of Debian 13" {
    beside trixie race.py
}
