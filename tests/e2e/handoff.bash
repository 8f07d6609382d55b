# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What the hand-over tests share: they boot a guest of device-rig, install dkvm in it, and run a program of the
# folder handoff/ there, which prints "ok" and "not ok" lines.

TOP=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
BUILD=${DKVM_BUILD:-$TOP/build}
RIG=$BATS_TEST_DIRNAME/device-rig
export DKVM_CACHE=${DKVM_CACHE:-$TOP/build/cache}

# What a guest gets, in $BATS_FILE_TMPDIR: made once for a file of tests.
handoff_setup() { # SUITE
    local stage=$BATS_FILE_TMPDIR/stage to=$BATS_FILE_TMPDIR/share program
    "$RIG/build" "$1" >&2
    mkdir -p "$to"
    make -s -C "$TOP" B="$BUILD" DESTDIR="$stage" install >/dev/null
    tar -C "$stage" -cf "$to/dkvm.tar" .
    # What "make uninstall" takes away, for a guest that has no make.
    (cd "$stage" && find . ! -type d | sort) >"$stage.before"
    make -s -C "$TOP" B="$BUILD" DESTDIR="$stage" uninstall >/dev/null
    (cd "$stage" && find . ! -type d | sort) | comm -23 "$stage.before" - >"$to/uninstalled"
    cp "$BATS_TEST_DIRNAME"/handoff/*.py "$BATS_TEST_DIRNAME/handoff/standin" "$to/"
    for program in hold killer neighbour; do
        gcc -O1 -Wall -Wextra -static -o "$to/$program" "$BATS_TEST_DIRNAME/handoff/$program.c"
    done
}

# in_guest [OPTION...] LAYOUT -- PROGRAM ARGUMENT...: see device-rig/run for the options.
in_guest() {
    local options=() code=0 log=$BATS_TEST_TMPDIR/log words=$BATS_TEST_TMPDIR/words
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    printf '%s\n' "$*" >"$words"
    "$RIG/run" "${options[@]}" "$BATS_TEST_DIRNAME/handoff/job" "$BATS_FILE_TMPDIR"/share/* "$words" >"$log" 2>&1 ||
        code=$?
    sed -n 's/^\(ok\|#\) /# \1 /p' "$log" >&3
    [ "$code" -eq 0 ] || echo "$* ended with $code"
    awk '/^(ok|# )/ { shown = 0; next } { shown = 1 } shown' "$log" | head -c 20000
    [ "$code" -eq 0 ] && ! grep -q '^not ok' "$log"
}

# The same, of a program that says at least one "ok".
cases() {
    in_guest "$@" && grep -q '^ok' "$BATS_TEST_TMPDIR/log"
}
