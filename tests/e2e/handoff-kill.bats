#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# SIGKILL of each process at the records of the journal: 40 points that move with the commit; all with DKVM_LONG=1.

load handoff.bash

setup_file() {
    handoff_setup bookworm
    export RIG_TIMEOUT=${RIG_TIMEOUT:-28800}
}

@test "kill matrix" {
    local seed points=${DKVM_LONG:+all}
    seed=$(git -C "$TOP" rev-parse --short HEAD 2>/dev/null) || seed=none
    cases single -- kill.py "${points:-40}" "$seed"
}
