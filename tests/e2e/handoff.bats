#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# A GPU handed over and back on a real kernel with a real IOMMU, through a real libvirtd 9.0: the short round, to begin
# with after a change.  handoff-*.bats have the rest.

load handoff.bash

setup_file() {
    handoff_setup bookworm
}

@test "the card that carries the console: over and back, a refusal, two VMs, libvirtd killed" {
    cases single -- cases.py managed held second reconnect
}

@test "a second card in a shared group: over and back" {
    cases spare -- cases.py shared
}
