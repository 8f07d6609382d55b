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

# As hook, with the real dkvm-gpu and a host that has a GPU in 03:00.0, whose driver cannot be left.
real() {
    local tell=$DKVM_ROOT/etc/dkvm/pre.d/tell
    rm -rf "$DKVM_ROOT"
    "$TOP/tests/data/hosts/make-root" "$TOP/tests/data/hosts/intel-comet-lake-rx6600.host" "$DKVM_ROOT"
    mkdir -p "$DKVM_ROOT/usr/sbin" "$DKVM_ROOT/sys/bus/pci/drivers/vfio-pci" "$DKVM_ROOT/proc/sys/kernel/random" "${tell%/*}"
    echo b007 > "$DKVM_ROOT/proc/sys/kernel/random/boot_id"
    printf '[handoff]\ndomains = all\n' > "$DKVM_ROOT/etc/dkvm/dkvm.conf"
    # shellcheck disable=SC2016 # for the program
    printf '#!/bin/sh\nprintf %%s "$DKVM_NAME" >"%s"\n' "$PWD/told" > "$tell"
    chmod 755 "$tell"
    chmod -R go-w "$DKVM_ROOT/etc"
    cp "$(dirname "$DKVM")/dkvm-gpu" "$DKVM_ROOT/usr/sbin/dkvm-gpu"
    # What the definitions of hook.py name is not there.
    [ "$1" = real_names ] || rm "$DKVM_ROOT/sys/bus/pci/devices/0000:01:00.0"
    hook "$1"
}

@test "names of strangers, before the real dkvm-gpu: no path, no shell, nothing is made" {
    ! sanitized || skip 'the sanitizer opens files'
    real real_names
}

@test "definitions of strangers, before the real dkvm-gpu: exit codes, nothing is made" { real real_definitions; }

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

@test "libc and nothing else, and that inside" {
    ! sanitized || skip 'the sanitizer is a library'
    LC_ALL=C readelf -dlW "$INSTALLED" > headers
    grep -q 'FLAGS_1.*PIE' headers
    if grep -E 'NEEDED|INTERP' headers; then fail 'it needs a library'; fi
    # What it is linked from: its own objects, no library.
    make -C "$TOP" -nB HOOK_LDFLAGS=-static-pie B="$BATS_TEST_TMPDIR/b" "$BATS_TEST_TMPDIR/b/dkvm-hook" > commands
    grep -- '-o [^ ]*/dkvm-hook ' commands > linked
    if grep -E ' -l[a-z]|\.a( |$)' linked; then fail 'it links a library'; fi
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

@test "dkvm-hook(8)" {
    local page=$TOP/qemu-hook/dkvm-hook.8.scd code=$TOP/qemu-hook/dkvm-hook.c
    command -v scdoc > /dev/null || skip 'no scdoc'
    scdoc < "$page" > page.out
    head -1 "$page" | grep -qx 'dkvm-hook(8)'
    if grep -nP '\P{ASCII}' "$page"; then fail 'not ASCII'; fi
    # The operations, and what is done at each.
    sed -nE 's/^.*\{?\{"([a-z]+)", (DECIDE|TELL)\}.*/&/p' "$code" | grep -oE '"[a-z]+", (DECIDE|TELL)' | tr -d '",' | sort > of-code
    awk '/^# OPERATIONS/ { on = 1; next } /^# / { on = 0 } on && /^\*/' "$page" > lines
    { sed -n 1p lines | grep -oE '[a-z]+' | sed 's/$/ DECIDE/'; sed -n 2p lines | grep -oE '[a-z]+' | sed 's/$/ TELL/'; } | sort > of-man
    [ "$(wc -l < of-code)" -eq 6 ]
    diff -u of-code of-man
    # The limits.
    grep -q 'DKVM_HOOK_MAX (4U \* 1024 \* 1024)' "$TOP/qemu-hook/hook-input.h"
    grep -q 'larger than 4 MiB' "$page"
    grep -q 'DKVM_HOOK_READ_MS 5000' "$TOP/qemu-hook/hook-input.h"
    grep -q 'within 5 seconds' "$page"
}

@test "make install and uninstall: the link, and what another put in its place" {
    local d=$PWD/dest link=$PWD/dest/etc/libvirt/hooks/qemu.d/50-dkvm put
    make -s -C "$TOP" B="$(dirname "$DKVM")" DESTDIR="$d" install-qemu-hook
    [ "$(readlink "$link")" = /usr/sbin/dkvm-hook ]
    [ -x "$d/usr/sbin/dkvm-hook" ]
    make -s -C "$TOP" B="$(dirname "$DKVM")" DESTDIR="$d" uninstall-qemu-hook
    find "$d" ! -type d > left
    [ ! -s left ] || fail "left: $(cat left)"
    for put in '/usr/bin/true' '/usr/local/sbin/dkvm-hook' 'dkvm-hook' '/usr/sbin/dkvm-hook/../x'; do
        ln -sfn "$put" "$link"
        if make -s -C "$TOP" B="$(dirname "$DKVM")" DESTDIR="$d" check-hook 2> err; then fail "replaces $put"; fi
        grep -q 'not ours' err
        make -s -C "$TOP" B="$(dirname "$DKVM")" DESTDIR="$d" uninstall-qemu-hook
        [ "$(readlink "$link")" = "$put" ]
        make -s -C "$TOP" B="$(dirname "$DKVM")" DESTDIR="$d" HOOK=no check-hook
    done
    # One of ours for another place is moved.
    ln -sfn /usr/bin/dkvm-hook "$link"
    make -s -C "$TOP" B="$(dirname "$DKVM")" DESTDIR="$d" check-hook install-qemu-hook
    [ "$(readlink "$link")" = /usr/sbin/dkvm-hook ]
}
