#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The documents and the program say the same: what one of them has and the other has not is a failure, in
# both directions.

# Backquotes in patterns are Markdown's; RUN is for helpers.bash.
# shellcheck disable=SC2016,SC2034
load helpers

prepare() {
    MAN=$TOP/xslt/dkvm-patch.1.scd
    CONF_MAN=$TOP/lib/dkvm.conf.5.scd
    CONF=$TOP/packaging/dkvm.conf
    README=$TOP/README.md
    HACKING=$TOP/HACKING.md
    FAILURES=$TOP/qemu-hook/FAILURES.md
    cp domain.xml one.xml
    cp domain.xml two.xml
    cp domain.xml in.xml
    cp facts.json host.json
    ln -s "$TOP/tests" tests
}

# same WHAT A B: two lists on files, one item a line, order aside; none is empty.
same() {
    sort -u "$2" > "$2.sorted"
    sort -u "$3" > "$3.sorted"
    [ -s "$2" ] || fail "$1: nothing found in $2"
    [ -s "$3" ] || fail "$1: nothing found in $3"
    diff -u "$2.sorted" "$3.sorted" || fail "$1: $2 and $3 do not say the same"
}

# within WHAT A B: every item of A is in B.
within() {
    sort -u "$2" > "$2.sorted"
    sort -u "$3" > "$3.sorted"
    comm -23 "$2.sorted" "$3.sorted" > missing
    [ ! -s missing ] || fail "$1: in $2, not in $3: $(tr '\n' ' ' < missing)"
}

section() { # NAME FILE: the text of one "# NAME" of a man page
    awk -v name="# $1" '$0 == name { on = 1; next } /^# / { on = 0 } on' "$2"
}

# The code blocks of a Markdown or scdoc file, lines that end in \ or | joined, without prompts and comments.
blocks() {
    awk '/^```/ { on = !on; next } on' "$1" |
        sed -e ':a' -e '/[\\|]$/{N; s/\\\n *//; s/|\n */| /; ba' -e '}' -e 's/^\$ //' -e 's/  *#.*//' -e '/^#/d'
}

# The dkvm-patch commands in them, without what they are piped to or redirected to.
commands() {
    blocks "$1" | grep -v '^ssh ' | tr '|' '\n' | sed -E 's/^ +//; s/^sudo +//; s/ [<>].*//; s/ +$//' |
        grep -E '^dkvm-patch( |$)'
}

help_options() { # "short long"; "- long" without a short one
    LC_ALL=C "$DKVM" --help |
        sed -nE 's/^  -([a-z]), --([a-z-]+).*/\1 \2/p; s/^  --([a-z-]+).*/- \1/p'
}

known_keys() {
    "$DKVM" -f -s nonsense=1 x.xml 2>&1 | sed -n 's/.*; keys: //p' | tr ' ' '\n'
}

man_keys() { # KEY TAB VALUES
    section CHOICES "$MAN" | sed -nE 's/^\*([a-z-]+\.?)\*(_STEP_)?=(.*)/\1\2\t\3/p' | tr -d _
}

@test "options: --help and dkvm-patch(1)" {
    help_options > of-help
    section OPTIONS "$MAN" |
        sed -nE 's/^\*-([a-z])\*, \*--([a-z-]+)\*.*/\1 \2/p; s/^\*--([a-z-]+)\*.*/- \1/p' > of-man
    same options of-help of-man
}

@test "options that take a value: --help and dkvm-patch(1)" {
    LC_ALL=C "$DKVM" --help | sed -nE 's/^  .*--([a-z-]+)=([^ ]+).*/\1 \2/p' > of-help
    section OPTIONS "$MAN" | sed -nE 's/^\*.*--([a-z-]+)\* (_.*)/\1 \2/p' | tr -d _ > of-man
    same values of-help of-man
}

