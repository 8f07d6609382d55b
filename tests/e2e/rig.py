# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the test programs of this folder share.  They run inside ns-libvirtd, as helpers.bash starts them."""

import difflib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time
import traceback
import xml.etree.ElementTree as tree

import libvirt

TOP = pathlib.Path(os.environ["TOP"])
DKVM = os.environ["DKVM"]
SUITE = os.environ["DKVM_SUITE"]
SCRATCH = pathlib.Path(os.environ["DKVM_SCRATCH"])
IMAGES = pathlib.Path("/var/lib/libvirt/images")
GOLDEN = TOP / "tests" / "golden" / "in"

NS = "urn:dkvm:domain:1.0"
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
tree.register_namespace("dkvm", NS)
tree.register_namespace("qemu", QEMU)
tree.register_namespace("libosinfo", "http://libosinfo.org/xmlns/libvirt/domain/1.0")
# The key of packaging/dkvm.conf, which is dkvm's default.
OSK = re.search(r"(?m)^osk *= *(.*)$", (TOP / "packaging/dkvm.conf").read_text()).group(1)

DEADLINE = 60  # seconds, for whatever usually takes far less than one

### Results #########################################################################################

_TESTS = []
_failed = 0


class Bad(Exception):
    """A test found what should not be."""


def test(name, when=True):
    """Decorates a test; run() runs them in order."""
    def keep(function):
        if when:
            _TESTS.append((name, function))
        return function
    return keep


def result(good, name, why=""):
    global _failed
    _failed += not good
    print(("ok - " if good else "not ok - ") + name)
    if not good:
        print("".join(f"    {line}\n" for line in str(why).rstrip().splitlines()[:80]), end="")
    sys.stdout.flush()
    return good


def say(text):
    """A line that is shown even if all is well."""
    print(f"# {text}", flush=True)


def need(condition, why):
    if not condition:
        raise Bad(why)


def run():
    """Runs the tests (those whose name holds an argument, if there are any) and exits."""
    words = sys.argv[1:]
    started, count = time.monotonic(), 0
    for name, function in _TESTS:
        if words and not any(word in name for word in words):
            continue
        count += 1
        try:
            function()
            result(True, name)
        except Bad as bad:
            result(False, name, bad)
        except Exception:  # pylint: disable=broad-except
            result(False, name, traceback.format_exc())
    say(f"{pathlib.Path(sys.argv[0]).name}: {count} tests in {time.monotonic() - started:.0f} s")
    finish()


def finish():
    sys.exit(1 if _failed else 0)


