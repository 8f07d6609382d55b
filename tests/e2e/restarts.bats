#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-watchd: what it asks of libvirtd, and a libvirtd that is killed while domains are being defined.

load helpers

@test "dkvm-watchd: reads once, and misses nothing while libvirtd is killed" {
    beside bookworm scale.py 'read once' 'killed again and again'
}
