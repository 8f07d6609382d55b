# SPDX-License-Identifier: LGPL-2.1-or-later
"""dkvm-patch with domains of a connection: which it takes, which it refuses, and what it says."""

import json
import os
import pathlib
import re
import signal
import subprocess
import xml.etree.ElementTree as tree

import libvirt

import rig

CONN = rig.connect()
FACTS = str(rig.facts(rig.SCRATCH / "facts.json"))
IMAGE = rig.IMAGES / "mac.qcow2"


def live(code, *words, **more):
    return rig.live(code, "--facts", FACTS, *words, **more)


def fresh(*arguments, disk=True, **more):
    """Nothing is there but one domain, with an empty disk."""
    rig.remove_all(CONN)
    rig.remove_disks()
    if disk:
        rig.empty_disk(IMAGE)
    return CONN.defineXML(rig.mac(*arguments, **more))


def patched(domain):
    return "isa-applesmc" in rig.definition(domain)


def says(done, *texts):
    for text in texts:
        rig.need(re.search(text, done.out + done.err), f"not said: {text}\n{done.err}{done.out[:2000]}")


### Which domains ###################################################################################


@rig.test("by name, by UUID and by id")
def _():
    domain = fresh()
    says(live(0, "mac"), "^mac: patched")
    live(0, "--revert", "--forget", domain.UUIDString())
    rig.need(not patched(domain), "not reverted by its UUID")
    domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    live(0, str(domain.ID()))
    rig.need(patched(domain), "not patched by its id")


@rig.test("a name that looks like a UUID, an id or an option is a name first")
def _():
    domain = fresh()
    for name in ("4711", "--mac", "7c56d421-7c8a-4cc0-9f4a-0a4ba9c1b6a5"):
        other = CONN.defineXML(rig.mac(name))
        live(0, "--", name)
        rig.need(patched(other) and not patched(domain), f"{name} was not taken for a name")


@rig.test("several names, one unknown, one not for us: the others are done, the highest code is returned")
def _():
    first = fresh("first")
    second = CONN.defineXML(rig.mac("second"))
    i686 = CONN.defineXML(rig.mac("old").replace("arch='x86_64'", "arch='i686'").replace("<cpu ", "<!--").replace(
        "</cpu>", "-->").replace("mode='custom'><model>qemu64</model>", ""))
    before = rig.definition(i686)
    done = live(5, "first", "nobody", "old", "second")
    says(done, "cannot find the domain nobody: .*virsh list --all", "old.*x86_64|x86_64.*old")
    rig.need(patched(first) and patched(second), "not all the others were patched")
    rig.need(rig.definition(i686) == before, "the i686 domain was changed")
    live(3, "old")


@rig.test("a transient domain is refused")
def _():
    rig.remove_all(CONN)
    domain = CONN.createXML(rig.mac("passing", image=rig.IMAGES / "mac"), libvirt.VIR_DOMAIN_START_PAUSED)
    before = domain.XMLDesc(0)
    says(live(7, "passing"), "passing", "transient", "virsh define")
    says(live(7, "--revert", "passing"), "transient")
    rig.need(not domain.isPersistent() and domain.XMLDesc(0) == before, "it was changed")
    domain.destroy()


@rig.test("a running domain is untouched, and says when it will be a Mac")
def _():
    domain = fresh()
    domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    before = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)
    says(live(0, "mac"), "takes effect at the next start")
    rig.need(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE) == before, "the running domain was changed")
    rig.need(patched(domain), "its definition was not patched")
    says(live(0, "--revert", "mac"), "reverted", "takes effect at the next start")
    rig.need(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE) == before, "the running domain was changed")


@rig.test("a managed save is named")
def _():
    domain = fresh()
    domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    domain.managedSave()
    says(live(0, "mac"), "managed save", "virsh managedsave-remove")
    rig.need(patched(domain) and domain.hasManagedSaveImage(), "not patched, or the managed save is gone")


@rig.test("internal snapshots are named")
def _():
    domain = fresh()
    domain.snapshotCreateXML("<domainsnapshot><name>old</name></domainsnapshot>")
    says(live(0, "mac"), "internal snapshot", "virsh snapshot-revert")
    rig.need(patched(domain) and domain.snapshotNum() == 1, "not patched, or the snapshot is gone")


@rig.test("what libvirt says no to comes with what to do next")
def _():
    fresh()
    says(live(5, ""), "cannot find a domain by an empty name: .*virsh list --all")
    done = rig.dkvm(5, "-c", "qemu+unix:///system?socket=/nonexistent", "mac")
    says(done, "cannot connect to qemu.unix.*systemctl status libvirtd.*--connect")


### --all ###########################################################################################


