#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""virt-manager as a person uses it, with dkvm-watchd beside it: the VM that ends up running is a Darwin
guest, nobody saw a message, and what the person changes afterwards stays."""

import functools
import hashlib
import os
import pathlib
import shutil
import subprocess
import time
import traceback
import xml.etree.ElementTree as tree

import libvirt

import desktop
import rig
from desktop import until
from rig import IMAGES, SCRATCH, need, test
from virtmanager import VirtManager

SONOMA = "macOS 14 Sonoma"
LONG = bool(os.environ.get("DKVM_LONG"))
ROUNDS = 10 if LONG else 1
BOOT = 600  # seconds that firmware may take when several boot on a busy machine; some 20 otherwise
# What is kept when a test fails.
KEEP = pathlib.Path(rig.DKVM).parent / "gui"

# Not rig.connect(): beside the thread in which it counts events, each question to AT-SPI takes a second.
libvirt.registerErrorHandler(lambda _context, _error: None, None)
conn = libvirt.open("qemu:///system")

### The stage #######################################################################################


class Watchd:
    """dkvm-watchd, the program of this build."""

    def __init__(self):
        self._log = SCRATCH / "watchd.log"
        self._process = None
        self.start()

    def start(self):
        program = pathlib.Path(rig.DKVM).parent / "dkvm-watchd"
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen([program, "--connect", "qemu:///system"], stdout=log,
                                             stderr=log, stdin=subprocess.DEVNULL)
        self.fence()

    def stop(self):
        self._process.terminate()
        self._process.wait(60)

    def restart(self):
        self.stop()
        self.start()

    def said(self):
        return self._log.read_text(errors="replace")

    def fence(self):
        """Returns when it has dealt with whatever was defined before: a domain that is defined now is
        patched."""
        need(self._process.poll() is None, f"dkvm-watchd ended\n{self.said()[-3000:]}")
        domain = conn.defineXML(rig.mac("gui-fence", image=IMAGES / "gui-fence"))
        rig.wait(lambda: rig.marker(rig.definition(domain)) is not None, "dkvm-watchd patches a new domain")
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
        # Other domains are dealt with by other threads of it; this takes it milliseconds.
        time.sleep(0.5)


def begin():
    global screen, watchd, manager  # pylint: disable=global-variable-undefined
    # As much room as a host for macOS guests has; nothing of it is ever used.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1T,mode=0755", "tmpfs", str(IMAGES)], check=True)
    screen = desktop.Desktop(SCRATCH)
    watchd = Watchd()
    manager = VirtManager(screen)


def keep_evidence(name):
    """Screens, what was on them in words, and logs."""
    KEEP.mkdir(exist_ok=True)
    screen.screenshot(KEEP / f"{name}.png")
    (KEEP / f"{name}.txt").write_text(manager.outline())
    for log in SCRATCH.glob("*.log"):
        shutil.copy(log, KEEP / f"{name}-{log.name}")
    for domain in conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        subprocess.run(["virsh", "-q", "screenshot", domain.UUIDString(), str(KEEP / f"{name}-guest.ppm")],
                       check=False, timeout=60, capture_output=True)
    rig.say(f"kept: {KEEP / name}.png and what belongs to it")


def evident(function):
    """A test that leaves evidence when it fails, and a new virt-manager for the next one."""
    @functools.wraps(function)
    def wrapped():
        global manager
        try:
            return function()
        except Exception:
            keep_evidence(function.__name__)
            clear()
            manager.stop()
            (SCRATCH / "virt-manager.log").unlink()
            manager = VirtManager(screen)
            raise
    return wrapped


def clear():
    """No domain and no disk is left.  A domain is undefined before it is stopped, since virt-manager starts
    one again that stops while it is being installed."""
    for domain in conn.listAllDomains():
        active = domain.isActive()
        if domain.isPersistent():
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
        if active:
            domain.destroy()
    rig.remove_disks()


### What is true of a VM ############################################################################


def lookup(name):
    try:
        return conn.lookupByName(name)
    except libvirt.libvirtError:
        return None


def qemu_words(domain):
    """The command line of its QEMU that runs now."""
    pid = pathlib.Path("/run/libvirt/qemu", f"{domain.name()}.pid").read_text().strip()
    return pathlib.Path("/proc", pid, "cmdline").read_text().split("\0")


def runs_patched(name):
    """Whether QEMU runs for it, as a Mac."""
    domain = lookup(name)
    try:
        return bool(domain and domain.isActive() and
                    any(word.startswith("isa-applesmc") for word in qemu_words(domain)))
    except (FileNotFoundError, libvirt.libvirtError):
        return False  # it is being stopped or started


def yellow(picture, box=None):
    """How many pixels of a picture have the yellow in which OVMF's shell writes its prompt."""
    crop = ["-crop", f"{box[2]}x{box[3]}+{box[0]}+{box[1]}"] if box else []
    colours = subprocess.run(["convert", str(picture), *crop, "-depth", "8", "-format", "%c", "histogram:info:"],
                             check=True, timeout=60, capture_output=True, text=True).stdout
    return sum(int(line.split(":")[0]) for line in colours.splitlines() if "#FFFF00" in line)


