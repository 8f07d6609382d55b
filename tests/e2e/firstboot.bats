#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-watchd: first boots are done over, guests are not.

load helpers

@test "dkvm-watchd: first boots are done over, guests are not, libvirt 9.0 of Debian 12" {
    beside bookworm firstboot.py
}
