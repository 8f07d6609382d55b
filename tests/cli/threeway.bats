#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the user changes after the patch is theirs: kept by patching again and by --revert, up to date for
# --check, named by --diff; everything else is brought up to today's rules or put back.

load helpers

prepare() {
    canonical domain.xml > canonical.xml
    on_file 0 domain.xml
    cp out patched.xml
}

# edited PART PATTERN NEW [REVERT-PATTERN REVERT-NEW]: the edit of a patched domain stays.  REVERT-*: what
# it means for the original (default: the same edit); "-" means nothing.  PART: as --diff names it, or "-".
edited() {
    local part=$1 pattern=$2 new=$3 back=${4-$2} back_new=${5-$3}
    cp patched.xml edited.xml
    edit edited.xml "$pattern" "$new"
    on_file 0 --check edited.xml
    on_file 0 edited.xml
    cp out again.xml
    # Only the marker may differ.
    sed '/<dkvm:darwin/,/<\/dkvm:darwin>/d' edited.xml > edited-bare.xml
    sed '/<dkvm:darwin/,/<\/dkvm:darwin>/d' again.xml > again-bare.xml
    same_xml again-bare.xml edited-bare.xml
    if [ "$part" != - ]; then
        on_file 0 --diff edited.xml
        shows "^edited.xml: $part: .*changed by you.*--set $part=auto"
    fi
    # The rest is still brought up to date.
    facts 'f["cpu-missing"]["kvm"]["Cascadelake-Server"] = ["avx512vnni"]' > other.json
    dkvm 0 -f --facts other.json edited.xml
    if [ "$part" != cpu-flags ]; then has out ',-avx512vnni'; fi
    # Taking it all back leaves the edit.
    cp canonical.xml expected.xml
    if [ "$back" != - ]; then edit expected.xml "$back" "$back_new"; fi
    on_file 0 --revert again.xml
    same_xml out expected.xml
    on_file 0 --revert edited.xml
    same_xml out expected.xml
    # And dkvm decides again where it is asked to.
    if [ "$part" != - ] && [ "$part" != other ]; then
        on_file 0 -s "$part=auto" again.xml
        cp out auto.xml
        on_file 0 --check auto.xml
        on_file 0 --diff auto.xml
        if grep -q "^auto.xml: $part: .*changed by you" out; then fail "$part=auto did not help"; fi
    fi
}

@test "another model of a NIC that we replaced" {
    edited nic "<model type='virtio'/>" "<model type='vmxnet3'/>" "<model type='rtl8139'/>" "<model type='vmxnet3'/>"
}

@test "another model of a NIC, disk and sound card that we left alone, good for this macOS or not" {
    sed -i "s/model type='rtl8139'/model type='virtio'/; s/sound model='ac97'/sound model='ich9'/" domain.xml
    on_file 0 domain.xml
    cp out patched.xml
    lacks patched.xml "<dkvm:set at='devices/interface" "<dkvm:set at='devices/sound"
    edit patched.xml "<model type='virtio'/>" "<model type='e1000e'/>"
    edit patched.xml "<sound model='ich9'/>" "<sound model='es1370'/>"
    edit patched.xml "<target dev='vda' bus='virtio'/>" "<target dev='hda' bus='ide'/>"
    on_file 0 --check patched.xml
    on_file 0 patched.xml
    same_xml out patched.xml
    on_file 0 --diff patched.xml
    shows '^patched.xml: nic: .*changed by you.*--set nic=auto' '^patched.xml: sound: .*changed by you' \
        '^patched.xml: disk: .*changed by you'
    # Where it is asked, dkvm decides; and another macOS has other drivers.
    on_file 0 -s nic=auto patched.xml
    has out "<model type='virtio'/>" "<sound model='es1370'/>"
    on_file 0 --macos 10.13 patched.xml
    has out "<model type='vmxnet3'/>" "<sound model='ich9'/>" "bus='sata'"
}

@test "a NIC that came later stays as it was added" {
    edit patched.xml ' *<video>' "    <interface type='network'><mac address='52:54:00:44:55:66'/><source network='default'/><model type='rtl8139'/></interface>
    <video>"
    on_file 0 --check patched.xml
    on_file 0 patched.xml
    has out "<model type='rtl8139'/>" "<model type='virtio'/>"
    on_file 0 --diff patched.xml
    shows '^patched.xml: nic: .*52:54:00:44:55:66.*changed by you'
}

