# SPDX-License-Identifier: LGPL-2.1-or-later
"""The QEMU hook installed by "make install" for a real libvirtd: what virsh does goes on as without it, a machine
whose device cannot be had is refused with dkvm's words, and nothing is left after "make uninstall"."""

import os
import re
import signal
import subprocess
import time

import rig
from rig import DEADLINE, SCRATCH, TOP, need, test, virsh

BUILD = os.path.dirname(rig.DKVM)
LINK = "/etc/libvirt/hooks/qemu.d/50-dkvm"
WITNESS = "/etc/libvirt/hooks/qemu.d/60-witness"
LOG = SCRATCH / "witness.log"
NAMES = ["--help", "$(touch PWNED)", "`touch PWNED`", "'; touch PWNED; '", "a b", "*", "-rf", "%s%n", "é", "x" * 200]


# A domain that the default policy means.
MARKER = "<metadata><dkvm:darwin xmlns:dkvm='urn:dkvm:domain:1.0' model='MacPro7,1' schema='1'/></metadata>"


def domain(name="plain", devices="", uuid="6f1c1b1e-0d3c-4b34-8d6e-0c3e5f3b7a11"):
    name = name.replace("&", "&amp;").replace("<", "&lt;")
    return (f"<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid>{MARKER}<memory unit='MiB'>32</memory><vcpu>1</vcpu>"
            "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>"
            f"<emulator>/usr/bin/qemu-system-x86_64</emulator>{devices}</devices></domain>")


# A function that no machine has: bus 255, the last slot.
ABSENT = ("<hostdev mode='subsystem' type='pci' managed='{}'><source>"
          "<address domain='0x0000' bus='0xff' slot='0x1f' function='0x7'/></source></hostdev>")


def define(xml):
    path = SCRATCH / "domain.xml"
    path.write_text(xml)
    virsh("define", str(path))


def make(target, code=0, **variables):
    done = subprocess.run(["make", "-C", str(TOP), "--no-print-directory", f"B={BUILD}", target,
                           *(f"{key}={value}" for key, value in variables.items())],
                          capture_output=True, text=True, timeout=600, check=False)
    need(done.returncode == code, f"make {target}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def daemon():
    with open("/run/libvirtd.pid") as file:
        return int(file.read())


def reload():
    """What "systemctl reload libvirtd" does.  The daemon hook of libvirt tells when it is done."""
    os.kill(daemon(), signal.SIGHUP)

    def works():
        virsh("start", "plain")
        virsh("destroy", "plain")
        return ran()
    rig.wait(works, "libvirtd after a reload runs the hooks")


def ran():
    """The operations since the last call."""
    if not LOG.exists():
        return []
    words = LOG.read_text().split()
    LOG.unlink()
    return words


def is_run(operation):
    """libvirtd calls the hook for what already runs some time after it listens."""
    end = time.monotonic() + 60
    while operation not in ran():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def restart():
    subprocess.run([os.environ["DKVM_RESTART_LIBVIRTD"]], check=True, timeout=120)


def fails(name):
    done = subprocess.run(["virsh", "-q", "start", name], capture_output=True, text=True, timeout=120, check=False)
    need(done.returncode == 1, f"virsh start {name}: exit {done.returncode}")
    need(virsh("domstate", name).strip() == "shut off", "it runs")
    return done.stderr


def private_usr():
    """make install writes below /usr: not into the machine's."""
    for folder in "upper", "work":
        (SCRATCH / folder).mkdir()
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                    f"lowerdir=/usr,upperdir={SCRATCH}/upper,workdir={SCRATCH}/work", "/usr"], check=True)


@test("before: a machine starts")
def before():
    private_usr()
    define(domain())
    virsh("start", "plain")
    virsh("destroy", "plain")


@test("make install: the link and what it leads to; libvirt is to be told; it runs after a reload")
def install():
    said = make("install")
    need("systemctl reload libvirtd" in said, f"not said: {said}")
    need(os.readlink(LINK) == "/usr/sbin/dkvm-hook" and os.access(LINK, os.X_OK), "no link to it")
    need("systemctl" not in make("install"), "said again though the hook was there")
    with open(WITNESS, "w") as file:
        file.write(f"#!/bin/sh\necho $2 >>{LOG}\n")
    os.chmod(WITNESS, 0o755)
    reload()