def shell_in_guest(domain):
    picture = SCRATCH / "guest.ppm"
    rig.virsh("screenshot", domain.UUIDString(), str(picture))
    return yellow(picture) > 50


def shell_in_window(window):
    """Whether the console in virt-manager's window shows it: what a person sees."""
    picture = SCRATCH / "screen.png"
    console = window.find("drawing area")
    if not console:
        return False
    desktop.front(window)
    screen.screenshot(picture)
    return yellow(picture, console.box) > 50


def ends_up_as_a_mac(name):
    """What issue and design promise of a VM that was clicked together; its domain."""
    manager.wait(lambda: runs_patched(name), f"{name} does not run as a Mac")
    domain = lookup(name)
    rig.live(0, "--check", name)
    words = qemu_words(domain)
    need(not any("smm=on" in word for word in words), f"{name} runs with SMM")
    need(any("OVMF_CODE_4M.fd" in word for word in words), f"{name} runs other firmware")
    # The shell is nothing that Microsoft signed: with Secure Boot it does not start.
    manager.wait(lambda: shell_in_guest(domain), "OVMF's shell is not on the guest's screen", BOOT)
    window = manager.front(name)
    manager.wait(lambda: shell_in_window(window), "virt-manager's console does not show OVMF's shell")
    need(domain.isActive() and runs_patched(name), f"{name} does not run any more")
    manager.no_dialog()
    return domain


def disk_of(domain, device="disk"):
    for disk in tree.fromstring(domain.XMLDesc()).iterfind("devices/disk"):
        if disk.get("device") == device:
            source = disk.find("source")
            return source.get("file") if source is not None else None
    return None


def inserted(domain):
    """The files that QEMU has in its CD drives."""
    return [drive["inserted"]["file"] for drive in rig.qmp(domain, "query-block")
            if drive.get("inserted") and drive["removable"]]


### The OS list #####################################################################################


@test("the OS list of virt-manager has every macOS by its name; those of more than ten years at will")
@evident
def os_list():
    wizard = manager.to_os_page()
    labels = manager.search_os(wizard, "macos")
    for label in ("macOS 10.15 Catalina (macos10.15)", "macOS 11 Big Sur (macos11)",
                  "macOS 14 Sonoma (macos14)", "macOS 26 Tahoe (macos26)"):
        need(label in labels, f"no '{label}' in {labels}")
    need(not any("El Capitan" in label for label in labels), "El Capitan is older than ten years")
    desktop.tick(manager.old_systems(wizard, "macos"))
    labels = manager.search_os(wizard, "os x 10.11")
    need("OS X 10.11 El Capitan (macos10.11)" in labels, f"no El Capitan in {labels}")
    desktop.tick(manager.old_systems(wizard, "os x 10.11"), False)
    desktop.key("Escape")
    manager.cancel(wizard)
    manager.no_dialog()


### New VM, four ways ###############################################################################

# Each is clicked through up to its first "yield", and looked at from there on, so that one can be clicked
# while the firmware of another boots.


def manual(name):
    manager.finish(manager.new_vm("manual", name, SONOMA))
    manager.created(name)
    yield
    domain = ends_up_as_a_mac(name)
    need(pathlib.Path(disk_of(domain)).exists(), "the new disk is gone")


