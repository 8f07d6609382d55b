#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The marker in a domain's metadata is as little trusted as the rest: anybody can write one.

load helpers

NS="xmlns:dkvm='urn:dkvm:domain:1.0'"

prepare() {
    on_file 0 domain.xml
    cp out patched.xml
}

# marked RECORD...: a.xml, a domain that is not patched, with a marker of RECORDs.
marked() {
    METADATA="<metadata><dkvm:darwin schema='1' $NS>$*</dkvm:darwin></metadata>" domain > a.xml
}

# Refused by patch and by revert, with a way out; the file is as it was.
refused() {
    local option
    marked "$@"
    cp a.xml before
    for option in --diff --check --revert --in-place; do
        on_file 3 $option a.xml || { echo "-> taken with $option: $*"; return 1; }
        says '[Mm]arker|<metadata>' || return 1
        cmp a.xml before || return 1
    done
}

# Not refused, perhaps, but nothing breaks and nothing that is not ours is touched.
survived() {
    local option code
    marked "$@"
    for option in --dry-run --check --diff --revert; do
        code=0
        "$DKVM" -f --facts facts.json $option a.xml > out 2> err || code=$?
        case $code in
        0 | 1 | 3 | 4 | 7) check_manners "$code" || { echo "-> $option: $*"; return 1; } ;;
        *) echo "-> exit code $code with $option: $*"; cat err; return 1 ;;
        esac
        if [ $option = --revert ] && [ "$code" -eq 0 ]; then
            has out '<name>mac</name>' "<uuid>$UUID</uuid>" "passwd='sesame'" || { echo "-> $*"; return 1; }
        fi
    done
    if on_file 0 a.xml > /dev/null; then
        has out '<name>mac</name>' "<uuid>$UUID</uuid>" "passwd='sesame'" || { echo "-> $*"; return 1; }
    fi
}

@test "changes that make no sense are refused" {
    local failed=0 record
    while IFS= read -r record; do
        refused "$record" || failed=1
    done <<'EOT'
<dkvm:add/>
<dkvm:add at='vcpu'/>
<dkvm:add at=''><vcpu/></dkvm:add>
<dkvm:add at=''><domain/></dkvm:add>
<dkvm:set at=''><dkvm:was><domain type='qemu'/></dkvm:was><dkvm:now><domain type='kvm'/></dkvm:now></dkvm:set>
<dkvm:remove at=''><domain/></dkvm:remove>
<dkvm:add at='name'><name>other</name></dkvm:add>
<dkvm:set at='name'><dkvm:was><name>other</name></dkvm:was><dkvm:now><name>mac</name></dkvm:now></dkvm:set>
<dkvm:remove at='name#1'><name>other</name></dkvm:remove>
<dkvm:add at='name[x]'><name>other</name></dkvm:add>
<dkvm:add at='name/x'><x/></dkvm:add>
<dkvm:add at='uuid'><uuid/></dkvm:add>
<dkvm:remove at='uuid'><uuid>0</uuid></dkvm:remove>
<dkvm:add at='genid'><genid/></dkvm:add>
<dkvm:add at='metadata'><metadata/></dkvm:add>
<dkvm:add at='metadata/x'><x/></dkvm:add>
<dkvm:add at='devices/graphics'><graphics/></dkvm:add>
<dkvm:add at='devices/graphics[vnc]'><graphics type='vnc'/></dkvm:add>
<dkvm:set at='devices/graphics[vnc]'><dkvm:was><graphics passwd='x'/></dkvm:was><dkvm:now><graphics passwd='sesame'/></dkvm:now></dkvm:set>
<dkvm:remove at='devices/graphics[vnc]'><graphics/></dkvm:remove>
<dkvm:add at='devices/graphics[vnc]/listen'><listen/></dkvm:add>
<dkvm:add at='/vcpu'><vcpu/></dkvm:add>
<dkvm:add at='vcpu/'><vcpu/></dkvm:add>
<dkvm:add at='os//type'><type/></dkvm:add>
<dkvm:add at='..'><vcpu/></dkvm:add>
<dkvm:add at='../vcpu'><vcpu/></dkvm:add>
<dkvm:add at='devices/../name'><name/></dkvm:add>
<dkvm:add at='devices/..'><x/></dkvm:add>
<dkvm:add at='.'><vcpu/></dkvm:add>
<dkvm:add at='vcpu'><memory/></dkvm:add>
<dkvm:add at='vcpu'>text</dkvm:add>
<dkvm:add at='vcpu'><vcpu/><vcpu/></dkvm:add>
<dkvm:add at='//domain'><domain/></dkvm:add>
<dkvm:add at='vcpu | name'><vcpu/></dkvm:add>
<dkvm:add at="vcpu' or '1"><vcpu/></dkvm:add>
<dkvm:add at='devices/disk[@x=&quot;1&quot;]'><disk/></dkvm:add>
<dkvm:add at='document("/etc/passwd")'><x/></dkvm:add>
<dkvm:add at='$(id)'><x/></dkvm:add>
<dkvm:add at='a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r'><r/></dkvm:add>
<dkvm:set at='vcpu'><dkvm:was><vcpu>1</vcpu></dkvm:was></dkvm:set>
<dkvm:set at='vcpu'><dkvm:now><vcpu>1</vcpu></dkvm:now></dkvm:set>
<dkvm:set at='vcpu'><dkvm:was/><dkvm:now/></dkvm:set>
<dkvm:set at='vcpu'><vcpu>1</vcpu></dkvm:set>
<dkvm:set at='vcpu'><dkvm:was><name>x</name></dkvm:was><dkvm:now><vcpu>2</vcpu></dkvm:now></dkvm:set>
<dkvm:replace at='vcpu'><vcpu/></dkvm:replace>
<dkvm:remove at='vcpu' position='first'><vcpu/></dkvm:remove>
<dkvm:remove at='vcpu' position='-1'><vcpu/></dkvm:remove>
<dkvm:remove at='vcpu' position='99999999999999999999'><vcpu/></dkvm:remove>
<dkvm:remove at='vcpu' position=''><vcpu/></dkvm:remove>
<add at='pm'><pm/></add>
<x:add xmlns:x='urn:other' at='pm'><pm/></x:add>
<dkvm:add at='pm'><x:pm xmlns:x='urn:other'/></dkvm:add>
<dkvm:add at='seclabel'><seclabel xmlns='urn:other'/></dkvm:add>
EOT
    [ "$failed" -eq 0 ]
}

