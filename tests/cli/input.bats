#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Input that is no domain for us: exit 3, fast, in little memory, with a message, and nothing written.

load helpers

HARMLESS='xinclude.xml stylesheet-pi.xml'

# As the program is run in this file: at most 5 s and 400 MiB of addresses.
limited() {
    (
        if ! sanitized; then ulimit -v 409600; fi
        ulimit -t 5
        exec "$@"
    )
}

prepare() {
    # shellcheck disable=SC2034
    RUN=limited
    on_file 0 domain.xml
    cp out patched.xml
}

refused() { # FILE ARGUMENT...
    local file=$1
    shift
    cp "$file" before
    on_file 3 "$@" "$file" || { echo "-> $file $*"; return 1; }
    [ ! -s out ] || { echo "$file: something on standard output"; return 1; }
    cmp "$file" before || return 1
    grep -Fq "${file##*/}" err || { echo "$file is not named: $(cat err)"; return 1; }
    grep -Eq '; |: ' err || { echo "$file: no next step: $(cat err)"; return 1; }
}

@test "the table of bad input, as a file, in place, to revert" {
    local file failed=0
    for file in "$EVIL"/*.xml; do
        case " $HARMLESS " in *" ${file##*/} "*) continue ;; esac
        case ${file##*/} in
        # A number of vCPUs matters to patching only.
        vcpu-*) refused "$file" || failed=1 ;;
        *) { refused "$file" && refused "$file" --revert && refused "$file" --check; } || failed=1 ;;
        esac
        cp "$file" copy.xml
        refused copy.xml -i || failed=1
    done
    [ "$failed" -eq 0 ]
}

@test "bad input on standard input is called so" {
    on_file 3 - < "$EVIL/text.xml"
    says 'standard input'
    on_file 3 - < /dev/null
    says 'standard input'
}

@test "what is harmless passes through and reads nothing" {
    on_file 0 "$EVIL/xinclude.xml"
    has out "href='file:///etc/passwd'"
    lacks out root:x:
    on_file 0 "$EVIL/stylesheet-pi.xml"
    has out '<?xml-stylesheet'
    lacks out root:x:
}

@test "no file and no host is asked for by an entity" {
    sanitized || strace -o /dev/null true 2> /dev/null || skip "strace does not work here"
    local file
    for file in dtd-external dtd-network dtd-public entity-external entity-parameter xinclude stylesheet-pi; do
        ASAN_OPTIONS=detect_leaks=0 strace -f -e trace=openat,open,connect,socket -o trace \
            "$DKVM" -f --facts facts.json "$EVIL/$file.xml" > out 2> err || true
        if grep -v '\.gcda' trace | grep -E 'passwd|connect|x\.dtd'; then fail "$file.xml"; fi
    done
}

@test "too large, just not too large" {
    python3 - <<'PYTHON'
domain = open("domain.xml").read()
limit = 4 * 1024 * 1024
for name, size in (("over.xml", limit + 1), ("five.xml", 5 * 1024 * 1024), ("at.xml", limit)):
    with open(name, "w") as file:
        file.write(domain + "\n" * (size - len(domain)))
PYTHON
    refused over.xml
    says '4194304'
    refused five.xml -i
    on_file 3 - < five.xml
    on_file 3 /dev/zero
    on_file 0 at.xml
    cmp out patched.xml
}

@test "depth: 300 is refused, a million too" {
    python3 - <<'PYTHON'
domain = open("domain.xml").read()
for name, depth in (("300.xml", 300), ("many.xml", 500000), ("20.xml", 20)):
    with open(name, "w") as file:
        file.write(domain.replace("</devices>", "<x>" * depth + "</x>" * depth + "</devices>"))
PYTHON
    refused 300.xml
    says '[Dd]e(ep|pth)'
    refused many.xml
    on_file 0 20.xml
}

@test "100 000 elements: done or refused, within the limits" {
    python3 - <<'PYTHON'
domain = open("domain.xml").read()
many = {
    "plain.xml": ("</devices>", "<x/>" * 100000),
    "disks.xml": ("</devices>", "".join(f"<disk><target dev='sd{i}'/></disk>" for i in range(50000))),
    "nics.xml": ("</devices>", "<interface type='user'/>" * 50000),
    "timers.xml": ("</clock>", "<timer name='x'/>" * 100000),
    "names.xml": ("</devices>", "".join(f"<x{i}/>" for i in range(100000))),
    "args.xml": ("</domain>", f"<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>"
                 + "<q:arg value='-x'/>" * 100000 + "</q:commandline>"),
}
for name, (place, more) in many.items():
    open(name, "w").write(domain.replace(place, more + place))
open("attributes.xml", "w").write(domain.replace(
    "<devices>", "<devices " + " ".join(f"a{i}='1'" for i in range(100000)) + ">"))
open("text.xml", "w").write(domain.replace("<on_reboot>", "<title>" + "x" * 3000000 + "</title><on_reboot>"))
open("comment.xml", "w").write(domain.replace("<on_reboot>", "<!--" + "x" * 3000000 + "--><on_reboot>"))
PYTHON
    local file code failed=0
    for file in plain disks nics timers names args attributes text comment; do
        code=0
        limited "$DKVM" -f --facts facts.json $file.xml > out 2> err || code=$?
        case $code in
        0 | 3) check_manners "$code" || failed=1 ;;
        *) echo "$file.xml: exit code $code"; failed=1 ;;
        esac
        [ "$(wc -c < err)" -le 500 ] || { echo "$file.xml: a message too long to read"; head -c 300 err; failed=1; }
    done
    [ "$failed" -eq 0 ]
}

