# SPDX-License-Identifier: LGPL-2.1-or-later
"""Patched domains that run: a small Linux looks at its machine from inside, and OVMF comes to its boot menu.

  guest.py smc VMLINUZ INITRD | ovmf"""

import pathlib
import re
import sys
import time
import xml.etree.ElementTree as tree

import rig

SERIAL = rig.SCRATCH / "serial.log"
DEADLINE = 120  # seconds; it takes about 15 on an idle machine

DOMAIN = """<domain type='qemu'>
  <name>guest</name>
  <memory unit='MiB'>512</memory>
  <vcpu>{vcpus}</vcpu>
  <os firmware='efi'>
    <type arch='x86_64' machine='q35'>hvm</type>{os}
  </os>
  <features><acpi/><apic/></features>
  <devices>
    <controller type='usb' model='qemu-xhci'/>
    <interface type='network'><source network='default'/><model type='virtio'/></interface>
    <serial type='file'><source path='{serial}'/></serial>
    <graphics type='vnc' port='-1'/>
    <video><model type='virtio'/></video>
  </devices>
</domain>"""

# options of dkvm-patch -> what the guest must find
MACS = [
    (("-m", "MacPro7,1", "--macos", "14"), 4, {"cpu.model": "85", "cpu.cpu_family": "6"}),
    (("-m", "MacPro4,1", "--macos", "10.12", "--set", f"osk={'dkvm' * 16}"), 2,
     {"cpu.model": "23", "cpu.cpu_family": "6"}),
]


def text():
    return SERIAL.read_text(errors="replace") if SERIAL.exists() else ""


def waited_for(domain, pattern):
    def seen():
        rig.need(domain.isActive() or re.search(pattern, text()),
                 f"the domain ended without {pattern!r}; the serial line has:\n{text()[-1500:]}")
        return re.search(pattern, text())
    try:
        rig.wait(seen, f"{pattern!r} on the serial line", DEADLINE, 0.1)
    except rig.Bad as bad:
        raise rig.Bad(f"{bad}\n{text()[-1500:]}") from bad


def define(conn, options, facts, vcpus=4, os=""):
    SERIAL.unlink(missing_ok=True)
    domain = conn.defineXML(DOMAIN.format(vcpus=vcpus, os=os, serial=SERIAL))
    rig.live(0, "--facts", str(facts), *options, "guest")
    return domain


def threads(cpus):
    """A list of the kernel's ("0-1,4") -> {0, 1, 4}"""
    numbers = set()
    for part in cpus.split(","):
        first, _, last = part.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    return numbers


def check_inside(xml, found, wanted):
    words = rig.arguments(xml)
    key = re.search("osk=(.{64})", " ".join(words)).group(1)
    seen = found.get("smc.OSK0", "") + found.get("smc.OSK1", "")
    rig.need(seen == key, "the SMC gives another OSK than the definition has")
    rig.need(found["smc.acpi"] != "none", "ACPI has no APP0001")
    rig.need(found["cpu.vendor_id"] == "GenuineIntel", f"vendor_id {found['cpu.vendor_id']}")
    for name, value in wanted.items():
        rig.need(found[name] == value, f"{name}: {found[name]}, not {value}")
    shape = tree.fromstring(xml).find("cpu/topology")
    sockets, cores, per_core = (int(shape.get(name)) for name in ("sockets", "cores", "threads"))
    total = sockets * cores * per_core
    rig.need(found["cpu.processors"] == str(total), f"{found['cpu.processors']} processors, not {total}")
    rig.need(found["cpu.siblings"] == str(cores * per_core), f"siblings {found['cpu.siblings']}")
    rig.need(found["cpu.cpu_cores"] == str(cores), f"cpu cores {found['cpu.cpu_cores']}, not {cores}")
    for number in range(total):
        mine = re.fullmatch(r"socket (\d+) core (\d+) threads (\S+) l3 .*", found[f"topology.{number}"])
        rig.need(mine, f"topology.{number}={found[f'topology.{number}']}")
        first = number - number % per_core
        rig.need(threads(mine.group(3)) == set(range(first, first + per_core))
                 and int(mine.group(1)) == number // (cores * per_core),
                 f"the topology is not {sockets}x{cores}x{per_core}: {number} has {mine.group(0)}")
    rig.need(found["firmware"] == "uefi", f"firmware {found['firmware']}")


def smc(conn, facts, kernel, initrd):
    for options, vcpus, wanted in MACS:
        name = f"a small Linux in a {options[1]} finds its SMC, its CPU and its topology"
        started = time.monotonic()
        try:
            domain = define(conn, options, facts, vcpus,
                            f"<kernel>{kernel}</kernel><initrd>{initrd}</initrd>"
                            "<cmdline>console=ttyS0 no_timer_check panic=-1 quiet loglevel=4</cmdline>")
            xml = rig.definition(domain)
            domain.create()
            waited_for(domain, r"(?m)^DKVM end")
            lines = re.findall(r"(?m)^DKVM ([^=\r\n]+?)=(.*?)\r?$", text())
            check_inside(xml, dict(lines), wanted)
            said = [line for line in text().splitlines() if line.startswith("DKVM dmesg.")]
            check_hotplug(said)
            rig.result(True, name)
        except (rig.Bad, KeyError) as bad:
            rig.result(False, name, repr(bad) if isinstance(bad, KeyError) else bad)
        rig.remove_all(conn)
        rig.say(f"{options[1]}: {time.monotonic() - started:.0f} s")


def check_hotplug(said):
    """Where ACPI does hot-plug on bridges, its _OSC does not let the OS have PCI Express hot-plug."""
    log = "\n".join(said)
    rig.need(re.search(r"_OSC: OS now controls \[[^]]*PCIeHotplug", log),
             f"ACPI keeps hot-plug on bridges:\n{log}")
    rig.need(re.search(r"pciehp: Slot .* HotPlug\+", log), f"no root port has hot-plug of its own:\n{log}")


def ovmf(conn, facts):
    started = time.monotonic()
    try:
        domain = define(conn, (), facts)
        domain.create()
        waited_for(domain, r"BdsDxe|UEFI Interactive Shell|Boot Manager Menu")
        rig.result(True, "OVMF comes to its boot menu")
    except rig.Bad as bad:
        rig.result(False, "OVMF comes to its boot menu", bad)
    rig.remove_all(conn)
    rig.say(f"ovmf: {time.monotonic() - started:.0f} s")


def main():
    conn = rig.connect()
    facts = rig.facts(rig.SCRATCH / "facts.json")
    if sys.argv[1] == "smc":
        kernel, initrd = (rig.SCRATCH / name for name in ("vmlinuz", "initrd.gz"))
        kernel.write_bytes(pathlib.Path(sys.argv[2]).read_bytes())
        initrd.write_bytes(pathlib.Path(sys.argv[3]).read_bytes())
        smc(conn, facts, kernel, initrd)
    else:
        ovmf(conn, facts)
    rig.finish()


main()