@test "choices that make no sense are refused, with the value that was never said" {
    local failed=0 key value
    while IFS='|' read -r key value; do
        refused "<dkvm:choice key='$key' value='$value'/>" || failed=1
    done <<EOT
nothing|x
|x
topology|4
topology|1x2x3x4
topology|auto
machine|pc
machine|q35,accel=tcg
input|both
video|cirrus
nic|rtl8139
nic|virtio&apos; model=&apos;x
disk|ide
usb|none
sound|es1370
hpet|maybe
hpet|
smbios|type=1,file=/etc/shadow
smbios|file=/etc/shadow
smbios|type=1,product=x,file=/etc/shadow
smbios|type=1,product=x,,file=/y,file=/etc/shadow
smbios|type=11,value=x
smbios|type=1,product=
smbios|product=x
osk|short
osk|${OTHER_OSK%?}
osk|${OTHER_OSK}x
osk|${OTHER_OSK%??},x
cpu-flags|avx2
cpu-flags|+avx 2
cpu-flags|+avx2 -device x
cpu-flags|+avx2,
cpu-flags|+avx2,vendor=AuthenticAMD
cpu-flags|+AVX2
cpu-flags|+
cpu-flags|
model|MacPro9,9
macos|9
handoff.reboot|on
handoff.|off
handoff.x/y|off
handoff.X|off
EOT
    [ "$failed" -eq 0 ]
    refused "<dkvm:choice key='hpet'/>"
    refused "<dkvm:choice value='yes'/>"
    refused '<dkvm:choice/>'
    says 'choice'
    refused "<dkvm:choice key='smbios' value='type=1,product=$(printf 'x%.0s' {1..5000})'/>"
}

@test "a key in a bad choice is not repeated in the message" {
    refused "<dkvm:choice key='osk' value='$OSK,'/>"
}

