#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The OS list: libosinfo takes it, it fits models.xml, and dkvm-patch knows every id of it.

load helpers

prepare() {
    make -s -C "$TOP" install-osinfo DESTDIR="$T/host" prefix=/usr
    DB=$T/host/usr/share/osinfo
    APPLE=$DB/os/apple.com
    # Nobody's own entries.
    export OSINFO_LOCAL_DIR=$DB OSINFO_USER_DIR=$T/none
}

# Every id that models.xml has as a version from 10.11 on.
versions() {
    xmllint --xpath '//versions/macos/@version' "$TOP/xslt/models.xml" | grep -oE '"[0-9.]+"' | tr -d '"' |
        grep -vE '^10\.([4-9]|10)$'
}

@test "osinfo-db-validate takes every file, and would not take a bad one" {
    osinfo-db-validate --dir "$DB"
    sed -i 's/<family>/<familiy>/; s/<\/family>/<\/familiy>/' "$APPLE/macos-14.d/dkvm-macos-14.xml"
    if osinfo-db-validate --dir "$DB"; then fail 'it validates nothing'; fi
}

@test "libosinfo lists every macOS of models.xml from 10.11 on, without a warning" {
    osinfo-query -f id,short-id,name os vendor='Apple Inc.' > list 2> err
    cat err
    [ ! -s err ]
    local version
    versions > wanted
    [ "$(wc -l < wanted)" -ge 11 ]
    while read -r version; do
        grep -qE "^ macos$version +\| (OS X|macOS) $version [A-Z][A-Za-z ]*\| http://apple.com/macos/$version *$" list ||
            fail "no macOS $version in the list"
    done < wanted
    [ "$(grep -c apple.com/macos/ list)" -eq "$(wc -l < wanted)" ]
    grep -qE '^ macos14 +\| macOS 14 Sonoma ' list
}

@test "what osinfo-db ships about Apple is as it was" {
    OSINFO_LOCAL_DIR=$T/none osinfo-query -f id,short-id,name,version os vendor='Apple Inc.' | sed 1,2d > before
    osinfo-query -f id,short-id,name,version os vendor='Apple Inc.' | grep -v apple.com/macos/ | sed 1,2d > after
    [ -s before ]
    diff before after
}

@test "no file has a name of osinfo-db, nor one that it could take for an id" {
    (cd "$DB" && find . -type f) > ours
    [ "$(wc -l < ours)" -eq "$(versions | wc -l)" ]
    if grep -vE '^\./os/apple\.com/macos-[0-9.]+\.d/dkvm-macos-[0-9.]+\.xml$' ours; then fail 'another name'; fi
    while read -r file; do
        [ ! -e "/usr/share/osinfo/$file" ] || fail "osinfo-db has $file"
    done < ours
}

@test "an entry that osinfo-db may ship one day and ours are one" {
    # Its own file for the same id, as its layout has it.
    sed '/<device /d; /<devices>/d; /<\/devices>/d; /<firmware/d; s/macos-sonoma/macos-theirs/' \
        "$APPLE/macos-14.d/dkvm-macos-14.xml" > "$APPLE/macos-14.xml"
    osinfo-query -f id os short-id=macos14 > list 2> err
    [ ! -s err ]
    [ "$(grep -c apple.com/macos/14 list)" -eq 1 ]
    osinfo-query -f short-id os short-id=macos-theirs | grep -q macos14
}

@test "dkvm-patch knows the macOS of every id, and takes the domain for one of its own" {
    local version
    versions > wanted
    while read -r version; do
        sed "s,http://apple.com/macos/14,http://apple.com/macos/$version," domain.xml > "$version.xml"
        on_file 0 "$version.xml"
        grep -oE "<dkvm:darwin [^>]*" out | grep -qE "macos='$version'" || fail "macOS $version: $(grep dkvm:darwin out)"
    done < wanted
}

@test "the devices of every entry are those that models.xml says work" {
    python3 - "$TOP/xslt/models.xml" "$APPLE" <<'PYTHON'
import pathlib, sys
import xml.etree.ElementTree as tree

PCI = "http://pcisig.com/pci/"
# libvirt's names, as models.xml has them, and what libosinfo calls the hardware.  None: libosinfo knows no
# such device, or naming it would make virt-manager choose it (virtio video shows nothing in macOS).
IDS = {
    "nic": {"virtio": ["1af4/1000", "1af4/1041"], "virtio-net-pci": ["1af4/1000", "1af4/1041"],
            "virtio-transitional": ["1af4/1000"], "virtio-non-transitional": ["1af4/1041"],
            "vmxnet3": ["15ad/07b0"], "e1000-82545em": ["8086/100f"], "e1000": ["8086/100e"],
            "e1000e": ["8086/10d3"]},
    "disk": {"virtio": ["1af4/1001", "1af4/1042"], "sata": ["8086/2922"], "usb": []},
    "usb": {"qemu-xhci": ["1b36/0004"], "nec-xhci": ["1033/0194"], "ich9-ehci1": ["8086/293a"]},
    "video": {"vga": ["1234/1111"], "bochs": ["1234/1111"], "qxl": ["1b36/0100"], "vmvga": ["15ad/0405"],
              "virtio": []},
    "sound": {"ich9": ["8086/293e"], "ich6": ["8086/2668"], "usb": [], "virtio": []},
}
ALWAYS = {"http://qemu.org/chipset/x86/q35", "http://usb.org/usb/80ee/0021"}


def number(text):
    return tuple(int(part) for part in text.split("."))


models = tree.parse(sys.argv[1]).getroot()
bad = 0
for path in sorted(pathlib.Path(sys.argv[2]).glob("macos-*.d/*.xml")):
    os = tree.parse(path).getroot().find("os")
    version = os.findtext("version")
    wanted = set(ALWAYS)
    for kind, names in IDS.items():
        rows = [row for row in models.iterfind(f"devices/{kind}") if row.get("version") is None
                and number(row.get("from", "10.4")) <= number(version)]
        for name in [*rows[-1].get("works").split(), rows[-1].get("prefer")]:
            wanted |= {PCI + pci for pci in names[name]}
    listed = [device.get("id") for device in os.iterfind("devices/device")]
    if set(listed) != wanted or len(listed) != len(set(listed)):
        bad = 1
        print(f"macOS {version}: missing {sorted(wanted - set(listed))}, too many {sorted(set(listed) - wanted)}")
    if os.get("id") != f"http://apple.com/macos/{version}" or path.name != f"dkvm-macos-{version}.xml" \
            or path.parent.name != f"macos-{version}.d":
        bad = 1
        print(f"{path}: id {os.get('id')}")
sys.exit(bad)
PYTHON
}

@test "uninstall takes the list and nothing else" {
    cp -r /usr/share/osinfo/os/apple.com/. "$APPLE"
    make -s -C "$TOP" uninstall-osinfo DESTDIR="$T/host" prefix=/usr
    diff -r "$APPLE" /usr/share/osinfo/os/apple.com
    rm -r "$APPLE"
    make -s -C "$TOP" install-osinfo DESTDIR="$T/host" prefix=/usr
    make -s -C "$TOP" uninstall-osinfo DESTDIR="$T/host" prefix=/usr
    [ ! -e "$DB" ]
}

@test "another prefix: the list goes where libosinfo looks" {
    make -s -C "$TOP" install-osinfo DESTDIR="$T/host" prefix=/usr/local
    [ -e "$T/host/etc/osinfo/os/apple.com/macos-14.d/dkvm-macos-14.xml" ]
}
