# SPDX-License-Identifier: LGPL-2.1-or-later
"""In the guest of the hand-over tests: the host whose devices are handed over, seen through virsh and /sys."""
import glob
import os
import re
import shutil
import signal
import subprocess
import time
import uuid as uuids

import snapshot

HOOKS = "/etc/libvirt/hooks/qemu.d"
CONFIG = "/etc/dkvm/dkvm.conf.d/rig.conf"
PCI = "/sys/bus/pci/devices"
IMAGE = "/var/lib/libvirt/images/guest.img"
BACK = 40  # seconds until the host is as before, whatever happened (design section 8)
START = 240  # seconds that an emulated QEMU may take to start
GPU, SOUND = "0000:01:00.0", "0000:01:00.1"
NVME, USB = "0000:03:00.0", "0000:06:00.0"
SHARED = ["0000:05:01.0", "0000:05:02.0", "0000:05:03.0"]
failed = 0


class No(Exception):
    """What is said is not so."""


def need(good, text):
    if not good:
        raise No(text)


def report(good, text, why=""):
    global failed
    failed += not good
    print(("ok " if good else "not ok ") + text, flush=True)
    for line in str(why).strip().splitlines() if not good else []:
        print("    " + line, flush=True)


def note(text):
    print("\n".join("# " + line for line in text.splitlines()), flush=True)


class Done:
    def __init__(self, code, text):
        self.code, self.text = code, text.strip()


def run(*command, seconds=120, **more):
    """Its exit code and all that it says; 124 if it does not end in time."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                              text=True, errors="replace", timeout=seconds, check=False, **more)
    except subprocess.TimeoutExpired as late:
        return Done(124, (late.stdout or b"").decode(errors="replace") + "(not done in time)")
    return Done(done.returncode, done.stdout)


def must(*command, **more):
    done = run(*command, **more)
    need(done.code == 0, f"{' '.join(command)}: exit {done.code}: {done.text}")
    return done.text


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def wait(condition, seconds, what):
    """Until CONDITION() gives something true, which is returned; asked ten times a second."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        need(time.monotonic() < end, f"not in {seconds} s: {what}")
        time.sleep(0.1)


# ---- domains ----

# A boot sector that turns the machine off when the power button is pressed: enables the button's event in
# PM1_EN (0x602), halts until PM1_STS (0x600) has it, then writes S5 to PM1_CNT (0x604); the ports are those that
# SeaBIOS gives a q35.
BUTTON = bytes.fromhex("fb ba0206 b80001 ef ba0006 ed f6c401 7503 f4 ebf4 ba0406 b80020 ef f4 ebfd")


def make_image():
    os.makedirs(os.path.dirname(IMAGE), exist_ok=True)
    with open(IMAGE, "wb") as file:
        file.write(BUTTON.ljust(510, b"\0") + b"\x55\xaa" + bytes((1 << 20) - 512))


def hostdev(bdf, managed, slot=None):
    dom, bus, rest = bdf.split(":")
    dev, function = rest.split(".")
    return (f"<hostdev mode='subsystem' type='pci' managed='{managed}'><source><address domain='0x{dom}' "
            f"bus='0x{bus}' slot='0x{dev}' function='0x{function}'/></source></hostdev>")