@test "odd records do not break anything" {
    local failed=0 record
    while IFS= read -r record; do
        survived "$record" || failed=1
    done <<'EOT'
<dkvm:remove at='vcpu' position='4294967295'><vcpu>2</vcpu></dkvm:remove>
<dkvm:remove at='devices/disk[vda]' position='4000000000'><disk><target dev='vda'/></disk></dkvm:remove>
<dkvm:remove at='devices'><devices/></dkvm:remove>
<dkvm:remove at='devices/x'><x><y/></x></dkvm:remove><dkvm:add at='devices/x/y'><y/></dkvm:add>
<dkvm:add at='devices/disk[vda]'><disk type='file'/></dkvm:add><dkvm:add at='devices/disk[vda]/source'><source/></dkvm:add>
<dkvm:add at='devices/disk[vda]/source'><source file='/var/lib/libvirt/images/mac.qcow2'/></dkvm:add><dkvm:set at='devices/disk[vda]/source'><dkvm:was><source x='1'/></dkvm:was><dkvm:now><source file='/var/lib/libvirt/images/mac.qcow2'/></dkvm:now></dkvm:set>
<dkvm:set at='devices/memballoon'><dkvm:was><memballoon>text</memballoon></dkvm:was><dkvm:now><memballoon model='virtio'/></dkvm:now></dkvm:set>
<dkvm:set at='os'><dkvm:was><os>text</os></dkvm:was><dkvm:now><os></os></dkvm:now></dkvm:set><dkvm:set at='os/type'><dkvm:was><type machine='pc'/></dkvm:was><dkvm:now><type machine='pc-q35-7.2'/></dkvm:now></dkvm:set>
<dkvm:set at='devices'><dkvm:was><devices>text</devices></dkvm:was><dkvm:now><devices/></dkvm:now></dkvm:set><dkvm:add at='devices/sound'><sound model='ac97'/></dkvm:add>
<dkvm:add at='os'><os/></dkvm:add><dkvm:add at='os/type'><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></dkvm:add>
<dkvm:add at='cpu'><cpu mode='host-model' check='partial'/></dkvm:add><dkvm:add at='cpu/topology'><topology/></dkvm:add><dkvm:remove at='cpu/model'><model>x</model></dkvm:remove>
<dkvm:add at='devices/interface[52%3A54%3A00%3A11%3A22%3A33]'><interface/></dkvm:add>
<dkvm:add at='devices/sound'><sound model='ac97'/></dkvm:add><dkvm:add at='devices/sound'><sound model='ac97'/></dkvm:add>
<dkvm:add at='devices/sound#4000000000'><sound/></dkvm:add>
<dkvm:add at='devices/disk[%00]'><disk/></dkvm:add>
<dkvm:add at='devices/disk[%'><disk/></dkvm:add>
<dkvm:add at='devices/disk[[[]]]##'><disk/></dkvm:add>
<dkvm:add at='qemu:commandline'><dkvm:qemu-commandline/></dkvm:add>
<dkvm:add at='qemu:commandline'><dkvm:qemu-commandline><option name='-S'/></dkvm:qemu-commandline></dkvm:add>
<dkvm:remove at='qemu:commandline'><dkvm:qemu-commandline><option name='-S'/></dkvm:qemu-commandline></dkvm:remove>
<dkvm:add at='qemu:commandline/option'><option/></dkvm:add>
<dkvm:add at='qemu:commandline/option[-cpu]'><option name='-cpu'/></dkvm:add>
<dkvm:add at='*:commandline'><commandline/></dkvm:add>
<dkvm:remove at='os/type'><type>hvm</type></dkvm:remove>
<dkvm:add at='os/type'><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></dkvm:add>
<dkvm:add at='vcpu'><vcpu placement='static'>6</vcpu></dkvm:add>
<dkvm:set at='vcpu'><dkvm:was><vcpu>zero</vcpu></dkvm:was><dkvm:now><vcpu>6</vcpu></dkvm:now></dkvm:set>
<dkvm:set at='vcpu'><dkvm:was><vcpu dkvm-id='3'>2</vcpu></dkvm:was><dkvm:now><vcpu dkvm-id='0'>6</vcpu></dkvm:now></dkvm:set>
<dkvm:add at='devices/controller[pci-0]'><controller type='pci' index='0' model='pcie-root'/></dkvm:add>
EOT
    [ "$failed" -eq 0 ]
}

