#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# --set, --model, --macos; --check, --diff, --dry-run, --json, --revert, --forget.

load helpers

prepare() {
    on_file 0 domain.xml
    cp out patched.xml
    canonical domain.xml > canonical.xml
}

# KEY | VALUE | what is then in the domain
good() {
    cat <<EOT
topology|1x2x1|<topology sockets='1' dies='1' cores='2' threads='1'/>
topology|2x2x1|<topology sockets='2' dies='1' cores='2' threads='1'/>
machine|q35|machine='pc-q35-7.2'
input|native|<input type='tablet' bus='usb'/>
video|vga|<model type='vga'
video|vmvga|<model type='vmvga'
video|qxl|<model type='qxl'
video|virtio|<model type='virtio'
video|bochs|<model type='bochs'
video|none|<model type='none'/>
nic|virtio|<model type='virtio'/>
nic|vmxnet3|<model type='vmxnet3'/>
nic|e1000|<model type='e1000'/>
nic|e1000e|<model type='e1000e'/>
nic|e1000-82545em|<model type='e1000-82545em'/>
disk|sata|<target dev='sda' bus='sata'/>
disk|virtio|<target dev='vda' bus='virtio'/>
usb|qemu-xhci|model='qemu-xhci'
usb|nec-xhci|model='nec-xhci'
usb|ich9-ehci1|model='ich9-ehci1'
sound|ich9|<sound model='ich9'
sound|ich6|<sound model='ich6'
sound|usb|<sound model='usb'
sound|virtio|<sound model='virtio'
hpet|yes|<timer name='hpet' present='yes'/>
hpet|no|<timer name='hpet' present='no'/>
smbios|type=1,product=Mac Pro,serial=C02|<qemu:arg value='type=1,product=Mac Pro,serial=C02'/>
smbios|type=2,manufacturer=Apple,,Inc|<qemu:arg value='type=2,manufacturer=Apple,,Inc'/>
osk|$OTHER_OSK|isa-applesmc,osk=$OTHER_OSK
cpu-flags|+avx2|,+avx2'/>
cpu-flags|-invtsc|vmware-cpuid-freq=on,-avx512f
cpu-flags|+pku,-avx,+sse4.2|,+pku,-avx,+sse4.2'/>
handoff.framebuffer|off|key='handoff.framebuffer' value='off'
EOT
}

@test "every key with good values: done, kept in the marker, twice the same, auto forgets" {
    local key value there failed=0
    while IFS='|' read -r key value there; do
        on_file 0 -s "$key=$value" domain.xml || { failed=1; continue; }
        cp out set.xml
        has set.xml "$there" "<dkvm:choice key='$key' value=" || { echo "-> $key=$value"; failed=1; }
        on_file 0 set.xml
        cmp out set.xml || failed=1
        on_file 0 --check set.xml || failed=1
        on_file 0 --set "$key=$value" set.xml
        cmp out set.xml || failed=1
        on_file 0 --set "$key=auto" set.xml || { failed=1; continue; }
        same_xml out patched.xml || { echo "-> $key=auto after $key=$value"; failed=1; }
        # The same choice for a domain that was patched before.
        on_file 0 -s "$key=$value" patched.xml || { failed=1; continue; }
        same_xml out set.xml || { echo "-> $key=$value later"; failed=1; }
        on_file 0 --revert set.xml
        same_xml out canonical.xml || { echo "-> revert after $key=$value"; failed=1; }
    done < <(good)
    [ "$failed" -eq 0 ]
}

@test "sound=none removes the sound card; revert and auto bring it back" {
    on_file 0 -s sound=none domain.xml
    cp out set.xml
    lacks set.xml "    <sound model='ich9'"
    on_file 0 -s sound=auto set.xml
    same_xml out patched.xml
    on_file 0 --revert set.xml
    same_xml out canonical.xml
}

