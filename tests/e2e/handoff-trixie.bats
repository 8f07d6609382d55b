#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The core of the hand-over with Debian 13: its kernel, libvirt 11.3 and systemd.

load handoff.bash

setup_file() {
    handoff_setup trixie
    export RIG_TIMEOUT=${RIG_TIMEOUT:-1800}
}

@test "libvirt 11.3: over and back, refusals, two VMs, libvirtd killed" {
    cases --suite trixie single -- cases.py standin managed unmanaged held second reconnect qemu_fails stale
}
