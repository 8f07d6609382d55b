#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What means nothing is said before anything is opened; and what needs no domain.

load helpers

# The options of each line: exit code 2, standard output empty, and where to look.
@test "usage errors" {
    local words failed=0
    while read -r -a words; do
        if ! dkvm 2 "${words[@]}" < /dev/null || [ -s out ]; then
            echo "not refused as it should be: ${words[*]}"
            failed=1
        fi
    done <<'EOT'

--bogus
-f
-i
-f -i
-f -i -
-f -o . -
-f -i -o . domain.xml
-o . mac
-i mac
--create mac
-f --create -i domain.xml
-f --create -o . domain.xml
-f --create --revert domain.xml
-f --create --check domain.xml
-f --forget domain.xml
-f --revert -s video=auto domain.xml
--revert --set topology=1x4x1 mac
-f --check --revert domain.xml
--all mac
--all -f domain.xml
-f domain.xml domain.xml
-f - -
-f -m domain.xml
-f -m MacPro9,9 domain.xml
-f -m MacPro6,1 domain.xml
-f -m ../MacPro7,1 domain.xml
-f --macos 9 domain.xml
-f --macos 10.3 domain.xml
-f --macos 16 domain.xml
-f --macos 27 domain.xml
-f --macos 10.16 domain.xml
-f --macos 10,15 domain.xml
-f --macos 014 domain.xml
-f --macos 14x domain.xml
-f --macos unknown domain.xml
-f --macos lynx domain.xml
-f --macos -1 domain.xml
--list-models mac
--version mac
--print-facts mac
--explain-topology 1x1x1 mac
--explain-topology 4
--explain-topology 1x2
--explain-topology 1x2x
--explain-topology 0x1x1
--explain-topology 1x0x1
--explain-topology 1x2x3x4
--explain-topology -1x2x3
--explain-topology 1x4x2;reboot
--explain-topology 99999999999x1x1
--explain-topology 255x255x255
EOT
    [ "$failed" -eq 0 ]
}

@test "usage errors say what to do" {
    dkvm 2 -f -i -o . domain.xml
    says 'exclude each other' '--help'
    dkvm 2 -f -m MacPro9,9 domain.xml
    says 'MacPro9,9' '--list-models'
    dkvm 2 -f --macos lynx domain.xml
    says 'lynx' '--list-models'
}

@test "a usage error changes nothing and reads nothing" {
    cp domain.xml a.xml
    on_file 2 -i --forget a.xml
    cmp a.xml domain.xml
    mkfifo fifo
    dkvm 2 -f -i -o . fifo
}

@test "--help and --version" {
    dkvm 0 --help
    local option
    for option in connect file in-place output-dir all model macos diff dry-run revert forget check set \
        facts print-facts create explain-topology json list-models version; do
        shows "--$option"
    done
    dkvm 0 --version
    shows '^dkvm-patch [0-9]+\.[0-9]+\.[0-9]+$'
}

@test "--list-models names every model and macOS, which all work" {
    dkvm 0 --list-models
    cp out list
    local model version name
    for model in MacPro7,1 MacPro5,1 MacPro4,1 MacPro3,1 MacPro2,1; do
        grep -Fq "$model" list
        on_file 0 -m "$model" domain.xml
        shows "<dkvm:darwin model='$model' macos='14'"
    done
    for version in 10.{4..15} 11 12 13 14 15 26; do
        grep -Eq "^  $version " list
        name=$(awk -v v="$version" '$1 == v { print $2 }' list)
        on_file 0 --macos "$version" domain.xml
        cp out by-number
        shows "macos='$version'"
        on_file 0 --macos "$name" domain.xml
        cmp out by-number
    done
}

@test "--list-models --json says the same" {
    dkvm 0 --list-models
    cp out list
    dkvm 0 --list-models --json
    python3 -c 'import json
said = json.load(open("out"))
lines = ["models and their CPUs:"]
for model in said["models"]:
    lines.append("  " + model["name"])
    for cpu in model["cpus"]:
        lines.append("    macOS {from} and newer: {name} (libvirt: {libvirt})".format(**cpu))
lines.append("macOS versions (name, model by default):")
for macos in said["macos"]:
    lines.append("  %-8s %-14s %s" % (macos["version"], " ".join(macos["names"]), macos["model"]))
print("\n".join(lines))' > again
    cmp again list
}

@test "--print-facts is the same JSON with --json" {
    dkvm 0 --facts facts.json --print-facts
    cp out plain
    dkvm 0 --facts facts.json --print-facts --json
    cmp out plain
    python3 -c 'import json; assert "emulator" in json.load(open("out"))'
}

@test "macOS names in the user's own spelling; a minor version is its version" {
    local name
    on_file 0 --macos 10.13 domain.xml
    cp out right
    for name in 'High Sierra' high-sierra HIGHSIERRA 'macOS High Sierra' 10.13.6; do
        on_file 0 --macos "$name" domain.xml || fail "$name"
        cmp out right
    done
    on_file 0 --macos 14 domain.xml
    cp out right
    on_file 0 --macos 14.6.1 domain.xml
    cmp out right
}

@test "--print-facts and --facts go round" {
    dkvm 0 --facts facts.json --print-facts
    python3 -c 'import json
assert json.load(open("out")) == json.load(open("facts.json"))'
    cp out again.json
    dkvm 0 --facts again.json --print-facts
    cmp out again.json
    local file
    for file in "$TOP"/tests/data/facts/*.json; do
        dkvm 0 --facts "$file" --print-facts
        python3 -c 'import json, sys
assert json.load(open("out")) == json.load(open(sys.argv[1]))' "$file"
    done
}

@test "facts that are none: exit 3 naming the file and the member" {
    local text
    while read -r text; do
        printf '%b' "$text" > bad.json
        dkvm 3 -f --facts bad.json domain.xml || fail "taken: $text"
        says 'bad\.json' 'print-facts|not JSON'
        [ ! -s out ]
        dkvm 3 --facts bad.json --print-facts || fail "printed: $text"
    done <<'EOT'

[]
null
{
nonsense
{"hosts": {}}
{"host": []}
{"host": {"thread": 4}}
{"host": {"threads": 0}}
{"host": {"threads": -1}}
{"host": {"threads": 1e9}}
{"host": {"threads": "4"}}
{"host": {"smt": "yes"}}
{"host": {"cpu-vendor": "Genuine"}}
{"emulator": {"path": "qemu"}}
{"emulator": {"version": "seven"}}
{"emulator": {"path": "/a\\u001bb"}}
{"firmware": {"pairs": {}}}
{"firmware": {"pairs": [1]}}
{"firmware": {"pairs": [{"code": "/x"}]}}
{"cpu-missing": {"kvm": {"Penryn": ["a,b"]}}}
{"cpu-missing": {"kvm": {"Penryn": ["a' b='c"]}}}
{"cpu-missing": {"kvm": []}}
\xff\xfe
EOT
    dkvm 6 -f --facts nowhere.json domain.xml
    says nowhere.json
    head -c 2000000 /dev/zero > big.json
    dkvm 3 -f --facts big.json domain.xml
    python3 -c 'print("[" * 100000)' > deep.json
    dkvm 3 -f --facts deep.json domain.xml
}

@test "facts are not needed to revert" {
    on_file 0 domain.xml
    cp out p.xml
    canonical domain.xml > original
    dkvm 0 -f --revert p.xml
    same_xml out original
}