@test "input=commandline is refused beside an EHCI controller, done beside xHCI" {
    on_file 7 -s input=commandline domain.xml
    says 'usb=qemu-xhci'
    on_file 0 -s input=commandline -s usb=qemu-xhci domain.xml
    has out "<qemu:arg value='-usb'/>" "<qemu:arg value='usb-tablet'/>" "<qemu:arg value='usb-kbd'/>"
    lacks out "    <input type='tablet'"
    cp out set.xml
    on_file 0 set.xml
    cmp out set.xml
    on_file 0 --revert set.xml
    same_xml out canonical.xml
}

@test "machine=q35 converts an i440fx domain, which is refused otherwise; revert gives it back" {
    local file
    for file in machine-pc-ide machine-pc-many machine-pc-versioned wizard-13-min; do
        cp "$GOLDEN/$file.xml" pc.xml
        canonical pc.xml > pc-canonical.xml
        on_file 7 pc.xml
        says 'machine=q35' 'pc\.xml'
        on_file 7 --check pc.xml
        on_file 0 -s machine=q35 pc.xml
        cp out set.xml
        has set.xml "machine='q35'"
        on_file 0 set.xml
        cmp out set.xml
        on_file 0 --revert set.xml
        same_xml out pc-canonical.xml || fail "$file"
    done
}

@test "bad values: exit 3, what the key takes, nothing written" {
    local choice failed=0
    cp domain.xml a.xml
    while IFS= read -r choice; do
        on_file 3 -i -s "$choice" a.xml || { echo "-> $choice"; failed=1; }
        says 'cannot set' || failed=1
        cmp a.xml domain.xml || failed=1
    done <<EOT
hpet
=yes

nothing=1
nothing=auto
topology=
topology=4
topology=1x4
topology=0x1x1
topology=1x1x1x1
topology=axbxc
topology=1x2x3 
machine=pc
machine=i440fx
input=usb
video=cirrus
nic=rtl8139
nic=virtio,mac=x
disk=ide
disk=scsi
usb=ehci
usb=piix3-uhci
sound=ac97
hpet=on
hpet=YES
smbios=
smbios=type=5
smbios=type=1,file=/etc/passwd
smbios=type=1,,file=/etc/passwd
smbios=type=1,product=a,,,file=/etc/passwd
smbios=type=1,product
smbios=type=1,bogus=x
osk=short
osk=${OTHER_OSK%?}
osk=${OTHER_OSK}x
osk=${OTHER_OSK%?},
osk=${OTHER_OSK%?}é
cpu-flags=
cpu-flags=avx2
cpu-flags=+avx2,,
cpu-flags=+avx2 +pku
cpu-flags=+vendor=AuthenticAMD
cpu-flags=+$(printf 'x%.0s' {1..33})
model=iMac
macos=9
handoff.=off
handoff.gpu=on
handoff.gpu=/bin/sh
handoff./etc=off
EOT
    [ "$failed" -eq 0 ]
}

@test "a mistyped key is never said again in a message" {
    local choice
    for choice in "osk=$OSK," "osk=${OSK}x" "$OSK" "osk:$OSK" "smc=$OSK" "osk $OSK"; do
        on_file 3 -s "$choice" domain.xml
    done
}

@test "the same key twice: the last one counts" {
    on_file 0 -s hpet=yes -s hpet=no domain.xml
    cp out twice.xml
    on_file 0 -s hpet=no domain.xml
    cmp out twice.xml
}

@test "model A, then model B, is model B" {
    local a b failed=0
    for a in MacPro7,1 MacPro5,1 MacPro2,1; do
        on_file 0 -m "$a" domain.xml
        cp out a.xml
        for b in MacPro7,1 MacPro4,1 MacPro3,1; do
            on_file 0 -m "$b" domain.xml
            cp out b.xml
            on_file 0 -m "$b" a.xml
            same_xml out b.xml || { echo "-> $a then $b"; failed=1; }
        done
    done
    [ "$failed" -eq 0 ]
}

