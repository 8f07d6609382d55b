#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The admin's own stylesheets in /etc/dkvm/xslt.d: under the same rules as ours.

load helpers

prepare() {
    [ "$(id -u)" -eq 0 ] || unshare --map-root-user true || skip "needs root or user namespaces"
    # shellcheck disable=SC2034
    RUN=as_root
    SHEETS=$DKVM_ROOT/etc/dkvm/xslt.d
    mkdir -p "$SHEETS"
    chmod 0755 "$DKVM_ROOT" "$DKVM_ROOT/etc" "$DKVM_ROOT/etc/dkvm" "$SHEETS"
    canonical domain.xml > canonical.xml
    on_file 0 domain.xml
    cp out without.xml
}

# sheet NAME: templates from standard input, in a stylesheet that copies the rest of the domain.
sheet() {
    {
        echo "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'"
        echo "  xmlns:exsl='http://exslt.org/common' xmlns:qemu='$QEMU_NS' extension-element-prefixes='exsl'>"
        echo "<xsl:template match='/'><xsl:apply-templates select='*/domain'/></xsl:template>"
        echo "<xsl:template match='@* | node()'>"
        echo "<xsl:copy><xsl:apply-templates select='@* | node()'/></xsl:copy></xsl:template>"
        cat
        echo "</xsl:stylesheet>"
    } > "$SHEETS/$1"
    chmod 0644 "$SHEETS/$1"
}

add_title="<xsl:template match='domain/memory'><xsl:if test='not(../title)'><title>ours</title></xsl:if>
<xsl:copy-of select='.'/></xsl:template>"

# Refused with CODE, each TEXT said, nothing written.
refused() { # CODE TEXT...
    local code=$1
    shift
    cp domain.xml a.xml
    on_file "$code" -i a.xml && says "$@" && cmp a.xml domain.xml && on_file "$code" domain.xml && [ ! -s out ]
}

@test "a stylesheet that copies changes nothing" {
    sheet 50-copy.xsl < /dev/null
    on_file 0 domain.xml
    cmp out without.xml
}

@test "applied after ours, kept up to date, undone by --revert" {
    sheet 50-title.xsl <<< "$add_title
<xsl:template match='clock/@offset'><xsl:attribute name='offset'>localtime</xsl:attribute></xsl:template>
<xsl:template match='watchdog'/>"
    on_file 0 domain.xml
    cp out with.xml
    has with.xml '  <title>ours</title>' "<clock offset='localtime'>"
    if grep '^    <watchdog' with.xml; then fail "it is still there"; fi
    on_file 0 with.xml
    cmp out with.xml
    on_file 0 --check with.xml
    on_file 1 --check without.xml
    on_file 0 --revert with.xml
    same_xml out canonical.xml
    on_file 0 without.xml
    same_xml out with.xml
    # The sheet goes: so does what it did.
    rm "$SHEETS/50-title.xsl"
    on_file 1 --check with.xml
    on_file 0 with.xml
    same_xml out without.xml
}

@test "they see the facts, the models and the choices, and their notes are said" {
    sheet 50-note.xsl <<< "<xsl:template match='domain'>
<xsl:message>note|<xsl:value-of select='concat(/*/choices/@model, \" \", /*/facts/topology/@vcpus, \" \", count(/*/models/model))'/></xsl:message>
<xsl:copy><xsl:apply-templates select='@* | node()'/></xsl:copy></xsl:template>"
    on_file 0 domain.xml
    says 'note: domain.xml: MacPro7,1 4 5'
    cmp out without.xml
}

@test "in the order of their names" {
    sheet 10.xsl <<< "<xsl:template match='domain/on_reboot/text()'>destroy</xsl:template>"
    sheet 20.xsl <<< "<xsl:template match='domain/on_reboot/text()[. = \"destroy\"]'>preserve</xsl:template>"
    sheet .30.xsl <<< "<xsl:template match='domain/on_reboot/text()'>hidden</xsl:template>"
    echo nonsense > "$SHEETS/40.xsl.dpkg-old"
    on_file 0 domain.xml
    has out '  <on_reboot>preserve</on_reboot>'
}

@test "a user's edit of what an admin's stylesheet wrote is kept" {
    sheet 50-title.xsl <<< "$add_title"
    on_file 0 domain.xml
    cp out with.xml
    edit with.xml '<title>ours</title>' '<title>mine</title>'
    on_file 0 --check with.xml
    on_file 0 with.xml
    has out '  <title>mine</title>'
    on_file 0 --revert with.xml
    has out '  <title>mine</title>'
}