def wait(condition, what, deadline=DEADLINE, every=0.02):
    """Polls until CONDITION() is true; its value."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Bad(f"{what}: not within {deadline} s")
        time.sleep(every)


### libvirt #########################################################################################

_events = {}  # uuid -> number of DEFINED events
_loop = None


def _ignore(_context, _error):
    pass


def connect():
    """A connection whose events are counted."""
    global _loop
    libvirt.registerErrorHandler(_ignore, None)
    if _loop is None:
        libvirt.virEventRegisterDefaultImpl()
        _loop = threading.Thread(target=_run_loop, daemon=True)
        _loop.start()
    conn = libvirt.open("qemu:///system")
    conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, _on_event, None)
    return conn


def _run_loop():
    while True:
        libvirt.virEventRunDefaultImpl()


def _on_event(_conn, domain, event, _detail, _opaque):
    if event == libvirt.VIR_DOMAIN_EVENT_DEFINED:
        uuid = domain.UUIDString()
        _events[uuid] = _events.get(uuid, 0) + 1


def defines(conn):
    """How often each domain was defined, by UUID.  A domain that is defined now marks the end of the
    events that were sent before."""
    name = "rig-fence"
    fence = conn.defineXML(f"<domain type='qemu'><name>{name}</name><memory>1024</memory>"
                           "<os><type arch='x86_64'>hvm</type></os></domain>")
    uuid = fence.UUIDString()
    wait(lambda: _events.get(uuid), "the event of the fence domain")
    fence.undefine()
    return dict(_events)


INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE


def definition(domain):
    return domain.XMLDesc(INACTIVE)


def remove_all(conn):
    for domain in conn.listAllDomains():
        if domain.isActive():
            domain.destroy()
    for domain in conn.listAllDomains():
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                             | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)


def monitor(domain, command):
    """What QEMU answers to a command of its human monitor (virsh: the Python binding has it elsewhere)."""
    return virsh("qemu-monitor-command", domain.UUIDString(), "--hmp", command)


def qmp(domain, command, **arguments):
    text = json.dumps({"execute": command, "arguments": arguments})
    return json.loads(virsh("qemu-monitor-command", domain.UUIDString(), text))["return"]


def virsh(*words, code=0, text=None):
    done = subprocess.run(["virsh", "-q", *words], input=text, capture_output=True, text=True,
                          timeout=DEADLINE, check=False)
    need(done.returncode == code, f"virsh {' '.join(words)}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def at_least(conn, version):
    """Whether this libvirt is VERSION ("9.1") or newer."""
    major, minor = (int(part) for part in version.split("."))
    return conn.getLibVersion() >= major * 1000000 + minor * 1000


### dkvm-patch ######################################################################################

MANNERS = re.compile(r"dkvm-patch: (error|warning|note): ")
BROKEN = re.compile(r"Sanitizer|\d: runtime error:|assertion|CRITICAL")


class Done:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def objects(self):
        return json.loads(self.out)


def dkvm(code, *words, env=None, text=None):
    """Runs dkvm-patch, which must end with CODE (None: any).  Whatever it was asked, it keeps the rules
    that hold for every run."""
    done = subprocess.run([DKVM, *words], input=text, capture_output=True, text=True, timeout=600,
                          check=False, env={**os.environ, **(env or {})})
    asked = " ".join(words)[:300]
    short = done.stderr[:3000]
    need(code is None or done.returncode == code,
         f"exit {done.returncode}, not {code}: dkvm-patch {asked}\n{short}{done.stdout[:1500]}")
    need(0 <= done.returncode <= 7, f"exit {done.returncode}: dkvm-patch {asked}\n{short}")
    strange = [line for line in done.stderr.splitlines() if not MANNERS.match(line)]
    need(not strange, f"dkvm-patch {asked}: lines without its name:\n" + "\n".join(strange[:10]))
    need(not BROKEN.search(done.stderr), f"dkvm-patch {asked}: it broke\n{short}")
    need(OSK[:30] not in done.stderr, f"dkvm-patch {asked}: the OSK is in a message")
    shows_xml = {"-d", "--diff", "-f", "--file"} & set(words)
    need(shows_xml or OSK[:30] not in done.stdout, f"dkvm-patch {asked}: the OSK is in the output")
    return Done(done.returncode, done.stdout, done.stderr)


def live(code, *words, **more):
    return dkvm(code, "-c", "qemu:///system", *words, **more)


def facts(path, **host):
    """Writes what --print-facts says of this libvirtd, with other members for the host; the path.  The
    machine that the tests run on must not decide how many vCPUs a domain gets."""
    told = json.loads(live(0, "--print-facts").out)
    told["host"].update({"threads": 64, "smt": True, **host})
    path.write_text(json.dumps(told))
    return path


### Golden inputs ###################################################################################


class Input:
    def __init__(self, path):
        text = path.read_text(encoding="utf-8")
        first, _, rest = text.partition("\n")
        columns = dict(re.findall(r"(rule|options|needs): (.*?) *(?=\||-->)", first))
        self.name = path.stem
        self.xml = as_qemu(rest)
        self.needs = columns.get("needs", "")
        self.options = tuple(f"--{word}" for word in columns["options"].split()
                             if not word.startswith("facts="))

    def fits(self, conn):
        """Whether this libvirt knows what is in it."""
        version = re.fullmatch(r"libvirt (\d+\.\d+)", self.needs)
        return version is None or at_least(conn, version.group(1))


def as_qemu(xml):
    """There is no KVM here."""
    return re.sub(r"""(<domain\b[^>]*\btype\s*=\s*)(["'])kvm\2""", r"\1\2qemu\2", xml, count=1)


def inputs():
    items = [Input(path) for path in sorted(GOLDEN.glob("*.xml"))]
    for item in items:
        if item.needs == "emulator":
            own_emulator(item)
    return items


def has_swtpm():
    return any((pathlib.Path(os.environ["DKVM_SUITE_ROOT"]) / folder / "swtpm").exists()
               for folder in ("usr/bin", "usr/local/bin"))


def own_emulator(item):
    """A QEMU at a place of the user's own, where "needs: emulator" wants one."""
    theirs = tree.fromstring(item.xml).findtext("devices/emulator")
    ours = SCRATCH / "own-qemu" / "qemu-system-x86_64"
    if not ours.is_symlink():
        ours.parent.mkdir()
        ours.symlink_to("/usr/bin/qemu-system-x86_64")
    item.xml = item.xml.replace(theirs, str(ours))


def by_options(items):
    groups = {}
    for item in items:
        groups.setdefault(item.options, []).append(item)
    return groups


def number(version):
    """A macOS version as something that sorts."""
    return tuple(int(part) for part in version.split("."))


### XML #############################################################################################


def canonical(xml):
    """A form in which two equal documents are the same text."""
    if isinstance(xml, tree.Element):
        xml = tree.tostring(xml, encoding="unicode")
    return tree.canonicalize(xml, strip_text=True).replace("><", ">\n<")


def difference(a, b, name_a="expected", name_b="is"):
    """A unified diff of two documents as XML sees them, "" if they are the same."""
    return "\n".join(difflib.unified_diff(canonical(a).splitlines(), canonical(b).splitlines(),
                                          name_a, name_b, lineterm="", n=1))


def marker(xml):
    """dkvm's own element of a domain's XML, or None."""
    return tree.fromstring(xml).find(f"metadata/{{{NS}}}darwin")


def without_marker(xml):
    """The domain without dkvm's element, and without a <metadata> that has nothing else in it."""
    root = tree.fromstring(xml)
    metadata = root.find("metadata")
    if metadata is not None:
        for node in metadata.findall(f"{{{NS}}}darwin"):
            metadata.remove(node)
        if len(metadata) == 0:
            root.remove(metadata)
    return tree.tostring(root, encoding="unicode")


def arguments(xml):
    """The words of <qemu:commandline>."""
    return [node.get("value") for node in tree.fromstring(xml).iter(f"{{{QEMU}}}arg")]


def cpu_option(xml):
    words = arguments(xml)
    return words[words.index("-cpu") + 1]


def empty_disk(path, *options, size="1G"):
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), size], check=True,
                   timeout=DEADLINE)
    return path


