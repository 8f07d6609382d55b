#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-hook as libvirt calls it.  The work is in hook.py; dkvm-gpu is hook-gpu.c.

load helpers

prepare() {
    [ "$(id -u)" -eq 0 ] || unshare --map-root-user true || skip 'needs root or user namespaces'
    export TOP SCRATCH=$PWD INSTALLED HOOK
    INSTALLED=$(dirname "$DKVM")/dkvm-hook
    HOOK=$(dirname "$DKVM")/tests/dkvm-hook
    mkdir -p "$DKVM_ROOT/usr/sbin"
    "${CC:-gcc}" -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -O1 -o "$DKVM_ROOT/usr/sbin/dkvm-gpu" "$TOP/tests/cli/hook-gpu.c"
}

hook() {
    as_root /usr/bin/python3 "$TOP/tests/cli/hook.py" "$1" > said || { cat said; return 1; }
    sed 's/^#/# dkvm-hook:/' said >&3
}

@test "every operation, with a definition that is ours, is not, or is neither" { hook operations; }
@test "empty, blank, too large, closed: prepare and start refuse, nothing else does" { hook refusals; }
@test "standard input that does not end: within the deadline" { hook slow; }
@test "what dkvm-gpu is started with, and what it does not inherit" { hook exec; }
@test "definitions of strangers" { hook definitions; }
@test "ordinary definitions are none of ours" { hook ordinary; }
@test "dkvm-gpu cannot be run" { hook missing; }
@test "nobody listens" { hook nobody_listens; }

@test "names of strangers: no path, no shell, no process (strace)" {
    ! sanitized || skip 'the sanitizer opens files'
    hook names
}

@test "each system call failing" {
    ! sanitized || skip 'the sanitizer calls them too'
    hook faults
}

@test "the installed program knows one dkvm-gpu" {
    ! sanitized || skip 'the sanitizer calls execve'
    hook installed
}

@test "not root: exit 0" {
    [ "$(id -u)" -eq 0 ] || skip 'needs root'
    chmod o+x "$T" "$(dirname "$T")" 2> /dev/null || true
    hook not_root
}

@test "libc and nothing else" {
    ! sanitized || skip 'the sanitizer is a library'
    LC_ALL=C readelf -d "$INSTALLED" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' > libraries
    [ "$(cat libraries)" = libc.so.6 ] || fail "$(cat libraries)"
}

@test "--help and --version: on standard error" {
    local word
    for word in --help --version '' -; do
        "$INSTALLED" ${word:+"$word"} > out 2> err < /dev/null
        [ ! -s out ]
        grep -q dkvm-hook err
    done
    "$INSTALLED" --version 2>&1 | grep -qx 'dkvm-hook [0-9.]*'
    "$INSTALLED" --help 2>&1 | grep -q 'dkvm-hook(8)'
}