@test "model A, then model B, is model B: byte for byte" {
    on_file 0 -m MacPro2,1 --macos 26 domain.xml
    cp out a.xml
    on_file 0 -m MacPro7,1 --macos 26 domain.xml
    cp out b.xml
    on_file 0 -m MacPro7,1 --macos 26 a.xml
    cmp out b.xml
}

# A file may be an installed guest's.
@test "another macOS: devices that work for it stay, others are replaced" {
    on_file 0 --macos 10.14 domain.xml
    grep -E "<(target dev|controller type='usb'|sound)|<model type='(e1000|vmxnet3|virtio)" out > devices
    cp out a.xml
    on_file 0 --macos 14 a.xml
    grep -E "<(target dev|controller type='usb'|sound)|<model type='(e1000|vmxnet3|virtio)" out > upgraded
    diff -u devices upgraded
    on_file 0 --macos 10.4 a.xml
    has out "<model type='e1000-82545em'/>"
    cp out old.xml
    on_file 0 --revert old.xml
    canonical domain.xml > canonical.xml
    same_xml out canonical.xml
}

@test "the model and the macOS stay chosen, until auto" {
    on_file 0 -m MacPro3,1 --macos 10.8 domain.xml
    cp out a.xml
    on_file 0 a.xml
    cmp out a.xml
    on_file 0 -m MacPro3,1 domain.xml
    cp out b.xml
    on_file 0 b.xml
    cmp out b.xml
    on_file 0 -s model=auto -s macos=auto b.xml
    same_xml out patched.xml
}

@test "the macOS by libosinfo id, else unknown, which is said" {
    local id
    for id in macos/26:26 macos/10.15:10.15 macosx/10.7:10.7 macosx/10.4:10.4; do
        sed "s|apple.com/macos/14|apple.com/${id%:*}|" domain.xml > a.xml
        on_file 0 a.xml
        shows "macos='${id#*:}'"
        [ ! -s err ]
    done
    for id in http://apple.com/macos/99 http://debian.org/debian/12 '' 'http://apple.com/macos/' x; do
        sed "s|http://apple.com/macos/14|$id|" domain.xml > a.xml
        on_file 0 a.xml
        says '--macos'
        shows "macos='unknown'"
    done
}

@test "--check: before, after, and after a user's edit" {
    on_file 1 --check domain.xml
    [ ! -s out ]
    on_file 0 --check patched.xml
    [ ! -s out ]
    edit patched.xml "<model type='vga'" "<model type='bochs'"
    on_file 0 --check patched.xml
    # It looks at the domain, not at the marker: what is right without one is up to date.
    sed '/<dkvm:darwin/,/<\/dkvm:darwin>/d' patched.xml > right.xml
    edit right.xml "<model type='bochs'" "<model type='vga'"
    on_file 0 --check right.xml
    # Other facts: not up to date.
    facts 'f["cpu-missing"]["kvm"]["Cascadelake-Server"] = ["avx512f"]' > other.json
    dkvm 1 -f --facts other.json --check patched.xml
    on_file 1 --check patched.xml domain.xml
    on_file 1 -m MacPro2,1 --check patched.xml
    on_file 1 -s hpet=no --check patched.xml
}

@test "--check of a domain without what cannot boot otherwise" {
    cp patched.xml a.xml
    edit a.xml "<vcpu placement='static'>4" "<vcpu placement='static'>3"
    on_file 1 --check a.xml
}

@test "--diff applies to the canonical input and gives the output" {
    local file
    # A password is not shown, so that a diff around one does not apply.
    sed "s/ passwd='sesame'//" domain.xml > open.xml
    for file in open.xml "$GOLDEN"/{args-seed-usb,hostdev-pci,text-comments,text-one-line,title-utf8}.xml; do
        canonical "$file" > before.xml
        on_file 0 "$file"
        cp out after.xml
        on_file 0 --diff "$file"
        cp out the.diff
        patch -s before.xml the.diff
        cmp before.xml after.xml
        on_file 0 --diff after.xml
        [ ! -s out ]
    done
}

