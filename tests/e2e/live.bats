#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-patch with domains of a connection.

load helpers

@test "domains of libvirt 9.0 of Debian 12" {
    beside bookworm live.py
}

@test "domains of libvirt 11 of Debian 13" {
    beside trixie live.py
}
