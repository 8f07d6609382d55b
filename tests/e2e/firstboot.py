# SPDX-License-Identifier: LGPL-2.1-or-later
"""First boots: virt-manager and virt-install start a machine before they define it.  dkvm-watchd does that
boot over, but stops a guest only if every condition of its rule holds; each test here breaks one of them."""

import contextlib
import glob
import os
import pathlib
import re
import signal
import subprocess
import time
import uuid as uuids

import libvirt

import rig
import watcher
from watcher import Watcher, patched, wait_patched

CONN = rig.connect()
RESTART = os.environ["DKVM_RESTART_LIBVIRTD"]
ISO = rig.SCRATCH / "installer.iso"
ISO.write_bytes(b"\0" * (1 << 20))
SETTLE = 0.5
ENOUGH = 4 * SETTLE + 2  # a machine that is to be stopped is stopped by then

# Boots from a disk by BIOS and writes its second sector: int 13h, function 3.
WRITES = bytes.fromhex("31c0 8ec0 bb007c b80103 b90200 b600 cd13 ebfe".replace(" ", ""))


def fresh(config=""):
    global CONN
    if not CONN.isAlive():
        CONN = rig.connect()
    rig.remove_all(CONN)
    rig.remove_disks()
    watcher.unconfigure()
    watcher.configure(f"[define]\n{'' if 'settle' in config else f'settle-seconds = {SETTLE}'}\n{config}")
    rig.empty_disk(rig.IMAGES / "mac.qcow2")


def cdrom(medium):
    source = f"<source file='{ISO}'/>" if medium else ""
    return ("<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>"
            f"{source}<target dev='sdc' bus='sata'/><readonly/></disk>")


def boot(xml, *kinds):
    return xml.replace("hvm</type>", "hvm</type>" + "".join(f"<boot dev='{kind}'/>" for kind in kinds))


class Guest:
    """A domain as virt-manager makes it: started from one definition, defined with another."""

    def __init__(self, live=None, final=None):
        uuid = f"<uuid>{uuids.uuid4()}</uuid><name>"
        self.live = (live or rig.mac()).replace("<name>", uuid)
        self.final = (final or live or rig.mac()).replace("<name>", uuid)
        self.domain = None
        self.id = None

    def start(self):
        self.domain = CONN.createXML(self.live, 0)
        self.id = self.domain.ID()
        return self

    def define(self):
        self.domain = CONN.defineXML(self.final)
        return self

    def now(self):
        return CONN.lookupByUUID(self.domain.UUID())

    def restarted(self, watch):
        """Until another machine than the first one runs."""
        def runs_anew():
            domain = self.now()
            return domain.isActive() and domain.ID() != self.id
        try:
            rig.wait(runs_anew, "it runs again")
        except rig.Bad as bad:
            raise rig.Bad(f"{bad}\n{watch.log()}") from None
        rig.need(rig.marker(self.now().XMLDesc(0)) is not None, f"what runs is not patched\n{watch.log()}")

    def keeps_running(self, watch, why):
        """The definition is patched, and it is the first machine that runs."""
        wait_patched(self.domain, watch)
        time.sleep(ENOUGH)
        domain = self.now()
        rig.need(domain.isActive() and domain.ID() == self.id, f"it was stopped\n{watch.log()}")
        rig.need(re.search(f"next start, because {why}", watch.log()), f"'{why}' is not said\n{watch.log()}")
        watch.wait_until_said("mac", "it waits for a restart", waits_for_restart=True, restarting=False)


@rig.test("a first boot is done over")
def _():
    fresh()
    with Watcher() as watch:
        guest = Guest().start().define()
        guest.restarted(watch)
        watch.wait_for("started again as a Darwin guest")
        rig.need("isa-applesmc" in guest.domain.XMLDesc(0), "without SMC")
        watch.wait_until_said("mac", "nothing waits", waits_for_restart=False, restarting=False, result="patched")
        guest.id = guest.now().ID()
        time.sleep(ENOUGH)
        rig.need(guest.now().ID() == guest.id, "and once more")