@test "--diff in a locale without UTF-8" {
    sed "s/<name>mac/<name>mäc/; s/ passwd='sesame'//" domain.xml > a.xml
    canonical a.xml > before.xml
    on_file 0 a.xml
    cp out after.xml
    # shellcheck disable=SC2030
    export LC_ALL=C
    on_file 0 a.xml
    cmp out after.xml
    on_file 0 --diff a.xml
    cp out the.diff
    patch -s before.xml the.diff
    cmp before.xml after.xml
}

@test "--json in a locale without UTF-8" {
    # shellcheck disable=SC2031
    export LC_ALL=C
    sed 's|<name>mac|<name>mäc|' domain.xml > a.xml
    on_file 0 --json a.xml
    python3 -c 'import json
assert json.load(open("out", encoding="utf-8"))[0]["name"] == "mäc"'
}

@test "--diff names what the user changed" {
    edit patched.xml "<model type='vga'" "<model type='bochs'"
    on_file 0 --diff patched.xml
    shows 'video: .*changed by you' 'video=auto'
}

@test "--diff without diff(1): exit 6, and what to install" {
    local code=0
    PATH=/nowhere "$DKVM" -f --facts facts.json --diff domain.xml > out 2> err || code=$?
    [ "$code" -eq 6 ]
    says diffutils
}

@test "--dry-run says what would change, for several files too, and changes nothing" {
    cp domain.xml a.xml
    on_file 0 -n a.xml patched.xml
    shows '^a.xml: nic: devices/interface' '^a.xml: would be changed' '^patched.xml: nothing to do'
    cmp a.xml domain.xml
    on_file 0 -n --revert a.xml patched.xml
    shows '^a.xml: nothing to do' '^patched.xml: would be changed' '^patched.xml: nic: .*virtio -> rtl8139'
    if grep -q 'patched.xml: nic: .*rtl8139 -> virtio' out; then fail "the wrong way round"; fi
}

@test "--json: valid, one object per file, with the outcome" {
    echo garbage > bad.xml
    cp domain.xml a.xml
    on_file 6 --json -i a.xml patched.xml bad.xml missing.xml
    python3 - <<'PYTHON'
import json
a, patched, bad, missing = json.load(open("out"))
assert a["object"] == "a.xml" and a["name"] == "mac" and a["result"] == "patched" and a["stored"] is True
assert a["uuid"].startswith("6f1c1b1e") and a["exit"] == 0 and a["kept"] == []
assert any(line.startswith("nic: ") for line in a["changes"])
assert patched["result"] == "unchanged" and patched["stored"] is False and patched["changes"] == []
assert bad["result"] == "failed" and bad["exit"] == 3 and "bad.xml" in bad["error"]
assert missing["result"] == "failed" and missing["exit"] == 6
PYTHON
    [ ! -s err ]
    on_file 1 --json --check domain.xml
    python3 -c 'import json; assert json.load(open("out"))[0]["result"] == "not-patched"'
    on_file 0 --json --check a.xml
    python3 -c 'import json; assert json.load(open("out"))[0]["result"] == "up-to-date"'
    on_file 0 --json -n domain.xml
    python3 -c 'import json; o = json.load(open("out"))[0]
assert o["result"] == "would-patch" and o["stored"] is False'
    on_file 0 --json --revert -i a.xml
    python3 -c 'import json; assert json.load(open("out"))[0]["result"] == "reverted"'
}

@test "--json with --diff: one JSON document" {
    on_file 0 --json --diff domain.xml
    python3 -m json.tool out > /dev/null
}

@test "--json with --print-facts: one JSON document" {
    dkvm 0 --facts facts.json --json --print-facts
    python3 -m json.tool out > /dev/null
}

@test "--json to standard output stores nothing, and says so" {
    on_file 0 --json domain.xml
    python3 -c 'import json; o = json.load(open("out"))[0]
assert o["stored"] is False and o["result"] == "would-patch", o["result"]'
}

