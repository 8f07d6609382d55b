#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-iommu and dkvm-udev as a user, and udev, call them; on recorded hosts.

TOP=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
BUILD=${DKVM_BUILD:-$TOP/build}
case $BUILD in /*) ;; *) BUILD=$TOP/$BUILD ;; esac

setup() {
    export DKVM_ROOT=$BATS_TEST_TMPDIR/root LC_ALL=C.UTF-8
    cd "$BATS_TEST_TMPDIR" || return 1
}

host() { # NAME: this test's host
    mkdir -p "$DKVM_ROOT"
    "$TOP/tests/data/hosts/make-root" "$TOP/tests/data/hosts/$1.host" "$DKVM_ROOT"
}

fail() {
    echo "$*"
    return 1
}

# iommu CODE ARGUMENT...: must end with CODE; what it said is in out and err.
iommu() {
    local want=$1 code=0
    shift
    "$BUILD/dkvm-iommu" "$@" >out 2>err || code=$?
    [ "$code" = "$want" ] || { echo "exit $code, not $want: dkvm-iommu $*"; cat out err; return 1; }
    ! grep -Ev '^dkvm-iommu: (error|warning|note): ' err || fail 'a line without a name'
}

says() { grep -qF -- "$1" out || { cat out err; fail "it does not say '$1'"; }; }
moans() { grep -qF -- "$1" err || { cat out err; fail "no error says '$1'"; }; }

@test "exit codes: yes, no, usage, no IOMMU" {
    host intel-comet-lake-1660s
    iommu 0
    iommu 0 01:00.0
    iommu 0 0000:01:00.0 01:00.1
    iommu 1 00:17.0
    iommu 1 01:00.0 00:17.0
    iommu 1 00:01.0
    iommu 2 07:00.0
    moans 'there is no device 07:00.0'
    local bad
    for bad in 1:0.0 01:00.9 x '' 01:00.0x ../..; do
        iommu 2 "$bad"
        moans 'is no device address'
    done
    iommu 2 --nonsense
    iommu 2 --json --svg
    iommu 2 --svg 01:00.0
    iommu 2 --reserve 01:00.0 --release 01:00.0
    iommu 0 --version
    iommu 0 --help
}

@test "no IOMMU: exit 4 in every form, and --reserve changes nothing" {
    host no-iommu-intel
    iommu 4
    says 'intel_iommu=on'
    iommu 4 --json
    python3 -c 'import json; h = json.load(open("out"))["host"]; assert not h["iommu"] and h["kernel-argument"] == "intel_iommu=on"'
    iommu 4 --dot
    iommu 4 --svg
    iommu 4 01:00.0
    iommu 4 --reserve 01:00.0
    moans 'cannot reserve 01:00.0'
    says 'intel_iommu=on'
    [ ! -e "$DKVM_ROOT/etc/dkvm" ]
}

@test "no PCI at all: an error that names the folder" {
    mkdir -p "$DKVM_ROOT"
    iommu 6
    moans '/sys/bus/pci/devices'
}

@test "the file for the kernel argument, by boot loader" {
    host no-iommu-intel
    rm -r "${DKVM_ROOT:?}/etc" "${DKVM_ROOT:?}/usr"
    iommu 4; says 'was not recognized'
    local path want
    while IFS='|' read -r path want; do
        mkdir -p "$DKVM_ROOT$(dirname "$path")"
        : > "$DKVM_ROOT$path"
        iommu 4
        says "$want"
        rm "$DKVM_ROOT$path"
        rm -rf "${DKVM_ROOT:?}"/{etc,boot,run/ostree-booted}
    done <<'TABLE'
/boot/limine.conf|/boot/limine.conf
/boot/refind_linux.conf|/boot/refind_linux.conf
/boot/extlinux/extlinux.conf|/boot/extlinux/extlinux.conf
/boot/loader/entries/x.conf|/boot/loader/entries/
/etc/kernel/cmdline|kernel-install add
/etc/NIXOS|boot.kernelParams
/run/ostree-booted|rpm-ostree kargs --append-if-missing=intel_iommu=on
/etc/default/grub|GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub
TABLE
    mkdir -p "$DKVM_ROOT/etc/default" "$DKVM_ROOT/usr/sbin"
    : > "$DKVM_ROOT/etc/default/grub"
    : > "$DKVM_ROOT/usr/sbin/grubby"
    iommu 4; says 'grubby --update-kernel=ALL --args="intel_iommu=on"'
    # The boot loader that says that it was used counts more than a file that lies around.
    mkdir -p "$DKVM_ROOT/sys/firmware/efi/efivars" "$DKVM_ROOT/etc/kernel"
    { printf '\6\0\0\0'; printf 'systemd-boot 252' | iconv -t UTF-16LE; } \
        > "$DKVM_ROOT/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
    : > "$DKVM_ROOT/etc/kernel/cmdline"
    iommu 4; says 'systemd-boot:'
    : > "$DKVM_ROOT/etc/kernel/proxmox-boot-uuids"
    iommu 4; says 'proxmox-boot-tool refresh'
}

@test "an IOMMU that was turned off: says which argument to take away" {
    host no-iommu-amd
    echo 'root=/dev/sda1 amd_iommu=off quiet' > "$DKVM_ROOT/proc/cmdline"
    echo IVRS > "$DKVM_ROOT/sys/firmware/acpi/tables/IVRS" 2>/dev/null ||
        { mkdir -p "$DKVM_ROOT/sys/firmware/acpi/tables"; echo IVRS > "$DKVM_ROOT/sys/firmware/acpi/tables/IVRS"; }
    iommu 4
    says 'started with amd_iommu=off'
}

@test "two identical cards, one reserved" {
    host amd-p620-two-a6000
    iommu 0 --reserve 42:00.0
    says 'Reserved: 42:00.0, 42:00.1'
    [ "$(grep -c '^0000' "$DKVM_ROOT/etc/dkvm/reserved")" = 2 ]
    "$BUILD/dkvm-udev" boot
    [ "$(cat "$DKVM_ROOT/sys/bus/pci/devices/0000:42:00.0/driver_override")" = vfio-pci ]
    grep -q '(null)' "$DKVM_ROOT/sys/bus/pci/devices/0000:61:00.0/driver_override"
    iommu 0
    grep '42:00.0' out | grep -q reserved
    ! grep '61:00.0' out | grep -q reserved || fail 'the twin is reserved'
    # Twice is once; the other one too; back to one.
    iommu 0 --reserve 42:00.0
    [ "$(grep -c '^0000' "$DKVM_ROOT/etc/dkvm/reserved")" = 2 ]
    iommu 0 --reserve 61:00.0
    iommu 0 --release 42:00.1
    says '0000:42:00.0'
    [ "$(grep -o '^0000:6[^ ]*' "$DKVM_ROOT/etc/dkvm/reserved" | tr '\n' ' ')" = '0000:61:00.0 0000:61:00.1 ' ]
    iommu 1 --release 42:00.0
    moans 'it is not reserved'
}

@test "two at once: neither is lost" {
    host amd-p620-two-a6000
    local first second
    for _ in 1 2 3 4 5; do
        rm -f "$DKVM_ROOT/etc/dkvm/reserved"
        "$BUILD/dkvm-iommu" --reserve 42:00.0 & first=$!
        "$BUILD/dkvm-iommu" --reserve 61:00.0 & second=$!
        wait "$first"
        wait "$second"
        [ "$(grep -c '^0000' "$DKVM_ROOT/etc/dkvm/reserved")" = 4 ]
    done
    # One that is held by somebody who does not let go is not waited for without end.
    flock "$DKVM_ROOT/etc/dkvm" sleep 60 & first=$!
    until ! flock -n "$DKVM_ROOT/etc/dkvm" true; do sleep 0.05; done
    iommu 6 --release 42:00.0
    moans 'is another dkvm-iommu at work?'
    kill "$first"
    wait "$first" || [ $? = 143 ]
}

@test "what the host needs cannot be reserved: nothing is written" {
    host intel-skylake-1660
    iommu 1 --reserve 01:00.0
    moans 'only display'
    iommu 1 --reserve 00:17.0
    iommu 2 --reserve 00:99.0
    iommu 2 --reserve nonsense
    [ ! -e "$DKVM_ROOT/etc/dkvm" ]
}

@test "virtual functions: they can go, what has some cannot; none is reserved" {
    host server-sriov
    iommu 0 18:08.2
    says 'It is a virtual function (SR-IOV) of 0000:18:00.1.'
    iommu 1 18:00.1
    says '18:00.1 has 2 virtual functions (SR-IOV), and vfio-pci takes no device that has some.'
    iommu 1 --reserve 18:08.2
    moans 'it is a virtual function of 0000:18:00.1'
    iommu 1 --reserve 18:00.1
    [ ! -e "$DKVM_ROOT/etc/dkvm" ]
}

@test "groups that vfio made where there is no IOMMU are none" {
    host intel-comet-lake-1660s
    local group
    for group in "$DKVM_ROOT"/sys/kernel/iommu_groups/*; do echo vfio-noiommu > "$group/name"; done
    iommu 4 01:00.0
    says 'in no IOMMU group'
    says 'There are no IOMMU groups'
    rm "$DKVM_ROOT/sys/kernel/iommu_groups/1/name"
    iommu 0
    says '1 IOMMU group, '
}

@test "several devices: each its own bus in the guest" {
    host amd-p620-two-a6000
    iommu 0 42:00.0 61:00.0
    [ "$(grep -o "<address type='pci' domain='0x0000' bus='0x..'" out | sort | uniq -c | awk '{ print $1, $5 }')" = $'2 bus=\'0x0a\'\n2 bus=\'0x0b\'' ]
}

@test "who has it open: the DRM card by its number, NVIDIA's own nodes by the minor in /proc" {
    host intel-comet-lake-1660s
    local proc=$DKVM_ROOT/proc/4711 gpu=$DKVM_ROOT/proc/driver/nvidia/gpus/0000:01:00.0
    mkdir -p "$proc/fd" "$gpu"
    echo Xorg > "$proc/comm"
    mknod "$DKVM_ROOT/nvidia0" c 195 3
    ln -s "$DKVM_ROOT/nvidia0" "$proc/fd/7"
    printf 'Model: \t NVIDIA\nDevice Minor: \t 3\n' > "$gpu/information"
    iommu 0 01:00.0
    says 'Held open by: Xorg (4711)'
    iommu 0 --json 01:00.0
    python3 -c 'import json; h = json.load(open("out"))["devices"][0]["holders"]; assert [(x["pid"], x["command"]) for x in h] == [(4711, "Xorg")], h'
    printf 'Model: \t NVIDIA\nDevice Minor: \t 2\n' > "$gpu/information"
    iommu 0 01:00.0
    ! grep -q 'Held open' out || fail 'another card is held'
    iommu 0 --json
    python3 -c 'import json; assert all(d["holders"] is None for d in json.load(open("out"))["devices"])'
}

@test "the initramfs command, by distribution; reset= survives a new reservation" {
    host intel-z690-rx6650xt
    local program want
    while IFS='|' read -r program want; do
        mkdir -p "$DKVM_ROOT$(dirname "$program")"
        : > "$DKVM_ROOT$program"
        iommu 0 --reserve 03:00.0
        says "$want"
        rm "$DKVM_ROOT$program"
    done <<'TABLE'
/usr/sbin/update-initramfs|update-initramfs -u -k all
/usr/bin/mkinitcpio|mkinitcpio -P
/usr/bin/dracut|dracut --force --regenerate-all
TABLE
    sed -i '/^0000:03:00.0/s/$/ reset=bus/' "$DKVM_ROOT/etc/dkvm/reserved"
    iommu 0 --reserve 03:00.0
    grep -q '^0000:03:00.0 .* reset=bus$' "$DKVM_ROOT/etc/dkvm/reserved"
    [ "$(ACTION=add SUBSYSTEM=pci PCI_SLOT_NAME=0000:03:00.0 "$BUILD/dkvm-udev" event)" = $'DKVM_RESERVED=vfio-pci\nDKVM_RESET=bus' ]
    [ "$(ACTION=unbind SUBSYSTEM=pci PCI_SLOT_NAME=0000:03:00.0 "$BUILD/dkvm-udev" event)" = $'DKVM_RESERVED=vfio-pci\nDKVM_RESET=bus' ]
    [ -z "$(ACTION=add SUBSYSTEM=pci PCI_SLOT_NAME=0000:04:00.0 "$BUILD/dkvm-udev" event)" ]
}

@test "a card that moved: the report says so, the helper refuses" {
    host intel-z690-rx6650xt
    iommu 0 --reserve 03:00.0
    sed -i 's,01.0/00.0/00.0/00,06.0/00.0/00.0/00,' "$DKVM_ROOT/etc/dkvm/reserved"
    iommu 0
    says '0000:03:00.0 is reserved, but not the same device any more (another slot)'
    "$BUILD/dkvm-udev" boot 2>err
    moans 'not the device that was reserved (another slot): refused'
    grep -q '(null)' "$DKVM_ROOT/sys/bus/pci/devices/0000:03:00.0/driver_override"
}

@test "a bad list: --reserve and --release refuse it by line and leave it, the report goes on, the helper takes the good lines" {
    host intel-z690-rx6650xt
    iommu 0 --reserve 03:00.0
    echo 'rubbish' >> "$DKVM_ROOT/etc/dkvm/reserved"
    cp "$DKVM_ROOT/etc/dkvm/reserved" before
    iommu 3 --reserve 03:00.0
    iommu 3 --release 03:00.0
    moans 'line 5'
    cmp before "$DKVM_ROOT/etc/dkvm/reserved"
    iommu 0
    moans 'line 5'
    "$BUILD/dkvm-udev" boot 2>err
    moans 'line 5'
    [ "$(cat "$DKVM_ROOT/sys/bus/pci/devices/0000:03:00.0/driver_override")" = vfio-pci ]
}

@test "colour on a terminal only, and not with NO_COLOR" {
    host intel-comet-lake-1660s
    iommu 0
    ! grep -q $'\033' out || fail 'colour in a file'
    TERM=xterm script -qec "$BUILD/dkvm-iommu" /dev/null > out
    grep -q $'\033' out
    NO_COLOR=1 TERM=xterm script -qec "$BUILD/dkvm-iommu" /dev/null > out
    ! grep -q $'\033' out || fail 'colour in spite of NO_COLOR'
}

@test "the <hostdev> elements: one slot, sound at function 1, multifunction" {
    host intel-comet-lake-1660s
    iommu 0 01:00.0
    { echo '<devices>'; sed -n '/^<!--/,$p' out; echo '</devices>'; } > devices.xml
    python3 - <<'PYTHON'
import xml.etree.ElementTree as tree
elements = tree.parse("devices.xml").getroot().findall("hostdev")
assert len(elements) == 4, len(elements)
guest = [e.find("address") for e in elements]
assert {a.get("bus") for a in guest} == {"0x0a"} and {a.get("slot") for a in guest} == {"0x00"}
assert [a.get("function") for a in guest] == ["0x0", "0x1", "0x2", "0x3"]
assert [a.get("multifunction") for a in guest] == ["on", None, None, None]
assert elements[1].find("source/address").get("function") == "0x1"
PYTHON
}

@test "a full disk, a closed standard output: said, exit 6" {
    host intel-comet-lake-1660s
    local code=0
    "$BUILD/dkvm-iommu" --json > /dev/full 2> err || code=$?
    [ "$code" = 6 ]
    moans 'cannot write to standard output'
    code=0
    "$BUILD/dkvm-iommu" >&- 2> err || code=$?
    [ "$code" = 6 ]
}

@test "dkvm-udev links libc only, dkvm-iommu nothing of libvirt and libxml2" {
    ! readelf -d "$BUILD/dkvm-udev" | grep NEEDED | grep -vE 'libc\.so|libasan|libubsan' || fail 'more than libc'
    ! readelf -d "$BUILD/dkvm-iommu" | grep NEEDED | grep -E 'libvirt|libxml2|libxslt' || fail 'links too much'
    # Neither part includes the other.
    ! grep -nE '#include "xslt/' "$TOP"/udev/*.[ch] || fail 'udev includes xslt'
    ! grep -nE '#include "udev/' "$TOP"/xslt/*.[ch] "$TOP"/lib/*.[ch] || fail 'xslt or lib includes udev'
}

@test "dkvm-udev ends with 0 whatever it is given" {
    host intel-comet-lake-1660s
    mkdir -p "$DKVM_ROOT/etc/dkvm"
    "$BUILD/dkvm-udev" 2>err
    "$BUILD/dkvm-udev" nonsense 2>err
    "$BUILD/dkvm-udev" event extra 2>err
    env -i DKVM_ROOT="$DKVM_ROOT" "$BUILD/dkvm-udev" event 2>err
    env -i DKVM_ROOT="$DKVM_ROOT" SUBSYSTEM=usb PCI_SLOT_NAME=x "$BUILD/dkvm-udev" event 2>err
    moans 'no PCI device'
    head -c 200000 /dev/zero > "$DKVM_ROOT/etc/dkvm/reserved"
    "$BUILD/dkvm-udev" boot 2>err
    moans 'larger than'
    rm "$DKVM_ROOT/etc/dkvm/reserved"
    mkdir "$DKVM_ROOT/etc/dkvm/reserved"
    "$BUILD/dkvm-udev" boot 2>err
    "$BUILD/dkvm-udev" boot <&- >&- 2>&-
    DKVM_ROOT=/nonexistent "$BUILD/dkvm-udev" boot 2>err
}

@test "hostile sysfs: cut, endless, binary and missing files break nothing" {
    host intel-comet-lake-1660s
    local device=$DKVM_ROOT/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0
    head -c 100000 /dev/urandom > "$device/resource"
    head -c 100000 /dev/urandom > "$device/config"
    head -c 100000 /dev/zero > "$device/modalias"
    printf '\033[31mevil\n\nE:ID_MODEL_FROM_DATABASE=\033[31m<b>&"--> \377\n' > "$DKVM_ROOT/run/udev/data/+pci:0000:01:00.0"
    head -c 300000 /dev/urandom > "$DKVM_ROOT/proc/self/mountinfo"
    head -c 300000 /dev/urandom > "$DKVM_ROOT/proc/net/route"
    rm "$device/class" "$device/driver"
    iommu 0
    ! grep -q $'\033' out || fail 'an escape sequence got through'
    iommu 0 --json
    python3 -m json.tool < out > /dev/null
    iommu 0 --svg
    xmllint --noout out
    iommu 0 --dot
    # Without vendor there is no device.
    rm "$device/vendor"
    iommu 2 01:00.0
}

section() { # NAME FILE
    awk -v name="# $1" '$0 == name { on = 1; next } /^# / { on = 0 } on' "$2"
}

same() { # WHAT A B
    sort -u "$2" > "$2.sorted"
    sort -u "$3" > "$3.sorted"
    if [ ! -s "$2" ] || [ ! -s "$3" ]; then fail "$1: nothing found"; fi
    diff -u "$2.sorted" "$3.sorted" || fail "$1 differ"
}

@test "dkvm-iommu(1): options, exit codes, members and codes of JSON are those of the program" {
    local man=$TOP/udev/dkvm-iommu.1.scd
    "$BUILD/dkvm-iommu" --help | sed -nE 's/^  --([a-z-]+).*/\1/p' > of-help
    echo help >> of-help
    section OPTIONS "$man" | sed -nE 's/^\*--([a-z-]+)\*.*/\1/p' > of-man
    same options of-help of-man
    "$BUILD/dkvm-iommu" --help | sed -n '/^Exit:/,$p' | tr '\n' ' ' | sed 's/See .*//' | tr ',:' '\n' |
        sed -nE 's/^ *([0-9]) .*/\1/p' > of-help
    section 'EXIT STATUS' "$man" | sed -nE 's/^\*([0-9]+)\*$/\1/p' > of-man
    same 'exit codes' of-help of-man
    tr -s '\n ' ' ' < "$TOP/udev/report-json.c" |
        grep -oE '(add_[a-z]+|begin_array|set_member_name|add_reasons)\(b, "[a-z-]+"' | grep -oE '"[a-z-]+"' | tr -d '"' > of-code
    section JSON "$man" | grep -oE '\*[a-z-]+\*' | tr -d '*' | grep -vx -- '--.*' > of-man
    grep -vxE 'costs' of-man > of-man.2
    same 'members of JSON' of-code of-man.2
    # A code follows its weight.
    cat "$TOP"/udev/verdict.c "$TOP"/udev/losses.c | tr -s '\n ' ' ' | grep -oE 'DKVM_ANSWER_[A-Z]+, "[a-z-]+"' |
        grep -oE '"[a-z-]+"' > of-code
    grep -oE '^ *\{DKVM_USE_[A-Z]+, "[a-z-]+"' "$TOP/udev/losses.c" | grep -oE '"[a-z-]+"' >> of-code
    section JSON "$man" | sed -n '/The codes are/,$p' | grep -oE '"[a-z-]+"' > of-man
    same 'codes' of-code of-man
}

