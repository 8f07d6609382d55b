# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the user changes after the patch stays the user's: through patch, --all, --check and revert.  What cannot
boot otherwise (the topology after a change of the vCPU count) is worked out anew, and --set KEY=auto brings
everything else back."""

import os
import re
import subprocess
import xml.etree.ElementTree as tree

import libvirt

import rig

CONN = rig.connect()
FACTS = str(rig.facts(rig.SCRATCH / "facts.json"))
IMAGE = rig.IMAGES / "mac.qcow2"
QEMU = f"{{{rig.QEMU}}}"


def live(code, *words, **more):
    return rig.live(code, "--facts", FACTS, *words, **more)


### Edits of the tree ###############################################################################


def gone(path):
    def edit(root):
        parent = root.find(path.rpartition("/")[0] or ".")
        node = root.find(path)
        if node is not None:
            parent.remove(node)
    return edit


def attribute(path, **values):
    def edit(root):
        for name, value in values.items():
            root.find(path).set(name, value)
    return edit


def content(path, text):
    def edit(root):
        root.find(path).text = text
    return edit


def replaced(path, new):
    """The element becomes another one, with none of what it had."""
    def edit(root):
        parent = root.find(path.rpartition("/")[0] or ".")
        node = root.find(path)
        parent.insert(list(parent).index(node), tree.fromstring(new))
        parent.remove(node)
    return edit


def both(*edits):
    def edit(root):
        for one in edits:
            one(root)
    return edit


def option(name, value=None):
    """The argument that starts with NAME gets another VALUE, or goes with its option."""
    def edit(root):
        line = root.find(f"{QEMU}commandline")
        words = list(line)
        index = next(i for i, word in enumerate(words) if word.get("value").startswith(name))
        if value is not None:
            words[index].set("value", value)
            return
        line.remove(words[index - 1])
        line.remove(words[index])
    return edit


def more_options(*values):
    def edit(root):
        for value in values:
            tree.SubElement(root.find(f"{QEMU}commandline"), f"{QEMU}arg", value=value)
    return edit


def inserted(before, new):
    """NEW as the element before BEFORE (a child of <domain>, or below "os/" and the like)."""
    def edit(root):
        parent = root.find(before.rpartition("/")[0] or ".")
        node = root.find(before)
        parent.insert(list(parent).index(node), tree.fromstring(new))
    return edit


def appended(path, new):
    return lambda root: root.find(path).append(tree.fromstring(new))


def command_line(*words):
    def edit(root):
        line = tree.SubElement(root, f"{QEMU}commandline")
        for word in words:
            tree.SubElement(line, f"{QEMU}arg", value=word)
    return edit


def cpu_mode(root):
    root.find("cpu").set("mode", "host-model")
    root.find("cpu").attrib.pop("migratable", None)
    gone("cpu/cache")(root)


def no_command_line(root):
    root.remove(root.find(f"{QEMU}commandline"))


def nothing(_root):
    pass


SAME = object()   # the same edit in the original
LOOSE = object()  # it is there, what dkvm had around it too
OTHER_OSK = f"isa-applesmc,osk={'dkvm' * 16}"
HOTPLUG = "ICH9-LPC.acpi-pci-hotplug-with-bridge-support="

# What; the edit of the patched domain; what the original is with it after a revert (what the user made of
# something that dkvm had added is the user's, and stays); the key that brings dkvm's own back, if there is one.
EDITS = [
    ("page sharing again", gone("memoryBacking"), nothing, None),
    ("locked memory besides", appended("memoryBacking", "<locked/>"),
     inserted("vcpu", "<memoryBacking><locked/></memoryBacking>"), None),
    ("less current memory", content("currentMemory", "131072"), SAME, None),
    ("CPU mode", cpu_mode, LOOSE, None),
    ("no CPU cache element", gone("cpu/cache"), nothing, None),
    ("machine version", attribute("os/type", machine="pc-q35-6.2"), SAME, None),
    ("NVRAM elsewhere", content("os/nvram", "/var/lib/libvirt/qemu/nvram/mine_VARS.fd"), LOOSE, None),
    ("no boot menu", attribute("os/bootmenu", enable="no"), appended("os", "<bootmenu enable='no'/>"), None),
    ("no boot menu element", gone("os/bootmenu"), nothing, None),
    ("boot from the network", attribute("os/boot", dev="network"), SAME, None),
    ("SMM on", attribute("features/smm", state="on"), appended("features", "<smm state='on'/>"), None),
    ("no SMM element", gone("features/smm"), nothing, None),
    ("another feature", appended("features", "<vmport state='off'/>"), SAME, None),
    ("no HPET", attribute("clock/timer[@name='hpet']", present="no"), SAME, "hpet"),
    ("RTC policy", attribute("clock/timer[@name='rtc']", tickpolicy="delay"),
     appended("clock", "<timer name='rtc' tickpolicy='delay'/>"), None),
    ("no PIT timer", gone("clock/timer[@name='pit']"), nothing, None),
    ("local time", attribute("clock", offset="localtime"), SAME, None),
    ("suspend on", attribute("pm/suspend-to-mem", enabled="yes"), SAME, None),
    ("another NIC model", attribute("devices/interface/model", type="e1000-82545em"), SAME, "nic"),
    ("no NIC", gone("devices/interface"), SAME, None),
    ("NIC elsewhere", replaced("devices/interface/source", "<source network='other'/>"), SAME, None),
    ("another bus", both(replaced("devices/disk/target", "<target dev='sda' bus='sata'/>"),
                         gone("devices/disk/address")), SAME, None),
    ("another image", attribute("devices/disk/source", file="/var/lib/libvirt/images/other.qcow2"), SAME, None),
    ("another disk", appended("devices", "<disk type='file' device='disk'><source "
                              "file='/var/lib/libvirt/images/two.raw'/><target dev='vdb' bus='virtio'/>"
                              "<address type='pci' domain='0x0000' bus='0x00' slot='0x0a' function='0x0'/></disk>"),
     SAME, None),
    ("another USB controller", attribute("devices/controller[@type='usb']", model="nec-xhci"), SAME, None),
    ("another sound card", attribute("devices/sound", model="ich6"), SAME, "sound"),
    ("no sound card", gone("devices/sound"), SAME, None),
    ("another display", replaced("devices/video/model", "<model type='virtio' heads='1' primary='yes'/>"), SAME,
     "video"),
    ("no tablet", gone("devices/input[@type='tablet']"), nothing, "input"),
    ("no keyboard", gone("devices/input[@type='keyboard'][@bus='usb']"), nothing, "input"),
    ("balloon", replaced("devices/memballoon", "<memballoon model='virtio'/>"), SAME, None),
    ("no SMC", option("isa-applesmc"), nothing, "osk"),
    ("another OSK", option("isa-applesmc", OTHER_OSK), command_line("-device", OTHER_OSK), "osk"),
    ("hot-plug by ACPI", option("ICH9-LPC", HOTPLUG + "on"), command_line("-global", HOTPLUG + "on"), None),
    ("no -global", option("ICH9-LPC"), nothing, None),
    ("another CPU", option("Cascadelake", "Skylake-Server,vendor=GenuineIntel"),
     command_line("-cpu", "Skylake-Server,vendor=GenuineIntel"), "cpu-flags"),
    ("no -cpu", option("Cascadelake"), nothing, "cpu-flags"),
    ("own arguments", more_options("-smbios", "type=2", "-name", "debug-threads=on"),
     command_line("-smbios", "type=2", "-name", "debug-threads=on"), None),
    ("no command line at all", no_command_line, nothing, None),
]
if rig.SUITE == "trixie":
    # libvirt 9.1 and newer put it there themselves.
    EDITS += [("watchdog resets", attribute("devices/watchdog", action="reset"), SAME, None)]


### The rounds ######################################################################################


def start(installed=True, **more):
    """A patched domain; -> it, its original form and its patched one."""
    rig.remove_all(CONN)
    rig.remove_disks()
    rig.empty_disk(IMAGE)
    if installed:
        rig.allocate(IMAGE)
    domain = CONN.defineXML(rig.mac(**more))
    domain = CONN.defineXML(rig.definition(domain))
    original = rig.definition(domain)
    live(0, "mac")
    return domain, original, rig.definition(domain)


def store(root):
    """-> what libvirt makes of it"""
    text = root if isinstance(root, str) else tree.tostring(root, encoding="unicode")
    return rig.definition(CONN.defineXML(text))


def edited(xml, edit):
    root = tree.fromstring(xml)
    edit(root)
    return root


def stays(domain, users, what):
    """Everything but our own marker is as the user left it."""
    diff = rig.difference(rig.without_marker(users), rig.without_marker(rig.definition(domain)),
                          "as the user left it", what)
    rig.need(not diff, f"{what}:\n{diff}")


def round_trip(edit, in_original, key):
    domain, original, ours = start()
    users = store(edited(ours, edit))
    rig.need(rig.without_marker(users) != rig.without_marker(ours), "this test edits nothing")
    live(0, "--check", "mac")
    live(0, "mac")
    stays(domain, users, "patched")
    defined = rig.defines(CONN)[domain.UUIDString()]
    live(0, "mac")
    live(0, "--all")
    rig.need(rig.defines(CONN)[domain.UUIDString()] == defined, "it was stored again")
    stays(domain, users, "--all")
    live(0, "--check", "mac")
    if key is None:
        live(0, "--diff", "mac")
    live(0, "--revert", "--forget", "mac")
    reverted = rig.definition(domain)
    if in_original is LOOSE:
        rig.need(not re.search("isa-applesmc|<dkvm", reverted), f"reverted: something of ours is left\n{reverted}")
        for root in (tree.fromstring(users), tree.fromstring(reverted)):
            before = tree.tostring(root)
            edit(root)
            rig.need(tree.tostring(root) == before, "reverted: the edit is gone")
        return
    wanted = store(edited(original, edit if in_original is SAME else in_original))
    diff = rig.difference(wanted, reverted, "the original with the edit", "reverted")
    rig.need(not diff, f"reverted:\n{diff}")


def sorted_children(xml):
    """Without the marker, and with devices and options in an order of ours."""
    root = tree.fromstring(rig.without_marker(xml))
    devices, line = root.find("devices"), root.find(f"{QEMU}commandline")
    devices[:] = sorted(devices, key=lambda node: (node.tag, sorted(node.attrib.items())))
    words = [word.get("value") for word in line]
    line[:] = []
    for pair in sorted(zip(words[::2], words[1::2])):
        tree.SubElement(line, f"{QEMU}arg", value=" ".join(pair))
    return tree.tostring(root, encoding="unicode")


def brought_back(edit, key):
    domain, _original, ours = start()
    store(edited(ours, edit))
    live(0, "--set", f"{key}=auto", "mac")
    diff = rig.difference(sorted_children(ours), sorted_children(rig.definition(domain)), "patched", "again")
    rig.need(not diff, f"--set {key}=auto does not bring it back:\n{diff}")
    live(0, "--check", "mac")


for NAME, EDIT, IN_ORIGINAL, KEY in EDITS:
    def once(edit=EDIT, in_original=IN_ORIGINAL, key=KEY):
        round_trip(edit, in_original, key)
    rig.test(f"{NAME}: stays")(once)
    if KEY:
        def again(edit=EDIT, key=KEY):
            brought_back(edit, key)
        rig.test(f"{NAME}: --set {KEY}=auto brings it back")(again)


@rig.test("a removed part is named by --diff")
def _():
    _domain, _original, ours = start()
    store(edited(ours, gone("devices/sound")))
    done = live(0, "--diff", "mac")
    rig.need("sound" in done.out and "changed by you" in done.out, f"not named: {done.out}")


@rig.test("a revert that keeps an edit names it")
def _():
    _domain, _original, ours = start()
    store(edited(ours, attribute("devices/sound", model="ich6")))
    done = live(0, "--revert", "--diff", "mac")
    rig.need("sound" in done.out and "changed by you" in done.out, f"not named: {done.out}")


### Topology ########################################################################################


def shape(xml):
    node = tree.fromstring(xml).find("cpu/topology")
    return "x".join(node.get(name) for name in ("sockets", "cores", "threads"))


def vcpus(count, topology=None):
    def edit(root):
        root.find("vcpu").text = str(count)
        root.find("vcpu").attrib.pop("current", None)
        node = root.find("cpu/topology")
        if topology is None:
            root.find("cpu").remove(node)
        else:
            for name, value in zip(("sockets", "cores", "threads"), topology):
                node.set(name, str(value))
    return edit


def boots(xml):
    live(0, "--explain-topology", shape(xml), "--macos", "14")
    sockets, cores, threads = (int(part) for part in shape(xml).split("x"))
    rig.need(sockets * cores * threads == int(tree.fromstring(xml).findtext("vcpu")), f"{shape(xml)} is not all vCPUs")


for COUNT in (1, 2, 3, 5, 6, 7, 8, 12, 16):
    for TOPOLOGY in (None, (COUNT, 1, 1), (1, COUNT, 1)):
        def changed(count=COUNT, topology=TOPOLOGY):
            domain, _original, ours = start()
            store(edited(ours, vcpus(count, topology)))
            live(0, "mac")
            boots(rig.definition(domain))
            total = int(tree.fromstring(rig.definition(domain)).findtext("vcpu"))
            rig.need(total <= count and total * 2 > count, f"{total} vCPUs are left of {count}")
            live(0, "--check", "mac")
            live(0, "--revert", "--forget", "mac")
            left = int(tree.fromstring(rig.definition(domain)).findtext("vcpu"))
            rig.need(left in (count, total), f"reverted: {left} vCPUs, the user wanted {count}")
        rig.test(f"{COUNT} vCPUs as {TOPOLOGY or 'libvirt likes'}: a topology that XNU boots")(changed)


@rig.test("a topology that the user chose and that boots stays; --set topology=auto brings ours back")
def _():
    domain, _original, ours = start()
    users = store(edited(ours, vcpus(4, (1, 4, 1) if shape(ours) != "1x4x1" else (1, 2, 2))))
    live(0, "mac")
    stays(domain, users, "patched")
    live(0, "--set", "topology=auto", "mac")
    rig.need(shape(rig.definition(domain)) == shape(ours), f"{shape(rig.definition(domain))}, not {shape(ours)}")


### The programs that users edit with ###############################################################


def tool(*words, **env):
    done = subprocess.run(words, capture_output=True, text=True, timeout=rig.DEADLINE, check=False,
                          env={**os.environ, **env})
    rig.need(done.returncode == 0, f"{' '.join(words)}: exit {done.returncode}: {done.stderr}")


@rig.test("virt-xml, virsh edit, virsh desc, virsh setvcpus")
def _():
    domain, _original, _ours = start()
    tool("virt-xml", "mac", "--edit", "--video", "model.type=qxl")
    tool("virt-xml", "mac", "--edit", "--memory", "1024")
    tool("virt-xml", "mac", "--add-device", "--rng", "/dev/urandom")
    editor = rig.SCRATCH / "editor"
    editor.write_text("#!/bin/sh\nexec sed -i \"s/<sound model='ich9'/<sound model='ich6'/\" \"$1\"\n")
    editor.chmod(0o755)
    tool("virsh", "edit", "mac", EDITOR=str(editor))
    tool("virsh", "desc", "mac", "--config", "--title", "my Mac")
    tool("virsh", "setvcpus", "mac", "2", "--config")
    users = rig.definition(domain)
    root = tree.fromstring(users)
    rig.need(root.find("devices/sound").get("model") == "ich6" and root.find("vcpu").get("current") == "2",
             "this test edits nothing")
    live(0, "mac")
    live(0, "--all")
    now = tree.fromstring(rig.definition(domain))
    rig.need(now.findtext("title") == "my Mac", "the title is gone")
    rig.need(now.find("devices/sound").get("model") == "ich6", "the sound card is ours again")
    rig.need(now.find("devices/video/model").get("type") == "qxl", "the display is ours again")
    rig.need(now.find("devices/rng") is not None, "the new device is gone")
    rig.need(now.findtext("memory") == "1048576", "the memory is ours again")
    boots_present(now)
    live(0, "--check", "mac")
    live(0, "--revert", "--forget", "mac")
    now = tree.fromstring(rig.definition(domain))
    rig.need(now.findtext("title") == "my Mac" and now.find("devices/rng") is not None
             and now.find("devices/sound").get("model") == "ich6", "reverted: an edit is gone")
    rig.need(not re.search("isa-applesmc|<dkvm", rig.definition(domain)), "reverted: something of ours is left")


def boots_present(root):
    """vCPUs that are not present leave whole sockets empty."""
    node, vcpu = root.find("cpu/topology"), root.find("vcpu")
    per_socket = int(node.get("cores")) * int(node.get("threads"))
    present = int(vcpu.get("current") or vcpu.text)
    rig.need(present % per_socket == 0, f"{present} of {vcpu.text} vCPUs with {per_socket} in a socket")


rig.run()