@test "options elsewhere in the documents exist" {
    local file
    help_options | sed 's/.* /--/' > known
    for file in "$README" "$HACKING" "$TOP/SECURITY.md" "$CONF_MAN" "$CONF"; do
        blocks "$file" | grep dkvm-patch | grep -v '^ssh \|virt-install' | grep -oE -- '--[a-z][a-z-]+' > used || true
        grep -oE '`(sudo )?dkvm-patch [^`]*`' "$file" | grep -oE -- '--[a-z][a-z-]+' >> used || true
        within "options in ${file##*/}" used known
    done
    # Alone, as `--check`: an option of ours, unless of a program of the tests.
    grep -ohE '`--[a-z][a-z-]+' "$README" "$TOP/SECURITY.md" | tr -d '`' > used || true
    within 'options named alone' used known
    section OPTIONS "$MAN" > options
    section CHOICES "$MAN" >> options
    grep -ohE '\*--[a-z][a-z-]+\*' options | tr -d '*' > used
    within 'options named in dkvm-patch(1)' used known
}

@test "exit codes: the code, --help, dkvm-patch(1), README" {
    { seq 0 1; tr -s '\n ' ' ' < "$TOP/lib/error.h" | grep -oE 'DKVM_ERROR_[A-Z]+ = [0-9]+' | sed 's/.* //'; } > of-code
    LC_ALL=C "$DKVM" --help | sed -n '/^Exit:/,$p' | tr '\n' ' ' | sed 's/See .*//' | tr ',:' '\n' |
        sed -nE 's/^ *([0-9]) .*/\1/p' > of-help
    section 'EXIT STATUS' "$MAN" | sed -nE 's/^\*([0-9]+)\*$/\1/p' > of-man
    awk '/^## Exit codes/ { on = 1; next } /^## / { on = 0 } on' "$README" |
        sed -nE 's/^\| ([0-9]+) \|.*/\1/p' > of-readme
    same 'exit codes' of-code of-help
    same 'exit codes' of-code of-man
    same 'exit codes' of-code of-readme
}

@test "--set: the keys that there are, dkvm-patch(1)" {
    known_keys > of-program
    man_keys | cut -f 1 > of-man
    same keys of-program of-man
}

@test "--set: the values of each key" {
    local key values takes failed=0
    man_keys > of-man
    while IFS=$'\t' read -r key values; do
        takes=$("$DKVM" -f -s "${key/STEP/step}=!" x.xml 2>&1 | sed -n 's/.*: it takes \(.*\), or auto$/\1/p')
        # A list of values, or a grammar in words, which nobody can compare.
        case $values in *[A-Z]*) [ -n "$takes" ] || failed=1; continue ;; esac
        takes=${takes%% (*}
        [ "${takes// /|}" = "$values" ] || { echo "$key takes '$takes', not '$values'"; failed=1; }
    done < of-man
    [ "$failed" -eq 0 ]
    section CHOICES "$MAN" | tr -s '\n\t' ' ' | sed -n 's/.*Keys: \([a-z ]*\)\. A comma.*/\1/p' | tr ' ' '\n' > of-man
    sed -n '/is_smbios_pair(const/,/NULL}/p' "$TOP/xslt/choices.c" | sed -n '/\[\] *=/,$p' | grep -oE '"[a-z]+"' | tr -d '"' > of-code
    same 'keys of smbios' of-code of-man
}

@test "--set PART=auto: the parts" {
    sed -n '/parts\[\] = {/,/^};/p' "$TOP/xslt/parts.c" | tr -s '\n ' ' ' | grep -oE '\{ *"[^"]*", *"[a-z-]+" *\}' |
        sed -E 's/.*"([a-z-]+)" *\}/\1/' > of-code
    section CHOICES "$MAN" | tr '\n' ' ' | sed 's/.*\*--set\* _PART_=\*auto\*: *//; s/\..*//' |
        tr -d ' ' | tr ',' '\n' > of-man
    echo >> of-man
    sed -i '/^$/d' of-man
    same parts of-code of-man
    local part
    while read -r part; do
        on_file 0 -n -s "$part=auto" domain.xml || fail "$part"
    done < of-man
}

@test "--set in the documents is accepted" {
    local text failed=0
    grep -ohE -- '(--set|-s) [a-z.-]+=[A-Za-z0-9,.+-]+' "$README" "$HACKING" "$TOP/SECURITY.md" |
        sed 's/.* //' > used
    sed 's/\*//g' "$MAN" | grep -ohE -- '--set [a-z.-]+=[A-Za-z0-9,.+-]+' | sed 's/.* //' >> used
    [ -s used ]
    while read -r text; do
        "$DKVM" -f --facts facts.json -n -s "${text%.}" domain.xml > /dev/null 2> err ||
            grep -q 'give this domain the topology' err || { echo "$text"; cat err; failed=1; }
    done < used
    [ "$failed" -eq 0 ]
}

