# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
# What all tests of dkvm-patch as a program share.  Each test has a folder $T and a host root of its own.

TOP=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
DKVM=${DKVM_BUILD:-$TOP/build}/dkvm-patch
case $DKVM in /*) ;; *) DKVM=$TOP/$DKVM ;; esac
GOLDEN=$TOP/tests/golden/in
EVIL=$TOP/tests/data/xml/evil
OSK='ourhardworkbythesewordsguardedpleasedontsteal(c)AppleComputerInc'
# Enough of a key to know it by, in a message that cuts words short.
OSK_PART='ourhardworkbythesewordsguarded'
OTHER_OSK='0123456789abcdefghijklmnopqrstuvwxyz()ABCDEFGHIJKLMNOPQRSTUVWXYZ'
QEMU_NS='http://libvirt.org/schemas/domain/qemu/1.0'
UUID=6f1c1b1e-0d3c-4b34-8d6e-0c3e5f3b7a11

setup() {
    T=$BATS_TEST_TMPDIR
    export DKVM_ROOT=$T/root
    export XDG_CACHE_HOME=$T/cache LC_ALL=C.UTF-8
    mkdir -p "$DKVM_ROOT"
    facts "" > "$T/facts.json"
    domain > "$T/domain.xml"
    cd "$T" || return 1
    if declare -F prepare > /dev/null; then prepare; fi
}

### Running it ######################################################################################

# dkvm CODE ARGUMENT...: runs dkvm-patch, which must end with CODE.  What it said is in $T/out and
# $T/err.  Whatever it was asked, it keeps the rules that hold for every run.
dkvm() {
    local want=$1 code=0
    shift
    ${RUN:+"$RUN"} "$DKVM" "$@" > "$T/out" 2> "$T/err" || code=$?
    if [ "$code" -ne "$want" ]; then
        echo "exit code $code, not $want: dkvm-patch $*"
        head -c 3000 "$T/err"
        return 1
    fi
    check_manners "$want"
}
# A command to run it with, such as as_plain_user.
RUN=

# on_file CODE ARGUMENT...: the same with -f and recorded facts.
on_file() {
    local want=$1
    shift
    dkvm "$want" -f --facts "$T/facts.json" "$@"
}

# Bash ignores "set -e" inside of a function whose result is asked for, so helpers return by themselves.
check_manners() {
    # The key is in XML and diffs only; nothing crashed; every line is one of ours; a failure has a reason.
    if grep -q "$OSK_PART" "$T/err"; then
        fail "the OSK is on standard error"
        return 1
    fi
    case $(head -c 1 "$T/out" | tr -d '\0') in
    '<' | '-') ;;
    *) if grep -q "$OSK_PART" "$T/out"; then
        fail "the OSK is on standard output"
        return 1
    fi ;;
    esac
    if grep -E 'Sanitizer|[0-9]: runtime error:|assertion|CRITICAL' "$T/err"; then
        fail "it broke"
        return 1
    fi
    if grep -Ev '^dkvm-patch: (error|warning|note): ' "$T/err"; then
        fail "a line without a name"
        return 1
    fi
    [ "$1" -lt 2 ] || [ -s "$T/err" ] || grep -q '"error"' "$T/out" || fail "it failed without a word"
}

fail() {
    echo "$*"
    return 1
}

# says TEXT...: each is in what went to standard error (an extended regular expression).
says() {
    local text
    for text in "$@"; do
        grep -Eq -- "$text" "$T/err" || { echo "not said: $text"; cat "$T/err"; return 1; }
    done
}

# shows TEXT...: each is on standard output.
shows() {
    local text
    for text in "$@"; do
        grep -Eq -- "$text" "$T/out" || { echo "not shown: $text"; head -c 3000 "$T/out"; return 1; }
    done
}

has() { # FILE TEXT...
    local file=$1 text
    shift
    for text in "$@"; do
        grep -Fq -- "$text" "$file" || { echo "$file lacks: $text"; return 1; }
    done
}

lacks() { # FILE TEXT...
    local file=$1 text
    shift
    for text in "$@"; do
        if grep -Fn -- "$text" "$file"; then echo "$file has: $text"; return 1; fi
    done
}

# A program that was built with AddressSanitizer needs terabytes of address space.
sanitized() { grep -q __asan_init "$DKVM"; }

# Without root's power over file modes.
as_plain_user() {
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --bounding-set=-all --inh-caps=-all "$@"
    else
        "$@"
    fi
}

# Where this user's own files belong to root, as the admin's stylesheets must.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else unshare --map-root-user "$@"; fi
}

### Inputs ##########################################################################################

# facts [PYTHON]: recorded host facts; PYTHON changes the object "f".
# shellcheck disable=SC2120
facts() {
    python3 - "${1:-}" <<'PYTHON'
import json, sys
f = {
    "host": {"source": "made up", "cpu-vendor": "GenuineIntel", "threads": 16, "smt": True,
             "tsc-stable": True, "sse4.2": True, "avx2": True, "invtsc": True},
    "libvirt": {"source": "made up", "version": "9.0.0"},
    "emulator": {"source": "made up", "path": "/usr/bin/qemu-system-x86_64", "version": "7.2.22",
                 "kvm": True, "applesmc": True, "hotplug-off": True},
    "firmware": {"source": "made up", "autoselect": True, "nvram-dir": "/var/lib/libvirt/qemu/nvram",
                 "pairs": [{"code": "/usr/share/OVMF/OVMF_CODE_4M.fd", "code-format": "raw",
                            "vars": "/usr/share/OVMF/OVMF_VARS_4M.fd", "vars-format": "raw",
                            "source": "made up"}]},
    "cpu-missing": {"source": "made up",
                    "kvm": {"Cascadelake-Server": ["avx512f", "pku"], "Westmere-v2": [], "Penryn": [],
                            "Conroe-v1": []},
                    "tcg": {}},
}
exec(sys.argv[1])
print(json.dumps(f, indent=1))
PYTHON
}

# A domain in which nearly everything is other than a Mac has it.  $METADATA and $DEVICES are put in.
domain() {
    local text
    read -r -d '' text <<EOT || true
<domain type='kvm'>
  <name>mac</name>
  <uuid>$UUID</uuid>
  ${METADATA:-<metadata><libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'><libosinfo:os id='http://apple.com/macos/14'/></libosinfo:libosinfo></metadata>}
  <memory unit='KiB'>8388608</memory>
  <currentMemory unit='KiB'>4194304</currentMemory>
  <vcpu placement='static'>6</vcpu>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
  </os>
  <features>
    <acpi/>
    <apic/>
  </features>
  <cpu mode='host-model' check='partial'/>
  <clock offset='utc'>
    <timer name='hpet' present='no'/>
  </clock>
  <on_reboot>restart</on_reboot>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/var/lib/libvirt/images/mac.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <controller type='usb' index='0' model='ich9-ehci1'/>
    <controller type='sata' index='0'/>
    <controller type='pci' index='0' model='pcie-root'/>
    <interface type='network'>
      <mac address='52:54:00:11:22:33'/>
      <source network='default'/>
      <model type='rtl8139'/>
    </interface>
    <input type='mouse' bus='ps2'/>
    <graphics type='vnc' port='-1' passwd='sesame'/>
    <sound model='ac97'/>
    <video>
      <model type='cirrus' vram='16384' heads='1' primary='yes'/>
    </video>
    <watchdog model='i6300esb' action='reset'/>
    <memballoon model='virtio'/>${DEVICES:-}
  </devices>
</domain>
EOT
    printf '%s\n' "$text" # a builtin: what is put in may be larger than a command line
}

# edit FILE PATTERN REPLACEMENT [COUNT]: a user's edit (a Python expression, "." takes line ends too); it
# must find its place, once or COUNT times.
edit() {
    python3 - "$@" <<'PYTHON'
import re, sys
path, pattern, new = sys.argv[1:4]
want = int(sys.argv[4]) if len(sys.argv) > 4 else 1
with open(path) as file:
    text = file.read()
start, end = text.find("<dkvm:darwin"), text.find("</dkvm:darwin>")
marker = text[start:end] if start >= 0 else ""
text = text.replace(marker, "\0", 1) if marker else text
text, count = re.subn(pattern, new, text, flags=re.S)
if count != want:
    sys.exit(f"the edit found {count} places, not {want}: {pattern}")
with open(path, "w") as file:
    file.write(text.replace("\0", marker))
PYTHON
}

# in_marker FILE PATTERN REPLACEMENT: the same in dkvm's marker only.
in_marker() {
    python3 - "$@" <<'PYTHON'
import re, sys
path, pattern, new = sys.argv[1:4]
with open(path) as file:
    text = file.read()
start, end = text.index("<dkvm:darwin"), text.index("</dkvm:darwin>")
marker, count = re.subn(pattern, lambda m: new, text[start:end], count=1, flags=re.S)
if count != 1:
    sys.exit(f"the marker has no {pattern}")
with open(path, "w") as file:
    file.write(text[:start] + marker + text[end:])
PYTHON
}

# The form in which dkvm-patch and libvirt write a domain, unchanged otherwise.
canonical() { # FILE
    on_file 0 --revert "$1" && cat "$T/out"
}

patched() { # INTO ARGUMENT...
    local into=$1
    shift
    on_file 0 "$@" && cp "$T/out" "$into"
}

# The same to libvirt: elements of one name in one order, text and comments; attributes, elements of different
# names and dkvm's records in any order, indented anyhow.
same_xml() { # A B
    python3 - "$@" <<'PYTHON'
import difflib, sys
import xml.etree.ElementTree as tree

def record(element):
    return tree.tostring(element).split()

def lines(path):
    root = tree.parse(path, tree.XMLParser(target=tree.TreeBuilder(insert_comments=True))).getroot()
    for marker in root.iter("{urn:dkvm:domain:1.0}darwin"):
        marker[:] = sorted(marker, key=record)
    for element in root.iter():
        element[:] = sorted(element, key=lambda e: e.tag if isinstance(e.tag, str) else "")
        if len(element) and not (element.text or "").strip():
            element.text = None
        if not (element.tail or "").strip():
            element.tail = None
    tree.indent(root)
    return tree.canonicalize(tree.tostring(root, "unicode"), with_comments=True).splitlines()

a, b = (lines(path) for path in sys.argv[1:3])
different = list(difflib.unified_diff(a, b, *sys.argv[1:3], lineterm="", n=1))
if different:
    print("\n".join(different[:20]))
    sys.exit(1)
PYTHON
}
