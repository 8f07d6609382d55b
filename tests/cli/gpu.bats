#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# dkvm-gpu as libvirt's hook and a person call it, on recorded hosts: files that take every write and do nothing.

TOP=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
BUILD=${DKVM_BUILD:-$TOP/build}
case $BUILD in /*) ;; *) BUILD=$TOP/$BUILD ;; esac
UUID=6f1c1b1e-0d3c-4b34-8d6e-0c3e5f3b7a11

setup() {
    export DKVM_ROOT=$BATS_TEST_TMPDIR/root LC_ALL=C.UTF-8
    mkdir -p "$DKVM_ROOT/etc/dkvm"
    printf '[handoff]\ndomains = all\n' >"$DKVM_ROOT/etc/dkvm/dkvm.conf"
    cd "$BATS_TEST_TMPDIR" || return 1
}

host() { # NAME [LINE...]: this test's host, with more lines
    local name=$1
    shift
    { echo "base $name"; printf '%s\n' "$@"; } >"$TOP/tests/data/hosts/.gpu-$BATS_TEST_NUMBER-$$.host"
    "$TOP/tests/data/hosts/make-root" "$TOP/tests/data/hosts/.gpu-$BATS_TEST_NUMBER-$$.host" "$DKVM_ROOT"
    rm -f "$TOP/tests/data/hosts/.gpu-$BATS_TEST_NUMBER-$$.host"
    mkdir -p "$DKVM_ROOT/sys/bus/pci/drivers/vfio-pci" "$DKVM_ROOT/proc/sys/kernel/random"
    echo b007 >"$DKVM_ROOT/proc/sys/kernel/random/boot_id"
}

fail() {
    echo "$*"
    return 1
}

domain() { # DEVICE-XML...
    printf "<domain type='kvm'><name>mac</name><uuid>%s</uuid><memory>1024</memory><devices>%s</devices></domain>" \
        "$UUID" "$*"
}

hostdev() { # BUS SLOT FUNCTION
    printf "<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0' bus='0x%s' slot='0x%s' function='0x%s'/></source></hostdev>" "$@"
}

# gpu CODE ARGUMENT...: must end with CODE; what it said is in out and err.
gpu() {
    local want=$1 code=0
    shift
    timeout 90 "$BUILD/dkvm-gpu" "$@" >out 2>err || code=$?
    [ "$code" = "$want" ] || { echo "exit $code, not $want: dkvm-gpu $*"; cat out err; return 1; }
}

# hook CODE OPERATION: with domain.xml; says nothing on standard output, ever.
hook() {
    local code=0
    timeout 90 "$BUILD/dkvm-gpu" hook mac "$2" begin - <domain.xml >out 2>err || code=$?
    [ "$code" = "$1" ] || { echo "exit $code, not $1: hook $2"; cat out err; return 1; }
    [ ! -s out ] || fail "something on standard output"
}

says() { grep -qF -- "$1" out || { cat out err; fail "it does not say '$1'"; }; }
moans() { grep -qF -- "$1" err || { cat out err; fail "no error says '$1'"; }; }
picture() { (cd "$DKVM_ROOT" && find sys -printf '%p %l\n' | sort && find sys -type f -exec cat {} + 2>/dev/null | md5sum); }

our_worker() { # /proc/PID of the worker of this test's guard
    local comm
    grep -lx dkvm-worker /proc/[0-9]*/comm 2>/dev/null | while read -r comm; do
        ! grep -qzxF "DKVM_ROOT=$DKVM_ROOT" "${comm%comm}environ" 2>/dev/null || echo "${comm%/comm}"
    done
}

@test "usage" {
    local arguments
    for arguments in '' nonsense plan 'plan --xml' 'status x' 'restore' 'restore x' 'recover x' 'guard x' 'guard' 'hook x' \
        "restore $UUID x" '--verbose' 'guard ../x'; do
        # shellcheck disable=SC2086 # words
        gpu 2 $arguments
        moans 'dkvm-gpu: error: '
    done
    gpu 0 --help
    says 'dkvm-gpu plan'
    gpu 0 --version
}