@test "UTF-16, with and without a byte order mark: as UTF-8, or refused clearly" {
    python3 - <<'PYTHON'
text = open("domain.xml").read()
open("le.xml", "wb").write(b"\xff\xfe" + text.encode("utf-16-le"))
open("be.xml", "wb").write(b"\xfe\xff" + text.encode("utf-16-be"))
open("declared.xml", "wb").write(("<?xml version='1.0' encoding='UTF-16'?>" + text).encode("utf-16"))
open("bom8.xml", "wb").write(b"\xef\xbb\xbf" + text.encode())
# A DOCTYPE does not slip through in another encoding.
open("dtd16.xml", "wb").write(("<!DOCTYPE domain SYSTEM 'file:///etc/passwd'>" + text).encode("utf-16"))
PYTHON
    local file
    for file in le be declared bom8; do
        if on_file 0 $file.xml; then cmp out patched.xml; else refused $file.xml; fi
    done
    refused dtd16.xml
}

@test "two of what there is one of" {
    local element failed=0
    for element in name os devices vcpu cpu clock features memory metadata qemu:commandline; do
        python3 - $element <<'PYTHON'
import re, sys
name = sys.argv[1]
text = open("patched.xml" if name == "qemu:commandline" else "domain.xml").read()
one = re.search(rf"  <{name}\b.*?</{name}>|  <{name}\b[^>]*/>", text, re.S).group(0)
open("two.xml", "w").write(text.replace(one, one + one, 1))
PYTHON
        # libvirt takes the first; we must do as it does or refuse, and in no case make it worse.
        if "$DKVM" -f --facts facts.json two.xml > out 2> err; then
            cp out two-patched.xml
            on_file 0 two-patched.xml
            cmp out two-patched.xml || { echo "$element"; failed=1; }
        else
            refused two.xml || { echo "$element"; failed=1; }
        fi
    done
    [ "$failed" -eq 0 ]
}

@test "odd but allowed: no arch, no machine, no devices, blanks around the text" {
    sed -e "s/ arch='x86_64'//" domain.xml > no-arch.xml
    on_file 0 no-arch.xml
    sed -e 's/<name>mac</<name> mac </; s/>6</> 6 </; s/>hvm</> hvm </' domain.xml > blanks.xml
    on_file 0 blanks.xml
    echo "<domain type='kvm'><name>n</name><memory>1</memory><os><type machine='q35'>hvm</type></os></domain>" > small.xml
    on_file 0 small.xml
    cp out small-patched.xml
    canonical small.xml > small-canonical.xml
    on_file 0 --revert small-patched.xml
    same_xml out small-canonical.xml
}

@test "memory: nothing that was read before is left over (many files, one run)" {
    local files=() i
    for i in {1..150}; do
        cp domain.xml "many$i.xml"
        files+=("many$i.xml")
    done
    mkdir to
    on_file 0 -o to "${files[@]}"
    cmp to/many1.xml to/many150.xml
}

put() { # WORD...: each becomes $value, and so does the name
    python3 - "$value" "$@" <<'PYTHON'
import sys
text = open("domain.xml").read()
value = sys.argv[1].replace("'", "&apos;")
for word in sys.argv[2:]:
    text = text.replace(word, value)
print(text.replace("<name>mac", "<name>" + value))
PYTHON
}

@test "a domain's text is not taken for a message, an exit code, or an expression" {
    local value
    # shellcheck disable=SC2016
    for value in 'pc&#10;0|all is well' 'pc&#10;2|usage' "x' or '1'='1" '{$cpu}' '$(touch owned)' '%s%n%n' \
        ']]&gt;' '&lt;x/&gt;'; do
        put pc-q35-7.2 ich9-ehci1 > a.xml
        on_file 7 a.xml
        [ "$(wc -l < err)" -eq 1 ]
        put rtl8139 ac97 i6300esb > a.xml
        on_file 0 a.xml
        cp out b.xml
        on_file 0 b.xml
        cmp out b.xml
        canonical a.xml > c.xml
        on_file 0 --revert b.xml
        same_xml out c.xml
    done
    [ ! -e owned ]
}