def policy(text):
    """The environment in which dkvm.conf is TEXT."""
    root = rig.SCRATCH / "root"
    folder = root / "etc/dkvm"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dkvm.conf").write_text(text)
    return {"DKVM_ROOT": str(root)}


def several():
    rig.remove_all(CONN)
    domains = {}
    for name, os_id in (("apple", rig.APPLE), ("marked", None), ("off", rig.APPLE), ("linux", None),
                        ("debian", "http://debian.org/debian/12"), ("i686", rig.APPLE)):
        xml = rig.mac(name, os_id)
        if name == "i686":
            xml = re.sub("<cpu .*</cpu>", "", xml).replace("x86_64", "i686")
        domains[name] = CONN.defineXML(xml)
    live(0, "marked", "off")
    live(0, "--revert", "off")
    return domains


def changed_by_all(code=0, env=None, words=()):
    """Whom it changed, of several(); for the marked one there is nothing to do unless WORDS say so."""
    domains = several()
    before = {name: rig.definition(domain) for name, domain in domains.items()}
    done = live(code, "--all", *words, env=env)
    return {name for name, domain in domains.items() if rig.definition(domain) != before[name]}, done


@rig.test("--all: those with an Apple id, and those marked; not those that were reverted, nor any other")
def _():
    changed, done = changed_by_all()
    rig.need(changed == {"apple"}, f"changed: {changed}")
    says(done, "(?m)^apple: patched", "(?m)^marked: unchanged")
    rig.need("i686" not in done.out + done.err and "off" not in done.out, f"said: {done.out}{done.err}")
    changed, done = changed_by_all(words=("-m", "MacPro5,1"))
    rig.need(changed == {"apple", "marked"}, f"changed with another model: {changed}")


@rig.test("--all: match = marked, match = all, names =")
def _():
    for text, wanted in (("[define]\nmatch = marked\n", {"marked"}),
                         ("[define]\nmatch = all\n", {"apple", "marked", "linux", "debian"}),
                         ("[define]\nmatch = all\nnames = *n*;apple\n", {"apple", "linux", "debian"}),
                         ("[define]\nnames = m*\n", {"marked"})):
        changed, _done = changed_by_all(env=policy(text), words=("-m", "MacPro5,1"))
        rig.need(changed == wanted, f"{text!r}: changed {changed}, not {wanted}")


@rig.test("--all with --check, --diff, --dry-run and --revert")
def _():
    domains = several()
    before = {name: rig.definition(domain) for name, domain in domains.items()}
    live(1, "--all", "--check")
    says(live(0, "--all", "--diff"), r"(?m)^\+.*isa-applesmc")
    says(live(0, "--all", "--dry-run"), "apple: would be changed", "marked: nothing to do")
    rig.need(before == {name: rig.definition(domain) for name, domain in domains.items()}, "something was stored")
    live(0, "--all")
    live(0, "--all", "--check")
    live(0, "--all", "--revert", "--forget")
    rig.need(not any(patched(domain) for domain in domains.values()), "not all were reverted")


### i440fx ##########################################################################################


def i440fx(**more):
    return fresh(machine="pc", bus="ide", **more)


def is_q35(domain):
    return "q35" in tree.fromstring(rig.definition(domain)).find("os/type").get("machine")


@rig.test("i440fx with an empty disk is converted, and goes back")
def _():
    for options in ((), ("-o", "preallocation=metadata")):
        domain = i440fx(disk=False)
        rig.empty_disk(IMAGE, *options, size="64G")
        before = rig.definition(domain)
        live(0, "mac")
        rig.need(is_q35(domain), f"not converted with {options}")
        live(0, "--check", "mac")
        live(0, "--revert", "--forget", "mac")
        after = CONN.defineXML(before)  # libvirt's order
        rig.need(not rig.difference(before, rig.definition(after)), "this test is wrong")
        rig.need(not is_q35(domain), "not reverted")


@rig.test("i440fx with 100 MiB on its disk is refused, unless it is asked for")
def _():
    domain = i440fx()
    rig.allocate(IMAGE)
    before = rig.definition(domain)
    says(live(7, "mac"), "cannot convert .* q35", "--set machine=q35")
    rig.need(rig.definition(domain) == before, "it was changed")
    live(0, "--set", "machine=q35", "mac")
    rig.need(is_q35(domain), "not converted")


@rig.test("i440fx whose disk cannot be read is refused")
def _():
    domain = i440fx(disk=False)
    says(live(7, "mac"), "cannot convert")
    rig.need(not is_q35(domain), "it was converted")


@rig.test("a running i440fx that has written nothing is converted, one that wrote is refused")
def _():
    domain = i440fx()
    domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    live(0, "mac")
    rig.need(is_q35(domain), "not converted though nothing was written")
    live(0, "--revert", "--forget", "mac")
    rig.monitor(domain, 'qemu-io -d ide0-0-0 "aio_write 0 64k"')
    rig.wait(lambda: domain.blockStats("hda")[3] > 0, "the write in the block statistics")
    before = rig.definition(domain)
    says(live(7, "mac"), "cannot convert")
    rig.need(rig.definition(domain) == before, "it was changed")