@test "exit codes: --help and dkvm-gpu(8) say the same" {
    gpu 0 --help
    sed -n '/^Exit:/,$p' out | tr '\n' ' ' | sed 's/^Exit: //; s/\. See .*//; s/, \([0-9]\)/\n\1/g; s/ *$/\n/' >of-help
    awk '$0 == "# EXIT STATUS" { on = 1; next } /^# / { on = 0 } on' "$TOP/qemu-hook/dkvm-gpu.8.scd" | tr '\n' ' ' |
        sed 's/^ *//; s/\. *$//; s/; \([0-9]\)/\n\1/g; s/$/\n/' >of-man
    diff -u of-help of-man
    [ "$(cut -c 1 of-man | tr -d '\n')" = 0123456 ]
    # Each of 3 to 6 for what it is said to be for; 5 needs a libvirt that is not there.
    printf '<domain' >domain.xml
    host intel-comet-lake-rx6600
    gpu 3 plan --xml domain.xml
    printf '[handoff]\ndesktop = perhaps\n' >"$DKVM_ROOT/etc/dkvm/dkvm.conf"
    gpu 3 plan --xml domain.xml
    : >"$DKVM_ROOT/etc/dkvm/dkvm.conf"
    gpu 6 plan --xml nowhere.xml
}

@test "nothing is handed over: status, restore" {
    gpu 0 status
    says 'Nothing is handed over.'
    gpu 0 status --json
    [ "$(cat out)" = '[]' ] || [ "$(tr -d ' \n' <out)" = '[]' ]
    gpu 0 restore "$UUID"
    gpu 0 restore --all
    gpu 0 recover
}

@test "plan: order, companions, reasons; nothing is written" {
    host intel-comet-lake-rx6600
    domain "$(hostdev 03 00 0)" >domain.xml
    picture >before
    gpu 0 plan --xml domain.xml
    says 'goes along, not given to the VM'
    says 'Nothing stands in the way.'
    grep -n 'take 0000:03:00.1 from' out | cut -d: -f1 >first
    grep -n 'take 0000:03:00.0 from' out | cut -d: -f1 >second
    [ "$(cat first)" -lt "$(cat second)" ]
    picture >after
    cmp before after
    [ ! -e "$DKVM_ROOT/run/dkvm" ]
}

@test "plan: a device that is not there, and one that the host needs, each with its reason" {
    host intel-comet-lake-rx6600
    domain "$(hostdev 77 00 0)" "$(hostdev 00 1f 0)" >domain.xml
    gpu 1 plan --xml domain.xml
    says 'This host has no device 0000:77:00.0'
    says 'part of the chipset'
}

interface() { # BUS SLOT FUNCTION: a network function that libvirt itself gives to the VM
    printf "<interface type='hostdev' managed='yes'><source><address type='pci' domain='0x0' bus='0x%s' slot='0x%s' function='0x%s'/></source></interface>" "$@"
}

nvme() { # BUS SLOT FUNCTION: a disk
    printf "<disk type='nvme' device='disk'><source type='pci' managed='yes' namespace='1'><address domain='0x0' bus='0x%s' slot='0x%s' function='0x%s'/></source><target dev='vda' bus='virtio'/></disk>" "$@"
}

# left BDF: nothing is done with it.
left() {
    sed -n '/^Steps/,/^$/p' out >steps
    grep -q 'to vfio-pci' steps || fail 'nothing is planned at all'
    ! grep -F "$1" steps || fail "$1 is libvirt's"
}

@test "plan: a network function of the VM (SR-IOV) is left to libvirt, unless a sibling would have to move" {
    local vf=0000:18:08.2 sibling='126 18:08.4 0200 15b3:1018 MT27800 Family [ConnectX-5 Virtual Function] | physfn=0000:18:00.1 net=ens1f1v2'
    domain "$(hostdev 03 00 0)" "$(interface 18 08 2)" >domain.xml
    host server-sriov
    gpu 0 plan --xml domain.xml
    left "$vf"
    rm -r "${DKVM_ROOT:?}"/{sys,proc}
    host server-sriov "$sibling driver=vfio-pci"
    gpu 0 plan --xml domain.xml
    left "$vf"
    rm -r "${DKVM_ROOT:?}"/{sys,proc}
    host server-sriov "$sibling"
    picture >before
    gpu 1 plan --xml domain.xml
    says "$vf, a network function or NVMe disk of the VM, shares group 126 with 0000:18:08.4, which would have to leave its driver mlx5_core."
    hook 1 prepare
    moans "$vf, a network function or NVMe disk of the VM, shares group 126 with 0000:18:08.4"
    # It has to go as well if the VM wants it itself.
    domain "$(hostdev 18 08 4)" "$(interface 18 08 2)" >domain.xml
    gpu 1 plan --xml domain.xml
    says "$vf, a network function or NVMe disk of the VM, shares group 126 with 0000:18:08.4"
    picture >after
    cmp before after
    # A VM that has nothing but what libvirt gives it is none of ours.
    domain "$(interface 18 08 2)" >domain.xml
    hook 0 prepare
    [ ! -s err ]
    gpu 1 plan --xml domain.xml
    says 'at its start nothing would be done'
}

