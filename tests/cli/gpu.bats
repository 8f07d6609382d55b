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
    ! grep -q 'vfio-pci' later
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