@test "configuration: the keys of the code, of dkvm.conf(5), of the dkvm.conf that is shipped" {
    local group
    mkdir -p "$DKVM_ROOT/etc/dkvm"
    echo '[nonsense]' > "$DKVM_ROOT/etc/dkvm/dkvm.conf"
    dkvm 3 --print-facts
    sed -n 's/.*use one of: //p' err | grep -oE '\[[a-z]+\]' | tr -d '[]' > groups
    [ -s groups ]
    : > of-code
    while read -r group; do
        printf '[%s]\nnonsense=1\n' "$group" > "$DKVM_ROOT/etc/dkvm/dkvm.conf"
        dkvm 3 --print-facts
        sed -n 's/.*use one of: //p' err | tr -d ' ' | tr ',' '\n' | sed "s/^/$group /" >> of-code
    done < groups
    sed -nE 's/^# (\[[a-z]+\])$/\1/p; s/^\*([a-z-]+)\* = .*/\1/p' "$CONF_MAN" |
        awk '/^\[/ { group = substr($0, 2, length($0) - 2); next } { print group, $0 }' > of-man
    sed -nE 's/^(\[[a-z]+\])$/\1/p; s/^#?([a-z-]+) *=.*/\1/p' "$CONF" |
        awk '/^\[/ { group = substr($0, 2, length($0) - 2); next } { print group, $0 }' > of-conf
    same 'keys of dkvm.conf' of-code of-man
    same 'keys of dkvm.conf' of-code of-conf
}

@test "configuration: what is shipped, with its comments and without, and the example, are taken" {
    mkdir -p "$DKVM_ROOT/etc/dkvm"
    cp "$CONF" "$DKVM_ROOT/etc/dkvm/dkvm.conf"
    on_file 0 domain.xml
    cp out shipped
    sed -E 's/^#([a-z-]+ *=)/\1/' "$CONF" > "$DKVM_ROOT/etc/dkvm/dkvm.conf"
    grep -q '^match' "$DKVM_ROOT/etc/dkvm/dkvm.conf"
    on_file 0 domain.xml
    cmp out shipped
    rm "$DKVM_ROOT/etc/dkvm/dkvm.conf"
    on_file 0 domain.xml
    cmp out shipped
    blocks "$CONF_MAN" > "$DKVM_ROOT/etc/dkvm/dkvm.conf"
    grep -q = "$DKVM_ROOT/etc/dkvm/dkvm.conf"
    on_file 0 domain.xml
}

@test "configuration: the defaults" {
    sed -nE 's/^#([a-z-]+) *= *(.*)/\1 \2/p' "$CONF" | sed 's/ $//' > of-conf
    awk '/^\*[a-z-]+\* = / { gsub(/\*/, "", $1); key = $1 }
         /^# / { key = "" }
         key != "" && match($0, /Default: [^ ]+/) { print key, substr($0, RSTART + 9, RLENGTH - 10); key = "" }
         key != "" && /Nothing, the default/ { print key; key = "" }' "$CONF_MAN" | sed 's/ $//' |
        grep -v '^osk' > of-man
    same defaults of-conf of-man
}

@test "host facts: --print-facts and dkvm-patch(1)" {
    cat > members.py <<'PYTHON'
import json, sys
names = set()
for path in sys.argv[1:]:
    with open(path) as file:
        for group, members in json.load(file).items():
            names |= {f"{group}.{member}" for member in members}
            for pair in members.get("pairs", []):
                names |= {f"{group}.pairs.{member}" for member in pair}
print("\n".join(names))
PYTHON
    dkvm 0 --facts facts.json --print-facts
    python3 members.py out "$TOP"/tests/data/facts/*.json > of-program
    section 'HOST FACTS' "$MAN" | sed -nE 's/^\*([a-z0-9.-]+)\*$/\1/p' | grep '\.' > of-man
    same 'host facts' of-program of-man
}

@test "JSON: its members and results" {
    tr -s '\n ' ' ' < "$TOP/xslt/cli-report.c" |
        grep -oE '(add_(string|flag|lines)|set_member_name)\(b, "[a-z]+"' |
        grep -oE '"[a-z]+"' | tr -d '"' > of-code
    section JSON "$MAN" | grep -E '^\*' | grep -oE '[a-z]+' > of-man
    same 'members of JSON' of-code of-man
    sed -n '/^static const char \*result_word/,/^}/p' "$TOP/xslt/cli-report.c" |
        grep -oE '"[a-z-]+"' > words
    echo '"failed"' >> words
    section JSON "$MAN" | sed -n '/^\*result\*/,/^\*stored\*/p' | grep -oE '"[a-z-]+"' > of-man
    same 'results of JSON' words of-man
}