@rig.test("it is stopped once somebody has opened its console, if not before long")
def _():
    fresh("settle-seconds = 4\n")
    with Watcher() as watch:
        guest = Guest().start().define()
        wait_patched(guest.domain, watch)
        descriptor = guest.domain.openGraphicsFD(0, libvirt.VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH)
        guest.restarted(watch)
        os.close(descriptor)
        watch.wait_for("first boot stopped, nothing was written yet; its console was open")


@rig.test("the install medium and the order to boot from are carried over, and stay")
def _():
    fresh()
    for order in ("kinds", "devices"):
        live = rig.mac(more=cdrom(True))
        final = rig.mac(more=cdrom(False))
        if order == "kinds":
            live, final = boot(live, "cdrom", "hd"), boot(final, "hd")
        else:
            live = live.replace("<target dev='sdc' bus='sata'/>", "<target dev='sdc' bus='sata'/><boot order='1'/>")
            live = live.replace("<target dev='vda' bus='virtio'/>", "<target dev='vda' bus='virtio'/><boot order='2'/>")
            final = final.replace("<target dev='vda' bus='virtio'/>", "<target dev='vda' bus='virtio'/><boot order='1'/>")
        with Watcher() as watch:
            guest = Guest(live, final).start().define()
            guest.restarted(watch)
            for xml in (guest.domain.XMLDesc(0), rig.definition(guest.domain)):
                rig.need(str(ISO) in xml, f"{order}: the medium is gone\n{xml}")
                if order == "kinds":
                    found = re.findall("<boot dev='([^']*)'", xml)
                    rig.need(found == ["cdrom", "hd"], f"{order}: {found}")
                else:
                    rig.need(re.search("(?s)dev='sdc'.*?<boot order='1'/>.*?</disk>", xml), f"{order}: {xml}")
            # The second boot.
            guest.domain.destroy()
            guest.domain.create()
            rig.need(str(ISO) in guest.domain.XMLDesc(0), f"{order}: the medium is gone at the second boot")
        rig.remove_all(CONN)


@rig.test("first-boot = leave")
def _():
    fresh("first-boot = leave\n")
    with Watcher() as watch:
        Guest().start().define().keeps_running(watch, "dkvm.conf says first-boot = leave")


@rig.test("older than 10 seconds")
def _():
    fresh()
    with Watcher() as watch:
        guest = Guest().start()
        time.sleep(10.2)
        guest.define().keeps_running(watch, "it had been running for more than 10 seconds")


@rig.test("restored from a file")
def _():
    fresh()
    with Watcher() as watch:
        guest = Guest().start()
        path = str(rig.SCRATCH / "saved")
        guest.domain.save(path)
        CONN.restore(path)
        guest.id = guest.now().ID()
        guest.define().keeps_running(watch, "dkvm-watchd has not seen it boot")


@rig.test("reverted to a snapshot")
def _():
    fresh()
    with Watcher() as watch:
        guest = Guest(rig.mac(bus="virtio")).start()
        rig.virsh("snapshot-create-as", guest.domain.UUIDString(), "one")
        rig.virsh("snapshot-revert", guest.domain.UUIDString(), "one", "--running")
        guest.id = guest.now().ID()
        # libvirt has made it persistent by that, so it tells of a change; test-history breaks one at a time.
        guest.define().keeps_running(watch, "(dkvm-watchd has not seen it boot|it was defined before)")


SECOND = rig.SCRATCH / "second"
SECOND_URI = f"qemu+unix:///system?socket={SECOND}/libvirt-sock"


