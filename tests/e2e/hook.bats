#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-hook, installed by make install, as a real libvirtd runs it.

load helpers

@test "libvirt 9.0 of Debian 12 runs dkvm-hook" {
    beside bookworm hook.py
}