@test "JSON: the members of the models and of a topology" {
    tr -s '\n ' ' ' < "$TOP/xslt/topology-json.c" | cat - "$TOP/xslt/models.c" |
        grep -oE '(add_(text|count|flag)|set_member_name)\(b, "[a-z0-9]+"' | grep -oE '"[a-z0-9]+"' | tr -d '"' > of-code
    sed -n '/^static void explain_json/,/^}/p' "$TOP/xslt/dkvm-patch.c" | grep 'set_member_name' |
        grep -oE '"[a-z]+"' | tr -d '"' >> of-code
    section 'JSON OF THE ANSWERS ABOUT HOSTS AND MODELS' "$MAN" > text
    { grep -E '^\*[a-z]' text | grep -oE '[a-z]+'; grep -oE '\b_[a-z0-9]+_' text | tr -d _; } > of-man
    same 'members of the other JSON' of-code of-man
}

@test "the marker: its elements and attributes" {
    on_file 0 -s nic=vmxnet3 domain.xml
    cp out patched.xml
    on_file 0 "$GOLDEN/cpu-custom.xml"
    grep -ohE '<dkvm:[a-z]+' patched.xml out | sed 's/<//' | grep -v 'dkvm:\(darwin\|qemu\|was\|now\)' > of-program
    sed -nE "s/.*<dkvm:darwin ([^>]*)>.*/\1/p" patched.xml | grep -oE "[a-z]+='" | tr -d "='" |
        grep -v '^dkvm$' >> of-program
    echo state >> of-program
    section 'THE MARKER' "$MAN" | grep -E '^\*' | sed 's/, /\n/g' | grep -E '^\*[a-z:]+\*$' | tr -d '*' > of-man
    same 'the marker' of-program of-man
}

@test "the input tree of a stylesheet" {
    # Every attribute and element that C puts into facts is in dkvm-patch(1), and no other.
    sed -n '/^static void fill_host/,/^\/\* ---- choices/p' "$TOP/xslt/input.c" | tr -s '\n ' ' ' |
        grep -oE '(set|set_number|set_tristate|add)\([^()"]*(\([^()"]*"[a-z]+"\), )?"[a-z-]+"' |
        grep -oE '"[a-z-]+"' | tr -d '"' > of-code
    section FILES "$MAN" | sed -n '/<facts>/,/<\/facts>/p' | sed 's/>[^<]*</></g' |
        grep -oE '<[a-z]+|[a-z-]+=' | tr -d '<=' | grep -v '^facts$' > of-man
    same 'the input tree' of-code of-man
}

@test "the example stylesheet does what it says" {
    if [ "$(id -u)" -ne 0 ]; then unshare --map-root-user true 2> /dev/null || skip 'no user namespace'; fi
    local folder=$DKVM_ROOT/etc/dkvm/xslt.d
    mkdir -p "$folder"
    section FILES "$MAN" | awk '/^<xsl:stylesheet/ { on = 1 } on { print } /^<\/xsl:stylesheet/ { on = 0 }' > "$folder/50.xsl"
    # Everything above the folder must be root's alone; the root prefix is where that begins.
    chmod -R go-w "$DKVM_ROOT"
    RUN=as_root
    on_file 0 domain.xml
    has out "cache='none'"
    cp out patched.xml
    on_file 0 --check patched.xml
    dkvm 0 -f --revert patched.xml
    lacks out "cache='none'"
}

@test "the man pages: scdoc takes them" {
    command -v scdoc > /dev/null || skip 'no scdoc'
    local page
    for page in "$MAN" "$CONF_MAN"; do
        scdoc < "$page" > page.out || fail "$page"
        [ "$(wc -l < page.out)" -gt 30 ]
        if grep -nP '\P{ASCII}' "$page"; then fail "$page: not ASCII"; fi
    done
    head -1 "$MAN" | grep -qx 'dkvm-patch(1)'
    head -1 "$CONF_MAN" | grep -qx 'dkvm\.conf(5)'
}