@contextlib.contextmanager
def second_libvirtd():
    """Another host: a libvirtd with state, name and UUID of its own, in this network and process namespace."""
    SECOND.mkdir()
    script = f"""set -e
hostname dkvm-second
for dir in /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do mount -t tmpfs tmpfs "$dir"; done
cp -a /etc/libvirt {SECOND}/etc
mount --bind {SECOND}/etc /etc/libvirt
rm -rf /etc/libvirt/qemu
printf 'unix_sock_dir = "{SECOND}"\nhost_uuid = "{uuids.uuid4()}"\n' >>/etc/libvirt/libvirtd.conf
echo 'stdio_handler = "file"' >>/etc/libvirt/qemu.conf
unset XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME XDG_RUNTIME_DIR
exec libvirtd -p /run/libvirt/second.pid"""
    with open(rig.SCRATCH / "second.log", "wb") as log:
        process = subprocess.Popen(["unshare", "--mount", "--uts", "bash", "-c", script], stdout=log, stderr=log)
    try:
        rig.wait(lambda: subprocess.run(["virsh", "-q", "-c", SECOND_URI, "uri"], capture_output=True, timeout=60,
                                        check=False).returncode == 0, "a second libvirtd")
        yield libvirt.open(SECOND_URI)
    finally:
        process.terminate()
        process.wait(30)


@rig.test("migrated in and made persistent", when=rig.SUITE == "bookworm")
def _():
    global CONN
    fresh()
    here = CONN
    xml = re.sub("(?s)<disk.*?</disk>|<interface.*?</interface>", "", rig.mac())
    with second_libvirtd() as there, Watcher("--connect", SECOND_URI) as watch:
        guest = Guest(xml).start()
        try:
            rig.virsh("migrate", "--live", "--persistent", "--unsafe", "mac", SECOND_URI, "--migrateuri",
                      f"unix://{rig.SCRATCH}/migration")
            CONN = there
            guest.domain = there.lookupByName("mac")
            guest.id = guest.domain.ID()
            guest.keeps_running(watch, "(dkvm-watchd has not seen it boot|it was defined before)")
            rig.need("has not seen it boot" in watch.log(), watch.log())
            guest.domain.destroy()
            guest.domain.undefineFlags(4)
        finally:
            CONN = here


@rig.test("paused and resumed by somebody")
def _():
    fresh()
    with Watcher() as watch:
        guest = Guest().start()
        guest.domain.suspend()
        guest.domain.resume()
        guest.define().keeps_running(watch, "dkvm-watchd has not seen it boot, or something happened to it since")


@rig.test("an imported disk that has been written to")
def _():
    fresh()
    disk = rig.IMAGES / "writes.img"
    disk.write_bytes(WRITES.ljust(510, b"\0") + b"\x55\xaa" + b"\0" * (1 << 20))
    xml = rig.mac().replace("type='qcow2'", "type='raw'").replace(str(rig.IMAGES / "mac.qcow2"), str(disk))
    with Watcher() as watch:
        guest = Guest(xml).start()
        rig.wait(lambda: guest.domain.blockStats("vda")[3] > 0, "the guest writes", deadline=9)
        wait = Guest.define(guest)
        wait_patched(wait.domain, watch)
        time.sleep(ENOUGH)
        rig.need(guest.now().isActive() and guest.now().ID() == guest.id, f"it was stopped\n{watch.log()}")
        watch.wait_for("left running; the patch takes effect at its next start, because it has written to a disk")
        watch.wait_until_said("mac", "it waits for a restart", waits_for_restart=True, restarting=False)


@rig.test("a medium is not left in the drive of a guest that goes on")
def _():
    fresh()
    disk = rig.IMAGES / "writes.img"
    disk.write_bytes(WRITES.ljust(510, b"\0") + b"\x55\xaa" + b"\0" * (1 << 20))
    def xml(medium):
        text = rig.mac(more=cdrom(medium)).replace("type='qcow2'", "type='raw'", 1)
        return boot(text.replace(str(rig.IMAGES / "mac.qcow2"), str(disk)), "hd")
    with Watcher() as watch:
        guest = Guest(xml(True), xml(False)).start()
        rig.wait(lambda: guest.domain.blockStats("vda")[3] > 0, "the guest writes", deadline=9)
        guest.define()
        watch.wait_for("because it has written to a disk")
        rig.need(str(ISO) not in rig.definition(guest.domain), "the medium is in the definition")