@test "a file or folder that others can write, or that is somebody's, is refused" {
    sheet 50.xsl < /dev/null
    local path mode
    for path in "$SHEETS/50.xsl" "$SHEETS" "$DKVM_ROOT/etc/dkvm" "$DKVM_ROOT/etc" "$DKVM_ROOT"; do
        mode=$(stat -c %a "$path")
        for bits in g+w o+w; do
            chmod "$bits" "$path"
            refused 6 'chmod|chown' 'xslt.d'
            chmod "$mode" "$path"
        done
        if [ "$(id -u)" -eq 0 ]; then
            chown 12345 "$path"
            refused 6 'chown'
            chown 0 "$path"
        fi
    done
    on_file 0 domain.xml
}

@test "a symbolic link, a folder, a FIFO, a device in the place of a stylesheet or its folder" {
    sheet 50.xsl < /dev/null
    mv "$SHEETS/50.xsl" "$T/elsewhere.xsl"
    ln -s "$T/elsewhere.xsl" "$SHEETS/50.xsl"
    refused 6 '50\.xsl'
    rm "$SHEETS/50.xsl"
    mkdir "$SHEETS/50.xsl"
    refused 6 '50\.xsl'
    rmdir "$SHEETS/50.xsl"
    mkfifo -m 0644 "$SHEETS/50.xsl"
    refused 6 '50\.xsl'
    rm "$SHEETS/50.xsl"
    mv "$SHEETS" "$T/xslt.d"
    ln -s "$T/xslt.d" "$SHEETS"
    refused 6 'xslt\.d'
    rm "$SHEETS"
    echo > "$SHEETS"
    refused 6 'xslt\.d'
    rm "$SHEETS"
    on_file 0 domain.xml
}

@test "a folder or file that cannot be read" {
    [ "$(id -u)" -eq 0 ] || skip "needs root"
    sheet 50.xsl < /dev/null
    chmod 0 "$SHEETS/50.xsl"
    RUN=as_plain_user on_file 6 domain.xml
    says '50\.xsl.*[Pp]ermission'
    chmod 0644 "$SHEETS/50.xsl"
    chmod 0 "$SHEETS"
    RUN=as_plain_user on_file 6 domain.xml
    says 'xslt\.d.*[Pp]ermission'
    chmod 0755 "$SHEETS"
}

@test "too large, too many" {
    sheet 50.xsl < /dev/null
    head -c 1100000 /dev/zero >> "$SHEETS/50.xsl"
    refused 6 '50\.xsl' '1 MiB'
    rm "$SHEETS/50.xsl"
    local i
    for i in {100..165}; do sheet "$i.xsl" < /dev/null; done
    refused 6 '64'
}

@test "not well-formed, no stylesheet, a DOCTYPE: exit 3 naming it" {
    local text
    for text in '<a>' '' 'text' '<a/>' "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>" \
        "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'><xsl:template/></xsl:stylesheet>" \
        "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'><xsl:template match='['/></xsl:stylesheet>" \
        "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'><xsl:bogus/></xsl:stylesheet>" \
        "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'><xsl:template match='/'><xsl:bogus/><xsl:copy-of select='*'/></xsl:template></xsl:stylesheet>"; do
        printf '%s' "$text" > "$SHEETS/50-bad.xsl"
        refused 3 '50-bad\.xsl' 'correct or remove it' || fail "-> $text"
    done
}

@test "nothing is read: document(), import, include, entities" {
    echo 'sesame-of-the-file' > "$T/secret.txt"
    echo '<secret>sesame-of-the-file</secret>' > "$T/secret.xml"
    local uri sheet
    for uri in "$T/secret.xml" "file://$T/secret.xml" secret.xml /etc/passwd; do
        sheet 50-read.xsl <<< "<xsl:template match='domain/on_reboot/text()'><xsl:value-of select='document(\"$uri\")'/></xsl:template>"
        refused 4 '50-read\.xsl'
        for sheet in import include; do
            {
                echo "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'>"
                echo "<xsl:$sheet href='$uri'/></xsl:stylesheet>"
            } > "$SHEETS/50-read.xsl"
            refused 3 '50-read\.xsl'
        done
    done
    lacks err sesame-of-the-file
}