_template = None


def make_disks(xml, installed=False):
    """Makes the image files that a domain names: empty, or with more in them than an empty one can have."""
    global _template
    if _template is None:
        _template = empty_disk(SCRATCH / "template.qcow2")
    for disk in tree.fromstring(xml).iterfind("devices/disk"):
        source, driver = disk.find("source"), disk.find("driver")
        path = source.get("file") if source is not None else None
        if path is None or not path.startswith(str(IMAGES)):
            continue
        if driver is not None and driver.get("type") == "qcow2":
            shutil.copyfile(_template, path)
        else:
            with open(path, "wb") as file:
                file.truncate(1 << 20)
        if installed:
            allocate(path)


def allocate(path):
    """100 MiB of it are there (tmpfs gives them only if they are touched)."""
    with open(path, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 100 << 20)


def remove_disks():
    for path in IMAGES.iterdir():
        path.unlink()


### A domain as virt-manager makes them #############################################################

APPLE = "http://apple.com/macos/14"


def mac(name="mac", os_id=APPLE, machine="q35", bus="virtio", vcpus=4, more="", extra="", image=None):
    """Its definition: nearly everything in it is other than a Mac has it."""
    metadata = ""
    if os_id:
        metadata = ("<metadata><libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/"
                    f"domain/1.0'><libosinfo:os id='{os_id}'/></libosinfo:libosinfo></metadata>")
    target = {"virtio": "vda", "sata": "sda", "ide": "hda"}[bus]
    usb = "<controller type='usb' model='piix3-uhci'/>" if machine == "pc" else \
        "<controller type='usb' model='ich9-ehci1'/>"
    return f"""<domain type='qemu'>
  <name>{name}</name>{metadata}
  <memory unit='MiB'>512</memory>
  <currentMemory unit='MiB'>256</currentMemory>
  <vcpu>{vcpus}</vcpu>
  <os><type arch='x86_64' machine='{machine}'>hvm</type></os>
  <features><acpi/><apic/></features>
  <cpu mode='custom'><model>qemu64</model></cpu>
  <clock offset='utc'><timer name='hpet' present='no'/></clock>
  <pm><suspend-to-mem enabled='yes'/></pm>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{image or IMAGES / name}.qcow2'/>
      <target dev='{target}' bus='{bus}'/>
    </disk>{usb}
    <interface type='network'>
      <mac address='52:54:00:11:22:33'/><source network='default'/><model type='rtl8139'/>
    </interface>
    <input type='mouse' bus='ps2'/>
    <graphics type='vnc' port='-1'/>
    <sound model='ac97'/>
    <video><model type='cirrus'/></video>
    <memballoon model='virtio'/>{more}
  </devices>{extra}
</domain>"""


### Somebody else at the same time ##################################################################

_race = None


def racing(*rules):
    """The environment in which other clients' commands come in between; see race.c."""
    global _race
    if _race is None:
        _race = SCRATCH / "race.so"
        subprocess.run([os.environ.get("CC", "gcc"), "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror",
                        "-O2", "-shared", "-fPIC", "-o", str(_race), str(TOP / "tests/e2e/race.c"), "-ldl"],
                       check=True, timeout=DEADLINE)
    return {"LD_PRELOAD": str(_race), "RACE": "\n".join(rules)}