@rig.test("a PCI device of the host")
def _():
    fresh()
    with Watcher(env=rig.racing("hostdev 0 :")) as watch:
        Guest().start().define().keeps_running(watch, "it uses a PCI device of the host")


@rig.test("the watcher was restarted in between")
def _():
    fresh()
    with Watcher():
        guest = Guest().start()
    with Watcher() as watch:
        guest.define().keeps_running(watch, "dkvm-watchd has not seen it boot")


@rig.test("found by the scan")
def _():
    fresh()
    guest = Guest().start().define()
    with Watcher() as watch:
        guest.keeps_running(watch, "it was running before dkvm-watchd looked")


@rig.test("libvirtd was restarted in between")
def _():
    global CONN
    fresh()
    with Watcher() as watch:
        guest = Guest().start()
        subprocess.run([RESTART], check=True, timeout=120)
        CONN = rig.connect()
        watch.wait_for(": watching", 2)
        guest.define().keeps_running(watch, "dkvm-watchd has not seen it boot")


@rig.test("no statistics")
def _():
    fresh()
    with Watcher(env=rig.racing("stats 0 :")) as watch:
        guest = Guest().start().define()
        guest.keeps_running(watch, "libvirt does not say whether it has written to its disks")


@rig.test("defined before: an edit of a running domain")
def _():
    fresh()
    domain = CONN.defineXML(rig.mac(os_id=None))
    with Watcher() as watch:
        domain.create()
        guest = Guest()
        guest.domain, guest.id = domain, domain.ID()
        rig.virsh("metadata", "mac", "--config", "http://libosinfo.org/xmlns/libvirt/domain/1.0", "--key", "libosinfo",
                  "--set", f"<libosinfo><os id='{rig.APPLE}'/></libosinfo>")
        guest.keeps_running(watch, "it was defined before")


@rig.test("what runs is patched already")
def _():
    fresh()
    with Watcher() as watch:
        first = Guest().start().define()
        first.restarted(watch)
        watch.wait_for("started again as a Darwin guest")
        live = rig.definition(first.domain)
        first.domain.destroy()
        first.domain.undefineFlags(4)
        domain = CONN.createXML(live, 0)
        again = domain.ID()
        domain = CONN.defineXML(live)
        time.sleep(ENOUGH)
        rig.need(domain.isActive() and domain.ID() == again, f"it was stopped\n{watch.log()}")


@rig.test("stopped by somebody else before we do: it stays off")
def _():
    fresh("settle-seconds = 2\n")
    with Watcher() as watch:
        guest = Guest().start().define()
        watch.wait_for("first boot, which is done over")
        guest.domain.destroy()
        time.sleep(5)
        rig.need(not guest.now().isActive(), "it was started")


@rig.test("virt-manager starts it itself: no second start")
def _():
    fresh()
    with Watcher() as watch:
        guest = Guest().start().define()
        rig.wait(lambda: not guest.now().isActive(), "it is stopped")
        guest.domain.create()
        guest.restarted(watch)
        watch.wait_for("started again by somebody else")
        time.sleep(4.5)
        rig.need("error" not in watch.log() and "started again as" not in watch.log(), watch.log())


@rig.test("started and stopped by somebody while we wait: it stays off")
def _():
    fresh()
    with Watcher() as watch:
        guest = Guest().start().define()
        rig.wait(lambda: not guest.now().isActive(), "it is stopped")
        guest.domain.create()
        guest.domain.destroy()
        time.sleep(5)
        rig.need(not guest.now().isActive(), "it was started")


@rig.test("undefined while we wait: it stays gone")
def _():
    fresh()
    with Watcher() as watch:
        guest = Guest().start().define()
        rig.wait(lambda: not guest.now().isActive(), "it is stopped")
        guest.domain.undefineFlags(4)
        time.sleep(5)
        rig.need(not CONN.listAllDomains() and "error" not in watch.log(), watch.log())


