# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every golden input, patched: valid for libvirt's RNG schema, and libvirtd takes it.  So it does with the
input itself, apart from those listed here."""

import re
import subprocess
import time

import libvirt

import rig

# Inputs that dkvm-patch -f refuses: its exit code, and what it says.
REFUSED = {}

# Inputs that no libvirt takes as they are ("needs: patch") and others that this one does not: what it says.
NOT_TAKEN = {}


def patch_all(items, facts, into):
    """-> name: (exit code, what it says)"""
    outcome = {}
    for options, group in rig.by_options(items).items():
        paths = []
        for item in group:
            path = rig.SCRATCH / f"{item.name}.xml"
            path.write_text(item.xml, encoding="utf-8")
            paths.append(str(path))
        done = rig.dkvm(None, "-f", "--json", "--facts", str(facts), *options, "-o", str(into), *paths)
        for item, said in zip(group, done.objects()):
            outcome[item.name] = said["exit"], said.get("error", "")
    return outcome


def validate(items, folder):
    """Against the schema of the libvirt that runs: what virt-xml-validate does, for many files at once."""
    schema = f"{rig.os.environ['DKVM_SUITE_ROOT'].rstrip('/')}/usr/share/libvirt/schemas/domain.rng"
    files = [str(folder / f"{item.name}.xml") for item in items]
    done = subprocess.run(["xmllint", "--noout", "--relaxng", schema, *files], capture_output=True,
                          text=True, timeout=600, check=False)
    valid = set(re.findall(r"(?m)^(.*) validates$", done.stderr))
    bad = [item.name for item in items if str(folder / f"{item.name}.xml") not in valid]
    return bad, done.stderr


def define(conn, xml):
    """What libvirt says against it, "" if it takes it."""
    try:
        domain = conn.defineXMLFlags(xml, 0)
    except libvirt.libvirtError as error:
        return error.get_error_message()
    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
    return ""


def check_input(conn, item, reason):
    said = define(conn, item.xml)
    if reason is None:
        rig.need(not said, f"libvirt does not take the input: {said}")
    else:
        rig.need(said, f"libvirt takes the input, which the list here says it does not: {reason}")
        rig.need(re.search(reason, said), f"libvirt says {said}\nnot {reason}")


def main():
    conn = rig.connect()
    facts = rig.facts(rig.SCRATCH / "facts.json")
    into = rig.SCRATCH / "patched"
    into.mkdir()
    everything = rig.inputs()
    items = [item for item in everything if item.fits(conn)]
    started = time.monotonic()
    outcome = patch_all(items, facts, into)
    patched = time.monotonic()
    done = [item for item in items if outcome[item.name][0] == 0]
    bad, stderr = validate([item for item in done if item.needs != "no-schema"], into)
    rig.result(not bad, f"{len(done)} outputs are valid", "\n".join(bad) + "\n" + stderr[:3000])
    validated = time.monotonic()
    for item in items:
        code, said = outcome[item.name]
        try:
            if item.name in REFUSED:
                wanted, why = REFUSED[item.name]
                rig.need(code == wanted and re.search(why, said), f"exit {code}: {said}\nnot {wanted}: {why}")
            else:
                rig.need(code == 0, f"exit {code}: {said}")
                text = (into / f"{item.name}.xml").read_text(encoding="utf-8")
                said = define(conn, text)
                rig.need(not said, f"libvirt does not take the output: {said}")
            check_input(conn, item, NOT_TAKEN.get(item.name))
            rig.result(True, item.name)
        except rig.Bad as error:
            rig.result(False, item.name, error)
    rig.say(f"accept: {len(done)} of {len(items)} inputs patched in {patched - started:.1f} s, valid "
            f"({validated - patched:.1f} s) and taken by libvirtd ({time.monotonic() - validated:.1f} s); "
            f"{len(items) - len(done)} refused as they should be, {len(everything) - len(items)} are for a "
            "newer libvirt")
    rig.finish()


main()