@test "make install and uninstall: rules, helper, hooks and pages, with the places of this installation; nothing is left" {
    make -s -C "$TOP" B="$BUILD" DESTDIR="$PWD/dest" sysconfdir=/conf install-udev
    local file
    for file in bin/dkvm-iommu lib/udev/dkvm-udev lib/udev/rules.d/61-dkvm.rules lib/udev/rules.d/72-dkvm-seat.rules \
        share/initramfs-tools/hooks/dkvm share/initramfs-tools/scripts/init-top/dkvm \
        lib/dracut/modules.d/61dkvm/module-setup.sh lib/dracut/modules.d/61dkvm/dkvm-boot.sh \
        lib/initcpio/install/dkvm lib/initcpio/hooks/dkvm \
        lib/systemd/system/dkvm-reserved.service lib/systemd/system/sysinit.target.wants/dkvm-reserved.service share/man/man1/dkvm-iommu.1 share/man/man8/dkvm-udev.8; do
        [ -s "dest/usr/$file" ] || fail "no $file"
    done
    [ -x dest/usr/share/initramfs-tools/hooks/dkvm ] && [ -x dest/usr/lib/udev/dkvm-udev ]
    grep -q '"/conf/dkvm/reserved"' dest/usr/lib/udev/rules.d/61-dkvm.rules
    ! grep -rqI /etc/dkvm dest/usr/lib dest/usr/share/initramfs-tools || fail 'a rule names another place'
    make -s -C "$TOP" B="$BUILD" DESTDIR="$PWD/dest" sysconfdir=/conf uninstall-udev
    [ -z "$(find dest ! -type d)" ]
}