# What a command of the documents becomes when it is tried on the fixtures.
try() {
    local word code=0
    local -a words=("$@") given=() plain=()
    for word in "${words[@]:1}"; do
        if [ "$word" = myvm ]; then plain+=(-f -n in.xml); else given+=("$word"); fi
    done
    case " ${given[*]} " in
    *' --create '* | *' --all '* | *' -a '* | *' --connect '* | *' -c '*)
        plain=()
        given+=(--help) ;; # needs libvirt: that its options exist, and no more
    *' --facts '* | *' --version '* | *' --list-models '*) ;;
    *) given+=(--facts facts.json) ;;
    esac
    mkdir -p patched
    "$DKVM" "${given[@]}" "${plain[@]}" < in.xml > out 2> err || code=$?
    [ "$code" -le 1 ] || { echo "exit $code: ${words[*]}"; cat err; return 1; }
}

@test "every command of the documents works" {
    local file line failed=0 count=0
    for file in "$README" "$HACKING" "$TOP/SECURITY.md" "$MAN"; do
        commands "$file" > list || continue
        while read -r line; do
            case $line in *'...'*) fail "${file##*/}: not a whole command: $line" ;; esac
            eval "words=($line)"
            # shellcheck disable=SC2154
            if ! "$DKVM" "${words[@]:1}" --help > /dev/null 2> err; then
                echo "${file##*/}: $line"
                cat err
                failed=1
            fi
            try "${words[@]}" || { echo "${file##*/}: $line"; failed=1; }
            count=$((count + 1))
        done < list
    done
    [ "$failed" -eq 0 ]
    [ "$count" -ge 20 ] || fail "only $count commands found"
}

@test "make: the targets of the documents exist, and all are in HACKING" {
    sed -nE 's/^([a-z][a-z -]*):([^=].*|$)/\1/p' "$TOP/Makefile" | tr ' ' '\n' > of-make
    sed -nE 's/^\.PHONY: *//p' "$TOP/Makefile" | tr ' ' '\n' > phony
    for file in "$README" "$HACKING" "$TOP/SECURITY.md"; do
        { blocks "$file"; grep -oE '`make[^`]*`' "$file" | tr -d '`'; } |
            grep -oE '(^|&& |sudo )make( +[A-Z][A-Za-z]*=[^ ]*| +-j *[0-9]*)* *([a-z][a-z-]*)?' |
            sed -E 's/.*make *//; s/[A-Z][A-Za-z]*=[^ ]* *//g; s/-j *[0-9]* *//g' | sed '/^$/d' >> used || true
    done
    within 'targets of make' used of-make
    sed -nE 's/^\| `([a-z-]+)` \|.*/\1/p' "$HACKING" > table
    within 'targets of make in HACKING' table of-make
    grep -E '^(all|demo|check|check-long|lint|bench|install|uninstall|deps|coverage|fuzz|clean|help)$' phony > public
    within 'targets of make without a word in HACKING' public table
}

@test "files that the documents name exist" {
    local file name failed=0
    for file in "$README" "$HACKING" "$TOP/SECURITY.md"; do
        grep -oE '`(lib|xslt|tests|packaging)/[A-Za-z0-9_./-]*`' "$file" | tr -d '`' | sort -u > names || true
        while read -r name; do
            [ -e "$TOP/$name" ] || { echo "${file##*/}: there is no $name"; failed=1; }
        done < names
    done
    [ "$failed" -eq 0 ]
}

@test "sources that comments name are in HACKING" {
    grep -rhoE 'facts[ /](xnu|domain|define|style|rig)?(\.md)? ?[A-C]?[0-9]+(\.[0-9]+)?\b|facts/[a-z-]+\.(md|jsonl)( [A-C]?[0-9]+(\.[0-9]+)?)?' \
        "$TOP/lib" "$TOP/xslt" --include='*.[ch]' --include='*.xsl' --include='*.xml' > used
    [ -s used ]
    local name failed=0
    sed -E 's/^facts[ /]//; s/\.md//; s/^([A-C][0-9]|0\.)/domain \1/; s/^([0-9])/xnu \1/' used | sort -u > names
    while read -r name; do
        # "xnu 1.6" by its chapter: HACKING lists chapters.
        grep -qE "^\| ${name%%.[0-9]*}( |,|\|)" "$HACKING" || { echo "HACKING has no source '$name'"; failed=1; }
    done < names
    [ "$failed" -eq 0 ]
}