def cdrom(name):
    iso = make_iso(IMAGES / f"{name}.iso")
    manager.finish(manager.new_vm("cdrom", name, SONOMA, iso))
    manager.created(name)
    yield
    domain = ends_up_as_a_mac(name)
    need(inserted(domain) == [str(iso)], f"in the drive: {inserted(domain)}")
    need(disk_of(domain, "cdrom") == str(iso), "the definition has no CD")
    need(pathlib.Path(disk_of(domain)).exists(), "the new disk is gone")
    # The installer restarts the machine by itself: it must neither stop nor lose its CD.
    before = qemu_words(domain)
    rig.qmp(domain, "system_reset")
    manager.wait(lambda: not shell_in_guest(domain), "a reset does not show")
    yield
    manager.wait(lambda: shell_in_guest(domain), "OVMF does not come back after a reset", BOOT)
    need(qemu_words(domain) == before and inserted(domain) == [str(iso)], "a reset changed the machine")


def imported(name):
    image = rig.empty_disk(IMAGES / f"{name}.qcow2", size="4G")
    rig.allocate(image)
    before = hashlib.sha256(image.read_bytes()).hexdigest()
    manager.finish(manager.new_vm("import", name, SONOMA, image))
    manager.created(name)
    yield
    domain = ends_up_as_a_mac(name)
    need(disk_of(domain) == str(image), f"its disk is {disk_of(domain)}")
    need(hashlib.sha256(image.read_bytes()).hexdigest() == before, "the disk was written to")


def custom(name):
    window = manager.customize(manager.new_vm("manual", name, SONOMA), name)
    manager.hardware(window, "Memory", details=False)
    manager.spin(window, "Memory Select", 3072)
    manager.spin(window, "Max Memory Select", 3072)
    manager.apply(window)
    need(lookup(name) is None, "it is defined before the installation began")
    manager.begin_installation(window, lambda: lookup(name) is not None)
    manager.wait(lambda: lookup(name) is not None, "it is not created")
    yield
    domain = ends_up_as_a_mac(name)
    memory = tree.fromstring(rig.definition(domain)).findtext("memory")
    need(memory == str(3072 * 1024), f"it has {memory} KiB")


def at_once(flows):
    """Several VMs, by name and one of the functions above; nothing is left of them."""
    rest = {name: flow(name) for name, flow in flows.items()}
    while rest:
        for name, steps in list(rest.items()):
            begun = time.monotonic()
            try:
                next(steps)
            except StopIteration:
                del rest[name]
            except Exception as error:
                raise rig.Bad(f"{name}: {traceback.format_exc()}") from error
            rig.say(f"{name}: {time.monotonic() - begun:.0f} s")
    for name in flows:
        manager.close(manager.window(name))
    clear()
    manager.wait(lambda: not manager.names(), "virt-manager lists domains that are gone")


def again(flow):
    """One after the other, as often as this run wants."""
    for number in range(1, ROUNDS + 1):
        at_once({f"{flow.__name__}{number}": flow})


@test("New VM four ways: manual, CD-ROM, import, customized before the installation")
@evident
def four_ways():
    at_once({flow.__name__: flow for flow in (cdrom, manual, imported, custom)})


@test(f"manual install, {ROUNDS} times", when=LONG)
@evident
def manual_install():
    again(manual)


@test(f"CD-ROM install, {ROUNDS} times: the CD is there on the second boot", when=LONG)
@evident
def cdrom_install():
    again(cdrom)


@test(f"import of a disk, {ROUNDS} times: nobody writes to it", when=LONG)
@evident
def import_disk():
    again(imported)


@test(f"customize before install, {ROUNDS} times: what was chosen there holds", when=LONG)
@evident
def customize():
    again(custom)


### What a person changes afterwards ###############################################################


def is_now(domain, what):
    """The part of its definition that a person sees in the details."""
    root = tree.fromstring(rig.definition(domain))
    if what == "vcpu":
        return root.findtext("vcpu")
    place, attribute = {"video": ("video/model", "type"), "nic": ("interface/model", "type"),
                        "sound": ("sound", "model"), "disk": ("disk[@device='disk']/target", "bus"),
                        "watchdog": ("watchdog", "model")}[what]
    found = root.find(f"devices/{place}")
    return None if found is None else found.get(attribute)


def switched_off(flow, name):
    """A Mac that was clicked together and then switched off; its domain and window."""
    manager.finish(manager.new_vm(flow, name, SONOMA))
    domain = ends_up_as_a_mac(name)
    domain.destroy()
    manager.wait(lambda: manager.state(name) == "Shutoff", "virt-manager does not see that it is off")
    return domain, manager.window(name)


