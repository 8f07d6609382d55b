#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-watchd --session beside a user's own libvirt daemon.

load helpers

@test "dkvm-watchd --session beside a user's own libvirt daemon" {
    beside bookworm session.py
}