@test("a machine without host devices: start, destroy, save, restore, managed save")
def plain():
    ran()
    virsh("start", "plain")
    need(ran() == ["prepare", "start", "started"], "other operations at a start")
    virsh("destroy", "plain")
    need(ran() == ["stopped", "release"], "other operations at the end")
    virsh("start", "plain")
    live = virsh("dumpxml", "plain")
    virsh("save", "plain", str(SCRATCH / "saved"))
    ran()
    virsh("restore", str(SCRATCH / "saved"))
    need(ran()[0] == "restore", "no operation restore")
    again = virsh("dumpxml", "plain")
    same = [re.sub(r" id='\d+'|domain-\d+-|dom\d+|c\d+,c\d+", "", xml) for xml in (live, again)]
    need(not rig.difference(*same), "restored as another:\n" + rig.difference(*same))
    virsh("managedsave", "plain")
    ran()
    virsh("start", "plain")
    need(ran()[0] == "restore", "no operation restore from the managed save")
    virsh("snapshot-create-as", "plain", "s", "--memspec", str(SCRATCH / "memory"))
    virsh("snapshot-delete", "plain", "s", "--metadata")
    virsh("destroy", "plain")


@test("libvirtd restarted, and killed, while a machine runs: it goes on")
def reconnect():
    virsh("start", "plain")
    pid = virsh("qemu-monitor-command", "plain", "--hmp", "info status")
    for how in signal.SIGTERM, signal.SIGKILL:
        ran()
        os.kill(daemon(), how)
        restart()
        need(is_run("reconnect"), "no operation reconnect")
        need(virsh("domstate", "plain").strip() == "running", f"it ended ({pid})")
    virsh("destroy", "plain")


@test("names of strangers")
def names():
    os.chdir(SCRATCH)
    for name in NAMES:
        # By UUID: virsh takes some of these names for options.
        uuid = "6f1c1b1e-0d3c-4b34-8d6e-0c3e5f3b7a22"
        define(domain(name, uuid=uuid))
        virsh("start", uuid)
        virsh("destroy", uuid)
        virsh("undefine", uuid)
    need(not os.path.exists("PWNED") and not os.path.exists("/PWNED"), "a name was run")


@test("a host device that is not there: virsh shows why dkvm refuses, and what to do; nothing hangs")
def refused():
    for managed in "yes", "no":
        define(domain("gpu", ABSENT.format(managed), uuid="6f1c1b1e-0d3c-4b34-8d6e-0c3e5f3b7a33"))
        if os.path.exists("/usr/sbin/dkvm-gpu"):
            said = fails("gpu")
            ours = said.partition("exit status 1:")[2].strip()
            rig.say(f"virsh says: {ours}")
            need(ours.startswith("dkvm: "), f"not refused by dkvm: {said}")
            os.rename("/usr/sbin/dkvm-gpu", "/usr/sbin/dkvm-gpu.kept")
        said = fails("gpu")
        need("dkvm: VM 'gpu' is not started: it may need a device of this host" in said
             and "/usr/sbin/dkvm-gpu, is not there. Install dkvm again" in said, f"says: {said}")
        need(ran()[-2:] == ["stopped", "release"], "libvirt did not clean up")
        if os.path.exists("/usr/sbin/dkvm-gpu.kept"):
            os.rename("/usr/sbin/dkvm-gpu.kept", "/usr/sbin/dkvm-gpu")
        virsh("start", "plain")
        virsh("destroy", "plain")
        virsh("undefine", "gpu")


@test("another's link or file in its place is never replaced, nor removed")
def another():
    os.rename(LINK, LINK + ".kept")
    for put in (lambda: os.symlink("/usr/bin/true", LINK), lambda: open(LINK, "w").close(),
                lambda: os.symlink("/nonexistent", LINK)):
        put()
        inode = os.lstat(LINK).st_ino
        need("not ours" in make("install", 2), "not said")
        make("uninstall-qemu-hook")
        need(os.lstat(LINK).st_ino == inode, "replaced")
        os.unlink(LINK)
        make("install", HOOK="no")
        need(not os.path.lexists(LINK), "HOOK=no made a link")
    os.rename(LINK + ".kept", LINK)


@test("make uninstall: every machine starts, before and after libvirtd is restarted")
def uninstall():
    if os.path.ismount("/etc"):
        # ns-libvirtd's own, on a private /etc: a mount point cannot be removed.
        subprocess.run(["umount", "/etc/dkvm"], check=True)
        make("uninstall")
    else:
        make("uninstall-qemu-hook")
    left = [path for path in (LINK, "/usr/sbin/dkvm-hook", "/usr/sbin/dkvm-gpu") if os.path.lexists(path)]
    need(not left, f"left: {left}")
    for _ in range(2):
        virsh("start", "plain")
        virsh("destroy", "plain")
        need("release" in ran(), "the neighbour's hook does not run any more")
        restart()
    os.unlink(WITNESS)
    virsh("start", "plain")
    virsh("destroy", "plain")
    os.rmdir(os.path.dirname(LINK))
    virsh("start", "plain")
    virsh("destroy", "plain")


rig.run()