@test "--json when nothing could be begun is JSON too" {
    mkdir -p "$DKVM_ROOT/etc/dkvm"
    echo nonsense > "$DKVM_ROOT/etc/dkvm/dkvm.conf"
    on_file 3 --json domain.xml
    [ -s out ]
    python3 -m json.tool out > /dev/null
}

@test "--revert gives back the input, whatever was patched" {
    local file failed=0
    for file in "$GOLDEN"/{wizard-12-nv,args-prefix-q,args-smc-own,numa-two,vcpus-current,fw-secure,clock-none}.xml \
        "$GOLDEN"/{meta-none,meta-hoisted,no-uuid,pins-all,disks-scsi,features-none,mem-units,usb-1015-piix3-uhci}.xml; do
        canonical "$file" > before.xml
        on_file 0 -s machine=q35 "$file" || { echo "-> $file"; failed=1; continue; }
        cp out after.xml
        on_file 0 --revert after.xml
        same_xml out before.xml || { echo "-> $file"; failed=1; }
        lacks out 'urn:dkvm' || failed=1
    done
    [ "$failed" -eq 0 ]
}

@test "--revert gives back the order of attributes and elements too" {
    on_file 0 --revert patched.xml
    cmp out canonical.xml
    canonical "$GOLDEN/fw-secure.xml" > before.xml
    on_file 0 "$GOLDEN/fw-secure.xml"
    cp out after.xml
    on_file 0 --revert after.xml
    cmp out before.xml
}

@test "--revert of what was never patched changes nothing; --forget is the same for a file" {
    on_file 0 --revert canonical.xml
    cmp out canonical.xml
    cp canonical.xml a.xml
    touch -d 2001-01-01 a.xml
    on_file 0 -i --revert a.xml
    [ "$(stat -c %Y a.xml)" -eq "$(date -d 2001-01-01 +%s)" ]
    on_file 0 --revert --forget patched.xml
    same_xml out canonical.xml
    on_file 0 --revert patched.xml
    cp out again.xml
    on_file 0 --revert again.xml
    cmp out again.xml
}

@test "patch, revert, patch is patch" {
    on_file 0 --revert patched.xml
    cp out reverted.xml
    on_file 0 reverted.xml
    same_xml out patched.xml
}

@test "the user's own command line, environment and namespaces survive" {
    python3 - <<'PYTHON'
text = open("domain.xml").read()
text = text.replace("<domain type='kvm'>", "<domain type='kvm' xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>")
text = text.replace("</domain>", """<q:commandline><q:arg value='-S'/><q:arg value='-fw_cfg'/>
<q:arg value='name=opt/x,string=a b&amp;c'/><q:env name='A' value='b'/></q:commandline>
<x:own xmlns:x='urn:own' a='1'><x:inner>text</x:inner></x:own></domain>""")
open("a.xml", "w").write(text)
PYTHON
    canonical a.xml > a-canonical.xml
    on_file 0 a.xml
    cp out b.xml
    has b.xml "<q:arg value='-S'/>" "<q:arg value='name=opt/x,string=a b&amp;c'/>" "<q:env name='A' value='b'/>" \
        "<x:own a='1' xmlns:x='urn:own'>" "<x:inner>text</x:inner>"
    lacks b.xml '<qemu:arg'
    on_file 0 --revert b.xml
    same_xml out a-canonical.xml
}

@test "metadata of another application survives whatever it looks like" {
    sed "s|</metadata>|<x:note xmlns:x='urn:note'>some <x:b>bold</x:b> text</x:note></metadata>|" domain.xml > a.xml
    canonical a.xml > a-canonical.xml
    on_file 0 a.xml
    cp out b.xml
    has b.xml "<x:note xmlns:x='urn:note'>some <x:b>bold</x:b> text</x:note>"
    on_file 0 --revert b.xml
    same_xml out a-canonical.xml
}
