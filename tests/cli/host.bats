#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the host cannot do (4), what is refused to lose nothing (7), what the host is warned about, and
# dkvm.conf.

load helpers

# with_facts PYTHON CODE ARGUMENT...: as on_file with other facts.
with_facts() {
    local change=$1 code=$2
    shift 2
    facts "$change" > other.json
    dkvm "$code" -f --facts other.json "$@"
}

configure() { # [FILE]: dkvm.conf from standard input
    mkdir -p "$DKVM_ROOT/etc/dkvm/dkvm.conf.d"
    cat > "$DKVM_ROOT/etc/dkvm/${1:-dkvm.conf}"
}

@test "no QEMU and no --facts: exit 4 naming --facts" {
    dkvm 4 -f domain.xml
    says '--facts' 'qemu-system-x86'
    [ ! -s out ]
    dkvm 4 --print-facts
    says '--facts'
    dkvm 4 --explain-topology 1x1x1
    says '--facts'
}

@test "no firmware: exit 4 with the package; not asked for where it is right already" {
    local none='f["firmware"] = {"autoselect": False, "pairs": []}'
    with_facts "$none" 4 domain.xml
    says 'OVMF' 'ovmf' 'edk2-ovmf' 'domain\.xml'
    on_file 0 domain.xml
    cp out patched.xml
    with_facts "$none" 0 patched.xml
    cmp out patched.xml
    with_facts 'f["firmware"]["autoselect"] = False' 0 domain.xml
    has out "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>" \
        "<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>"
    # qcow2 images are for libvirt 9.2 and newer.
    local qcow2='f["firmware"]["autoselect"] = False
for p in f["firmware"]["pairs"]: p["code-format"] = p["vars-format"] = "qcow2"'
    with_facts "$qcow2" 4 domain.xml
    with_facts "$qcow2
f['libvirt']['version'] = '10.10.0'" 0 domain.xml
    has out "format='qcow2'" "templateFormat='qcow2'"
}

@test "a QEMU without isa-applesmc: exit 4" {
    with_facts 'f["emulator"]["applesmc"] = False' 4 domain.xml
    says 'isa-applesmc' 'qemu-system-x86' 'domain\.xml'
}

@test "a QEMU without the -global: it is left out, and taken out" {
    with_facts 'f["emulator"]["hotplug-off"] = False' 0 domain.xml
    lacks out bridge-support
    with_facts 'f["emulator"]["hotplug-off"] = False' 0 "$GOLDEN/args-global.xml"
    lacks out "<qemu:arg value='ICH9-LPC.acpi-pci-hotplug"
}

@test "a topology that XNU does not boot: exit 4 with the reason" {
    on_file 4 -s topology=1x3x2 domain.xml
    says '1x3x2' 'x86_validate_topology|divide|threads'
    with_facts 'f["emulator"]["version"] = "10.0.13"' 0 -s topology=1x3x2 domain.xml
    has out "cores='3' threads='2'"
    with_facts 'f["emulator"]["version"] = "10.0.13"' 0 domain.xml
    has out "<vcpu placement='static'>6</vcpu>"
    on_file 4 -s topology=255x1x4 domain.xml
    on_file 4 -s topology=1x4x1 "$GOLDEN/numa-two.xml"
    says 'NUMA'
}

@test "an i440fx domain from a file: exit 7 with what to do" {
    local option
    for option in '' --diff --dry-run --json --check; do
        # shellcheck disable=SC2086
        on_file 7 $option "$GOLDEN/machine-pc-ide.xml"
    done
    on_file 7 "$GOLDEN/machine-pc-diskless.xml"
    says '--set machine=q35' 'machine-pc-diskless\.xml'
    [ ! -s out ]
}

@test "what the host lacks for this macOS is a warning" {
    with_facts 'f["host"]["avx2"] = False' 0 domain.xml
    says 'warning: .*avx2'
    with_facts 'f["host"]["avx2"] = False' 0 --macos 12 domain.xml
    [ ! -s err ]
    with_facts 'f["host"]["sse4.2"] = False' 0 --macos 12 domain.xml
    says 'warning: .*sse4.2'
    with_facts 'f["host"]["tsc-stable"] = False' 0 domain.xml
    says 'warning: .*TSC'
    with_facts 'f["emulator"]["version"] = "5.2.0"' 0 domain.xml
    says 'warning: .*7\.2'
    sed "s/type='kvm'/type='qemu'/" domain.xml > tcg.xml
    on_file 0 tcg.xml
    says 'warning: .*emulated'
    lacks out vmware-cpuid-freq
    has out "mode='maximum'"
    with_facts 'del f["cpu-missing"]' 0 domain.xml
    says 'note: '
}