@test "nothing is read: proven by the content that does not appear" {
    echo '<secret>sesame-of-the-file</secret>' > "$T/secret.xml"
    sheet 50-read.xsl <<< "<xsl:template match='domain/on_reboot/text()'>
<xsl:value-of select='document(\"$T/secret.xml\")'/></xsl:template>
<xsl:template match='domain/on_crash'><xsl:copy-of select='document(\"secret.xml\", /)//text()'/></xsl:template>"
    "$DKVM" -f --facts facts.json domain.xml > out 2> err || true
    if grep -rq sesame-of-the-file out err; then fail "it was read"; fi
}

@test "nothing is written: exsl:document and its relatives leave no file" {
    local element failed=0
    for element in "exsl:document href='$T/owned'" "exsl:document href='file://$T/owned'" \
        "exsl:document href='owned'" "exsl:document href='$T/new/folder/owned'" \
        "xsl:document xmlns:xsl='http://www.w3.org/1999/XSL/Transform' href='$T/owned'" \
        "x:write xmlns:x='http://xml.apache.org/xalan/redirect' file='$T/owned'" \
        "x:output xmlns:x='http://icl.com/saxon' href='$T/owned'"; do
        sheet 50-write.xsl <<< "<xsl:template match='domain/on_reboot'><xsl:copy-of select='.'/>
<${element}><x/></${element%% *}></xsl:template>"
        "$DKVM" -f --facts facts.json domain.xml > out 2> err || true
        if [ -e "$T/owned" ] || [ -e "$T/new" ]; then
            echo "-> written by $element"
            rm -rf "$T/owned" "$T/new"
            failed=1
        fi
    done
    [ "$failed" -eq 0 ]
    sheet 50-write.xsl <<< "<xsl:template match='domain/on_reboot'><xsl:copy-of select='.'/>
<exsl:document href='$T/owned'><x/></exsl:document></xsl:template>"
    refused 4 '50-write\.xsl'
    [ ! -e "$T/owned" ]
}

@test "infinite recursion and endless work end soon: exit 4 naming the stylesheet" {
    # shellcheck disable=SC2034
    RUN=limited
    limited() { (ulimit -t 20 && as_root "$@"); }
    sheet 50-loop.xsl <<< "<xsl:template match='domain'><xsl:call-template name='a'/></xsl:template>
<xsl:template name='a'><xsl:call-template name='a'/></xsl:template>"
    refused 4 '50-loop\.xsl'
    sheet 50-loop.xsl <<< "<xsl:template match='domain'><xsl:apply-templates select='.'/></xsl:template>"
    refused 4 '50-loop\.xsl'
    sheet 50-loop.xsl <<< "<xsl:template match='domain'>
<xsl:value-of select='count(//node()[count(//node()[count(//node()[count(//node()) = 1]) = 1]) = 1])'/></xsl:template>"
    refused 4 '50-loop\.xsl'
    # libxml2 leaks the string that it cannot make longer.
    export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
    sheet 50-loop.xsl <<< "<xsl:template match='domain'><xsl:call-template name='a'/></xsl:template>
<xsl:template name='a'><xsl:param name='x' select='\"xxxxxxxxxxxxxxxx\"'/>
<xsl:call-template name='a'><xsl:with-param name='x' select='concat(\$x, \$x)'/></xsl:call-template></xsl:template>"
    refused 4 '50-loop\.xsl'
}

@test "a stylesheet that gives another result each time: exit 4 naming it" {
    sheet 50-count.xsl <<< "<xsl:template match='domain/memory'><xsl:copy-of select='.'/></xsl:template>
<xsl:template match='domain/title/text()'><xsl:value-of select='concat(., \"x\")'/></xsl:template>
<xsl:template match='domain/on_reboot'><xsl:copy-of select='.'/><xsl:if test='not(../title)'><title>t</title></xsl:if></xsl:template>"
    # The title is ours, taken back before each run: this one is the same each time.
    on_file 0 domain.xml
    sheet 50-count.xsl <<< "<xsl:template match='domain/on_reboot/text()'><xsl:value-of
select='concat(generate-id(), /*/domain/@dkvm-id, count(/*/domain/metadata//*))'/></xsl:template>"
    if on_file 0 domain.xml; then
        cp out b.xml
        on_file 0 b.xml
        cmp out b.xml
    else
        says '50-count\.xsl' 'idempotent|again'
    fi
    sheet 50-count.xsl <<< "<xsl:template match='domain'><xsl:copy><xsl:apply-templates select='@* | node()'/>
<xsl:if test='not(memoryBacking/nosharepages/@dkvm-id)'><x/></xsl:if><y><xsl:value-of select='generate-id(/)'/></y></xsl:copy></xsl:template>"
    if on_file 0 domain.xml; then
        cp out b.xml
        on_file 0 b.xml
        cmp out b.xml
    else
        says '50-count\.xsl'
    fi
}

