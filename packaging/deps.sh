#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Find and install the Debian packages that a task needs.
#
#   deps.sh [--list] build|test|lint...
#
# Prints the packages that are missing (--list: nothing more) and installs them: on a terminal it asks
# first unless YES=1; without a terminal it installs as root or through "sudo -n".  Where neither is
# possible it prints the command and exits 1.  Exit 0: everything is there.
set -euo pipefail

# A compiler, the libraries, the man pages.
readonly build='gcc libc6-dev make pkg-config libglib2.0-dev libxml2-dev libxslt1-dev libvirt-dev
    libjson-glib-dev libudev-dev libkmod-dev scdoc'

# libvirt-daemon is the program only: the units that would start it are in libvirt-daemon-system,
# which the tests neither need nor want.
readonly test="$build bats perl python3 xsltproc libxml2-utils
    libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients python3-libvirt virtinst
    qemu-system-x86 qemu-utils ovmf osinfo-db osinfo-db-tools libosinfo-bin
    debootstrap busybox-static cpio xz-utils kmod util-linux iproute2 procps attr acl time strace libfuse3-dev
    systemd valgrind gcovr clang libclang-rt-14-dev
    virt-manager gir1.2-spiceclientgtk-3.0 xvfb metacity xdotool dbus-daemon at-spi2-core
    gir1.2-atspi-2.0 python3-gi imagemagick xorriso librsvg2-bin fonts-dejavu-core e2fsprogs"

readonly lint="$build clang clang-tidy clang-format cppcheck shellcheck codespell libxml2-utils mandoc"

die() {
    printf 'deps.sh: %s\n' "$*" >&2
    exit 1
}

list_only=
if [ "${1-}" = --list ]; then
    list_only=1
    shift
fi
[ $# -gt 0 ] || die 'usage: deps.sh [--list] build|test|lint...'
wanted=
for group; do
    case $group in
    build) wanted+=" $build" ;;
    test) wanted+=" $test" ;;
    lint) wanted+=" $lint" ;;
    *) die "no group '$group': build, test or lint" ;;
    esac
done
read -ra wanted <<<"$(tr -s ' \n' '\n' <<<"$wanted" | sort -u | tr '\n' ' ')"

if ! command -v dpkg-query >/dev/null; then
    # The names are Debian's; elsewhere the compiler or the test says what is missing.
    printf 'deps.sh: not a Debian system; needed are what Debian calls: %s\n' "${wanted[*]}" >&2
    exit 0
fi

installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null |
    sed -n 's/^installed //p') || true
missing=()
for package in "${wanted[@]}"; do
    grep -qxF -- "$package" <<<"$installed" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ -n "$list_only" ]; then
    printf '%s\n' "${missing[@]}"
    exit 0
fi

printf 'Missing Debian packages: %s\n' "${missing[*]}" >&2
# The wait is for another apt (unattended-upgrades on a fresh machine), up to five minutes.
install=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300
    install --no-install-recommends "${missing[@]}")
update=(apt-get -q -o DPkg::Lock::Timeout=300 update)

root=()
if [ "$(id -u)" != 0 ]; then
    root=(sudo)
    if [ ! -t 0 ]; then root=(sudo -n); fi
    if ! command -v sudo >/dev/null || { [ ! -t 0 ] && ! sudo -n true 2>/dev/null; }; then
        printf 'Run this as root, then try again:\n  %s && %s\n' "${update[*]}" "${install[*]}" >&2
        exit 1
    fi
fi

if [ -t 0 ] && [ "${YES-}" != 1 ]; then
    printf 'Install them now? [Y/n] ' >&2
    read -r answer || answer=n
    case $answer in
    '' | [yY]*) ;;
    *)
        printf 'Not installed.  The command is:\n  %s && %s\n' \
            "${root[*]} ${update[*]}" "${root[*]} ${install[*]}" >&2
        exit 1
        ;;
    esac
fi
"${root[@]}" "${update[@]}" >&2
"${root[@]}" "${install[@]}" >&2