### Boot order ####################################################################################


@rig.test("the disk that boots is the same one after it moved to another bus")
def _():
    fresh("two", disk=False)
    for name in ("two", "data"):
        rig.empty_disk(rig.IMAGES / f"{name}.qcow2")
        rig.allocate(rig.IMAGES / f"{name}.qcow2")
    data = ("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
            f"<source file='{rig.IMAGES}/data.qcow2'/><target dev='sda' bus='sata'/></disk>")
    rig.remove_all(CONN)
    domain = CONN.defineXML(rig.mac("two", "http://apple.com/macos/10.14", more=data))

    def first():
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
        pid = int(pathlib.Path("/run/libvirt/qemu/two.pid").read_text())
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        drive = next(word for word in words if '"bootindex":1' in word)
        node = re.search(r'"drive":"libvirt-(\d+)-format"', drive).group(1)
        source = next(word for word in words if f'"node-name":"libvirt-{node}-storage"' in word)
        domain.destroy()
        return re.search(r'"filename":"([^"]*)"', source).group(1)

    before = first()
    live(0, "two")
    rig.need(first() == before, f"it boots {first()}, not {before}")


### --create ########################################################################################


def write(xml, name="new.xml"):
    path = rig.SCRATCH / name
    path.write_text(xml)
    return str(path)


@rig.test("--create defines a Mac, starts nothing, and says how to")
def _():
    fresh()
    rig.allocate(IMAGE)  # -f does not know, and takes it for granted, that something is installed there
    path = write(rig.mac("it's new", image=rig.IMAGES / "mac"))
    says(live(0, "-f", "--create", path), r"virsh start 'it'\\''s new'")
    domain = CONN.lookupByName("it's new")
    rig.need(patched(domain) and not domain.isActive(), "not patched, or started")
    domain.create()
    rig.need(domain.isActive(), "it does not run")
    live(0, "--check", "it's new")


@rig.test("--create refuses a name and a UUID that exist")
def _():
    domain = fresh()
    before = rig.definition(domain)
    says(live(7, "-f", "--create", write(rig.mac())), "there is a domain with this name")
    uuid = f"<uuid>{domain.UUIDString()}</uuid>"
    says(live(7, "-f", "--create", write(rig.mac("other").replace("</name>", f"</name>{uuid}"))),
         "there is a domain with this UUID")
    rig.need(rig.definition(domain) == before and len(CONN.listAllDomains()) == 1, "something was defined")


@rig.test("--create --dry-run and --diff define nothing")
def _():
    rig.remove_all(CONN)
    for word in ("--dry-run", "--diff"):
        live(0, "-f", "--create", word, write(rig.mac()))
    rig.need(not CONN.listAllDomains(), "something was defined")


@rig.test("--create of what libvirt refuses: 5, with its reason")
def _():
    rig.remove_all(CONN)
    done = live(5, "-f", "--create", write(rig.mac(more="<tpm model='tpm-tis'><backend type='external'/></tpm>")))
    says(done, "mac", "libvirt says: (?!no reason)")


### Secrets #########################################################################################


@rig.test("a VNC password survives, and is nowhere else")
def _():
    secret = "Se5amOpn"
    rig.remove_all(CONN)
    domain = CONN.defineXML(rig.mac().replace("<graphics type='vnc' port='-1'/>",
                                              f"<graphics type='vnc' port='-1' passwd='{secret}'/>"))
    for words in (("--dry-run",), ("--diff",), ("--json", "--dry-run"), ("--json", "--diff"), ("--check",), (),
                  ("--json",), ("-m", "MacPro5,1"), ("--diff", "--revert"), ("--json", "--revert"),
                  ("--set", "video=virtio"), ("--revert", "--forget")):
        done = live(None, *words, "mac")
        rig.need(done.code in (0, 1), f"{words}: exit {done.code}: {done.err}")
        rig.need(secret not in done.out + done.err, f"{words}: it shows the password")
        xml = rig.definition(domain)
        rig.need(xml.count(secret) == 1 and tree.fromstring(xml).find("devices/graphics").get("passwd") == secret,
                 f"{words}: the password is not where it was, or elsewhere too")


### What it says ####################################################################################


