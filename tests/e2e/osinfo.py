#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What virt-install (and virt-manager, which is the same code) makes of each entry of the OS list, and what
dkvm-patch makes of that."""

import re
import subprocess
import xml.etree.ElementTree as tree

import rig
from rig import IMAGES, need, test

conn = rig.connect()
models = tree.parse(rig.TOP / "xslt" / "models.xml").getroot()
VERSIONS = [row.get("version") for row in models.iterfind("versions/macos") if row.get("version") != "unknown"]
LISTED = [version for version in VERSIONS if rig.number(version) >= (10, 11)]


def made(osinfo, *more):
    """The definition that virt-install gives a machine of this OS."""
    done = subprocess.run(["virt-install", "--connect", "qemu:///system", "--osinfo", osinfo, "--name", "listed",
                           "--virt-type", "qemu", "--disk", f"{IMAGES}/listed.qcow2,size=1", "--network", "default",
                           "--pxe", "--noautoconsole", "--print-xml", "1", *more],
                          capture_output=True, text=True, timeout=120, check=False)
    need(done.returncode == 0, f"virt-install --osinfo {osinfo}: {done.stderr}")
    return done.stdout


def row(kind, version):
    rows = [node for node in models.iterfind(f"devices/{kind}") if node.get("version") is None
            and rig.number(node.get("from", "10.4")) <= rig.number(version)]
    return rows[-1].get("prefer"), rows[-1].get("works").split()


@test("virt-install lists every macOS by both names")
def listing():
    out = subprocess.run(["virt-install", "--osinfo", "list"], capture_output=True, text=True, timeout=120,
                         check=True).stdout
    for version in LISTED:
        need(re.search(rf"(?m)\bmacos{re.escape(version)}\b", out), f"no macos{version}")
    need(re.search(r"(?m)^macos-sonoma, macos14$", out), "no macos-sonoma beside macos14")


@test("every macOS starts as q35 with UEFI, and with devices that it can drive")
def defaults():
    for version in LISTED:
        root = tree.fromstring(made(f"macos{version}"))
        got = {"machine": root.find("os/type").get("machine"), "firmware": root.find("os").get("firmware"),
               "memory": int(root.findtext("memory")) >> 20, "vcpu": root.findtext("vcpu"),
               "disk": root.find("devices/disk/target").get("bus"),
               "nic": root.find("devices/interface/model").get("type"),
               "usb": root.find("devices/controller[@type='usb']").get("model"),
               "sound": root.find("devices/sound").get("model"),
               "clock": root.find("clock").get("offset"),
               "id": root.find("metadata/*/*").get("id")}
        number = rig.number(version)
        want = {"machine": "q35", "firmware": "efi", "memory": 8 if number >= (10, 15) else 4, "vcpu": "4",
                "disk": row("disk", version)[0], "usb": row("usb", version)[0], "sound": row("sound", version)[0],
                # virt-install has no other choices on q35; dkvm-patch makes the second vmxnet3.
                "nic": "virtio" if number >= (11,) else "e1000e",
                "clock": "utc", "id": f"http://apple.com/macos/{version}"}
        need(got == want, f"macOS {version}: {got}, not {want}")


@test("dkvm-patch --all makes each a Mac, with the devices that models.xml prefers")
def patched():
    rig.empty_disk(IMAGES / "listed.qcow2")
    for version in LISTED:
        domain = conn.defineXML(made(f"macos{version}"))
        rig.live(0, "--all")
        root = tree.fromstring(rig.definition(domain))
        need(rig.marker(rig.definition(domain)).get("macos") == version, f"{version}: taken for another")
        for kind, place in (("disk", "devices/disk/target"), ("nic", "devices/interface/model")):
            is_ = root.find(place).get("bus" if kind == "disk" else "type")
            need(is_ == row(kind, version)[0], f"macOS {version}: {kind} is {is_}")
        domain.undefineFlags(rig.libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)


@test("ids that osinfo-db ships keep working")
def shipped():
    for version in ("10.4", "10.5", "10.6", "10.7"):
        xml = made(f"macosx{version}", "--machine", "q35", "--memory", "2048")
        need(f"http://apple.com/macosx/{version}" in xml, f"no id for {version}")
        domain = conn.defineXML(xml)
        rig.live(0, "--all")
        need(rig.marker(rig.definition(domain)).get("macos") == version, f"{version}: taken for another")
        domain.undefineFlags(rig.libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)


rig.run()
