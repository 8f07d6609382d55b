#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-watchd: first boots are done over, guests are not.

load helpers

@test "dkvm-watchd: first boots are done over, guests are not, libvirt 9.0 of Debian 12" {
    beside bookworm firstboot.py
}

# "make check-long" runs all of them here too.
@test "dkvm-watchd: first boots are done over, guests are not, libvirt 11 of Debian 13" {
    local some=("a first boot" "install medium" "written to" virt-install)
    [ -z "${DKVM_LONG:-}" ] || some=()
    beside trixie firstboot.py "${some[@]}"
}
