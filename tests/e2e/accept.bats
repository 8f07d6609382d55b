#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# A real libvirtd takes what dkvm-patch makes of every golden input.

load helpers

@test "libvirt 9.0 of Debian 12 takes every golden output" {
    beside bookworm accept.py
}

@test "libvirt 11 of Debian 13 takes every golden output" {
    beside trixie accept.py
}