@rig.test("SIGTERM before it is stopped: left as found")
def _():
    fresh("settle-seconds = 3\n")
    watch = Watcher()
    guest = Guest().start().define()
    wait_patched(guest.domain, watch)
    rig.need(watch.stop() == 0, "not exit 0")
    time.sleep(4)
    rig.need(guest.now().isActive() and guest.now().ID() == guest.id, "it was stopped")


@rig.test("SIGTERM after it is stopped: started first")
def _():
    fresh()
    watch = Watcher()
    guest = Guest().start().define()
    watch.wait_for("first boot stopped")
    rig.need(watch.stop() == 0, "not exit 0")
    rig.need(guest.now().isActive() and guest.now().ID() != guest.id, f"it is off\n{watch.log()}")


### Killed #########################################################################################

PENDING = "/run/dkvm-watchd/restart-*"


def killed(where):
    """A watcher that kills itself there, on the first boot of the guest that is returned."""
    fresh()
    watch = Watcher(env=rig.racing(f"{where} 1 kill -KILL $PPID"))
    guest = Guest(rig.mac(more=cdrom(True)), rig.mac(more=cdrom(False))).start().define()
    rig.need(watch.process.wait(rig.DEADLINE) == -signal.SIGKILL, f"it was not killed\n{watch.log()}")
    rig.need(len(glob.glob(PENDING)) == 1, "there is no note of it")
    rig.need(oct(os.stat(glob.glob(PENDING)[0]).st_mode & 0o022) == "0o0", "others may write it")
    return guest


def nothing_noted():
    rig.wait(lambda: not glob.glob(PENDING), "the note is gone")


@rig.test("killed before it stops a first boot: left running")
def _():
    guest = killed("destroy")
    with Watcher() as watch:
        watch.wait_for("left running")
        nothing_noted()
        time.sleep(5)
        rig.need(guest.now().isActive() and guest.now().ID() == guest.id, f"it was stopped\n{watch.log()}")
        rig.need("eject it when the installation is over" in watch.log(), watch.log())


@rig.test("killed after it has stopped a first boot: the next one starts it")
def _():
    for where in ("destroyed", "start"):
        guest = killed(where)
        rig.need(not guest.now().isActive(), f"{where}: it runs")
        with Watcher() as watch:
            guest.restarted(watch)
            nothing_noted()
            watch.wait_for("started again as a Darwin guest")
            rig.need(str(ISO) in guest.domain.XMLDesc(0), f"{where}: the medium is gone")
            rig.need("error" not in watch.log(), watch.log())


@rig.test("killed after it has started it: nothing is left to do")
def _():
    guest = killed("started")
    again = guest.now().ID()
    rig.need(again not in (-1, guest.id), "it does not run")
    with Watcher() as watch:
        nothing_noted()
        time.sleep(5)
        rig.need(guest.now().ID() == again and "error" not in watch.log(), watch.log())


@rig.test("killed while a first boot is stopped, and somebody else has touched it: left as found")
def _():
    guest = killed("destroyed")
    guest.domain.create()
    again = guest.now().ID()
    with Watcher() as watch:
        nothing_noted()
        time.sleep(5)
        rig.need(guest.now().ID() == again and "error" not in watch.log(), watch.log())
    # Started by virt-manager while the next watcher waits.
    guest = killed("destroyed")
    with Watcher() as watch:
        watch.wait_for("it is started again")
        guest.domain.create()
        again = guest.now().ID()
        watch.wait_for("started again by somebody else")
        nothing_noted()
        rig.need(guest.now().ID() == again and "error" not in watch.log(), watch.log())
    # Undefined.
    guest = killed("destroyed")
    guest.domain.undefineFlags(4)
    with Watcher() as watch:
        nothing_noted()
        rig.need(not CONN.listAllDomains() and "error" not in watch.log(), watch.log())


