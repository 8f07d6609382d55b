# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every golden input, patched: valid for libvirt's RNG schema, and libvirtd takes it.  So it does with the
input itself, apart from those listed here."""

import re
import subprocess
import time

import libvirt

import rig

# Inputs that dkvm-patch -f refuses: its exit code, and what it says.
REFUSED = {
    # A file does not tell what is installed, even where there are no disks; live they are converted (roundtrip.py).
    "machine-pc-diskless": (7, "cannot convert this domain from machine 'pc-i440fx-7.2' to q35: a file does not"),
    "machine-missing": (7, "cannot convert this domain from the default machine to q35: a file does not tell"),
    "set-input": (7, "cannot set input=commandline: QEMU's -usb needs the PCI slot 1d"),
}

# Inputs that libvirt does not take as they are: what it says.
NO_FIRMWARE = "Unable to find '(efi|bios)' firmware that is compatible"
NO_EMULATOR = "Cannot check QEMU binary .*: No such file or directory"
NOT_TAKEN = {
    "emulator-1": NO_EMULATOR,
    "emulator-2": NO_EMULATOR,
    "emulator-3": NO_EMULATOR,
    "emulator-4": NO_EMULATOR,
    # facts/domain.md 0.6: firmware='efi' beside a loader
    "seed-003": "unknown watchdog model 'itco'|" + NO_FIRMWARE,
    "seed-003-amd": "unknown watchdog model 'itco'|" + NO_FIRMWARE,
    "seed-003-arch": "unknown watchdog model 'itco'|" + NO_FIRMWARE,
    "text-padded": "maximum vcpus count must be an integer",
}
if rig.SUITE == "trixie":
    NOT_TAKEN |= {
        # Its QEMU comes with no descriptor for SeaBIOS.
        "fw-bios-explicit": NO_FIRMWARE,
        # Suspend to RAM asks for a firmware that has it.
        "pm-on": NO_FIRMWARE,
        # A check that libvirt 9.0 does not make.
        "watchdog-ib700": "ib700 model of watchdog cannot be used with this machine type",
    }

# Inputs and outputs that need a program which may not be there.
NEEDS_SWTPM = {"tpm-emulator": "TPM version '2.0' is not supported"}


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
    said = [line for line in done.stderr.splitlines() if not line.endswith(" validates")]
    return bad, "\n".join(said[:40])


def define(conn, xml):
    """What libvirt says against it, "" if it takes it."""
    try:
        domain = conn.defineXMLFlags(xml, 0)
    except libvirt.libvirtError as error:
        return error.get_error_message()
    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
    return ""


def check(conn, what, xml, reason):
    """libvirt takes XML, or says what the lists above have as REASON."""
    said = define(conn, xml)
    if reason is None:
        rig.need(not said, f"libvirt does not take the {what}: {said}")
    else:
        rig.need(said, f"libvirt takes the {what}, which by the list here it does not: {reason}")
        rig.need(re.search(reason, said), f"of the {what} libvirt says: {said}\nnot: {reason}")


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
    rig.result(not bad, f"{len(done)} outputs are valid", " ".join(bad) + "\n" + stderr)
    validated = time.monotonic()
    absent = {} if rig.has_swtpm() else NEEDS_SWTPM
    for item in items:
        code, said = outcome[item.name]
        try:
            if item.name in REFUSED:
                wanted, why = REFUSED[item.name]
                rig.need(code == wanted and why in said, f"exit {code}: {said}\nnot {wanted}: {why}")
            else:
                rig.need(code == 0, f"exit {code}: {said}")
                check(conn, "output", (into / f"{item.name}.xml").read_text(encoding="utf-8"),
                      absent.get(item.name))
        except rig.Bad as error:
            rig.result(False, item.name, error)
            continue
        try:
            check(conn, "input", item.xml, NOT_TAKEN.get(item.name, absent.get(item.name)))
            rig.result(True, item.name)
        except rig.Bad as error:
            rig.result(False, item.name, error)
    rig.say(f"accept: {len(done)} of {len(items)} inputs patched in {patched - started:.1f} s, valid "
            f"({validated - patched:.1f} s) and taken by libvirtd ({time.monotonic() - validated:.1f} s); "
            f"{len(items) - len(done)} refused as they should be, {len(everything) - len(items)} are for a "
            "newer libvirt")
    rig.finish()


main()