@test "a NIC's source, which is not ours" {
    edited - "network='default'" "network='other'"
}

@test "a NIC's link, beside the model that is ours" {
    edited - "(<model type=')(virtio|rtl8139)('/>)" "\1\2\3<link state='down'/>"
}

@test "a NIC taken away" {
    edited nic " *<interface.*</interface>\n" ''
}

@test "another video model" {
    edited video "<model type='vga' heads" "<model type='qxl' heads" "<model type='cirrus' vram='16384'" "<model type='qxl'"
}

@test "the sound card taken away" {
    edited sound " *<sound model='ich9'/>\n" '' " *<sound model='ac97'/>\n" ''
}

@test "the sound card's model" {
    edited sound "<sound model='ich9'/>" "<sound model='ich6'/>" "<sound model='ac97'/>" "<sound model='ich6'/>"
}

@test "a timer changed, and one taken away" {
    edited hpet "<timer name='hpet' present='yes'/>" "<timer name='hpet' present='no'/>" -
    edited clock " *<timer name='tsc' present='yes' mode='native'/>\n" '' -
    edited clock "<timer name='rtc' tickpolicy='catchup'/>" "<timer name='rtc' tickpolicy='delay'/>" \
        "(  </clock>)" "    <timer name='rtc' tickpolicy='delay'/>\n\1"
}

@test "the clock's offset, which is not ours" {
    edited - "<clock offset='utc'>" "<clock offset='localtime'>"
}

@test "the watchdog's action" {
    edited watchdog "<watchdog model='i6300esb' action='none'/>" "<watchdog model='i6300esb' action='poweroff'/>" \
        "<watchdog model='i6300esb' action='reset'/>" "<watchdog model='i6300esb' action='poweroff'/>"
}

@test "the boot order" {
    edited boot "<boot dev='hd'/>" "<boot dev='network'/>" "(    <type[^\n]*\n)" "\1    <boot dev='network'/>\n"
}

@test "the boot menu off" {
    edited boot "<bootmenu enable='yes'/>" "<bootmenu enable='no'/>" "(    <type[^\n]*\n)" "\1    <bootmenu enable='no'/>\n"
}

@test "an own argument between ours, before and after them" {
    local own="    <qemu:arg value='-fw_cfg'/>\n    <qemu:arg value='name=opt/a,string=b'/>\n"
    local whole="  <qemu:commandline>\n$own  </qemu:commandline>\n"
    sed -i "s|<domain type='kvm'>|<domain type='kvm' xmlns:qemu='$QEMU_NS'>|" canonical.xml
    edited - "(    <qemu:arg value='-device'/>)" "$own\1" "(</domain>)" "$whole\1"
    edited - "(<qemu:commandline>\n)" "\1$own" "(</domain>)" "$whole\1"
    edited - "( *</qemu:commandline>)" "$own\1" "(</domain>)" "$whole\1"
}

@test "our -cpu edited" {
    sed -i "s|<domain type='kvm'>|<domain type='kvm' xmlns:qemu='$QEMU_NS'>|" canonical.xml
    edited cpu-flags "value='Cascadelake-Server,[^']*'" "value='Skylake-Server,vendor=GenuineIntel'" "(</domain>)" \
        "  <qemu:commandline>\n    <qemu:arg value='-cpu'/>\n    <qemu:arg value='Skylake-Server,vendor=GenuineIntel'/>\n  </qemu:commandline>\n\1"
}

@test "our -cpu taken away" {
    edited cpu-flags " *<qemu:arg value='-cpu'/>\n *<qemu:arg value='Cascade[^\n]*\n" '' -
}

@test "an own OSK" {
    sed -i "s|<domain type='kvm'>|<domain type='kvm' xmlns:qemu='$QEMU_NS'>|" canonical.xml
    edited osk "isa-applesmc,osk=[^']*" "isa-applesmc,osk=$OTHER_OSK" "(</domain>)" \
        "  <qemu:commandline>\n    <qemu:arg value='-device'/>\n    <qemu:arg value='isa-applesmc,osk=$OTHER_OSK'/>\n  </qemu:commandline>\n\1"
}

@test "the whole command line taken away" {
    edited cpu-flags " *<qemu:commandline>.*</qemu:commandline>\n" '' -
}