@test "too many changes, too many choices" {
    refused "$(python3 -c "print(\"<dkvm:add at='pm'><pm/></dkvm:add>\" * 4500)")"
    survived "$(python3 -c "print(\"<dkvm:choice key='hpet' value='yes'/>\" * 20000)")"
}

@test "a schema that this dkvm does not know, and other attributes" {
    local attributes
    for attributes in "schema='2'" "schema=''" "schema='1.0'" "schema='x'"; do
        METADATA="<metadata><dkvm:darwin $attributes $NS/></metadata>" domain > a.xml
        on_file 3 a.xml
        says 'newer|schema'
        on_file 3 --revert a.xml
    done
    for attributes in "model='x'" "macos='99'" "macos=''" "controllers='usb-0 x - &lt; %s'" "state='on'" \
        "schema='1' other='x'"; do
        METADATA="<metadata><dkvm:darwin $attributes $NS/></metadata>" domain > a.xml
        on_file 0 a.xml
        cp out b.xml
        on_file 0 b.xml
        cmp out b.xml
        on_file 0 --revert b.xml
    done
}

@test "two markers" {
    METADATA="<metadata><dkvm:darwin schema='1' $NS/><dkvm:darwin schema='1' $NS/></metadata>" domain > a.xml
    if on_file 0 a.xml; then
        cp out b.xml
        [ "$(grep -c '<dkvm:darwin' b.xml)" -eq 1 ]
        on_file 0 --revert b.xml
        lacks out 'dkvm:darwin'
    else
        on_file 3 a.xml
    fi
}

@test "a marker somewhere else, or of another namespace, is none" {
    DEVICES="<dkvm:darwin $NS><dkvm:add at='name'><name/></dkvm:add></dkvm:darwin>" domain > a.xml
    on_file 0 a.xml
    METADATA="<metadata><x:darwin xmlns:x='urn:other'><x:add at='name'/></x:darwin></metadata>" domain > a.xml
    on_file 0 a.xml
    cp out b.xml
    on_file 0 --revert b.xml
    has out "<x:darwin xmlns:x='urn:other'"
}

@test "state='off' with -f: patched again when asked for" {
    METADATA="<metadata><dkvm:darwin state='off' $NS/></metadata>" domain > a.xml
    on_file 1 --check a.xml
    on_file 0 a.xml
    lacks out "<dkvm:darwin state='off'"
    on_file 0 --revert a.xml
    lacks out dkvm
}

@test "a marker's model and macOS are what was written, not what is done" {
    cp patched.xml a.xml
    in_marker a.xml "model='MacPro7,1'" "model='MacPro2,1'"
    on_file 0 a.xml
    cmp out patched.xml
}

@test "a payload that is changed by hand is what the revert gives back, nothing more" {
    cp patched.xml a.xml
    in_marker a.xml "<video>|<model type='cirrus'" "<model type='bochs'"
    on_file 0 --revert a.xml
    has out "<model type='bochs'" "passwd='sesame'"
}

@test "the marker of one domain in another" {
    python3 - <<'PYTHON'
import re
marker = re.search(r"<dkvm:darwin.*</dkvm:darwin>", open("patched.xml").read(), re.S).group(0)
open("marker", "w").write(marker)
PYTHON
    local name failed=0
    for name in wizard-14-import hostdev-pci args-plain graphics-vnc-password numa-two vcpus-6-new; do
        python3 - "$GOLDEN/$name.xml" <<'PYTHON'
import re, sys
text, marker = open(sys.argv[1]).read(), open("marker").read()
text = re.sub(r"</metadata>", lambda m: marker + m.group(0), text, count=1) if "</metadata>" in text else \
    re.sub(r"</uuid>", lambda m: m.group(0) + "<metadata>" + marker + "</metadata>", text, count=1)
open("a.xml", "w").write(text)
PYTHON
        if on_file 0 a.xml; then
            cp out b.xml
            { on_file 0 b.xml && cmp out b.xml; } || failed=1
        else
            echo "-> $name"
            failed=1
        fi
        on_file 0 --revert a.xml || failed=1
    done
    [ "$failed" -eq 0 ]
}
