#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-hook on a Debian 12 with libvirtd confined by AppArmor, installed by make install, gone after make uninstall.

load rig-tree

setup_file() {
    rig_setup
}

@test "AppArmor enforced: the hook runs unconfined, machines start, with it and after make uninstall" {
    cd "$BATS_TEST_TMPDIR"
    tree
    export RIG_TIMEOUT=${RIG_TIMEOUT:-3600} RIG_APPARMOR='apparmor=1 security=apparmor'
    rig_job 9 full "$BATS_TEST_DIRNAME/hook-apparmor" tree make
}
