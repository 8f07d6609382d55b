#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# --explain-topology agrees with every recorded boot of a real XNU.

load helpers

# Which model and macOS give the CPU of a kind of boot; XNU treats every CPU that has MSR 0x35 alike.
options_for() {
    case $1 in
    penryn) options=(--model "MacPro4,1" --macos 11) ;;
    msr) options=(--model "MacPro7,1" --macos 11) ;;
    *) return 1 ;;
    esac
}

@test "every recorded boot: exit code and XNU's own words" {
    local qemu shape kind xnu want failed=0 count=0
    declare -A made
    while IFS='|' read -r qemu shape kind xnu; do
        options_for "$kind"
        case $qemu in 7.2) qemu=7.2.22 ;; 10) qemu=10.0.13 ;; esac
        if [ -z "${made[$qemu]:-}" ]; then
            facts "f['emulator']['version'] = '$qemu'" > "facts-$qemu.json"
            made[$qemu]=yes
        fi
        want=1
        if [ "$xnu" = ok ]; then want=0; fi
        dkvm $want --facts "facts-$qemu.json" "${options[@]}" --explain-topology "$shape" \
            || { echo "-> $qemu $kind $shape: $xnu"; failed=1; }
        if [ "$xnu" != ok ]; then
            grep -Fq "$xnu" out || { echo "-> $qemu $kind $shape: not said: $xnu"; head -c 600 out; failed=1; }
        fi
        count=$((count + 1))
    done < <(python3 - "$TOP/tests/data/xnu-boots.jsonl" <<'PYTHON'
import json, sys
for line in open(sys.argv[1]):
    boot = json.loads(line)
    print(boot["qemu"], "x".join(map(str, boot["shape"])), boot["kind"], boot["xnu"], sep="|")
PYTHON
    )
    [ "$count" -eq 144 ]
    [ "$failed" -eq 0 ]
}

@test "a shape that does not boot comes with ones that do" {
    dkvm 1 --facts facts.json --macos 14 --explain-topology 1x3x2
    shows '1 socket, 3 cores, 2 threads' 'divide error' 'nearby: .*6 as 3x1x2'
}

@test "--explain-topology --json: the same answer as the text" {
    local shape macos code
    for macos in 10.11 14 unknown; do
        for shape in 1x4x2 1x3x2 1x2x1 1x255x1; do
            local words=(--facts facts.json --explain-topology "$shape")
            [ $macos = unknown ] || words+=(--macos "$macos")
            code=0
            "$DKVM" "${words[@]}" > text || code=$?
            dkvm $code --json "${words[@]}"
            python3 - "$macos" $shape $code << 'PYTHON' || fail "$macos $shape"
import json, sys
macos, shape, code = sys.argv[1:]
said, text = json.load(open("out")), open("text").read()
assert "x".join(str(said[k]) for k in ("sockets", "cores", "threads")) == shape, said
assert f": {said['vcpus']} vCPUs" in text
assert said["macos"] == macos and said["model"].startswith("MacPro")
assert said["boots"] == (code == "0") and (said["xnu"] == "ok") == said["boots"]
cpu = said["cpu"]
assert f"{cpu['vendor']} family {cpu['family']} model {cpu['model']} stepping {cpu['stepping']}" in text
assert f"QEMU:    {said['qemu']}" in text and said["kvm"] == ("KVM" in text)
assert f"XNU:     {said['xnu']}\n" in text and said["why"] in text
assert text.count(" like QEMU ") == len(said["told"]) > 0
for told in said["told"]:
    assert (f"like {told['like']}: {told['cores']} cores and {told['threads']} threads per package, "
            f"{told['sharing']} threads share the last cache, MSR 0x35 = {told['msr35']:#x} -> {told['xnu']}") in text
nearby = ", ".join("{vcpus} as {sockets}x{cores}x{threads}".format(**near) for near in said.get("nearby", []))
assert ("nearby" in said) == ("nearby:" in text) and (not nearby or f"nearby:  {nearby}\n" in text), said
PYTHON
        done
    done
    facts "f['emulator']['kvm'] = False" > tcg.json
    dkvm 0 --facts tcg.json --json --macos 14 --explain-topology 1x2x1
    python3 -c 'import json; assert "no KVM" in json.load(open("out"))["note"]'
    dkvm 2 --facts facts.json --json --explain-topology 1x0x1
}

@test "what it says boots is taken by --set topology, what it says fails is not" {
    local shape code
    for shape in 1x1x1 1x2x1 1x2x2 1x3x1 1x3x2 2x2x1 2x3x1 1x4x2 3x1x1 1x5x1; do
        code=0
        "$DKVM" --facts facts.json --macos 14 --explain-topology $shape > out || code=$?
        case $code in
        0) on_file 0 -s topology=$shape domain.xml ;;
        1) on_file 4 -s topology=$shape domain.xml ;;
        *) fail "exit code $code for $shape" ;;
        esac
    done
}

@test "the shape that is chosen boots, for every number of vCPUs" {
    local n sockets cores threads
    for n in {1..16} 24 33; do
        sed "s|>6</vcpu>|>$n</vcpu>|" domain.xml > a.xml
        on_file 0 a.xml
        read -r sockets cores threads < <(sed -n \
            "s/^    <topology sockets='\([0-9]*\)' dies='1' cores='\([0-9]*\)' threads='\([0-9]*\)'.*/\1 \2 \3/p" out)
        [ $((sockets * cores * threads)) -le "$n" ]
        [ "$sockets" -eq 1 ]
        dkvm 0 --facts facts.json --macos 14 --explain-topology "${sockets}x${cores}x${threads}"
    done
}

@test "a host without KVM: said, since only Penryn gets past tsc_init there" {
    facts 'f["emulator"]["kvm"] = False' > tcg.json
    dkvm 0 --facts tcg.json --macos 14 --explain-topology 1x2x1
    shows 'KVM' 'tsc_init'
}
