#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Files in, files out.

load helpers

prepare() {
    on_file 0 domain.xml
    cp out patched.xml
    [ ! -s err ]
}

names_no_temporary() { # FOLDER
    [ -z "$(find "$1" -name '.dkvm*')" ] || fail "a temporary file was left: $(find "$1" -name '.dkvm*')"
}

@test "standard input to standard output is the same as a file" {
    on_file 0 - < domain.xml
    cmp out patched.xml
    # shellcheck disable=SC2002
    on_file 0 /dev/stdin < domain.xml
    cmp out patched.xml
    on_file 0 <(cat domain.xml)
    cmp out patched.xml
}

@test "the output is XML of the same domain, patched twice it is the same" {
    python3 - <<'PYTHON'
import xml.etree.ElementTree as tree
root = tree.parse("patched.xml").getroot()
assert root.find("name").text == "mac"
assert root.find("os/type").get("machine") == "pc-q35-7.2"
PYTHON
    has patched.xml "isa-applesmc,osk=$OSK" "passwd='sesame'" "<dkvm:darwin model='MacPro7,1' macos='14'"
    on_file 0 patched.xml
    cmp out patched.xml
    on_file 0 - < patched.xml
    cmp out patched.xml
}

@test "a VNC password is in no marker, diff, or JSON" {
    [ "$(grep -c sesame patched.xml)" -eq 1 ]
    on_file 0 --diff domain.xml
    lacks out sesame
    shows "passwd='"
    on_file 0 --json domain.xml
    lacks out sesame
    on_file 0 --dry-run domain.xml
    lacks out sesame
}

@test "several files on standard output are a usage error" {
    cp domain.xml b.xml
    on_file 2 domain.xml b.xml
    says 'several files' -- '--in-place'
    [ ! -s out ]
}

@test "in place: several files, each as standard output would be" {
    cp domain.xml a.xml
    cp domain.xml b.xml
    on_file 0 -i a.xml b.xml
    [ ! -s out ]
    cmp a.xml patched.xml
    cmp b.xml patched.xml
    names_no_temporary .
}

@test "in place: one bad file does not stop the others, the highest code is returned" {
    cp domain.xml a.xml
    echo garbage > bad.xml
    cp domain.xml b.xml
    on_file 6 -i missing.xml a.xml bad.xml b.xml
    cmp a.xml patched.xml
    cmp b.xml patched.xml
    [ "$(cat bad.xml)" = garbage ]
    says missing.xml bad.xml
    on_file 3 -i bad.xml a.xml
}

@test "in place: nothing is written when nothing changes" {
    cp patched.xml a.xml
    touch -d '2001-01-01' a.xml
    local before
    before=$(stat -c '%i %Y %Z' a.xml)
    on_file 0 -i a.xml
    [ "$(stat -c '%i %Y %Z' a.xml)" = "$before" ]
    # The same domain in another hand: it is patched, so it stays as it is written.
    { echo '<?xml version="1.0"?>'; sed 's/^  *//' patched.xml | tr '\n' ' '; } > b.xml
    cp b.xml c.xml
    on_file 0 -i b.xml
    cmp b.xml c.xml
}

@test "in place: check, diff and dry run change nothing" {
    cp domain.xml a.xml
    touch -d '2001-01-01' a.xml
    local before option
    before=$(stat -c '%i %Y %Z' a.xml)
    for option in --diff --dry-run; do
        on_file 0 -i "$option" a.xml
        on_file 0 -o . "$option" a.xml
    done
    on_file 1 -i --check a.xml
    cmp a.xml domain.xml
    [ "$(stat -c '%i %Y %Z' a.xml)" = "$before" ]
}

@test "in place: mode, owner and extended attributes are kept" {
    cp domain.xml a.xml
    chmod 0640 a.xml
    setfattr -n user.note -v 'keep me' a.xml || skip "no extended attributes here"
    if [ "$(id -u)" -eq 0 ]; then chown 12345:54321 a.xml; fi
    local before
    before=$(stat -c '%a %u %g' a.xml)
    on_file 0 -i a.xml
    cmp a.xml patched.xml
    [ "$(stat -c '%a %u %g' a.xml)" = "$before" ]
    [ "$(getfattr --only-values -n user.note a.xml)" = 'keep me' ]
}

@test "in place: a symbolic link stays one and its target is rewritten" {
    mkdir real
    cp domain.xml real/a.xml
    ln -s real/a.xml link.xml
    ln -s link.xml link2.xml
    on_file 0 -i link2.xml
    [ -L link2.xml ]
    [ -L link.xml ]
    cmp real/a.xml patched.xml
    names_no_temporary real
    ln -s nowhere.xml dangling.xml
    on_file 6 -i dangling.xml
    [ ! -e nowhere.xml ]
}

