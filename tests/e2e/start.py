# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU really starts, with the command line that libvirt builds for patched domains that differ in kind, and
says over its monitor that it is what the definition asked for."""

import pathlib
import re
import sys
import time
import xml.etree.ElementTree as tree

import libvirt

import rig

# Golden inputs, as "new" (empty disks) or "installed"; more options.
CASES = [
    ("wizard-14-cd", "new"),
    ("wizard-14-import", "installed"),
    ("wizard-104-stock", "new"),
    ("wizard-107-stock", "new"),
    ("wizard-12-nv", "new"),
    ("machine-pc-ide", "new"),
    ("machine-pc-diskless", "new"),
    ("machine-pc-versioned", "new"),
    ("machine-q35-old", "installed"),
    ("controllers-user", "new"),
    ("disks-scsi", "installed"),
    ("floppy", "new"),
    ("keep-106", "installed"),
    ("keep-1014", "installed"),
    ("keep-26", "installed"),
    ("replace-1014", "installed"),
    ("replace-12", "installed"),
    ("usb-1015-ich9-ehci1", "installed"),
    ("usb-11-nec-xhci", "installed"),
    ("usb-unknown-piix3-uhci", "installed"),
    ("set-input", "new", "--set", "usb=qemu-xhci"),
    ("args-seed-usb", "new"),
    ("args-smc-json", "installed"),
    ("video-virtio-known", "installed"),
    ("video-qxl-unknown", "installed"),
    ("video-vmvga-unknown", "installed"),
    ("video-none-known", "new"),
    ("sound-ac97", "new"),
    ("sound-codec", "installed"),
    ("mem-memfd", "new"),
    ("mem-current", "new"),
    ("numa-two", "new"),
    ("clock-hyperv", "new"),
    ("fw-bios", "new"),
    ("fw-secure", "new"),
    ("fw-pair", "installed"),
    ("inputs-ps2", "new"),
    ("inputs-virtio", "installed"),
    ("channels", "installed"),
    ("iothreads", "installed"),
    ("watchdog-i6300esb", "installed"),
    ("set-cpu-flags", "new"),
    ("set-smbios", "new"),
    ("model-macpro21-1011", "new"),
    ("model-macpro31-1012", "new"),
    ("model-macpro41-1011", "new"),
    ("model-macpro51-106", "new"),
    ("model-macpro71-105", "new"),
    ("model-macpro71-1013", "new"),
    *((f"vcpus-{n}-new", "new") for n in range(1, 9)),
]
SEEDS = ("seed-003", "seed-003-amd")  # libvirt does not take them as they are: --create

# What QEMU says at every start here, and nothing else.
TALK = re.compile(r"starting up libvirt version|^LC_ALL=|^PATH=|^HOME=|^XDG_|^QEMU_AUDIO|^/usr/bin/qemu|^-|"
                  r"char device redirected|is tainted: |^Domain id=|terminating on signal 15|"
                  r"shutting down, reason=|"
                  # the user's own choice
                  r"Machine type 'pc-[^']*' is deprecated")


def smaller(xml):
    """8 GiB of memory are for a Mac, not for a test."""
    return xml.replace(">8388608<", ">1048576<").replace(">8<", ">1<") if "<numa>" not in xml else xml


def process(domain):
    pid = int(pathlib.Path(f"/run/libvirt/qemu/{domain.name()}.pid").read_text())
    return [word.decode() for word in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]


def check_log(name):
    log = pathlib.Path(f"/var/log/libvirt/qemu/{name}.log").read_text(errors="replace")
    said = [line for line in log.splitlines() if not TALK.search(line)]
    rig.need(not said, "QEMU says:\n" + "\n".join(said))


def check_cpu(domain, xml):
    option = rig.cpu_option(xml)
    words = process(domain)
    last = len(words) - 1 - words[::-1].index("-cpu")
    rig.need(words[last + 1] == option, f"QEMU runs with -cpu {words[last + 1]}, not {option}")
    wanted = int(tree.fromstring(xml).findtext("vcpu"))
    cpus = rig.monitor(domain, "info cpus").count("CPU #")
    rig.need(cpus == wanted, f"info cpus: {cpus}, not {wanted}")
    fast = rig.qmp(domain, "query-cpus-fast")
    kind = option.split(",")[0]
    path = fast[0]["qom-path"]
    is_kind = rig.qmp(domain, "qom-get", path=path, property="type")
    rig.need(is_kind.startswith(f"{kind}-") or kind.startswith(is_kind.removesuffix("-x86_64-cpu")),
             f"the CPU is {is_kind}, not {kind}")
    vendor = rig.qmp(domain, "qom-get", path=path, property="vendor")
    rig.need(vendor == "GenuineIntel", f"the CPU's vendor is {vendor}")
    shape = tree.fromstring(xml).find("cpu/topology")
    ids = {key: len({tuple(cpu["props"].get(k, 0) for k in ("socket-id", "core-id", "thread-id")[:n]) for cpu in fast})
           for n, key in enumerate(("sockets", "cores", "threads"), 1)}
    sockets, cores, threads = (int(shape.get(key)) for key in ("sockets", "cores", "threads"))
    rig.need((ids["sockets"], ids["cores"], ids["threads"])
             == (sockets, sockets * cores, sockets * cores * threads) or cpus < sockets * cores * threads,
             f"the vCPUs are {ids}, not {sockets}x{cores}x{threads}")


def check_devices(domain, xml):
    tree_text = rig.monitor(domain, "info qtree")
    rig.need("dev: isa-applesmc" in tree_text, "info qtree has no isa-applesmc")
    key = re.search(r'osk = "(.*)"', tree_text)
    option = re.search(r'isa-applesmc.*?osk"?[=:]\s*"?([^,"}]{64})', " ".join(rig.arguments(xml)))
    rig.need(key and key.group(1) == option.group(1), "isa-applesmc has not the OSK of the definition")
    children = rig.qmp(domain, "qom-list", path="/machine/unattached")
    lpc = [child["name"] for child in children if child["type"] == "child<ICH9-LPC>"]
    rig.need(lpc, "this machine has no ICH9-LPC")
    value = rig.qmp(domain, "qom-get", path=f"/machine/unattached/{lpc[0]}",
                    property="acpi-pci-hotplug-with-bridge-support")
    rig.need(value is False, "acpi-pci-hotplug-with-bridge-support is on")
    flash = re.findall(r"OVMF_CODE[^\"]*fd", " ".join(process(domain)))
    rig.need(flash and not any("secboot" in f or ".ms." in f for f in flash), f"firmware: {flash}")


def start(conn, domain):
    name, xml = domain.name(), rig.definition(domain)
    try:
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    except libvirt.libvirtError as error:
        log = pathlib.Path(f"/var/log/libvirt/qemu/{name}.log")
        tail = log.read_text(errors="replace").splitlines()[-5:] if log.exists() else []
        raise rig.Bad(f"it does not start: {error}\n" + "\n".join(tail)) from error
    try:
        check_cpu(domain, xml)
        check_devices(domain, xml)
    finally:
        domain.destroy()
    check_log(name)


def one(conn, item, kind, options, facts):
    item.xml = smaller(item.xml)
    rig.make_disks(item.xml, kind == "installed")
    domain = conn.defineXML(item.xml)
    rig.live(0, "--facts", str(facts), *item.options, *options, "--", domain.UUIDString())
    start(conn, domain)


def seed(conn, item, facts):
    item.xml = smaller(item.xml)
    rig.make_disks(item.xml)
    path = rig.SCRATCH / f"{item.name}.xml"
    path.write_text(item.xml, encoding="utf-8")
    name = tree.fromstring(item.xml).findtext("name")
    rig.live(0, "--facts", str(facts), "-f", "--create", *item.options, str(path))
    start(conn, conn.lookupByName(name))


def attempt(conn, name, function, *arguments):
    try:
        function(conn, *arguments)
        rig.result(True, name)
    except (rig.Bad, libvirt.libvirtError) as error:
        rig.result(False, name, error)
    rig.remove_all(conn)
    rig.remove_disks()


def main():
    conn = rig.connect()
    facts = rig.facts(rig.SCRATCH / "facts.json")
    items = {item.name: item for item in rig.inputs()}
    words = sys.argv[1:]
    started, count = time.monotonic(), 0
    for name, kind, *options in CASES:
        if (not words or name in words) and items[name].fits(conn):
            attempt(conn, f"{name}, {kind}", one, items[name], kind, options, facts)
            count += 1
    for name in SEEDS:
        if not words or name in words:
            attempt(conn, name, seed, items[name], facts)
            count += 1
    rig.say(f"start: {count} patched domains started in {time.monotonic() - started:.0f} s")
    rig.finish()


main()