@test "name, UUID and graphics are not for a stylesheet to change" {
    local template failed=0
    for template in "<xsl:template match='domain/name/text()'>other</xsl:template>" \
        "<xsl:template match='domain/name'/>" \
        "<xsl:template match='domain/name'><xsl:copy-of select='.'/><name>two</name></xsl:template>" \
        "<xsl:template match='domain/uuid'/>" \
        "<xsl:template match='domain/uuid/text()'>00000000-0000-0000-0000-000000000000</xsl:template>" \
        "<xsl:template match='domain/@type'><xsl:attribute name='type'>qemu</xsl:attribute></xsl:template>" \
        "<xsl:template match='graphics/@passwd'/>" \
        "<xsl:template match='graphics'/>" \
        "<xsl:template match='graphics'><xsl:copy-of select='.'/><graphics type='sdl'/></xsl:template>" \
        "<xsl:template match='graphics'><xsl:copy><xsl:copy-of select='@*'/><listen type='address' address='0.0.0.0'/></xsl:copy></xsl:template>" \
        "<xsl:template match='domain/devices'/>" \
        "<xsl:template match='domain/devices'><devices><x/></devices></xsl:template>" \
        "<xsl:template match='domain/metadata'/>" \
        "<xsl:template match='domain/metadata'><xsl:copy-of select='.'/><metadata/></xsl:template>"; do
        sheet 50-mine.xsl <<< "$template"
        refused 4 'xslt\.d' || { echo "-> $template"; failed=1; }
    done
    [ "$failed" -eq 0 ]
}

@test "no domain as result: exit 4 naming it" {
    local template
    for template in "<xsl:template match='domain'/>" "<xsl:template match='domain'><network/></xsl:template>" \
        "<xsl:template match='domain'>text</xsl:template>" \
        "<xsl:template match='domain'><domain/><domain/></xsl:template>" \
        "<xsl:template match='domain'><xsl:message terminate='yes'>no</xsl:message></xsl:template>"; do
        sheet 50-none.xsl <<< "$template"
        refused 4 '50-none\.xsl|xslt\.d' || fail "-> $template"
    done
}

@test "a verdict of an admin's stylesheet: its exit code and text; never 0" {
    sheet 50-no.xsl <<< "<xsl:template match='domain'><xsl:message terminate='yes'>7|not on this host</xsl:message></xsl:template>"
    refused 7 'not on this host'
    local code failed=0
    for code in 0 1 2 9; do
        sheet 50-no.xsl <<< "<xsl:template match='domain'><xsl:message terminate='yes'>$code|wrong</xsl:message></xsl:template>"
        refused 4 'wrong|50-no\.xsl' || failed=1
    done
    [ "$failed" -eq 0 ]
}

@test "a stylesheet that makes the domain no longer ours is refused" {
    sheet 50-arch.xsl <<< "<xsl:template match='os/type/@arch'><xsl:attribute name='arch'>ppc64</xsl:attribute></xsl:template>"
    refused 4 '50-arch\.xsl'
    sheet 50-arch.xsl <<< "<xsl:template match='os/type/text()'>xen</xsl:template>"
    refused 4 '50-arch\.xsl'
}

@test "ids that a stylesheet makes up do not confuse us" {
    local template
    for template in "<xsl:template match='@dkvm-id'/>" \
        "<xsl:template match='@dkvm-id'><xsl:attribute name='dkvm-id'>0</xsl:attribute></xsl:template>" \
        "<xsl:template match='@dkvm-id'><xsl:attribute name='dkvm-id'>4294967295</xsl:attribute></xsl:template>" \
        "<xsl:template match='@dkvm-id'><xsl:attribute name='dkvm-id'><xsl:value-of select='. + 1'/></xsl:attribute></xsl:template>" \
        "<xsl:template match='sound'><xsl:copy-of select='../video'/><xsl:copy-of select='.'/><xsl:copy-of select='.'/></xsl:template>"; do
        sheet 50-ids.xsl <<< "$template"
        local code=0
        "$DKVM" -f --facts facts.json domain.xml > out 2> err || code=$?
        case $code in
        0)
            check_manners 0
            lacks out dkvm-id
            cp out b.xml
            on_file 0 --revert b.xml
            same_xml out canonical.xml || fail "-> $template"
            ;;
        4) check_manners 4 ;;
        *) fail "exit code $code: $template" ;;
        esac
    done
}