@rig.test("JSON: an array with an object for each domain")
def _():
    domain = fresh()
    done = live(5, "--json", "mac", "nobody")
    mac, nobody = done.objects()
    rig.need((mac["name"], mac["uuid"], mac["result"], mac["stored"], mac["exit"])
             == ("mac", domain.UUIDString(), "patched", True, 0), f"{mac}")
    rig.need(mac["changes"] and all(isinstance(line, str) for line in mac["changes"]), f"{mac['changes']}")
    rig.need((nobody["object"], nobody["result"], nobody["exit"]) == ("nobody", "failed", 5) and nobody["error"],
             f"{nobody}")
    rig.need(live(0, "--json", "mac").objects()[0]["result"] == "unchanged", "it was changed again")
    rig.need(live(0, "--json", "--check", "mac").objects()[0]["result"] == "up-to-date", "not up to date")
    rig.need(live(0, "--json", "--revert", "mac").objects()[0]["result"] == "reverted", "not reverted")
    said = live(1, "--json", "--check", "mac").objects()[0]
    rig.need((said["result"], said["exit"]) == ("not-patched", 1), f"{said}")


@rig.test("--diff and --dry-run change nothing; what they show is what is done")
def _():
    domain = fresh()
    before = rig.definition(domain)
    defined = rig.defines(CONN)[domain.UUIDString()]
    diff = live(0, "--diff", "mac").out
    live(0, "--dry-run", "mac")
    rig.need(rig.definition(domain) == before, "it was changed")
    rig.need(rig.defines(CONN)[domain.UUIDString()] == defined, "it was defined")
    live(0, "mac")
    added = {line[1:].strip() for line in diff.splitlines() if re.match(r"\+ .*qemu:arg", line)}
    rig.need(added and all(f"'{word}'" in " ".join(added) for word in rig.arguments(rig.definition(domain))),
             f"the diff has {added}")


### The connection ##################################################################################


@rig.test("no libvirtd: 5, with a reason and the address")
def _():
    done = rig.dkvm(5, "-c", "qemu+unix:///system?socket=/nonexistent", "mac")
    says(done, "nonexistent")
    rig.dkvm(5, "-c", "qemu+unix:///system?socket=/nonexistent", "--all")
    rig.dkvm(5, "-c", "qemu+unix:///system?socket=/nonexistent", "--print-facts")
    says(rig.dkvm(5, "-c", "test:///default", "test"), "not a QEMU hypervisor")


def restart():
    global CONN
    subprocess.run([os.environ["DKVM_RESTART_LIBVIRTD"]], check=True, timeout=120)
    CONN = rig.connect()


@rig.test("libvirtd dies before the definition is read, before it is read again, before it is stored")
def _():
    for rule in ("read 1", "read 2", "define 1"):
        domain = fresh()
        CONN.defineXML(rig.mac("other"))
        before = rig.definition(domain)
        pid = int(pathlib.Path("/run/libvirtd.pid").read_text())
        try:
            done = live(5, "mac", "other", env=rig.racing(f"{rule} kill -KILL {pid}"))
        finally:
            restart()
        rig.need(rig.definition(CONN.lookupByName("mac")) == before, f"{rule}: it was changed")
        says(done, "error: .*mac", "error: .*other", "libvirt says: (?!no reason)")
        live(0, "mac", "other")


@rig.test("a libvirtd that does not answer can be interrupted, and nothing is changed")
def _():
    domain = fresh()
    before = rig.definition(domain)
    pid = int(pathlib.Path("/run/libvirtd.pid").read_text())
    env = {**os.environ, **rig.racing(f"read 2 kill -STOP {pid}")}
    with subprocess.Popen([rig.DKVM, "-c", "qemu:///system", "--facts", FACTS, "mac"], env=env,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        stat = pathlib.Path(f"/proc/{pid}/stat")
        rig.wait(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "T", "libvirtd stopped")
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=rig.DEADLINE)
    os.kill(pid, signal.SIGCONT)
    rig.need(code == -signal.SIGTERM, f"it ended with {code}")
    rig.need(rig.definition(domain) == before, "it was changed")


def without_host(facts):
    """Apart from what the machine decides, and from updates within a version of Debian."""
    facts = dict(facts)
    del facts["host"]
    for group in ("libvirt", "emulator"):
        facts[group] = {**facts[group], "version": facts[group]["version"].rsplit(".", 1)[0]}
    return facts


@rig.test("--print-facts is what was recorded")
def _():
    told = json.loads(rig.live(0, "--print-facts").out)
    name = {"bookworm": "tcg-debian12.json", "trixie": "tcg-debian13.json"}[rig.SUITE]
    recorded = json.loads((rig.TOP / "tests/data/facts" / name).read_text())
    rig.need(set(told["host"]) == set(recorded["host"]), f"host: {told['host']}")
    for group, value in without_host(recorded).items():
        rig.need(without_host(told)[group] == value, f"{group}: {told[group]}\nnot {value}")
    rig.need(told["host"]["threads"] == CONN.getInfo()[2], f"threads: {told['host']}")


rig.run()
