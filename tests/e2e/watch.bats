#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-watchd: what it patches, and what it leaves alone.

load helpers

@test "dkvm-watchd: what it patches, and what it leaves alone, libvirt 9.0 of Debian 12" {
    beside bookworm watch.py
}

# "make check-long" runs all of them here too.
@test "dkvm-watchd: what it patches, and what it leaves alone, libvirt 11 of Debian 13" {
    local some=("a new" "scan" rename undefined)
    [ -z "${DKVM_LONG:-}" ] || some=()
    beside trixie watch.py "${some[@]}"
}