class Domain:
    """A small machine with DEVICES, a list of addresses or of (address, managed)."""

    def __init__(self, name, devices=(), managed="yes", darwin=True, uefi=False, arguments=(), memory=64, extra=""):
        self.name = name
        self.uuid = str(uuids.uuid5(uuids.NAMESPACE_DNS, name))
        self.devices = [(d, managed) if isinstance(d, str) else d for d in devices]
        self.darwin, self.uefi, self.arguments, self.memory, self.extra = darwin, uefi, arguments, memory, extra

    def xml(self):
        firmware = ("<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"
                    f"<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>/var/lib/libvirt/qemu/nvram/{self.name}.fd"
                    "</nvram>" if self.uefi else "")
        marker = ("<metadata><dkvm:darwin xmlns:dkvm='urn:dkvm:domain:1.0' model='MacPro7,1' schema='1'/></metadata>"
                  if self.darwin else "")
        arguments = "".join(f"<qemu:arg value='{word}'/>" for word in self.arguments)
        return (f"<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>{self.name}</name>"
                f"<uuid>{self.uuid}</uuid>{marker}<memory unit='MiB'>{self.memory}</memory><vcpu>1</vcpu>"
                f"<os><type arch='x86_64' machine='q35'>hvm</type>{firmware}<boot dev='hd'/></os>"
                "<features><acpi/></features><cpu mode='custom' match='exact' check='none'><model>qemu64</model></cpu>"
                f"{self.extra}<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>"
                "<controller type='usb' model='none'/><memballoon model='none'/>"
                f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{IMAGE}'/>"
                "<target dev='sda' bus='sata'/><shareable/></disk>"
                + "".join(hostdev(*pair) for pair in self.devices) +
                f"</devices><qemu:commandline>{arguments}</qemu:commandline></domain>")

    def define(self):
        write(f"/tmp/{self.name}.xml", self.xml())
        must("virsh", "-q", "define", f"/tmp/{self.name}.xml")
        return self

    def start(self, *words):
        return run("virsh", "-q", "start", self.name, *words, seconds=START)

    def begin(self, *words):
        done = self.start(*words)
        need(done.code == 0, f"virsh start {self.name}: {done.text}\n{hook_log()}")
        return self

    def destroy(self):
        return run("virsh", "-q", "destroy", self.name, seconds=120)

    def state(self):
        return run("virsh", "-q", "domstate", self.name, seconds=30).text

    def shutdown(self):
        """By its power button, which is pressed again: a guest that has only just begun does not hear of it."""
        end = time.monotonic() + 120
        while self.pid() and time.monotonic() < end:
            run("virsh", "-q", "shutdown", self.name)
            try:
                wait(lambda: not self.pid(), 10, "off")
            except No:
                pass
        need(not self.pid(), f"not in 120 s: {self.name} turns itself off")
        wait(lambda: self.state() == "shut off", 60, f"{self.name} is shut off")

    def pid(self):
        """Of QEMU; None if there is none."""
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            words = snapshot.read(path, "").split("\0")
            if words[0].endswith("qemu-system-x86_64") and f"guest={self.name}," in " ".join(words):
                return int(path.split("/")[2])
        return None

    def remove(self):
        if self.pid():
            self.destroy()
        run("virsh", "-q", "undefine", self.name, "--nvram")


# ---- the host ----


def driver(bdf):
    return snapshot.link(f"{PCI}/{bdf}/driver")


def drivers(*bdfs):
    return [driver(bdf) for bdf in bdfs]


def hook_log():
    return snapshot.read("/run/hook.log", "")


def start_libvirtd():
    run("systemctl", "reset-failed", "libvirtd.service")
    must("systemctl", "start", "libvirtd")
    wait(lambda: run("virsh", "-q", "list", seconds=30).code == 0, 120, "libvirtd answers")


def libvirtd():
    """Its process id, or None."""
    pid = run("systemctl", "show", "-P", "MainPID", "libvirtd").text
    return int(pid) if pid not in ("", "0") else None


def kill_libvirtd():
    pid = libvirtd()
    need(pid, "libvirtd runs")
    os.kill(pid, signal.SIGKILL)


def processes(name, *arguments):
    """Ids of the processes called NAME whose arguments have all of ARGUMENTS."""
    found = []
    for path in glob.glob("/proc/[0-9]*/comm"):
        if snapshot.read(path) == name:
            words = snapshot.read(os.path.dirname(path) + "/cmdline", "").split("\0")
            if all(word in words for word in arguments):
                found.append(int(path.split("/")[2]))
    return found


def guards():
    return processes("dkvm-gpu", "guard")


def configure(**settings):
    lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
    write(CONFIG, "[handoff]\n" + lines)


