#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Faults: dkvm-gpu on a /sys that another process serves (fake-sysfs.c), whose writes fail, block, or do nothing, and with
# system calls that fail.  The work is in faults.py.

load helpers

setup_file() {
    export FAKE=$BATS_FILE_TMPDIR/fake-sysfs
    local here=$BATS_TEST_DIRNAME flags
    read -ra flags <<< "$(pkg-config --cflags --libs fuse3)"
    "${CC:-gcc}" -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter -Werror -O1 -o "$FAKE" "$here/fake-sysfs.c" "$here/fake-kernel.c" "${flags[@]}"
}

prepare() {
    # As root only: the hook leaves everybody else alone.
    [ "$(id -u)" -eq 0 ] || unshare --map-root-user true || skip 'needs root or user namespaces'
    [ -c /dev/fuse ] || skip 'no /dev/fuse'
    export TOP SCRATCH=$PWD GPU DKVM_SEED
    GPU=$(dirname "$DKVM")/dkvm-gpu
    # The same faults each time; DKVM_LONG takes them all.
    DKVM_SEED=${DKVM_SEED:-1}
}

# Mounts and processes of its own: nothing of it is left, however it ends.
faults() {
    as_root unshare --mount --pid --fork --kill-child --mount-proc /usr/bin/python3 "$TOP/tests/cli/faults.py" "$@" > said ||
        { cat said; return 1; }
    sed 's/^#/# faults:/' said >&3
}

@test "there and back on a host that another process serves" { faults clean; }
@test "no process but guard, worker and who reads /proc; no sleep (strace)" {
    ! sanitized || skip 'the sanitizer starts threads'
    faults frugal
}

@test "each write of prepare fails or does nothing: refused, said, nothing is left" { faults prepare; }
@test "each write of release fails or does nothing: back by another way, or by restore" { faults release; }
@test "each write blocks: refused in time, all else is back, the rest when it ends" { faults blocked; }

@test "a GPU in use: not taken, whichever system call fails once or for ever" {
    ! sanitized || skip 'the sanitizer calls them too'
    faults held
}

@test "each system call of hook, guard and worker fails" {
    ! sanitized || skip 'the sanitizer calls them too'
    faults calls
}

# What is done only when it is asked for: huge pages, BAR size, reset method, programs; nvidia's driver as a whole.
@test "options: there and back" { faults clean options; }
@test "options: each write fails, does nothing, or blocks, there and back" { faults writes options; }

@test "options: each system call of hook, guard and worker fails" {
    ! sanitized || skip 'the sanitizer calls them too'
    faults calls options
}
