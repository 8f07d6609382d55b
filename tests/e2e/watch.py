# SPDX-License-Identifier: LGPL-2.1-or-later
"""dkvm-watchd beside a real libvirtd: what it patches, and what it leaves alone."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import time
import xml.etree.ElementTree as tree

import libvirt

import rig
import watcher
from watcher import Watcher, patched, settle, wait_patched

CONN = rig.connect()
RESTART = os.environ["DKVM_RESTART_LIBVIRTD"]


def fresh():
    global CONN
    if not CONN.isAlive():
        CONN = rig.connect()
    rig.remove_all(CONN)
    rig.remove_disks()
    watcher.unconfigure()


def define(name="mac", **more):
    return CONN.defineXML(rig.mac(name, **more))


def events_of(domain):
    return rig.defines(CONN).get(domain.UUIDString(), 0)


def edit(domain, old, new):
    xml = rig.definition(domain)
    changed = re.sub(old, new, xml, count=1)
    rig.need(changed != xml, f"nothing to edit: {old}\n{xml}")
    return CONN.defineXML(changed)


@rig.test("a new definition is patched, once")
def _():
    fresh()
    with Watcher() as watch:
        domain = define()
        wait_patched(domain, watch)
        settle(CONN, watch)
        rig.need(events_of(domain) == 2, f"{events_of(domain)} definitions, not theirs and ours")
        rig.need(watch.count(": mac (new): patched as a Darwin guest, ") == 1, watch.log())
        said = watch.said_of("mac")
        rig.need(said["result"] == "patched" and not said["waits_for_restart"], f"{said}")
    rig.live(0, "--check", "mac")


@rig.test("other systems' domains are not")
def _():
    fresh()
    with Watcher() as watch:
        domains = [define("linux", os_id="http://debian.org/debian/12"), define("none", os_id=None)]
        settle(CONN, watch)
        for domain in domains:
            rig.need(not patched(domain) and events_of(domain) == 1, f"{domain.name()} was redefined")
        rig.need(watch.said_of("linux") is None, "it is listed")


@rig.test("what was defined before it started is patched by the scan")
def _():
    fresh()
    domains = [define(f"mac-{number}") for number in range(20)] + [define("other", os_id=None)]
    with Watcher() as watch:
        for domain in domains[:-1]:
            wait_patched(domain, watch)
        settle(CONN, watch)
        rig.need(not patched(domains[-1]), "the other system's was patched")
        rig.need(watch.count("(found by a scan): patched") == 20, watch.log())


@rig.test("names and match of the configuration, read again by SIGHUP")
def _():
    fresh()
    watcher.configure("[define]\nmatch = all\nnames = mac-*\n")
    with Watcher() as watch:
        define("mac-1", os_id=None)
        define("other", os_id=None)
        wait_patched(CONN.lookupByName("mac-1"), watch)
        watcher.configure("[define]\nmatch = all\nnames = oth?r\n")
        watch.reload()
        wait_patched(CONN.lookupByName("other"), watch)
        late = define("mac-2", os_id=None)
        # A broken one changes nothing and is reported.
        watcher.configure("[define]\nmatch = none\n")
        watch.process.send_signal(signal.SIGHUP)
        watch.wait_for("the configuration that was in force stays")
        rig.wait(lambda: "match" in watch.status().get("configuration_error", ""), "it is in the status")
        another = define("othar", os_id=None)
        wait_patched(another, watch)
        rig.need(not patched(late), "a name that does not match was patched")
        watcher.configure("[define]\nmatch = all\n")
        watch.reload()
        wait_patched(late, watch)
        rig.wait(lambda: "configuration_error" not in watch.status(), "the error is gone")


@rig.test("a bad configuration at the start: exit 3 with file, group and key")
def _():
    fresh()
    watcher.configure("[define]\nfirst-boot = never\n")
    watch = Watcher(watching=False)
    rig.need(watch.process.wait(30) == 3, "not exit 3")
    rig.need(all(word in watch.log() for word in ("dkvm.conf", "[define]", "first-boot")), watch.log())
    watcher.configure("[define]\nmodel = MacPro9,9\n")
    watch = Watcher(watching=False)
    rig.need(watch.process.wait(30) == 3 and "MacPro9,9" in watch.log(), watch.log())


@rig.test("the user's edits stay, over a restart of the watcher and a reload")
def _():
    fresh()
    with Watcher() as watch:
        domain = define()
        wait_patched(domain, watch)
        edit(domain, r"<sound model='[^']*'", "<sound model='usb'")
        settle(CONN, watch)
        rig.need("<sound model='usb'" in rig.definition(domain), "the sound card was fought")
        watch.reload()
        settle(CONN, watch)
    with Watcher() as watch:
        settle(CONN, watch)
        rig.need("<sound model='usb'" in rig.definition(domain), "the sound card was fought after a restart")
        rig.need(watch.count("patched as") == 6, "it was patched again: " + watch.log())


@rig.test("a changed number of vCPUs gets a shape that boots")
def _():
    fresh()
    with Watcher() as watch:
        domain = define(vcpus=1)
        wait_patched(domain, watch)
        rig.need(re.search("<topology sockets='1' .*cores='1' threads='1'/>", rig.definition(domain)), "not 1x1x1")
        # As virt-manager does: a new number, and a shape of its own kind, or none.
        for shape in ("<topology sockets='2' cores='1' threads='1'/>", ""):
            edit(domain, "(?s)<vcpu[^>]*>[0-9]+</vcpu>(.*?)<topology [^>]*/>", rf"<vcpu>2</vcpu>\1{shape}")
            settle(CONN, watch)
            words = re.findall("<topology sockets='(.)' dies='1'(?: clusters='1')? cores='(.)' threads='(.)'/>", rig.definition(domain))
            rig.need(len(words) == 1, f"{len(words)} shapes after '{shape}'")
            rig.live(0, "--explain-topology", "x".join(words[0]))
        rig.live(0, "--check", "mac")


@rig.test("a reverted domain stays reverted, over edits and restarts")
def _():
    fresh()
    with Watcher() as watch:
        domain = define()
        wait_patched(domain, watch)
        rig.live(0, "--revert", "mac")
        settle(CONN, watch)
        rig.need("isa-applesmc" not in rig.definition(domain), "it was patched again")
        edit(domain, "</name>", "</name><title>mine</title>")
        settle(CONN, watch)
        rig.need("isa-applesmc" not in rig.definition(domain), "it was patched again after an edit")
        rig.need(watch.said_of("mac") is None, "it is listed")
    with Watcher() as watch:
        settle(CONN, watch)
        rig.need("isa-applesmc" not in rig.definition(domain), "it was patched again by the scan")


@rig.test("virsh edit, define, desc and metadata")
def _():
    fresh()
    with Watcher() as watch:
        path = rig.SCRATCH / "mac.xml"
        path.write_text(rig.mac())
        rig.virsh("define", str(path))
        domain = CONN.lookupByName("mac")
        wait_patched(domain, watch)
        editor = rig.SCRATCH / "editor"
        editor.write_text("#!/bin/sh\nsed -i \"s/<sound model='[^']*'/<sound model='usb'/\" \"$1\"\n")
        editor.chmod(0o755)
        done = subprocess.run(["virsh", "-q", "edit", "mac"], env={**os.environ, "EDITOR": str(editor)},
                              capture_output=True, text=True, timeout=60, check=False)
        rig.need(done.returncode == 0, done.stderr)
        rig.virsh("desc", "mac", "--config", "--title", "a title")
        rig.virsh("metadata", "mac", "--config", "urn:x", "--key", "x", "--set", "<a/>")
        settle(CONN, watch)
        xml = rig.definition(domain)
        rig.need("a title" in xml and "urn:x" in xml and "<sound model='usb'" in xml and patched(domain), xml)
        rig.live(0, "--check", "mac")
        # The whole of the user's own definition again.
        rig.virsh("define", "/dev/stdin", text=re.sub("<name>", f"<uuid>{domain.UUIDString()}</uuid><name>", rig.mac()))
        wait_patched(domain, watch)


@rig.test("a libosinfo id that is set later is noticed")
def _():
    fresh()
    with Watcher() as watch:
        domain = define(os_id=None)
        settle(CONN, watch)
        rig.need(not patched(domain), "patched without a reason")
        rig.virsh("metadata", "mac", "--config", "http://libosinfo.org/xmlns/libvirt/domain/1.0", "--key", "libosinfo",
                  "--set", f"<libosinfo><os id='{rig.APPLE}'/></libosinfo>")
        wait_patched(domain, watch)


@rig.test("rename")
def _():
    fresh()
    with Watcher() as watch:
        domain = define()
        wait_patched(domain, watch)
        rig.virsh("domrename", "mac", "other-mac")
        settle(CONN, watch)
        domain = CONN.lookupByName("other-mac")
        rig.live(0, "--check", "other-mac")
        rig.need(len(CONN.listAllDomains()) == 1, "the old name is back")
        rig.wait(lambda: watch.said_of("other-mac") and not watch.said_of("mac"), "the status has the new name")
        # While it is being patched.
        for number in range(10):
            domain = define(f"early-{number}")
            domain.rename(f"late-{number}")
        for number in range(10):
            wait_patched(CONN.lookupByName(f"late-{number}"), watch)
        rig.need(not [d for d in CONN.listAllDomains() if d.name().startswith("early")], "an old name is back")


@rig.test("snapshots: a definition from before the patch is patched again")
def _():
    fresh()
    domain = define()
    rig.empty_disk(rig.IMAGES / "mac.qcow2")
    rig.virsh("snapshot-create-as", "mac", "before")
    with Watcher() as watch:
        wait_patched(domain, watch)
        rig.need(len(domain.listAllSnapshots()) == 1, "the snapshot is gone")
        rig.virsh("snapshot-revert", "mac", "before")
        wait_patched(domain, watch)
        settle(CONN, watch)
        rig.live(0, "--check", "mac")


@rig.test("undefined while it is patched: stays undefined")
def _():
    fresh()
    command = "virsh -q undefine mac --nvram"
    # Before its second read, and in the very last moment.
    for rule in (f"read 2 {command}", f"define 1 {command}"):
        with Watcher(env=rig.racing(rule)) as watch:
            define()
            rig.wait(lambda: not CONN.listAllDomains(), f"'{rule}': it is back\n{watch.log()}")
            time.sleep(0.5)
            rig.need(not CONN.listAllDomains(), f"'{rule}': it is back\n{watch.log()}")
            rig.need(watch.said_of("mac") is None, "it is listed")
            watch.process.send_signal(signal.SIGTERM)
            watch.process.wait(30)
    rig.remove_all(CONN)


@rig.test("undefined as soon as it is defined, many times")
def _():
    fresh()
    with Watcher() as watch:
        for number in range(60):
            domain = define(f"short-{number}")
            time.sleep((number % 12) / 500)
            domain.undefineFlags(4)
        settle(CONN, watch)
        left = [domain.name() for domain in CONN.listAllDomains()]
        rig.need(not left, f"{left} are back\n{watch.log()}")
        rig.need("error" not in watch.log(), watch.log())


def write_sheet(templates):
    watcher.SHEETS.mkdir(exist_ok=True)
    (watcher.SHEETS / "50-more.xsl").write_text(f"""<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
  <xsl:template match="@*|node()"><xsl:copy><xsl:apply-templates select="@*|node()"/></xsl:copy></xsl:template>
  <xsl:template match="/"><xsl:apply-templates select="//domain[1]"/></xsl:template>
  {templates}