@test "plan: what libvirt takes is left to it beside a device of the same group; a bridge is refused" {
    domain "$(hostdev 18 08 4)" "$(interface 18 08 2)" >domain.xml
    host server-sriov '126 18:08.4 0200 15b3:1018 MT27800 Family [ConnectX-5 Virtual Function] | physfn=0000:18:00.1 driver=vfio-pci'
    gpu 0 plan --xml domain.xml
    says '0000:18:08.4'
    sed -n '/^Steps/,/^$/p' out >steps
    ! grep -F -e 0000:18:08.2 -e 'group 126' steps || fail 'it is libvirt that moves the rest of the group'
    rm -r "${DKVM_ROOT:?}"/{sys,proc}
    host intel-comet-lake-rx6600
    domain "$(hostdev 01 00 0)" >domain.xml
    gpu 1 plan --xml domain.xml
    says '0000:01:00.0 is a bridge of this host, which no VM can have.'
    hook 1 prepare
}

@test "plan: a /sys that may not be written is refused before anything is done" {
    host intel-comet-lake-rx6600
    domain "$(hostdev 03 00 0)" >domain.xml
    gpu 0 plan --xml domain.xml
    cat >in-namespace <<'END'
mount --bind "$DKVM_ROOT/sys" "$DKVM_ROOT/sys" && mount -o remount,ro,bind "$DKVM_ROOT/sys" && exec "$@"
END
    unshare -m bash in-namespace timeout 90 "$BUILD/dkvm-gpu" plan --xml domain.xml >out 2>err && fail 'it is not refused'
    says '0000:03:00.0 cannot be moved: /sys/bus/pci/devices/0000:03:00.0/driver_override: Read-only file system.'
}

@test "plan: an NVMe disk of the VM is left to libvirt, unless a sibling would have to move" {
    local shared='9 08:00.0 0108 1b36:0010 QEMU NVM Express Controller | nvme=nvme9n1'
    domain "$(hostdev 00 0b 0)" "$(nvme 01 00 0)" >domain.xml
    host vm-q35-nvme
    gpu 0 plan --xml domain.xml
    left 0000:01:00.0
    # In the group of the sound card.
    rm -r "${DKVM_ROOT:?}"/{sys,proc}
    host vm-q35-nvme "$shared"
    gpu 0 plan --xml domain.xml
    left 0000:01:00.0
    domain "$(hostdev 00 0b 0)" "$(nvme 08 00 0)" >domain.xml
    picture >before
    gpu 1 plan --xml domain.xml
    says '0000:08:00.0, a network function or NVMe disk of the VM, shares group 9 with 0000:00:0b.0, which would have to leave its driver snd_hda_intel.'
    hook 1 prepare
    moans '0000:08:00.0, a network function or NVMe disk of the VM, shares group 9 with 0000:00:0b.0'
    domain "$(hostdev 02 00 0)" "$(nvme 08 00 0)" >domain.xml
    gpu 1 plan --xml domain.xml
    says '0000:08:00.0, a network function or NVMe disk of the VM, shares group 9 with 0000:00:0b.0'
    picture >after
    cmp before after
}

@test "plan: what a guest will make of the card: AMD's reset, no outputs" {
    host amd-x470-vega64
    domain "$(hostdev 2e 00 0)" >domain.xml
    gpu 0 plan --xml domain.xml
    says '0000:2e:00.0: This AMD GPU does not reset properly'
    says 'Install the vendor-reset module'
    rm -r "$DKVM_ROOT"
    mkdir -p "$DKVM_ROOT/etc/dkvm"
    printf '[handoff]\ndomains = all\n' >"$DKVM_ROOT/etc/dkvm/dkvm.conf"
    host laptop-p16v 'set 01:00.0 driver=nouveau'
    domain "$(hostdev 01 00 0)" >domain.xml
    gpu 0 plan --xml domain.xml
    says '0000:01:00.0: It has no outputs of its own'
    ! grep -q 'reset properly' out || fail 'a hint that is not its own'
}