def boots_topology(domain):
    """Whether the shape that it has now is one that XNU boots."""
    root = tree.fromstring(rig.definition(domain))
    shape = root.find("cpu/topology")
    words = "x".join(shape.get(part) for part in ("sockets", "cores", "threads"))
    total = int(shape.get("sockets")) * int(shape.get("cores")) * int(shape.get("threads"))
    need(total == int(root.findtext("vcpu")), f"{words} is not its number of vCPUs")
    rig.live(0, "--macos", "14", "--explain-topology", words)


@test("video, NIC, sound, disk bus and vCPUs changed in the GUI stay, also over a restart of the daemon")
@evident
def user_is_not_fought():
    domain, window = switched_off("manual", "edited")
    was = {what: is_now(domain, what) for what in ("video", "nic", "sound", "disk")}
    need(was == {"video": "vga", "nic": "virtio", "sound": "ich9", "disk": "virtio"}, f"it was made with {was}")
    changes = [("Video VGA", "video", "VGA", "virtio"),
               ("NIC .*", "nic", "virtio", "e1000e"),
               ("Sound ich9", "sound", r"HDA \(ICH9\)", "ich6")]
    wanted = {}
    for label, what, old, value in changes:
        manager.hardware(window, label)
        manager.pick(window, old, value)
        manager.apply(window)
        wanted[what] = value
        watchd.fence()
        need(is_now(domain, what) == value, f"{what} became {is_now(domain, what)}, not {value}")
    # virt-manager 4.1 lets nobody change the bus of a disk here, virt-xml does.
    subprocess.run(["virt-xml", "edited", "--edit", "target=vda", "--define", "--disk",
                    "target.bus=sata,target.dev=sda,xpath1.delete=./address"], check=True, timeout=60,
                   capture_output=True)
    wanted["disk"] = "sata"
    watchd.fence()
    manager.set_vcpus(window, 1)
    watchd.fence()
    need(is_now(domain, "vcpu") == "1", f"it has {is_now(domain, 'vcpu')} vCPUs, not 1")
    boots_topology(domain)
    before = rig.definition(domain)
    watchd.restart()
    need(not rig.difference(before, rig.definition(domain)), "the daemon changed it when it was started again")
    is_ = {what: is_now(domain, what) for what in wanted}
    need(is_ == wanted, f"{is_}, not {wanted}")
    manager.run(window)
    ends_up_as_a_mac("edited")
    # Back to the largest number, and hardware that was not there.
    domain.destroy()
    manager.wait(lambda: manager.state("edited") == "Shutoff", "virt-manager does not see that it is off")
    manager.set_vcpus(window, 3)
    watchd.fence()
    boots_topology(domain)
    manager.add_hardware(window, "Watchdog")
    watchd.fence()
    need(is_now(domain, "watchdog"), "the watchdog that was added is gone")
    is_ = {what: is_now(domain, what) for what in wanted}
    need(is_ == wanted, f"after adding hardware: {is_}, not {wanted}")
    rig.live(0, "--check", "edited")
    manager.run(window)
    ends_up_as_a_mac("edited")
    manager.close(window)
    clear()


@test("a reverted VM stays reverted, whatever is changed in the GUI, also over a restart of the daemon")
@evident
def stays_reverted():
    domain, window = switched_off("manual", "reverted")
    rig.live(0, "--revert", "reverted")
    manager.hardware(window, "Memory")
    manager.spin(window, "Memory Select", 2048)
    manager.apply(window)
    watchd.fence()
    watchd.restart()
    xml = rig.definition(domain)
    need(tree.fromstring(xml).findtext("currentMemory") == str(2048 * 1024), "the edit is not there")
    need(rig.marker(xml).get("state") == "off" and not rig.arguments(xml), "it was patched again")
    need(is_now(domain, "video") == "qxl", "it does not have the video card that it was made with")
    manager.no_dialog()
    manager.close(window)
    clear()


def make_iso(path):
    content = SCRATCH / "iso"
    content.mkdir(exist_ok=True)
    (content / "README").write_text("An install medium for tests.\n")
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-V", "INSTALLER", "-o", str(path), str(content)],
                   check=True, timeout=60, capture_output=True)
    return path


begin()
rig.run()
