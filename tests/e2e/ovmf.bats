#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The firmware that a patched domain names really works.

load helpers

@test "OVMF of Debian 12 comes to its boot menu in a patched domain" {
    beside bookworm guest.py ovmf
}
