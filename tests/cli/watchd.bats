#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-watchd without a libvirtd: its command line, its units, what is installed.

load helpers

prepare() {
    WATCHD=$(dirname "$DKVM")/dkvm-watchd
    export RUNTIME_DIRECTORY=$BATS_TEST_TMPDIR/runtime
}

watchd() { # CODE ARGUMENT...: the output is in out, the messages in err
    local code=$1 is=0
    shift
    timeout 20 "$WATCHD" "$@" > out 2> err || is=$?
    [ "$is" -eq "$code" ] || fail "exit $is, not $code: dkvm-watchd $*: $(cat err)"
    if grep -v '^dkvm-watchd: ' err; then fail "lines without its name"; fi
}

@test "usage errors" {
    local words
    for words in "--nonsense" "operand" "--json" "--session --connect qemu:///system" "--connect" \
        "--status --connect qemu:///system" "-c qemu:///system -c qemu:///system"; do
        # shellcheck disable=SC2086
        watchd 2 $words
        grep -q -e '--help' err || fail "$words: no hint: $(cat err)"
    done
    watchd 2 --connect ''
}

@test "--version and --help" {
    watchd 0 --version
    grep -qx 'dkvm-watchd [0-9.]*' out
    watchd 0 --help
    grep -q 'dkvm-watchd(8)' out
}

@test "options: --help and dkvm-watchd(8)" {
    LC_ALL=C "$WATCHD" --help | grep -oE -- '--[a-z]+' | grep -vE -- '--help' | sort -u > of-help
    grep -E '^\*-' "$TOP/hooks/dkvm-watchd.8.scd" | grep -oE -- '--[a-z]+' | grep -v -- '--help' | sort -u > of-man
    diff -u of-help of-man
}

@test "--status where no watcher runs, and where its file is not one" {
    watchd 6 --status
    grep -q 'no dkvm-watchd runs' err
    mkdir "$RUNTIME_DIRECTORY"
    : > "$RUNTIME_DIRECTORY/lock"
    exec 8< "$RUNTIME_DIRECTORY/lock"
    flock 8
    local text
    for text in '' '[' '[]' '{}' '{"connections": 1}' 'null'; do
        printf '%s' "$text" > "$RUNTIME_DIRECTORY/status.json"
        watchd 6 --status
        grep -q 'status.json' err || fail "'$text': $(cat err)"
    done
    printf '{"connections": [1, {}, {"uri": 7, "domains": [2, {"name": "a\\u001b[2J"}]}]}' \
        > "$RUNTIME_DIRECTORY/status.json"
    watchd 0 --status
    grep -qF 'a\u{1b}[2J' out
}

@test "standard output that is full: exit 6" {
    local code=0
    "$WATCHD" --help > /dev/full 2> err || code=$?
    "$WATCHD" --version > /dev/full 2> err || code=$?
    [ "$code" -eq 6 ]
}

@test "a configuration that is not valid: exit 3" {
    mkdir -p root/etc/dkvm
    echo '[define]
matsch = macos' > root/etc/dkvm/dkvm.conf
    DKVM_ROOT=$PWD/root watchd 3
    grep -q 'dkvm.conf.*\[define\].*matsch' err
}

@test "the unit's exposure is at most 1.0" {
    sed 's|@SBINDIR@|/usr/sbin|' "$TOP/packaging/dkvm-watchd.service.in" > dkvm-watchd.service
    systemd-analyze security --offline=true --threshold=10 "$PWD/dkvm-watchd.service" > analysis || {
        cat analysis
        false
    }
    tail -n 1 analysis | sed 's/^/# /' >&3
}

@test "make install and uninstall, by prefix, sbindir and DESTDIR" {
    local d=$PWD/dest
    make -s -C "$TOP" B="$(dirname "$DKVM")" DESTDIR="$d" sbindir=/usr/bin install
    "$d/usr/bin/dkvm-watchd" --version
    grep -qx 'ExecStart=/usr/bin/dkvm-watchd' "$d/usr/lib/systemd/system/dkvm-watchd.service"
    grep -qx 'ExecStart=/usr/bin/dkvm-watchd --session' "$d/usr/lib/systemd/user/dkvm-watchd.service"
    grep -q '/usr/bin/dkvm-watchd' "$d/etc/libvirt/hooks/daemon.d/50-dkvm-watchd"
    [ -x "$d/etc/libvirt/hooks/daemon.d/50-dkvm-watchd" ]
    if grep -rIn '@[A-Z]*@' "$d/etc" "$d/usr/lib"; then false; fi
    make -s -C "$TOP" B="$(dirname "$DKVM")" DESTDIR="$d" sbindir=/usr/bin uninstall
    find "$d" -type f > left
    [ ! -s left ] || fail "left: $(cat left)"
}

@test "make install never replaces a hook that is not ours, nor uninstall removes it" {
    local d=$PWD/dest hook=$PWD/dest/etc/libvirt/hooks/daemon.d/50-dkvm-watchd
    mkdir -p "$(dirname "$hook")"
    echo 'somebody else' > "$hook"
    if make -s -C "$TOP" B="$(dirname "$DKVM")" DESTDIR="$d" install 2> err; then false; fi
    grep -q 'not ours' err
    grep -qx 'somebody else' "$hook"
    [ ! -e "$d/usr" ]
    make -s -C "$TOP" B="$(dirname "$DKVM")" DESTDIR="$d" HOOK=no install
    make -s -C "$TOP" B="$(dirname "$DKVM")" DESTDIR="$d" uninstall
    grep -qx 'somebody else' "$hook"
}

@test "make install refuses a place from which libvirtd may not start programs" {
    local place
    for place in /usr/local/sbin /opt/dkvm /usr/libexec; do
        if make -s -C "$TOP" B="$(dirname "$DKVM")" DESTDIR="$PWD/dest" sbindir=$place install 2> err; then false; fi
        grep -q 'AppArmor' err
        [ ! -e dest ]
    done
}

@test "the hook of hosts without systemd does nothing but at a start" {
    local words
    sed "s|@SBINDIR@|$PWD|" "$TOP/packaging/50-dkvm-watchd.in" > hook
    printf '#!/bin/sh\ntouch %s/started\n' "$PWD" > dkvm-watchd
    chmod +x hook dkvm-watchd
    for words in "- shutdown - shutdown" "- reload begin SIGHUP" "" "- nonsense - -"; do
        # shellcheck disable=SC2086
        ./hook $words
    done
    sleep 0.3
    [ ! -e started ]
}
