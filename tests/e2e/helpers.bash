# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What the tests beside a real libvirtd share.  Each is a Python program of this folder that prints "ok"
# and "not ok" lines; beside() runs it in ns-libvirtd, and a test here is as good as all of those lines.

TOP=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
DKVM=${DKVM_BUILD:-$TOP/build}/dkvm-patch
case $DKVM in /*) ;; *) DKVM=$TOP/$DKVM ;; esac
export DKVM TOP

# beside SUITE PROGRAM ARGUMENT...: the libvirtd of Debian 12 (bookworm) or of Debian 13 (trixie).
# $OSINFO: a folder that libosinfo looks into besides its own; $BESIDE_SECONDS: when it is given up.
beside() {
    local suite=$1 program=$2 code=0 log=$BATS_TEST_TMPDIR/log deadline=${BESIDE_SECONDS:-900}
    [ -z "${DKVM_LONG-}" ] || deadline=7200
    shift 2
    DKVM_SUITE=$suite PYTHONDONTWRITEBYTECODE=1 LC_ALL=C.UTF-8 \
        timeout --kill-after=10 "$deadline" "$BATS_TEST_DIRNAME/ns-libvirtd" \
        --suite "$suite" ${OSINFO:+--osinfo "$OSINFO"} -- \
        /usr/bin/python3 "$BATS_TEST_DIRNAME/$program" "$@" > "$log" 2>&1 || code=$?
    # What was measured or counted.
    sed -n "s/^# /# $suite: /p" "$log" >&3
    [ "$code" -eq 0 ] || echo "$program ended with $code"
    # Everything that is no good, with what it said (indented lines), and what is not in this form.
    awk '/^(ok|# )/ { shown = 0; next } { shown = 1 } shown' "$log" | head -c 20000
    [ "$code" -eq 0 ] && grep -q '^ok' "$log" && ! grep -q '^not ok' "$log"
}