</xsl:stylesheet>""")


@rig.test("an admin's stylesheet that counts up does so once")
def _():
    fresh()
    write_sheet('<xsl:template match="domain/memory/text()"><xsl:value-of select=". + 1024"/></xsl:template>')
    with Watcher() as watch:
        domain = define()
        wait_patched(domain, watch)
        settle(CONN, watch)
        watch.reload()
        settle(CONN, watch)
        edit(domain, "</name>", "</name><title>mine</title>")
        settle(CONN, watch)
        memory = tree.fromstring(rig.definition(domain)).findtext("memory")
        rig.need(int(memory) == 512 * 1024 + 1024, f"memory {memory}")
        rig.need(events_of(domain) == 3, f"{events_of(domain)} definitions, not theirs, ours and the edit")


@rig.test("an admin's stylesheet that adds more each time: set aside after three, and reported once")
def _():
    fresh()
    # libvirt writes what is added in its own way, so it looks like the user's the next time.
    write_sheet("""<xsl:template match="domain/devices"><xsl:copy><xsl:apply-templates select="@*|node()"/>
    <serial type="pty"><target port="{count(serial)}"/></serial></xsl:copy></xsl:template>""")
    with Watcher() as watch:
        domain = define()
        watch.wait_until_said("mac", "it is set aside", result="set-aside")
        time.sleep(0.5)
        rig.need(events_of(domain) == 4, f"{events_of(domain) - 1} stores, not 3")
        rig.need(watch.count("mac is set aside") == 1, watch.log())
        write_sheet("")
        watch.reload()
        watch.wait_until_said("mac", "it is tried again", result="up-to-date")


@rig.test("an admin's stylesheet that cannot be used: reported once, nothing is changed")
def _():
    fresh()
    write_sheet('<xsl:template match="domain/name/text()">another</xsl:template>')
    with Watcher() as watch:
        domain = define()
        watch.wait_until_said("mac", "it failed", result="failed")
        for number in range(3):
            edit(domain, "(</name>)(\\s*<title>.*</title>)?", rf"\1<title>{number}</title>")
        settle_failed(watch)
        rig.need(watch.count("error: qemu:///system: mac") == 1 and "xslt.d" in watch.log(), watch.log())
        rig.need(not patched(domain) and events_of(domain) == 4, "it was stored")
        write_sheet("")
        watch.reload()
        wait_patched(domain, watch)
        watch.wait_until_said("mac", "the failure is over", result="patched")


def settle_failed(watch):
    """Where nothing can be patched, no fence can be either."""
    other = define("last")
    watch.wait_until_said("last", "it is looked at", result="failed")
    other.undefine()
    time.sleep(0.3)


@rig.test("stored three times and always undone: set aside, and reported once")
def _():
    fresh()
    with Watcher(env=rig.racing("strip 0 :")) as watch:
        domain = define()
        watch.wait_until_said("mac", "it is set aside", result="set-aside")
        time.sleep(1)
        rig.need(events_of(domain) == 4, f"{events_of(domain) - 1} stores, not 3")
        rig.need(watch.count("is set aside") == 1, watch.log())
        # A change by somebody else: tried again.
        edit(domain, "</name>", "</name><title>mine</title>")
        watch.wait_for(": mac (changed): patched", 3)


@rig.test("an edit of somebody else's in the last moment is reported")
def _():
    fresh()
    command = ("virsh -q dumpxml --inactive --security-info mac | sed 's|</name>|</name><title>mine</title>|' "
               ">/tmp/edited.xml && virsh -q define /tmp/edited.xml")
    with Watcher(env=rig.racing(f"define 1 {command}")) as watch:
        domain = define()
        watch.wait_for("may be lost")
        wait_patched(domain, watch)


@rig.test("one that does not answer does not delay the others; nor does a slow one")
def _():
    fresh()
    hung = []
    for number in range(3):
        rig.empty_disk(rig.IMAGES / f"hung-{number}.qcow2")
        domain = define(f"hung-{number}", os_id=None)
        domain.create()
        hung.append(int(pathlib.Path(f"/run/libvirt/qemu/hung-{number}.pid").read_text()))
    try:
        for pid in hung:
            os.kill(pid, signal.SIGSTOP)
        with Watcher() as watch:
            for number in range(3): # now they are ours, and asking for their disks hangs
                rig.virsh("metadata", f"hung-{number}", "--config", "http://libosinfo.org/xmlns/libvirt/domain/1.0",
                          "--key", "libosinfo", "--set", f"<libosinfo><os id='{rig.APPLE}'/></libosinfo>")
            time.sleep(0.5)
            for number in range(10):
                start = time.monotonic()
                wait_patched(define(f"mac-{number}"), watch)
            rig.say(f"beside three that hang: {time.monotonic() - start:.2f} s for the last one")
            for pid in hung:
                os.kill(pid, signal.SIGCONT)
            for number in range(3):
                wait_patched(CONN.lookupByName(f"hung-{number}"), watch)
    finally:
        for pid in hung:
            os.kill(pid, signal.SIGCONT)


@rig.test("virt-clone")
def _():
    fresh()
    with Watcher() as watch:
        domain = define()
        rig.empty_disk(rig.IMAGES / "mac.qcow2")
        wait_patched(domain, watch)
        done = subprocess.run(["virt-clone", "-q", "--original", "mac", "--name", "clone", "--auto-clone"],
                              capture_output=True, text=True, timeout=120, check=False)
        rig.need(done.returncode == 0, done.stderr + done.stdout)
        settle(CONN, watch)
        # virt-clone defines it twice; up to date is what comes of the second.
        rig.wait(lambda: subprocess.run([rig.DKVM, "--check", "clone"], capture_output=True, timeout=60,
                                        check=False).returncode == 0, "the clone is patched")
        clone, original = rig.definition(CONN.lookupByName("clone")), rig.definition(domain)
        nvram = [tree.fromstring(xml).findtext("os/nvram") for xml in (clone, original)]
        rig.need(nvram[0] is None or nvram[0] != nvram[1], f"both use {nvram}")


@rig.test("libvirtd is restarted: connected again, what was missed is patched")
def _():
    global CONN
    fresh()
    with Watcher() as watch:
        wait_patched(define("mac-1"), watch)
        subprocess.run([RESTART], check=True, timeout=120)
        CONN = rig.connect()
        domain = define("mac-2")
        wait_patched(domain, watch)
        watch.wait_for(": watching", 2)
        rig.need(watch.count("mac-1 (") == 1, "patched twice: " + watch.log())


@rig.test("no libvirtd at the start: it waits")
def _():
    global CONN
    fresh()
    define()
    pid = int(pathlib.Path("/run/libvirtd.pid").read_text())
    os.kill(pid, signal.SIGTERM)
    rig.wait(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "libvirtd ends")
    with Watcher(watching=False) as watch:
        watch.wait_for("cannot connect")
        rig.need(watch.status()["connections"][0]["state"] == "waiting", "the status says something else")
        subprocess.run([RESTART], check=True, timeout=120)
        CONN = rig.connect()
        wait_patched(CONN.lookupByName("mac"), watch)
        rig.need(watch.count("cannot connect") == 1, watch.log())


@rig.test("several connections: one that is away does not matter to the other")
def _():
    fresh()
    with Watcher("--connect", "qemu+unix:///system?socket=/nowhere", "--connect", "qemu:///system") as watch:
        wait_patched(define(), watch)
        rig.wait(lambda: [link["state"] for link in watch.status()["connections"]] == ["waiting", "connected"],
                 "the states of both")
        begun = time.monotonic()
        watch.stop()
        rig.need(time.monotonic() - begun < 10, "stopping took long")


@rig.test("through the socket of the modular daemon, virtqemud")
def _():
    fresh()
    # Neither Debian 12 nor 13 has virtqemud; what a client sees of it is its socket.
    socket = pathlib.Path("/run/libvirt/virtqemud-sock")
    socket.symlink_to("libvirt-sock")
    try:
        with Watcher("--connect", "qemu:///system?mode=direct") as watch:
            domain = define()
            wait_patched(domain, watch)
            uri = watch.status()["connections"][0]["uri"]
            rig.need(uri == "qemu:///system?mode=direct", uri)
            subprocess.run(["virsh", "-q", "-c", uri, "list"], check=True, timeout=60, capture_output=True)
        rig.live(0, "--connect", "qemu:///system?mode=direct", "--revert", "mac")
    finally:
        socket.unlink()


@rig.test("a second watcher finds that there is one")
def _():
    fresh()
    with Watcher():
        done = subprocess.run([watcher.PROGRAM], capture_output=True, text=True, timeout=60, check=False)
        rig.need(done.returncode == 0 and "runs already" in done.stderr, f"{done}")


@rig.test("--status without a watcher: exit 6 and what to do")
def _():
    fresh()
    done = subprocess.run([watcher.PROGRAM, "--status"], capture_output=True, text=True, timeout=60, check=False)
    rig.need(done.returncode == 6 and "no dkvm-watchd runs" in done.stderr, f"{done}")


@rig.test("--status for people, with a name that is not nice")
def _():
    fresh()
    with Watcher() as watch:
        domain = define('a "b"')
        wait_patched(domain, watch)
        watch.wait_until_said('a "b"', "patched", result="patched")
        text = subprocess.run([watcher.PROGRAM, "--status"], capture_output=True, text=True, timeout=60, check=True).stdout
        rig.need('  a "b": patched 20' in text and "qemu:///system: connected, 1 domains" in text, text)


def started_by_hook():
    global CONN
    fresh()
    place, hook = rig.SCRATCH / "sbin", pathlib.Path("/etc/libvirt/hooks/daemon.d/50-dkvm-watchd")
    place.mkdir()
    shutil.copy(watcher.PROGRAM, place)
    hook.parent.mkdir(parents=True)
    hook.write_text((rig.TOP / "packaging/50-dkvm-watchd.in").read_text().replace("@SBINDIR@", str(place)))
    hook.chmod(0o755)
    with open("/etc/passwd", "a") as passwd, open("/etc/group", "a") as group:
        passwd.write("dkvm:x:64100:64100::/:/usr/sbin/nologin\n")
        group.write("dkvm:x:64100:\n")
    def running():
        return [int(path.parent.name) for path in pathlib.Path("/proc").glob("[0-9]*/exe")
                if path.is_symlink() and os.path.realpath(path) == str(place / "dkvm-watchd")]
    try:
        for _round in range(2):
            subprocess.run([RESTART], check=True, timeout=120)
            CONN = rig.connect()
            wait_patched(define())
            pids = rig.wait(lambda: running() if len(running()) == 1 else None, "one watcher")
            rig.need(os.stat(f"/proc/{pids[0]}").st_uid == 64100, "it is not the user dkvm's")
            rig.remove_all(CONN)
        rig.wait(lambda: "qemu:///system: connected" in subprocess.run(
            [watcher.PROGRAM, "--status"], capture_output=True, text=True, timeout=60, check=True).stdout,
                 "its status says that it is connected")
    finally:
        hook.unlink()
        for pid in running():
            os.kill(pid, signal.SIGTERM)
        rig.wait(lambda: not running(), "it ends")
        shutil.rmtree("/run/dkvm-watchd", ignore_errors=True)


# libvirtd runs its hooks where it runs itself; in the Debian 13 root are the libraries of libvirt, not of dkvm-watchd.
if os.environ["DKVM_SUITE_ROOT"] == "/":
    rig.test("without systemd, libvirt's own hook starts it, as the user dkvm, once")(started_by_hook)

rig.run()