@test "the balloon taken away, and back" {
    edited memory " *<memballoon model='none'/>\n" '' " *<memballoon model='virtio'/>\n" ''
    edited memory "<memballoon model='none'/>" "<memballoon model='virtio' autodeflate='on'/>" \
        "<memballoon model='virtio'/>" "<memballoon model='virtio' autodeflate='on'/>"
}

@test "less memory, in both elements as virt-manager does it" {
    cp patched.xml edited.xml
    edit edited.xml "unit='KiB'>8388608" "unit='KiB'>6291456" 2
    on_file 0 --check edited.xml
    on_file 0 edited.xml
    cp out again.xml
    [ "$(grep -c "^  <[a-zM]*emory unit='KiB'>6291456" again.xml)" -eq 2 ]
    on_file 0 --revert again.xml
    has out "<memory unit='KiB'>6291456</memory>" "<currentMemory unit='KiB'>6291456</currentMemory>"
}

@test "more memory than the current: current is all of it again, or the user's" {
    cp patched.xml edited.xml
    edit edited.xml "<memory unit='KiB'>8388608" "<memory unit='KiB'>16777216"
    on_file 0 edited.xml
    cp out again.xml
    on_file 0 again.xml
    cmp out again.xml
    on_file 0 --revert again.xml
    has out "<memory unit='KiB'>16777216</memory>" "<currentMemory unit='KiB'>4194304</currentMemory>"
}

@test "the number of vCPUs, the topology left: the shape is worked out again" {
    local n shape failed=0
    for n in 1 2 3 5 7 8 12; do
        cp patched.xml edited.xml
        edit edited.xml "<vcpu placement='static'>4" "<vcpu placement='static'>$n"
        on_file 0 edited.xml
        cp out again.xml
        shape=$(sed -n "s/^    <topology sockets='\([0-9]*\)' dies='1' cores='\([0-9]*\)' threads='\([0-9]*\)'.*/\1x\2x\3/p" again.xml)
        dkvm 0 --facts facts.json --macos 14 --explain-topology "$shape"
        on_file 0 --check again.xml
        # The user's number is what a revert leaves, without a topology of ours that contradicts it.
        on_file 0 --revert edited.xml
        has out "<vcpu placement='static'>$n</vcpu>" || failed=1
        lacks out '<topology' || { echo "-> $n, reverted at once"; failed=1; }
        on_file 0 --revert again.xml
        has out "<vcpu placement='static'>$n</vcpu>" || { echo "-> $n"; failed=1; }
        lacks out '<topology' || { echo "-> $n"; failed=1; }
    done
    [ "$failed" -eq 0 ]
}

@test "the number of vCPUs and a topology that boots: both stay" {
    cp patched.xml edited.xml
    edit edited.xml "<vcpu placement='static'>4" "<vcpu placement='static'>8"
    edit edited.xml "<topology sockets='1' dies='1' cores='2' threads='2'/>" "<topology sockets='2' dies='1' cores='4' threads='1'/>"
    on_file 0 --check edited.xml
    on_file 0 edited.xml
    has out "<vcpu placement='static'>8</vcpu>" "<topology sockets='2' dies='1' cores='4' threads='1'/>"
    on_file 0 --revert edited.xml
    has out "<vcpu placement='static'>8</vcpu>" "<topology sockets='2' dies='1' cores='4' threads='1'/>"
}

@test "a topology that does not boot is worked out again from the user's number" {
    cp patched.xml edited.xml
    edit edited.xml "<vcpu placement='static'>4" "<vcpu placement='static'>6"
    edit edited.xml "<topology sockets='1' dies='1' cores='2' threads='2'/>" "<topology sockets='1' dies='1' cores='3' threads='2'/>"
    on_file 1 --check edited.xml
    on_file 0 edited.xml
    lacks out "    <topology sockets='1' dies='1' cores='3' threads='2'/>"
}

@test "an input device taken away" {
    edited input " *<input type='keyboard' bus='usb'/>\n" '' -
    edited input " *<input type='tablet' bus='usb'/>\n" '' -
    edited - " *<input type='mouse' bus='ps2'/>\n" ''
}