# The cells of a table with four columns, the failures: "number TAB text" of one of them.
cells() { # COLUMN
    awk -F' [|] ' -v column="$1" '/^\| F[0-9]/ { number = $1; sub(/^\| /, "", number); sub(/ \|$/, "", $4)
                                               print number "\t" $column }' "$FAILURES"
}

# A test of that name is in that file, and is run.
is_test() { # FILE NAME
    local word
    case $1 in
    tests/unit/test-tuning*.c | tests/unit/test-reboot.c) grep -qF "{\"${2#/tuning/}\", test_" "$TOP/$1" ;; # run_tests() puts /tuning/ before
    tests/unit/*.c) grep -qF "g_test_add_func(\"$2\"," "$TOP/$1" ;;
    tests/*.bats) grep -qF "@test \"$2\" {" "$TOP/$1" ;;
    tests/e2e/handoff/cases.py)
        grep -qx "def $2():" "$TOP/$1" && grep -B 3 -x "def $2():" "$TOP/$1" | grep -q '^@case(' &&
            grep -qE "cases\.py.* $2( |$)" "$TOP"/tests/e2e/handoff*.bats
        ;;
    tests/e2e/handoff/boot.py)
        word=${2%_?}
        grep -qx "def $2():" "$TOP/$1" && grep -qE "two_boots ${word//_/-}( |$)" "$TOP/tests/e2e/handoff-boot.bats"
        ;;
    *) return 1 ;;
    esac
}

@test "failures: F01 to F52, each once, and in order" {
    cells 1 | cut -f 1 > of-table
    seq -f 'F%02g' 1 52 > wanted
    diff -u wanted of-table
    # A row has four cells, none of them empty.
    awk -F' [|] ' '/^\| F/ && (NF != 4 || $2 == "" || $3 == "" || $4 !~ / \|$/) { print; bad = 1 } END { exit bad }' "$FAILURES"
}

@test "failures: every test that is named is there, and every row has one or says what is missing" {
    local number text file name failed=0 count=0 q='`(tests/[^`]+)` "([^"]+)"'
    cells 4 > tests-of
    while IFS=$'\t' read -r number text; do
        [[ $text =~ (^|\ )(Needs hardware|Not covered):\  || $text =~ $q ]] || { echo "$number has no test"; failed=1; }
        while [[ $text =~ $q ]]; do
            file=${BASH_REMATCH[1]} name=${BASH_REMATCH[2]}
            is_test "$file" "$name" || { echo "$number: $file has no test '$name'"; failed=1; }
            text=${text/"${BASH_REMATCH[0]}"/}
            count=$((count + 1))
        done
        case $text in *tests/* | *'"'*) echo "$number: what is this: $text"; failed=1 ;; esac
    done < tests-of
    [ "$failed" -eq 0 ]
    [ "$count" -ge 90 ] || fail "only $count tests"
}

@test "failures: the functions and files that are named exist, and so do the steps" {
    local number text word failed=0
    cells 3 > what-is-done
    while IFS=$'\t' read -r number text; do
        for word in $(grep -oE '`[^`]+`' <<< "$text" | tr -d '`' | tr ' ' '\n'); do
            case $word in
            *'()') grep -qE "(^|[ *])${word%()}\(" "$TOP"/{qemu-hook,udev,lib}/*.c ;;
            *.rules) [ -e "$TOP/udev/rules.d/$word" ] ;;
            *.c) [ -e "$TOP/qemu-hook/$word" ] ;;
            make | install | virsh | list) ;;
            *) false ;;
            esac || { echo "$number: there is no $word"; failed=1; }
        done
        grep -oE '\bsteps? [a-z-]+' <<< "$text" > steps || true
        while read -r _ word; do
            grep -qE "\.name = \"$word\"" "$TOP"/qemu-hook/step-*.c || { echo "$number: there is no step $word"; failed=1; }
        done < steps
    done < what-is-done
    [ "$failed" -eq 0 ]
}