@test "mkinitcpio's hook puts all that is there into the initramfs, and nothing without a list" {
    # There is no mkinitcpio for Debian: the functions that its manual page names, written down instead of run.
    make -s -C "$TOP" B="$BUILD" DESTDIR="$PWD/dest" sysconfdir="$PWD/conf" install-udev
    mkdir -p conf/dkvm
    cat > mkinitcpio <<'SCRIPT'
set -eu
for name in add_module add_binary add_file add_runscript add_symlink; do
    eval "$name() { printf '%s\n' \"$name \$*\"; }"
done
. "$1"
help > help
build
SCRIPT
    bash mkinitcpio dest/usr/lib/initcpio/install/dkvm > out
    [ ! -s out ]
    [ -s help ]
    : > conf/dkvm/reserved
    bash mkinitcpio dest/usr/lib/initcpio/install/dkvm > out
    says 'add_module vfio-pci'
    says 'add_binary /usr/lib/udev/dkvm-udev'
    says "add_file $PWD/conf/dkvm/reserved"
    says 'add_runscript'
    local kind file
    while read -r kind file _; do
        case $kind:$file in
        add_binary:* | add_file:/usr/* | add_symlink:*) [ -e "dest$file" ] || fail "there is no $file" ;;
        esac
    done < out
    # The early hook is what busybox runs.
    sed 's,/usr/lib/udev,'"$PWD"'/dest&,g' dest/usr/lib/initcpio/hooks/dkvm > hook
    DKVM_ROOT=$PWD/none sh -ec '. ./hook; run_earlyhook'
}

@test "the rules: udev takes them, they sort before the driver rules, and other subsystems leave at once" {
    if command -v udevadm > /dev/null && udevadm verify --help > /dev/null 2>&1; then
        udevadm verify --no-style "$TOP"/udev/rules.d/*.rules
    fi
    local rules
    { echo 71-seat.rules; echo 73-seat-late.rules; echo 80-drivers.rules; basename -a "$TOP"/udev/rules.d/*.rules; } |
        LC_ALL=C sort | tr '\n' ' ' > order
    grep -qx '61-dkvm.rules 71-seat.rules 72-dkvm-seat.rules 73-seat-late.rules 80-drivers.rules ' order
    for rules in "$TOP"/udev/rules.d/*.rules; do
        # The first line that does something leaves for all other subsystems.
        grep -vE '^(#|$)' "$rules" | head -1 | grep -qE '^SUBSYSTEM!="[a-z|]+", GOTO="[a-z_]+_end"$' || fail "$rules"
    done
}
