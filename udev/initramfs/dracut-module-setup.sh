#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# dracut: installed as /usr/lib/dracut/modules.d/61dkvm/module-setup.sh.

check() {
    [ -e /etc/dkvm/reserved ] || return 255
    return 0
}

depends() {
    return 0
}

installkernel() {
    hostonly='' instmods vfio-pci
}

install() {
    inst /usr/lib/udev/dkvm-udev
    inst_simple /etc/dkvm/reserved
    inst_rules 61-dkvm.rules
    # shellcheck disable=SC2154 # dracut's
    inst_hook pre-udev 10 "$moddir/dkvm-boot.sh"
    # systemd loads what modules-load.d names without waiting for the hooks.
    if dracut_module_included systemd; then
        inst_simple /usr/lib/systemd/system/dkvm-reserved.service
        inst_simple /usr/lib/systemd/system/sysinit.target.wants/dkvm-reserved.service
    fi
}