@test "AMD: topoext" {
    with_facts 'f["host"]["cpu-vendor"] = "AuthenticAMD"' 0 domain.xml
    has out "<feature policy='require' name='topoext'/>" 'vendor=GenuineIntel'
}

@test "libvirt's version decides about the watchdog" {
    sed '/<watchdog/d' domain.xml > none.xml
    on_file 0 none.xml
    lacks out '<watchdog'
    with_facts 'f["libvirt"]["version"] = "9.1.0"' 0 none.xml
    has out "<watchdog model='itco' action='none'/>"
}

@test "no facts at all: what is unknown is not made up" {
    echo '{}' > empty.json
    dkvm 4 -f --facts empty.json domain.xml
    says 'OVMF'
    dkvm 0 -f --facts empty.json "$GOLDEN/fw-auto-off.xml"
}

### dkvm.conf #######################################################################################

@test "dkvm.conf: an unknown key or group names the file, the group and the key" {
    configure <<< $'[define]\nmodell=MacPro7,1'
    on_file 3 domain.xml
    says 'etc/dkvm/dkvm\.conf' '\[define\]' "modell"
    [ ! -s out ]
    configure <<< $'[devine]\nmodel=MacPro7,1'
    on_file 3 domain.xml
    says 'dkvm\.conf' 'devine'
    configure <<< ''
    configure dkvm.conf.d/50-mine.conf <<< $'[smc]\nkey=x'
    on_file 3 domain.xml
    says '50-mine\.conf' '\[smc\]' "'key'"
}

@test "dkvm.conf: the user's own key is used, a fragment overrides, none is the shipped one" {
    on_file 0 domain.xml
    has out "isa-applesmc,osk=$OSK"
    configure <<< $'[smc]\nosk='"$OTHER_OSK"
    on_file 0 domain.xml
    has out "isa-applesmc,osk=$OTHER_OSK"
    lacks out "$OSK"
    configure dkvm.conf.d/50-mine.conf <<< $'[smc]\nosk='"${OTHER_OSK%?}!"
    on_file 0 domain.xml
    has out "isa-applesmc,osk=${OTHER_OSK%?}!"
}

@test "dkvm.conf: a key of another length, or with a comma, is an error that does not say it" {
    local key
    for key in "${OSK%?}" "${OSK}x" "${OSK%?}," "${OSK%?}é" ''; do
        configure <<< $'[smc]\nosk='"$key"
        on_file 3 domain.xml
        says 'dkvm\.conf' '\[smc\]' 'osk' '64'
    done
    configure <<< "$OSK"
    on_file 3 domain.xml
    configure <<< "[$OSK]"
    on_file 3 domain.xml
    configure <<< $'[smc]\n'"$OSK=1"
    on_file 3 domain.xml
}

@test "dkvm.conf: another key than before is brought up to date, the user's own one is not" {
    on_file 0 domain.xml
    cp out patched.xml
    configure <<< $'[smc]\nosk='"$OTHER_OSK"
    on_file 1 --check patched.xml
    on_file 0 patched.xml
    has out "isa-applesmc,osk=$OTHER_OSK"
    lacks out "$OSK"
    on_file 0 "$GOLDEN/args-smc-own.xml"
    lacks out "$OTHER_OSK"
}

@test "dkvm.conf: [define] model" {
    configure <<< $'[define]\nmodel=MacPro5,1'
    on_file 0 domain.xml
    has out "<dkvm:darwin model='MacPro5,1'" 'Westmere-v2,vendor=GenuineIntel'
    on_file 0 -m MacPro7,1 domain.xml
    has out "<dkvm:darwin model='MacPro7,1'"
    configure <<< $'[define]\nmodel=MacPro9,9'
    on_file 3 domain.xml
    says 'dkvm\.conf' 'define' 'MacPro9,9' '--list-models'
}

@test "dkvm.conf: not readable, a folder, a dangling link, no key file" {
    configure <<< ''
    chmod 0 "$DKVM_ROOT/etc/dkvm/dkvm.conf"
    RUN=as_plain_user on_file 6 domain.xml
    says 'dkvm\.conf'
    rm "$DKVM_ROOT/etc/dkvm/dkvm.conf"
    ln -s nowhere "$DKVM_ROOT/etc/dkvm/dkvm.conf"
    on_file 6 domain.xml
    rm "$DKVM_ROOT/etc/dkvm/dkvm.conf"
    mkdir "$DKVM_ROOT/etc/dkvm/dkvm.conf"
    on_file 6 domain.xml
    rmdir "$DKVM_ROOT/etc/dkvm/dkvm.conf"
    head -c 3000 /dev/urandom | configure
    on_file 3 domain.xml
    head -c 3000000 /dev/zero | configure
    on_file 3 domain.xml
}