@test "plan: libvirt does not run dkvm" {
    host intel-comet-lake-rx6600
    domain "$(hostdev 03 00 0)" >domain.xml
    local link=$DKVM_ROOT/etc/libvirt/hooks/qemu.d/50-dkvm missing='libvirt will not run dkvm'
    gpu 0 plan --xml domain.xml
    says "$missing"
    mkdir -p "${link%/*}" "$DKVM_ROOT/usr/sbin"
    ln -s /usr/sbin/dkvm-hook "$link"
    gpu 0 plan --xml domain.xml
    says "$missing"
    install -m 755 "$BUILD/dkvm-hook" "$DKVM_ROOT/usr/sbin/dkvm-hook"
    gpu 0 plan --xml domain.xml
    ! grep -q "$missing" out || fail 'the link is there'
    # A person's own, in its place.
    rm "$link"
    install -m 644 "$BUILD/dkvm-hook" "$link"
    gpu 0 plan --xml domain.xml
    says "$missing"
    chmod 755 "$link"
    gpu 0 plan --xml domain.xml
    ! grep -q "$missing" out || fail 'a program is there'
}

@test "plan: a kernel that has crashed in a driver is refused, one that has warned is said" {
    host intel-comet-lake-rx6600
    domain "$(hostdev 03 00 0)" >domain.xml
    echo 128 >"$DKVM_ROOT/proc/sys/kernel/tainted" # TAINT_DIE
    gpu 1 plan --xml domain.xml
    says 'The kernel has crashed in a driver since the host was started'
    echo 512 >"$DKVM_ROOT/proc/sys/kernel/tainted" # TAINT_WARN
    gpu 0 plan --xml domain.xml
    says 'The kernel has warned about itself'
    echo 4097 >"$DKVM_ROOT/proc/sys/kernel/tainted" # a module from elsewhere
    gpu 0 plan --xml domain.xml
    ! grep -q 'The kernel has' out || fail 'a module from elsewhere is no crash'
}

@test "plan: what the host died of is refused, with the file to remove; another kernel is another try" {
    host intel-comet-lake-rx6600
    domain "$(hostdev 03 00 0)" >domain.xml
    local note=$DKVM_ROOT/var/lib/dkvm/doing-$UUID kernel
    kernel=$(cat "$DKVM_ROOT/proc/sys/kernel/osrelease")
    mkdir -p "${note%/*}"
    printf '[crash]\nboot=a01d\nkernel=%s\nstep=unbind\nwhat=undo\ndevice=0000:03:00.0\nidentity=0x%s:0x%s\npre=amdgpu\npost=\n' \
        "$kernel" 1002 73df >"$note"
    gpu 0 recover
    [ ! -e "$note" ]
    gpu 1 plan --xml domain.xml
    says '0000:03:00.0: The host died the last time it was given back (step unbind, back to amdgpu'
    says "remove $DKVM_ROOT/var/lib/dkvm/suspect-0000:03:00.0"
    echo 6.99.0-other >"$DKVM_ROOT/proc/sys/kernel/osrelease"
    gpu 0 plan --xml domain.xml
}

@test "plan: a QEMU that dkvm does not know has the group open" {
    host intel-comet-lake-rx6600
    domain "$(hostdev 03 00 0)" >domain.xml
    local group proc=$DKVM_ROOT/proc/4711
    group=$(basename "$(readlink "$DKVM_ROOT/sys/bus/pci/devices/0000:03:00.0/iommu_group")")
    mkdir -p "$DKVM_ROOT/dev/vfio" "$proc/fd"
    mknod "$DKVM_ROOT/dev/vfio/$group" c 10 77 || skip 'needs root'
    gpu 0 plan --xml domain.xml
    echo qemu-system-x86 >"$proc/comm"
    ln -s "$DKVM_ROOT/dev/vfio/$group" "$proc/fd/30"
    gpu 1 plan --xml domain.xml
    says 'is in use by another guest: qemu-system-x86 (4711)'
}