@test "in place: odd names" {
    local name
    for name in ' ' '-x.xml' $'new\nline' $'esc\e[31m' $'\xff\xfe.xml' "$(printf 'n%.0s' {1..255})"; do
        cp domain.xml "./$name"
        on_file 0 -i -- "$name"
        cmp "./$name" patched.xml
        rm "./$name"
    done
    on_file 6 -- $'no\e[31m\nsuch'
    [ "$(wc -l < err)" -eq 1 ]
    if grep -q $'\e' err; then fail "an escape code reached the terminal"; fi
}

@test "JSON and diff of a file whose name is not UTF-8" {
    cp domain.xml $'\xff.xml'
    on_file 0 --json $'\xff.xml'
    python3 -m json.tool out > /dev/null
    on_file 0 --diff $'\xff.xml'
    shows '^\+.*isa-applesmc'
}

@test "libvirt's own files are refused, however they are named" {
    mkdir -p "$DKVM_ROOT/etc/libvirt/qemu/networks"
    local file
    for file in mac.xml networks/x.xml; do
        cp domain.xml "$DKVM_ROOT/etc/libvirt/qemu/$file"
        on_file 7 -i "$DKVM_ROOT/etc/libvirt/qemu/$file"
        says "name the domain|domain's name"
        cmp domain.xml "$DKVM_ROOT/etc/libvirt/qemu/$file"
    done
    ln -s "$DKVM_ROOT/etc/libvirt/qemu/mac.xml" link.xml
    on_file 7 -i link.xml
    (cd "$DKVM_ROOT/etc" && on_file 7 -i libvirt/../libvirt/qemu/mac.xml)
    cmp domain.xml "$DKVM_ROOT/etc/libvirt/qemu/mac.xml"
    # Reading is no harm, and a folder that only starts with the same letters is not libvirt's.
    on_file 0 "$DKVM_ROOT/etc/libvirt/qemu/mac.xml"
    mkdir "$DKVM_ROOT/etc/libvirt/qemu-mine"
    cp domain.xml "$DKVM_ROOT/etc/libvirt/qemu-mine/mac.xml"
    on_file 0 -i "$DKVM_ROOT/etc/libvirt/qemu-mine/mac.xml"
}

@test "libvirt's own files are refused where its folder is a symbolic link" {
    mkdir -p "$DKVM_ROOT/etc" "$DKVM_ROOT/srv/libvirt/qemu"
    ln -s ../srv/libvirt "$DKVM_ROOT/etc/libvirt"
    cp domain.xml "$DKVM_ROOT/srv/libvirt/qemu/mac.xml"
    on_file 7 -i "$DKVM_ROOT/etc/libvirt/qemu/mac.xml"
    cmp domain.xml "$DKVM_ROOT/srv/libvirt/qemu/mac.xml"
}

@test "libvirt's own folder is refused as output folder" {
    mkdir -p "$DKVM_ROOT/etc/libvirt/qemu"
    cp domain.xml "$DKVM_ROOT/etc/libvirt/qemu/domain.xml"
    on_file 7 -o "$DKVM_ROOT/etc/libvirt/qemu" domain.xml
    cmp domain.xml "$DKVM_ROOT/etc/libvirt/qemu/domain.xml"
}

@test "output folder: every file under its own name, the input untouched" {
    mkdir in to
    cp domain.xml in/a.xml
    cp patched.xml in/b.xml
    on_file 0 -o to in/a.xml in/b.xml
    cmp to/a.xml patched.xml
    cmp to/b.xml patched.xml
    cmp in/a.xml domain.xml
    names_no_temporary to
    on_file 0 -o to in/a.xml
    cmp to/a.xml patched.xml
}

@test "output folder: same base names are a usage error, before anything is written" {
    mkdir x y to
    cp domain.xml x/a.xml
    cp domain.xml y/a.xml
    on_file 2 -o to x/a.xml y/a.xml
    says 'same name'
    [ -z "$(ls to)" ]
}

@test "output folder: not there, a file, or a file that cannot be replaced" {
    on_file 6 -o nowhere domain.xml
    says nowhere
    on_file 6 -o patched.xml domain.xml
    mkdir -p to/domain.xml
    on_file 6 -o to domain.xml
    [ -d to/domain.xml ]
    names_no_temporary to
}

