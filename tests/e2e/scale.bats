#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-watchd with many domains, and with a libvirtd that is killed.

load helpers

@test "dkvm-watchd with many domains, and with a libvirtd that is killed" {
    beside bookworm scale.py
}
