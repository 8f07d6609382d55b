# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2154 # bats sets output and status
# For tests that install in the guest of device-rig.

rig_setup() {
    export TOP BUILD RIG
    TOP=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
    BUILD=${DKVM_BUILD:-$TOP/build}
    RIG=${DKVM_RIG:-$BATS_TEST_DIRNAME/device-rig}
    export DKVM_CACHE=${DKVM_CACHE:-$TOP/build/cache}
    "$RIG/build" bookworm >&2
}

# The checkout with what was built in it, and make, which the guest has not: there, make has nothing left to compile.
# The lists of headers stay here, since the guest has none.
tree() {
    local part
    make -s -C "$TOP" B="$BUILD" all
    mkdir -p tree/build
    for part in Makefile packaging lib xslt hooks udev qemu-hook tests/e2e/hook-apparmor; do
        [ ! -e "$TOP/$part" ] || (cd "$TOP" && cp -a --parents "$part" "$OLDPWD/tree")
    done
    for part in $(make -s -C "$TOP" parts) libdkvm.a darwin.xsl; do
        cp -a "$BUILD/$part" tree/build/
    done
    find "$BUILD" -maxdepth 1 -type f -name 'dkvm*' -exec cp -a {} tree/build/ ';'
    find tree -name '*.d' -type f -delete
    cp -L "$(command -v make)" .
}

# rig_job COUNT ARGUMENT...: runs device-rig with these; all of its checks are good, and there are COUNT of them.
rig_job() {
    local wanted=$1
    shift
    run "$RIG/run" "$@"
    printf '%s\n' "$output" | sed -n 's/^\(ok\|#\)/# rig: \1/p' >&3
    [ "$status" -eq 0 ] || { printf '%s\n' "$output" | grep -v '^ok'; return 1; }
    if grep '^not ok' <<< "$output"; then return 1; fi
    [ "$(grep -c '^ok' <<< "$output")" -eq "$wanted" ]
}