@test "what cannot be read: missing, a folder, no permission, nothing in a FIFO" {
    on_file 6 nowhere.xml
    says "nowhere.xml.*No such file"
    mkdir folder
    on_file 6 folder
    says 'directory'
    cp domain.xml secret.xml
    chmod 0 secret.xml
    RUN=as_plain_user on_file 6 secret.xml
    says 'secret.xml.*[Pp]ermission'
    on_file 6 ''
    on_file 6 domain.xml/x
    ln -s loop.xml loop.xml
    on_file 6 loop.xml
    on_file 6 "$(printf 'n%.0s' {1..300})"
    on_file 6 - <&-
}

@test "in place: a folder that cannot be written" {
    mkdir locked
    cp domain.xml locked/a.xml
    chmod 0555 locked
    RUN=as_plain_user on_file 6 -i locked/a.xml
    says 'locked/a.xml.*[Pp]ermission'
    cmp locked/a.xml domain.xml
    names_no_temporary locked
    chmod 0755 locked
}

@test "in place: what is no regular file" {
    mkfifo fifo
    cp domain.xml a.xml
    on_file 6 -i /dev/null || on_file 3 -i /dev/null
    cat domain.xml > fifo &
    on_file 6 -i fifo
    wait
    [ -p fifo ]
}

# Standard output that takes nothing: the exit code says so, and standard error.
not_taken() { # ARGUMENT...
    local code=0
    timeout 30 "$DKVM" --facts facts.json "$@" > /dev/full 2> err || code=$?
    [ "$code" -eq 6 ] || fail "to /dev/full: exit $code"
    says 'standard output'
    code=0
    timeout 30 "$DKVM" --facts facts.json "$@" >&- 2> err || code=$?
    [ "$code" -eq 6 ] || fail "to a closed output: exit $code"
    says 'standard output'
}

@test "standard output full or closed: XML" {
    not_taken -f domain.xml
    not_taken -f --revert domain.xml
}

@test "standard output full or closed: diff and dry run" {
    not_taken -f --diff domain.xml
    not_taken -f --dry-run domain.xml
}

@test "standard output full or closed: JSON" {
    not_taken -f --json domain.xml
}

@test "standard output full or closed: what stands alone" {
    not_taken --list-models
    not_taken --version
    not_taken --print-facts
    not_taken --explain-topology 1x1x1
}

@test "files are rewritten with the standard descriptors closed, and only they are written to" {
    local code=0
    cp domain.xml a.xml
    timeout 30 "$DKVM" -f -i --facts facts.json a.xml <&- >&- 2>&-
    cmp a.xml patched.xml
    # A note has nowhere to go: not into a file of ours.
    sed '/libosinfo/d' domain.xml > unknown.xml
    on_file 0 unknown.xml
    cp out unknown-patched.xml
    timeout 30 "$DKVM" -f -i --facts facts.json unknown.xml <&- >&- 2>&- || code=$?
    [ "$code" -eq 0 ] || [ "$code" -eq 6 ]
    cmp unknown.xml unknown-patched.xml
    mkdir to
    timeout 30 "$DKVM" -f -o to --facts facts.json unknown.xml missing.xml unknown-patched.xml <&- >&- 2>&- || code=$?
    [ "$code" -eq 6 ]
    cmp to/unknown.xml unknown-patched.xml
    cmp to/unknown-patched.xml unknown-patched.xml
}

@test "a reader that goes away" {
    local code=0
    python3 - "$DKVM" <<'PYTHON' || code=$?
import os, signal, subprocess, sys
read, write = os.pipe()
os.close(read)
program = subprocess.run([sys.argv[1], "-f", "--facts", "facts.json", "domain.xml"], stdout=write,
                         stderr=subprocess.DEVNULL, restore_signals=True)
sys.exit(0 if program.returncode in (6, -signal.SIGPIPE) else 1)
PYTHON
    [ "$code" -eq 0 ]
}

@test "a user's own blanks, comments and character references survive both ways" {
    cat > a.xml <<'XML'
<?xml version='1.0' encoding='ISO-8859-1'?>
<!-- before --><?pi one?>
<domain type="kvm"><name>mac</name><title>a &amp; b &lt; "c" 'd' &#233;</title><!-- in
 two lines --><description>  keep
	this </description><memory>1024</memory><vcpu>2</vcpu><os><type arch="x86_64" machine="q35">hvm</type></os>
<devices><graphics type="none"/></devices></domain>
<!-- after -->
XML
    canonical a.xml > canonical.xml
    on_file 0 a.xml
    cp out p.xml
    has p.xml '<!-- before -->' '<?pi one?>' 'é' '<!-- after -->' '  keep' '	this </description>'
    on_file 0 --revert p.xml
    same_xml out canonical.xml
}