@test "plan: nvidia's driver confirms that nobody uses the card before it is taken away" {
    host intel-comet-lake-1660s
    domain "$(hostdev 01 00 0)" >domain.xml
    local lock=$DKVM_ROOT/proc/driver/nvidia/gpus/0000:01:00.0/unbindLock
    mkdir -p "${lock%/*}"
    echo 0 >"$lock"
    gpu 0 plan --xml domain.xml
    grep -n "let nvidia's driver confirm that nobody uses 0000:01:00.0" out | cut -d: -f1 >first
    grep -n 'take 0000:01:00.0 from the driver nvidia' out | cut -d: -f1 >second
    [ "$(cat first)" -lt "$(cat second)" ]
}

@test "plan: nvidia's driver cannot confirm it" {
    host intel-comet-lake-1660s
    domain "$(hostdev 01 00 0)" >domain.xml
    gpu 0 plan --xml domain.xml
    grep -n "see that nobody uses nvidia's driver, for 0000:01:00.0" out | cut -d: -f1 >first
    grep -n 'take 0000:01:00.0 from the driver nvidia' out | cut -d: -f1 >second
    [ "$(cat first)" -lt "$(cat second)" ]
    rm -r "${DKVM_ROOT:?}"/{sys,proc}
    host intel-comet-lake-1660s 'set 00:02.0 driver=nvidia'
    gpu 1 plan --xml domain.xml
    says '0000:01:00.0 is driven by nvidia, and'
    says 'since the host keeps 0000:00:02.0'
}

