#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every hand-over case, 10 cycles per layout (100 of one with DKVM_LONG=1).

load handoff.bash

setup_file() {
    handoff_setup bookworm
    export RIG_TIMEOUT=${RIG_TIMEOUT:-14400}
}

@test "the rig: machines without devices, libvirt's own managed='yes', a hook that forgets is found" {
    cases single -- cases.py plain libvirt_managed standin
}

@test "the card that carries the console: layouts" {
    cases single -- cases.py plan --cycles "${DKVM_LONG:+100}" managed --cycles 10 unmanaged mixed alone uefi
}

@test "a second card while the host keeps its own: layouts" {
    cases spare -- cases.py --cycles 10 managed everything shared
}

@test "a card that only the firmware draws on" {
    cases --uefi --append modprobe.blacklist=bochs single -- cases.py firmware
}

@test "a display manager on the card" {
    cases single -- cases.py desktop_refused desktop_stopped wizard inhibited terminal
}

@test "holders of the card's nodes; an unbind that the kernel blocks" {
    cases single -- cases.py held terminated unkillable stuck
}

@test "CPUs, interrupts and governor while the guest runs" {
    cases single -- cases.py tuned
}

@test "other VMs, other hooks, QEMU that fails or dies" {
    cases single -- cases.py second neighbour qemu_fails qemu_killed reset stale dark
}

@test "libvirtd killed in prepare, while a VM runs, while it stops; suspend" {
    cases single -- cases.py libvirtd_in_prepare reconnect libvirtd_gone libvirtd_in_stop release_lost suspend
}

@test "AppArmor enforced: hook, hand-over, a VM without devices; after uninstall every VM still starts" {
    RIG_APPARMOR='apparmor=1 security=apparmor' cases single -- cases.py confined managed plain uninstalled
}
