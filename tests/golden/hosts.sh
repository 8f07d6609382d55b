#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-iommu on the recorded hosts: text, JSON, DOT, SVG and the explanation of each GPU as expected; the JSON
# parses, Graphviz's syntax holds, the picture renders to PNG, light and dark.  TAP.
#
#   hosts.sh                 compare          hosts.sh --regenerate    write tests/golden/hosts anew
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
build=${DKVM_BUILD:-build}
case $build in /*) ;; *) build=$PWD/$build ;; esac
export LC_ALL=C.UTF-8
unset NO_COLOR
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
expected=tests/golden/hosts
number=0
failed=0

result() { # GOOD NAME
    number=$((number + 1))
    if [ "$1" = 0 ]; then echo "ok $number $2"; else echo "not ok $number $2"; failed=1; fi
}

# The GPUs of a listing, by address.
gpus() { sed -nE 's/^(-|[0-9]+) ([0-9a-f:.]+) 03.*/\2/p; s/^explain //p' "$1"; }

# What the program says about one host, into DIRECTORY.
say() { # LISTING DIRECTORY
    local name=${1##*/} bdf listing=$1
    name=${name%.host}
    rm -rf "$work/root"
    mkdir -p "$work/root" "$2"
    tests/data/hosts/make-root "$1" "$work/root" || return 1
    local iommu="env DKVM_ROOT=$work/root $build/dkvm-iommu"
    $iommu >"$2/$name.txt"
    echo "exit $?" >>"$2/$name.txt"
    base=$(sed -n 's/^base //p' "$listing")
    while [ -n "$base" ]; do
        listing=tests/data/hosts/$base.host
        base=$(sed -n 's/^base //p' "$listing")
    done
    for bdf in $(gpus "$listing"); do
        {
            printf '\n'
            $iommu "$bdf"
            echo "exit $?"
        } >>"$2/$name.txt"
    done
    $iommu --json >"$2/$name.json"
    $iommu --dot >"$2/$name.dot"
    $iommu --svg >"$2/$name.svg"
    return 0
}

if [ "${1:-}" = --regenerate ]; then
    rm -rf "$expected"
    for listing in tests/data/hosts/*.host; do say "$listing" "$expected"; done
    exit 0
fi

count=$(find tests/data/hosts -name '*.host' | wc -l)
[ "$count" -ge 12 ]
result $? "there are at least 12 recorded hosts ($count)"

for listing in tests/data/hosts/*.host; do
    name=${listing##*/}
    name=${name%.host}
    say "$listing" "$work/now"
    for form in txt json dot svg; do
        diff -u "$expected/$name.$form" "$work/now/$name.$form" | sed 's/^/# /' | head -40
        cmp -s "$expected/$name.$form" "$work/now/$name.$form"
        result $? "$name: $form"
    done
    python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$work/now/$name.json"
    result $? "$name: JSON parses"
    xmllint --noout "$work/now/$name.svg" && ! grep -qiE '<script|href|url\(|@import' "$work/now/$name.svg"
    result $? "$name: the SVG is XML that needs nothing else"
    # Dark: librsvg knows no media queries, so the dark rules are made unconditional.
    sed '/@media/d; /^  }$/d' "$work/now/$name.svg" >"$work/dark.svg"
    rsvg-convert "$work/now/$name.svg" -o "$work/light.png" && rsvg-convert "$work/dark.svg" -o "$work/dark.png"
    result $? "$name: the picture renders, light and dark"
    # Looking at every pixel takes seconds a picture: four of them, or all.
    case $name in
    laptop-p16v | amd-b550-acs-override | intel-skylake-1660 | storage-stacks) looked=1 ;;
    *) looked=${DKVM_LONG:-} ;;
    esac
    if [ -n "$looked" ]; then
        python3 tests/golden/picture.py "$work/now/$name.svg" "$work/light.png" "$work/dark.png" | sed 's/^/# /'
        result $? "$name: light and dark contrast, and nothing leaves its box"
    fi
    if command -v dot >/dev/null; then
        dot -Tplain "$work/now/$name.dot" >/dev/null
        result $? "$name: Graphviz takes the graph"
    fi
done
echo "1..$number"
exit $failed
