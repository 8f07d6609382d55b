#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-watchd: what it patches, and what it leaves alone.

load helpers

@test "dkvm-watchd: what it patches, and what it leaves alone, libvirt 9.0 of Debian 12" {
    beside bookworm watch.py
}