@rig.test("killed while a first boot is stopped, and it is off for another reason by now: reported")
def _():
    def edited(guest):
        guest.domain = CONN.defineXML(rig.definition(guest.domain).replace("</name>", "</name><title>mine</title>"))

    def shut_down(guest):
        guest.domain.create()
        # QEMU may be gone before it has answered: what comes of it is what counts.
        subprocess.run(["virsh", "-q", "qemu-monitor-command", "mac", "--hmp", "quit"], capture_output=True,
                       timeout=120, check=False)
        rig.wait(lambda: not guest.now().isActive(), "it is off")

    for touch in (edited, shut_down):
        guest = killed("destroyed")
        touch(guest)
        with Watcher() as watch:
            watch.wait_for("whether somebody wants that by now is not known")
            nothing_noted()
            watch.wait_until_said("mac", "it is reported", result="failed")
            time.sleep(5)
            rig.need(not guest.now().isActive(), "it was started")


@rig.test("libvirtd is restarted while it is stopped: started all the same")
def _():
    global CONN
    fresh()
    with Watcher() as watch:
        guest = Guest().start().define()
        watch.wait_for("first boot stopped")
        subprocess.run([RESTART], check=True, timeout=120)
        CONN = rig.connect()
        guest.id = -2
        guest.restarted(watch)


@rig.test("several at once do not wait for each other")
def _():
    fresh()
    with Watcher() as watch:
        guests = []
        for number in range(4):
            rig.empty_disk(rig.IMAGES / f"mac-{number}.qcow2")
        begun = time.monotonic()
        # Each is defined as soon as it runs: on a busy machine four starts take more than 10 seconds.
        for number in range(4):
            xml = rig.mac(f"mac-{number}").replace(">512<", ">64<").replace(">256<", ">64<")
            guests.append(Guest(xml).start().define())
        for guest in guests:
            guest.restarted(watch)
        rig.say(f"four first boots at once: {time.monotonic() - begun:.1f} s")


### virt-install ####################################################################################


@contextlib.contextmanager
def installing(*words):
    base = ["virt-install", "--name", "mac", "--virt-type", "qemu", "--memory", "64", "--vcpus", "1", "--network", "none",
            "--graphics", "vnc", "--osinfo", "generic", "--noautoconsole"]
    with Watcher() as watch:
        done = subprocess.run([*base, *words], capture_output=True, text=True, timeout=120, check=False)
        rig.need(done.returncode == 0, f"virt-install: {done.stdout}{done.stderr}")
        guest = Guest()
        guest.domain = CONN.lookupByName("mac")
        yield watch, guest


@rig.test("virt-install --import")
def _():
    fresh("match = all\n")
    with installing("--import", "--disk", str(rig.IMAGES / "mac.qcow2")) as (watch, guest):
        guest.id = guest.now().ID() if "first boot stopped" not in watch.log() else -2
        guest.restarted(watch)
        rig.live(0, "--check", "mac")


@rig.test("virt-install --import --noreboot: defined only")
def _():
    fresh("match = all\n")
    with installing("--import", "--noreboot", "--disk", str(rig.IMAGES / "mac.qcow2")) as (watch, guest):
        wait_patched(guest.domain, watch)
        rig.need(not guest.now().isActive(), "it runs")


@rig.test("virt-install --cdrom: the medium is still there")
def _():
    fresh("match = all\n")
    with installing("--cdrom", str(ISO), "--disk", str(rig.IMAGES / "mac.qcow2")) as (watch, guest):
        watch.wait_for("started again as a Darwin guest")
        xml = guest.domain.XMLDesc(0)
        rig.need(rig.marker(xml) is not None and str(ISO) in xml, xml)
        rig.need(re.findall("<boot dev='([^']*)'", xml)[:1] == ["cdrom"] or "<boot order='1'/>" in xml, xml)
        rig.need((rig.IMAGES / "mac.qcow2").exists(), "the disk is gone")


@rig.test("virt-install --transient: left alone")
def _():
    fresh("match = all\n")
    with installing("--transient", "--import", "--disk", str(rig.IMAGES / "mac.qcow2")) as (watch, guest):
        guest.id = guest.now().ID()
        time.sleep(ENOUGH)
        rig.need(guest.now().ID() == guest.id and not guest.now().isPersistent(), "it was touched")
        rig.need(watch.said_of("mac") is None, "it is listed")


rig.run()