@test "hook: a write that blocks is given up in time; whoever works on has none of libvirt's pipes" {
    host intel-comet-lake-rx6600
    domain "$(hostdev 03 00 0)" >domain.xml
    local unbind client guard worker fd link begin=$SECONDS
    unbind=$(realpath "$DKVM_ROOT/sys/bus/pci/devices/0000:03:00.1/driver")/unbind
    rm -f "$unbind"
    mkfifo "$unbind" # opening it for writing blocks
    "$BUILD/dkvm-gpu" hook mac prepare begin - <domain.xml 2> >(cat >err) > >(cat >out) &
    client=$!
    until worker=$(our_worker) && [ -n "$worker" ]; do
        [ $((SECONDS - begin)) -lt 30 ] || fail 'there is no worker'
    done
    guard=/proc/$(cut -d ' ' -f 4 "$worker/stat")
    # It has pipes of its own while it reads what another process has mapped.
    readlink "/proc/$client/fd/1" "/proc/$client/fd/2" >pipes
    [ "$(grep -c '^pipe:' pipes)" -eq 2 ]
    for fd in "$guard"/fd/* "$worker"/fd/*; do
        link=$(readlink "$fd") || continue
        ! grep -qxF "$link" pipes || fail "$fd: $link"
    done
    [ "$(readlink "$guard/fd/0" "$guard/fd/1" "$guard/fd/2" | sort -u)" = /dev/null ]
    local code=0
    wait "$client" || code=$?
    [ "$code" -eq 1 ]
    [ $((SECONDS - begin)) -lt 60 ] # what libvirt waits at most
    rm "$unbind"
}

@test "hook: state that others may write is not used" {
    host intel-comet-lake-rx6600
    domain "$(hostdev 03 00 0)" >domain.xml
    hook 1 prepare # fails, and leaves the folders
    [ "$(stat -c %a "$DKVM_ROOT/run/dkvm" "$DKVM_ROOT/run/dkvm/own" | sort -u)" = 700 ]
    picture >before
    chmod 777 "$DKVM_ROOT/run/dkvm"
    hook 1 prepare
    moans 'a folder that only root may write'
    picture >after
    cmp before after
    chmod 700 "$DKVM_ROOT/run/dkvm"
}

@test "hook: prepare on a host that takes writes and does nothing is refused and rolled back" {
    host intel-comet-lake-rx6600
    domain "$(hostdev 03 00 0)" >domain.xml
    picture >before
    hook 1 prepare
    moans 'dkvm: '
    moans 'unbind of 0000:03:00.1'
    [ "$(wc -l <err)" -eq 1 ]
    picture >after
    diff before after
    hook 0 stopped
    hook 0 release
    gpu 0 status
    says 'Nothing is handed over.'
    [ -z "$(ls "$DKVM_ROOT/run/dkvm/own")" ]
}

@test "hook: what is not ours ends with 0 and leaves nothing" {
    host intel-comet-lake-rx6600
    domain >domain.xml
    hook 0 prepare
    domain "$(hostdev 03 00 0)" >domain.xml
    printf '[handoff]\ndomains = darwin\n' >"$DKVM_ROOT/etc/dkvm/dkvm.conf"
    local operation
    for operation in prepare start started reconnect stopped release migrate restore attach nonsense ''; do
        hook 0 "$operation"
        [ ! -s err ]
    done
    [ ! -e "$DKVM_ROOT/run/dkvm" ]
}

@test "hook: bad domains are refused by prepare and start, and by nothing else" {
    host intel-comet-lake-rx6600
    local bad operation
    for bad in '' '<domain' '<x/>' '<domain><name>x</name></domain>' \
        '<!DOCTYPE a [<!ENTITY b "c">]><domain/>' "$(domain "$(hostdev zz 00 0)")"; do
        printf '%s' "$bad" >domain.xml
        for operation in prepare start; do
            hook 1 "$operation"
            moans 'dkvm: '
            [ "$(wc -l <err)" -eq 1 ]
        done
        for operation in started reconnect stopped release; do
            hook 0 "$operation"
        done
    done
}

@test "hook: a mistake in the configuration keeps a VM with devices from starting, and no other" {
    host intel-comet-lake-rx6600
    printf '[handoff]\ndesktop = perhaps\n' >"$DKVM_ROOT/etc/dkvm/dkvm.conf"
    domain >domain.xml
    hook 0 prepare
    domain "$(hostdev 03 00 0)" >domain.xml
    hook 1 prepare
    moans "'desktop' in group [handoff]"
    hook 0 release
}

# shellcheck disable=SC2016 # the programs are to see these
@test "pre.d, post.d: in the plan, run by the guard, a failing one refuses the start" {
    host intel-comet-lake-rx6600
    domain "$(hostdev 03 00 0)" >domain.xml
    mkdir -p "$DKVM_ROOT/etc/dkvm/pre.d" "$DKVM_ROOT/etc/dkvm/post.d"
    printf '#!/bin/sh\necho "$0 $DKVM_NAME $DKVM_BDFS"; echo out of paper >&2; exit 5\n' >"$DKVM_ROOT/etc/dkvm/pre.d/stop-it"
    printf '#!/bin/sh\necho "$DKVM_UUID" >"%s"\n' "$PWD/ran" >"$DKVM_ROOT/etc/dkvm/post.d/start-it"
    chmod 755 "$DKVM_ROOT"/etc/dkvm/*.d/*
    picture >before
    gpu 0 plan --xml domain.xml
    says 'run /etc/dkvm/pre.d/stop-it'
    says 'run /etc/dkvm/post.d/start-it when all is given back'
    [ ! -e ran ]
    hook 1 prepare
    moans "pre.d/stop-it failed with exit code 5; the last that it said: 'out of paper'"
    [ "$(wc -l <err)" -eq 1 ]
    [ "$(cat ran)" = "$UUID" ]
    picture >after
    diff before after
    rm ran
    chmod 775 "$DKVM_ROOT/etc/dkvm/pre.d/stop-it"
    gpu 1 plan --xml domain.xml
    says 'others than root may write it'
    hook 1 prepare
    moans 'nothing was touched'
    [ ! -e ran ]
}

conf() { # LINE...: of [handoff]
    { printf '[handoff]\ndomains = all\n'; printf '%s\n' "$@"; } >"$DKVM_ROOT/etc/dkvm/dkvm.conf"
}

memory() { # AVAILABLE-KIB HUGE-PAGES FREE: of the host; its huge pages are 2 MiB
    local pool=$DKVM_ROOT/sys/devices/system/node/node0/hugepages/hugepages-2048kB
    mkdir -p "$pool" "$DKVM_ROOT/sys/kernel/mm/hugepages/hugepages-2048kB"
    printf 'MemTotal: 33554432 kB\nMemAvailable: %d kB\nHugepagesize: 2048 kB\n' "$1" >"$DKVM_ROOT/proc/meminfo"
    printf 'Node 0 MemFree: %d kB\n' "$1" >"$DKVM_ROOT/sys/devices/system/node/node0/meminfo"
    echo "$2" >"$pool/nr_hugepages"
    echo "$3" >"$pool/free_hugepages"
    echo 0 >"$pool/surplus_hugepages"
}

huge() { # SIZE DEVICE-XML: a domain of 8 GiB in huge pages of that size
    domain "$2" | sed "s|<memory>1024</memory>|<memory unit='GiB'>8</memory><memoryBacking><hugepages><page size='$1'/></hugepages></memoryBacking>|"
}

@test "plan: memory that the host does not have, in figures" {
    host intel-comet-lake-rx6600
    domain "$(hostdev 03 00 0)" | sed "s|<memory>1024|<memory unit='GiB'>8|" >domain.xml
    memory 8388608 0 0
    gpu 0 plan --xml domain.xml
    memory 8388607 0 0
    gpu 1 plan --xml domain.xml
    says 'The VM wants 8192 MiB that are in no huge page yet, and 8191 MiB of this host are available'
    picture >before
    hook 1 prepare
    moans 'The VM wants 8192 MiB'
    [ "$(wc -l <err)" -eq 1 ]
    picture >after
    cmp before after
}

@test "plan: huge pages are counted, refused with the line that makes them, and made only if configured" {
    local pool=/sys/devices/system/node/node0/hugepages/hugepages-2048kB
    host intel-comet-lake-rx6600
    huge 2048 "$(hostdev 03 00 0)" >domain.xml
    memory 16777216 4096 4096
    gpu 0 plan --xml domain.xml
    ! grep -q 'huge page' out || fail 'a step that is not configured'
    memory 16777216 4200 4095
    gpu 1 plan --xml domain.xml
    says 'The VM wants 4096 huge pages of 2048 KiB (8192 MiB), and 4095 are free for it (node0/2048kB).'
    says 'write "hugepages = allocate" below [handoff] in /etc/dkvm/dkvm.conf'
    says "echo 4201 >$pool/nr_hugepages"
    conf 'hugepages = allocate'
    gpu 0 plan --xml domain.xml
    says 'keep 4096 huge pages free for the VM, having made 1 of them (node0/2048kB)'
    [ "$(grep -n 'having made 1' out | cut -d: -f1)" -lt "$(grep -n 'take 0000:03:00.1' out | cut -d: -f1)" ]
    memory 16777216 4200 4200
    gpu 0 plan --xml domain.xml
    says 'keep 4096 huge pages free for the VM (node0/2048kB)'
    memory 8388607 0 0
    gpu 1 plan --xml domain.xml
    says '4096 huge pages of 2048 KiB (8192 MiB) would have to be made for the VM, and 8191 MiB are available there'
    huge 1048576 "$(hostdev 03 00 0)" >domain.xml
    gpu 1 plan --xml domain.xml
    says 'This kernel has no huge pages of 1048576 KiB, which the VM wants; it has (in KiB): 2048.'
}

@test "hook: huge pages that the kernel does not make are refused and none is kept" {
    host intel-comet-lake-rx6600
    huge 2048 "$(hostdev 03 00 0)" >domain.xml
    memory 16777216 1000 1000
    conf 'hugepages = allocate'
    picture >before
    hook 1 prepare
    moans 'missing huge pages of 2048 KiB could be made'
    [ "$(wc -l <err)" -eq 1 ]
    picture >after
    diff before after
    [ ! -e "$DKVM_ROOT/run/dkvm/hugepages" ]
}

@test "plan: bar-size and reset-method for GPUs, where they can be had" {
    host intel-comet-lake-rx6600
    domain "$(hostdev 03 00 0)" >domain.xml
    conf 'bar-size = largest'
    gpu 0 plan --xml domain.xml
    says 'let BAR 0 of 0000:03:00.0 have 16384 MiB instead of 256 MiB'
    [ "$(grep -c 'let BAR' out)" -eq 1 ]
    conf 'bar-size = smallest'
    gpu 0 plan --xml domain.xml
    ! grep -q 'let BAR' out || fail 'it has the smallest size'
    # What there is to choose from is what dkvm-iommu shows.
    "$BUILD/dkvm-iommu" 03:00.0 >out
    says 'BAR 0: 256 MiB (can be up to 16 GiB)'
    conf 'reset-method = flr'
    gpu 1 plan --xml domain.xml
    says '0000:03:00.0 cannot be reset by flr; the kernel offers: bus.'
    ! grep -q '0000:03:00.1 cannot be reset' out || fail 'of a device that is no GPU'
    rm -r "${DKVM_ROOT:?}"/{sys,proc}
    host intel-comet-lake-rx6600 'set 03:00.0 reset=flr,bus'
    gpu 0 plan --xml domain.xml
    says 'let 0000:03:00.0 be reset by flr only (it was: flr bus)'
    rm -r "${DKVM_ROOT:?}"/{sys,proc}
    host intel-comet-lake-rx6600 'set 03:00.0 driver=vfio-pci'
    conf 'bar-size = largest'
    gpu 1 plan --xml domain.xml
    says '0000:03:00.0 is with vfio-pci before the VM starts'
}

@test "plan: what a GPU that does not come back would cost the host" {
    host intel-comet-lake-rx6600
    domain "$(hostdev 03 00 0)" >domain.xml
    printf '[handoff]\ndomains = all\nsuspend = rescue\nreboot = rescue\n' >"$DKVM_ROOT/etc/dkvm/dkvm.conf"
    gpu 0 plan --xml domain.xml
    says 'suspend = rescue has no effect'
    says 'reboot = rescue has no effect'
    mkdir -p "$DKVM_ROOT/sys/power" "$DKVM_ROOT/sys/class/rtc/rtc0"
    echo 'freeze mem' >"$DKVM_ROOT/sys/power/state"
    echo 's2idle [deep]' >"$DKVM_ROOT/sys/power/mem_sleep"
    : >"$DKVM_ROOT/sys/class/rtc/rtc0/wakealarm"
    gpu 0 plan --xml domain.xml
    says '0000:03:00.0: if it does not come back after the VM, the host is suspended for some seconds.'
    printf '[handoff]\ndomains = all\n' >"$DKVM_ROOT/etc/dkvm/dkvm.conf"
    gpu 0 plan --xml domain.xml
    ! grep -q 'does not come back' out || fail 'not asked for'
}

@test "plan: what is done after the start is said apart; nothing of it is written" {
    host intel-comet-lake-rx6600 'file /sys/devices/system/cpu/online 0-7' \
        'file /sys/devices/system/cpu/cpufreq/policy2/affected_cpus 2' \
        'file /sys/devices/system/cpu/cpufreq/policy2/scaling_governor schedutil' \
        'file /sys/devices/system/cpu/cpufreq/policy2/scaling_available_governors performance schedutil' \
        'file /proc/irq/9/smp_affinity_list 0-7' 'file /proc/irq/default_smp_affinity ff'
    printf '[handoff]\ndomains = all\ngovernor = performance\nhost-cpus = 0-1\nirqs = move\n' >"$DKVM_ROOT/etc/dkvm/dkvm.conf"
    domain "$(hostdev 03 00 0)" | sed "s|<devices>|<cputune><vcpupin vcpu='0' cpuset='2-3'/></cputune>&|" >domain.xml
    picture >before
    gpu 0 plan --xml domain.xml
    says 'After the start'
    says 'governor of the cpufreq policies 2: performance instead of schedutil'
    says 'move the interrupts 9 from the CPUs 0-7 to 0-1'
    says 'host-cpus limits nothing: systemd does not run this host.'
    sed -n '/^After the start/,$p' out >later
    ! grep -q 'vfio-pci' later || fail 'a device, after the start'
    [ "$(grep -oE '^ +[0-9]+\.' out | tr -d ' .' | tr '\n' ' ')" = "$(seq -s ' ' "$(grep -cE '^ +[0-9]+\.' out)") " ]
    picture >after
    cmp before after
    sed -i 's/host-cpus = 0-1/host-cpus = 0-2/' "$DKVM_ROOT/etc/dkvm/dkvm.conf"
    gpu 1 plan --xml domain.xml
    says 'overlap those that the VM'
    hook 1 prepare
    moans 'overlap those that the VM'
    sed -i "s/cpuset='2-3'/cpuset='2-x'/" domain.xml
    gpu 3 plan --xml domain.xml
    moans 'the cpuset of a <vcpupin> is no list of CPUs'
}
