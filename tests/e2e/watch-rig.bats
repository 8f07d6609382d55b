#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-watchd as units of a real systemd, installed by make install.

load rig-tree

setup_file() {
    rig_setup
}

@test "dkvm-watchd in its sandbox, ended and stuck, and as a user's unit" {
    cd "$BATS_TEST_TMPDIR"
    tree
    export RIG_TIMEOUT=${RIG_TIMEOUT:-1800}
    rig_job 10 full "$BATS_TEST_DIRNAME/watch-systemd" tree make
}