@test "devices added: disk, NIC, host device, sound" {
    local device
    for device in \
        "<disk type='block' device='disk'><source dev='/dev/sdz'/><target dev='sdb' bus='sata'/></disk>" \
        "<interface type='bridge'><mac address='52:54:00:99:99:99'/><source bridge='br0'/><model type='virtio'/></interface>" \
        "<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source></hostdev>" \
        "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"; do
        edited - "( *</devices>)" "    $device\n\1"
    done
}


@test "metadata of another application" {
    edited - "( *</metadata>)" "    <x:app xmlns:x='urn:app'><x:data>1</x:data></x:app>\n\1"
    edited - "(<metadata>\n)" "\1    <x:app xmlns:x='urn:app'/>\n"
}

@test "title, description, name" {
    edited - "(<name>mac</name>\n)" "\1  <title>a title</title>\n"
    edited - "<on_reboot>restart" "<on_reboot>destroy"
    cp patched.xml edited.xml
    edit edited.xml "<name>mac</name>" "<name>clone</name>"
    edit edited.xml "<uuid>6f1c" "<uuid>7f1c"
    on_file 0 edited.xml
    has out '<name>clone</name>' '<uuid>7f1c'
    on_file 0 --revert edited.xml
    has out '<name>clone</name>' '<uuid>7f1c'
    lacks out dkvm
}

@test "firmware of the user's own" {
    cp patched.xml edited.xml
    edit edited.xml "<os firmware='efi'>" '<os>'
    edit edited.xml " *<firmware>.*</firmware>\n *<nvram>[^\n]*\n" \
        "    <loader readonly='yes' type='pflash'>/opt/OVMF.fd</loader>\n    <nvram>/opt/VARS.fd</nvram>\n"
    on_file 0 --check edited.xml
    on_file 0 edited.xml
    has out "    <loader readonly='yes' type='pflash'>/opt/OVMF.fd</loader>" '    <nvram>/opt/VARS.fd</nvram>'
    cp out again.xml
    on_file 0 --revert again.xml
    has out '/opt/OVMF.fd' '/opt/VARS.fd'
}

@test "cpu mode, features, smm, memory backing" {
    edited cpu "mode='host-passthrough' check='none' migratable='on'" "mode='maximum' check='none' migratable='on'" \
        "mode='host-model' check='partial'" "mode='maximum' check='none' migratable='on'"
    edited features "<smm state='off'/>" "<smm state='on'/>" "(    <apic/>\n)" "\1    <smm state='on'/>\n"
    edited - "(<features>\n)" "\1    <pae/>\n"
    edited - "(    <nosharepages/>\n)" "\1    <locked/>\n" "(  <vcpu)" "  <memoryBacking>\n    <locked/>\n  </memoryBacking>\n\1"
    edited - "(    <cache mode='passthrough'/>\n)" "\1    <feature policy='disable' name='pku'/>\n" \
        "<cpu mode='host-model' check='partial'/>" "<cpu mode='host-model' check='partial'><feature policy='disable' name='pku'/></cpu>"
}

@test "suspend on" {
    edited power "<suspend-to-mem enabled='no'/>" "<suspend-to-mem enabled='yes'/>" "(  </os>\n)" \
        "\1  <pm>\n    <suspend-to-mem enabled='yes'/>\n  </pm>\n"
}

@test "another macOS or model after an edit: the edit stays" {
    cp patched.xml edited.xml
    edit edited.xml "<model type='virtio'/>" "<model type='vmxnet3'/>"
    local options
    for options in '--macos 10.8' '-m MacPro5,1' '--macos 26' '-s hpet=no' '-s video=bochs'; do
        # shellcheck disable=SC2086
        on_file 0 $options edited.xml
        has out "      <model type='vmxnet3'/>" || fail "-> $options"
    done
    on_file 0 -s nic=e1000 edited.xml
    has out "      <model type='e1000'/>"
    on_file 0 -s nic=auto edited.xml
    same_xml out patched.xml
}

@test "everything undone by hand: all of it stays, and counts as up to date" {
    local marker
    marker=$(sed -n '/<dkvm:darwin/,/<\/dkvm:darwin>/p' patched.xml)
    python3 - "$marker" <<'PYTHON'
import sys
text = open("canonical.xml").read()
open("edited.xml", "w").write(text.replace("  </metadata>", sys.argv[1] + "\n  </metadata>"))
PYTHON
    on_file 0 --revert edited.xml
    same_xml out canonical.xml
}
