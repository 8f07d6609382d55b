#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-hook on a Debian 12 with libvirtd confined by AppArmor, installed by make install, gone after make uninstall.

setup_file() {
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

@test "AppArmor enforced: the hook runs unconfined, machines start, with it and after make uninstall" {
    cd "$BATS_TEST_TMPDIR"
    tree
    run env RIG_TIMEOUT="${RIG_TIMEOUT:-1200}" RIG_APPARMOR='apparmor=1 security=apparmor' "$RIG/run" full "$BATS_TEST_DIRNAME/hook-apparmor" tree make
    printf '%s\n' "$output" | sed -n 's/^\(ok\|#\)/# rig: \1/p' >&3
    [ "$status" -eq 0 ] || { printf '%s\n' "$output" | grep -v '^ok'; return 1; }
    if grep '^not ok' <<< "$output"; then return 1; fi
    [ "$(grep -c '^ok' <<< "$output")" -eq 9 ]
}