def neighbours():
    """Hooks of somebody else, before and after ours."""
    for who in ("10-before", "90-after"):
        shutil.copy("/rig/neighbour", f"{HOOKS}/{who}")


def on_their_way(lines):
    return [line for line in lines if " = activating " in line or " = deactivating " in line]


class Host:
    """What the host was, to be compared with what it is; lines that BUT (a regular expression) matches are not."""

    def __init__(self, but=""):
        self.slowest = 0.0
        self.but = re.compile(but or r"\Z.")
        self.parts = {}
        end = time.monotonic() + 60
        while not self.parts or on_their_way(self.before):
            need(time.monotonic() < end, "not in 60 s: no unit is on its way up or down")
            self.parts = {part: snapshot.take(part) for part in snapshot.PARTS}
            self.before = [line for lines in self.parts.values() for line in lines]

    def compared(self, changes, told=False):
        """Without what is not compared; TOLD: the next login may be told of it."""
        return [line for line in changes
                if not self.but.match(line[2:]) and not (told and line.startswith("+ motd."))]

    def quickly(self, told=False):
        """What changes first and last, without asking systemd."""
        lines = [f"{k} = {v}" for k, v in snapshot.ours()]
        for path in glob.glob(PCI + "/*"):
            lines.append(f"pci.{os.path.basename(path)}.driver = {snapshot.link(path + '/driver')}")
        return self.compared([f"+ {line}" for line in lines if line not in set(self.before)], told)

    def back(self, what, seconds=BACK, since=None, told=False):
        """Everything is as before within SECONDS from SINCE (time.monotonic(); now): devices, consoles, units, files,
        all that a snapshot has.  The seconds that it took.

        A snapshot takes seconds here, so what counts is when the one that finds nothing was begun, and while something
        is not as before only that is looked at again."""
        begin = time.monotonic() if since is None else since
        stamp, parts = begin, ()
        try:
            while True:
                stamp = time.monotonic()
                late = self.differing(parts, told) if parts else self.quickly(told)
                took = stamp - begin
                if not late and parts == snapshot.PARTS:
                    break
                need(took <= seconds, f"not in {seconds:.0f} s (it is {took:.1f} s now): all is as before")
                parts = parts if not parts and late else late or snapshot.PARTS
                # What is waited for needs the processors, too.
                time.sleep(0.3 if late else 0)
            need(took <= seconds, f"as before only after {took:.1f} s (at most {seconds:.0f} s)")
        except No as no:
            raise No(f"{what}: {no}\n" + "\n".join(self.changes(told)) + "\n" + diagnosis()) from no
        self.slowest = max(self.slowest, took)
        return took

    def differing(self, parts, told=False):
        """Those of PARTS that are not as before."""
        return tuple(part for part in parts
                     if self.compared(snapshot.diff(self.parts[part], snapshot.take(part)), told))

    def changes(self, told=False):
        return self.compared(snapshot.diff(self.before, snapshot.take()), told)


def diagnosis():
    """For who reads a failure."""
    parts = [hook_log()]
    for command in (["journalctl", "-b", "-n", "60", "-o", "short-monotonic", "--no-pager", "-t", "dkvm-gpu", "-t",
                     "dkvm-hook", "-t", "dkvm", "-u", "dkvm-guard@*", "-u", "libvirtd"], ["dkvm-gpu", "status"], ["dmesg"],
                    ["ps", "-eo", "pid,ppid,stat,wchan:20,args", "--sort=pid"]):
        try:
            text = run(*command, seconds=20).text
        except OSError as error:
            text = str(error)
        if command[0] == "ps":
            text = "\n".join(line for line in text.splitlines() if "dkvm" in line or "virt" in line)
        parts.append(text[-6000:])
    return "\n".join(parts)


def bad_kernel_lines():
    text = run("dmesg").text
    words = ("BUG:", "Oops", "WARNING:", "Call Trace", "blocked for more than", "general protection")
    return [line for line in text.splitlines() if any(word in line for word in words)]
