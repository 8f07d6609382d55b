#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""dkvm-gpu on a host of files that a process of its own serves (fake-sysfs.c): hand-overs and their way back while
writes fail, block, or do nothing, and while system calls fail.

usage: faults.py TEST [CONFIGURATION]
    in namespaces of its own (mounts, processes); CONFIGURATION: one of CONFIGURATIONS below; GPU (the program), FAKE
    (fake-sysfs), TOP and SCRATCH in the environment; DKVM_LONG=1: all of it, else a sample, which DKVM_SEED (a hexadecimal
    number) moves
"""
import collections
import concurrent.futures
import ctypes
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

GPU, FAKE, TOP, SCRATCH = (os.environ[name] for name in ("GPU", "FAKE", "TOP", "SCRATCH"))
LONG = os.environ.get("DKVM_LONG") == "1"
UUID = "6f1c1b1e-0d3c-4b34-8d6e-0c3e5f3b7a11"
ERRORS = ["EIO", "ENOSPC", "EACCES", "ENOENT", "EINTR", "EMFILE", "EBUSY", "ENODEV"]
TOGETHER = 8 # most of a case is waiting
OWN = ("etc", "run", "var") # real folders over those of the served tree
libc = ctypes.CDLL(None, use_errno=True)


class Bad(Exception):
    pass


def need(condition, why):
    if not condition:
        raise Bad(why)


def until(condition, seconds):
    """Whether CONDITION() became true in time."""
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


# ---- the host -----------------------------------------------------------------------------------

# Two GPUs, one with the console and its sound, one of nvidia's; the USB controller of the first has no driver.
LISTING = """
kernel 6.1.0-18-amd64
0 00:00.0 0600 8086:29c0
1 00:01.0 0604 8086:1901 | sec=01
1 01:00.0 0300 1002:73df | driver=amdgpu boot=1 fb=1 card=DP-1+ bars=16M
1 01:00.1 0403 1002:ab28
1 01:00.2 0c03 1002:73a6 | driver=-
2 00:02.0 0604 8086:43c0 | sec=02
2 02:00.0 0302 10de:1b06 | driver=nvidia
file /sys/class/vtconsole/vtcon0/name (S) dummy device
file /sys/class/vtconsole/vtcon0/bind 0
file /sys/class/vtconsole/vtcon1/name (M) frame buffer device
file /sys/class/vtconsole/vtcon1/bind 1
file /sys/bus/platform/devices/efi-framebuffer.0/uevent
file /sys/bus/platform/drivers/efi-framebuffer/bind
file /sys/bus/platform/drivers/efi-framebuffer/unbind
file /sys/bus/pci/drivers/vfio-pci/bind
file /sys/bus/pci/drivers/vfio-pci/unbind
file /sys/bus/pci/drivers_probe
file /sys/bus/pci/rescan
file /proc/iomem "e0000000-e0ffffff : 0000:01:00.0"
file /proc/sys/kernel/random/boot_id b007
file /proc/sys/kernel/tainted 0
file /proc/meminfo "MemAvailable: 8000000 kB"
file /proc/4242/comm reader
file /proc/4242/cgroup 0::/system.slice/reader.service
file /dev/vfio/vfio
"""
GROUPS = ("1", "2")
WANTED = ("0000:01:00.0", "0000:01:00.1", "0000:02:00.0") # by the VM
TAKEN = (*WANTED, "0000:01:00.2")
POOL = "/sys/devices/system/node/node0/hugepages/hugepages-2048kB"

# What is more in the listing, in dkvm.conf and in the VM; the programs, in the order in which they run; the steps; and
# the share of a sample that it gets.
Configuration = collections.namedtuple("Configuration", "listing conf memory programs steps share")
ALWAYS = {"ownership", "console", "firmware", "unbind", "forget", "override", "bind", "proof"}
CONFIGURATIONS = {
    "always": Configuration("""
file /proc/driver/nvidia/gpus/0000:02:00.0/unbindLock 0
""", "", "<memory>1024</memory>", (), ALWAYS | {"nvidia"}, 1),
    # What is done when it is asked for, and needs no bus.  75 pages are wanted, 60 are free; the methods are in another
    # order than the kernel's own; and no unbindLock, so that nvidia's driver has to be idle as a whole.
    "options": Configuration(f"""
set 01:00.0 reset=bus,flr resize0=0x110
set 02:00.0 reset=bus
file /sys/module/nvidia/refcnt 0
file /sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages 0
file /sys/devices/system/node/node0/meminfo "Node 0 MemFree: 4000000 kB"
file /sys/devices/system/node/node0/compact
file {POOL}/nr_hugepages 100
file {POOL}/free_hugepages 60
file {POOL}/surplus_hugepages 0
""", "hugepages = allocate\nbar-size = largest\nreset-method = bus\n",
        "<memory>153600</memory><memoryBacking><hugepages/></memoryBacking>", ("pre.d/10-a", "post.d/10-a"),
        ALWAYS | {"nvidia-idle", "hugepages", "bar", "reset", "pre.d", "post.d"}, 0.1),
}
ON = CONFIGURATIONS[sys.argv[2] if len(sys.argv) > 2 else "always"]
# Says that it ran, where the server of the tree says what is written.
PROGRAM = """#!/bin/sh
printf '%s\\t%s\\t%s\\n' "${0##*/root/etc/dkvm/}" "$DKVM_BDFS" "$DKVM_PROBLEMS" >>"${0%/root/etc/dkvm/*}/log"
"""


def address(bdf):
    domain, bus, slot, function = re.split("[:.]", bdf)
    return f"<address domain='0x{domain}' bus='0x{bus}' slot='0x{slot}' function='0x{function}'/>"


def domain():
    devices = "".join(f"<hostdev mode='subsystem' type='pci' managed='{managed}'><source>{address(bdf)}</source></hostdev>"
                      for bdf, managed in (("0000:01:00.0", "yes"), ("0000:01:00.1", "no"), ("0000:02:00.0", "yes")))
    return f"<domain type='kvm'><name>mac</name><uuid>{UUID}</uuid>{ON.memory}<devices>{devices}</devices></domain>\n"


def make_template():
    """The tree as each case begins with it."""
    tree, listing = f"{SCRATCH}/tree", f"{SCRATCH}/listing.host"
    with open(listing, "w") as file:
        file.write(LISTING + ON.listing)
    subprocess.run([f"{TOP}/tests/data/hosts/make-root", listing, tree], check=True)
    for driver in ("amdgpu", "nvidia", "snd_hda_intel"):
        for name in ("bind", "unbind"):
            open(f"{tree}/sys/bus/pci/drivers/{driver}/{name}", "w").close()
    for bridge in ("00:01.0", "00:02.0"):
        open(f"{tree}/sys/devices/pci0000:00/0000:{bridge}/rescan", "w").close()
    for bdf in TAKEN:
        open(f"{tree}/sys/bus/pci/devices/{bdf}/remove", "w").close()
    with open(f"{tree}/proc/iomem", "a") as file:
        file.write("  e0000000-e07fffff : BOOTFB\n")
    with open(f"{tree}/proc/meminfo", "a") as file:
        file.write("Hugepagesize: 2048 kB\n")
    # The window's register holds what the kernel says of it.
    with open(f"{tree}/sys/bus/pci/devices/0000:01:00.0/config", "r+b") as file:
        file.seek(0x10)
        file.write(bytes.fromhex("0c0000e0"))
    os.symlink("../../../../bus/platform/drivers/efi-framebuffer", f"{tree}/sys/bus/platform/devices/efi-framebuffer.0/driver")
    os.makedirs(f"{tree}/proc/4242/fd")
    os.symlink("/dev/zero", f"{tree}/proc/4242/fd/0")
    for name in OWN:
        os.makedirs(f"{tree}/{name}", exist_ok=True)
    with open(f"{SCRATCH}/domain.xml", "w") as file:
        file.write(domain())


def picture_of(tree):
    """Every file, folder and link, with what is in it."""
    seen = {}
    for folder, folders, files in os.walk(tree):
        for name in folders + files:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                seen[path[len(tree):]] = "-> " + os.readlink(path)
            elif os.path.isdir(path):
                seen[path[len(tree):]] = "folder"
            else:
                with open(path, "rb") as file:
                    seen[path[len(tree):]] = file.read().decode("latin-1").strip()
    return seen


def difference(now, before):
    return "; ".join(f"{path}: {before.get(path)!r} became {now.get(path)!r}"
                     for path in sorted({*now, *before}) if now.get(path) != before.get(path))[:1000]


def mounted(*arguments):
    if libc.mount(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"mount {arguments}")


class Host:
    count = 0

    def __init__(self, change=None):
        Host.count += 1
        self.state = f"{SCRATCH}/host-{Host.count}-{threading.get_ident()}"
        self.root, self.tree = f"{self.state}/root", f"{self.state}/tree"
        os.makedirs(self.root)
        shutil.copytree(f"{SCRATCH}/tree", self.tree, symlinks=True)
        if change:
            change(self.tree)
        self.rules()
        open(f"{self.state}/log", "w").close()
        self.server = subprocess.Popen([FAKE, self.state, self.root], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        need(self.server.stdout.readline() == b"ready\n", "fake-sysfs cannot be mounted")
        for name in OWN:
            os.makedirs(f"{self.state}/{name}")
            mounted(f"{self.state}/{name}".encode(), f"{self.root}/{name}".encode(), None, 4096, None) # MS_BIND
        os.makedirs(f"{self.state}/etc/dkvm")
        with open(f"{self.state}/etc/dkvm/dkvm.conf", "w") as file:
            file.write("[handoff]\ndomains = all\n" + ON.conf)
        for name in ON.programs:
            path = f"{self.state}/etc/dkvm/{name}"
            os.makedirs(os.path.dirname(path))
            with open(path, "w") as file:
                file.write(PROGRAM)
            os.chmod(path, 0o755)
        self.environment = {"DKVM_ROOT": self.root, "DKVM_CALLER": str(os.getpid()), "LC_ALL": "C", "PATH": "/usr/bin:/bin"}
        self.before = self.picture()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.rules()
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for name in (*OWN, ""):
            libc.umount2(f"{self.root}/{name}".encode(), 2) # MNT_DETACH
        self.server.kill()
        self.server.wait()
        self.server.stdout.close()
        shutil.rmtree(self.state, ignore_errors=True)

    def processes(self):
        """What was started on this host and lives, but for the server: guards and workers."""
        mark, found = f"DKVM_ROOT={self.root}\0".encode(), []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if mark in file.read() + b"\0":
                        found.append(int(name))
            except OSError:
                pass
        return found

    def rules(self, *rules):
        with open(f"{self.state}/rules.new", "w") as file:
            file.writelines("\t".join(rule) + "\n" for rule in rules)
        os.rename(f"{self.state}/rules.new", f"{self.state}/rules")

    def lines(self):
        with open(f"{self.state}/log") as file:
            return [tuple(line.rstrip("\n").split("\t")) for line in file]

    def log(self):
        return [line for line in self.lines() if line[0].startswith("/")]

    def programs(self):
        """What ran, in order."""
        return [line[0] for line in self.lines() if not line[0].startswith("/")]

    def programs_have_run(self, what, more=0):
        """Once there and once back; MORE: and so many of those on the way there once more."""
        ran = self.programs()
        need(ran == [*ON.programs, *ON.programs[:more]], f"{what}: programs: {ran}")

    def picture(self):
        return picture_of(self.tree)

    def left(self):
        """What there is of a hand-over in the run folder and in the crash memory."""
        found = []
        for folder, folders, files in os.walk(f"{self.state}/run/dkvm"):
            found += [os.path.join(folder, name)[len(self.state):] for name in folders + files if name != "own"]
        for folder, _, files in os.walk(f"{self.state}/var"):
            found += [os.path.join(folder, name)[len(self.state):] for name in files]
        return found

    def told(self):
        """What the next login says."""
        try:
            with open(f"{self.state}/run/motd.d/dkvm-{UUID}") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def is_back(self):
        return not self.left() and self.picture() == self.before

    def run(self, *arguments, prefix=(), stdin=subprocess.DEVNULL, seconds=90):
        """(exit code, standard output, standard error)"""
        with subprocess.Popen([*prefix, GPU, *arguments], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=self.environment, text=True) as child:
            try:
                out, err = child.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                raise Bad(f"{arguments} does not end") from None
            return child.returncode, out, err

    def hook(self, operation, prefix=()):
        """(exit code, standard error); nothing on standard output, ever."""
        with open(f"{SCRATCH}/domain.xml") as file:
            code, out, err = self.run("hook", "mac", operation, "begin", "-", prefix=prefix, stdin=file)
        need(out == "", f"{operation}: standard output: {out[:200]!r}")
        return code, err

    def comes_back(self, seconds, what):
        need(until(self.is_back, seconds),
             f"{what}: not as before after {seconds} s: {self.left()} {difference(self.picture(), self.before)}")

    def restored_by_hand(self, what):
        """The fault is gone: "restore --all" is all that it takes."""
        code, out, err = self.run("restore", "--all")
        need(code == 0, f"{what}: restore --all: exit {code}: {out} {err}")
        self.comes_back(5, f"{what}: after restore --all")


# ---- what is said -------------------------------------------------------------------------------

# What to do next, in the words of any message.
NEXT = re.compile(r"start the VM again|start the host again|dkvm-gpu status|journalctl|run this as root|move it away|"
                  r"\bEnd (it|them)\b|\bend (what|it)\b|Shut that VM down|correct|Install|Log out|Look for it|look at|check the|Reserve the|run this|is sysfs mounted|make it an? (dir|folder|executable)|Write one of those|Close programs|nothing confines|Look for a|make room", re.I)


def refused(result, what, objects=(), causes=()):
    """One paragraph of ours: operation, object, cause, what to do."""
    code, err = result
    need(code == 1, f"{what}: exit {code}, not 1: {err}")
    need(re.fullmatch(r"dkvm: [ -~]{20,1500}\n", err), f"{what}: not one paragraph: {err!r}")
    need(not objects or any(word in err for word in objects), f"{what}: says nothing of {objects}: {err!r}")
    need(not causes or any(word in err for word in causes), f"{what}: says nothing of {causes}: {err!r}")
    need(NEXT.search(err), f"{what}: does not say what to do: {err!r}")


def together(jobs):
    """All of them; what is bad about each is told, not only about the first."""
    bad, done = [], 0
    with concurrent.futures.ThreadPoolExecutor(TOGETHER) as pool:
        for job in [pool.submit(job) for job in jobs]:
            try:
                job.result()
                done += 1
            except (Bad, OSError) as error:
                bad.append(str(error))
    for line in bad[:40]:
        print(line)
    need(not bad, f"{len(bad)} of {len(bad) + done} cases are bad")
    return done


def driver_of(host, bdf):
    path = f"{host.tree}/sys/bus/pci/devices/{bdf}/driver"
    return os.path.basename(os.readlink(path)) if os.path.islink(path) else None


def all_are_taken(host, what, believed=False):
    """What the VM gets is on vfio-pci, and so is what goes along.  BELIEVED: one of these that has no driver may have
    been believed not to be there; then it was not taken."""
    owned = os.listdir(f"{host.state}/run/dkvm/own")
    need(set(WANTED) <= set(owned) <= set(TAKEN), f"{what}: taken are {owned}")
    for bdf in TAKEN:
        driver = driver_of(host, bdf)
        need(driver == "vfio-pci" or (believed and driver is None and bdf not in owned), f"{what}: {bdf} has the driver {driver}")


def options_are_on(picture):
    if "hugepages" in ON.steps:
        device = "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"
        pool = [picture[f"{POOL}/{name}_hugepages"] for name in ("nr", "free", "surplus")]
        need(pool == ["115", "75", "0"], f"pages: {pool}")
        need(picture[f"{device}/resource"].startswith("0x00000000e0000000 0x00000000efffffff "), picture[f"{device}/resource"])
        need(picture[f"{device}/reset_method"] == "bus", picture[f"{device}/reset_method"])


# ---- a clean run --------------------------------------------------------------------------------


class Clean:
    """What a hand-over without faults does: the pictures, the writes."""

    def __init__(self):
        with Host() as host:
            code, err = host.hook("prepare")
            need(code == 0 and err == "", f"prepare: exit {code}: {err}")
            self.prepared, self.owned = host.picture(), host.left()
            all_are_taken(host, "prepare")
            options_are_on(self.prepared)
            need(host.programs() == list(ON.programs[:1]) and host.lines()[0][0] not in ON.programs[1:], host.programs())
            need(all(f"/dev/vfio/{group}" in self.prepared for group in GROUPS), "no /dev/vfio")
            need(self.prepared["/sys/class/vtconsole/vtcon1/bind"] == "0", "the console is there")
            need("/sys/bus/platform/devices/efi-framebuffer.0/driver" not in self.prepared, "efifb is there")
            self.writes = host.log()
            code, err = host.hook("start")
            need(code == 0 and err == "", f"start: exit {code}: {err}")
            code, out, _ = host.run("status")
            need(code == 0 and "prepared" in out, out)
            self.steps = steps_of(host)
            code, err = host.hook("release")
            need(code == 0 and err == "", f"release: exit {code}: {err}")
            host.comes_back(5, "release")
            self.writes_back = host.log()[len(self.writes):]
            host.programs_have_run("release")
            # Before all, and after all.
            ran = [line[0] for line in host.lines()]
            need(not ON.programs or (ran[0], ran[-1]) == ON.programs, ran)
            need(not ON.programs or sorted(host.lines()[-1][1].split()) == sorted(TAKEN), host.lines()[-1])
        need(all(line[2] == "0" for line in self.writes + self.writes_back), self.writes + self.writes_back)


def steps_of(host):
    """(step, target, state) of status --json, as text."""
    _, out, _ = host.run("status", "--json")
    return re.findall(r'"step" : "([^"]+)",\s*"target" : "([^"]*)".*?"state" : "([^"]*)"', out, re.S)


def test_clean():
    clean = Clean()
    need(len(clean.writes) >= 14, clean.writes)
    steps = {step for step, _, _ in clean.steps}
    need(steps == ON.steps, steps)
    print(f"# {len(clean.steps)} actions, {len(clean.writes)} writes, {len(clean.writes_back)} back")


# ---- writes that fail, do nothing, or block -----------------------------------------------------


def sample(every, size):
    """All of them with DKVM_LONG, else SIZE of them, spread; DKVM_SEED moves them."""
    every, size = list(every), round(size * ON.share)
    if LONG or len(every) <= size:
        return every
    begin = int(os.environ.get("DKVM_SEED", "0"), 16) % len(every)
    return [every[(begin + i * len(every) // size) % len(every)] for i in range(size)]


def named(path, text):
    """What a message may call the thing that is written."""
    if is_of_pages(path):
        return ("node0/2048kB",)
    if text.startswith("0000:"):
        return (text,)
    found = re.search(r"0000:\d\d:\d\d\.\d(?=/[0-9a-zL_]+$)", path)
    if found:
        return (found.group(),)
    if path.startswith("/dev/vfio/"):
        return (f"group {os.path.basename(path)}", f"proof of {os.path.basename(path)} ")
    return (text if text.startswith("efi-") else "frame buffer",)


def is_of_pages(path):
    """Has 20 seconds, and not 10 or less: memory is moved for it."""
    return path.startswith(os.path.dirname(os.path.dirname(POOL)))


def number(error):
    return str(getattr(errno, error))


def fault_in_prepare(write, action, clean):
    path, text, _ = write
    what = f"prepare, {path} {text!r} {action}"
    with Host() as host:
        host.rules((path, text, action if action == "silent" else number(action)))
        # It is asked for to make the next write likelier to do all of it; but not for ever.
        if path.endswith("/compact") and action != "EINTR":
            need(host.hook("prepare") == (0, "") and host.picture() == clean.prepared, f"{what}: {difference(host.picture(), clean.prepared)}")
            need(any(line[:2] == (path, text) for line in host.log()), f"{what}: not reached")
            need(host.hook("release") == (0, ""), f"{what}: release")
            host.comes_back(5, what)
            host.programs_have_run(what)
            return
        cause = ("had no effect", "does not appear", "not permitted", "could be made;") if action == "silent" else (os.strerror(int(number(action))),)
        # The worker tries again, and again until its time is up.
        if action == "EINTR" and not path.startswith("/dev/vfio/"):
            cause = (os.strerror(errno.ETIMEDOUT),)
        refused(host.hook("prepare"), what, named(path, text), cause)
        need(any(line[:2] == (path, text) for line in host.log()), f"{what}: not reached")
        host.comes_back(0.1, what)
        # libvirt goes on with these; nothing is left to do.
        for operation in ("stopped", "release"):
            need(host.hook(operation) == (0, ""), f"{what}: {operation}")
        host.comes_back(0, f"{what}: {operation}")
        host.programs_have_run(what)
        host.rules()
        need(host.hook("prepare") == (0, ""), f"{what}: the next start")
        host.programs_have_run(f"{what}: the next start", 1)


def faults_in_prepare(clean):
    return [lambda w=write, a=action: fault_in_prepare(w, a, clean) for action in ERRORS + ["silent"] for write in sorted(set(clean.writes))]


def test_prepare():
    """Each write of prepare with each error, and taken without effect."""
    clean = Clean()
    cases = faults_in_prepare(clean)
    done = together(sample(cases, 30))
    print(f"# {len(set(clean.writes))} writes, {len(cases)} faults, {done} tried")


def fault_in_release(write, action):
    """Either there is another way (a driver that is not found by probing is asked by name), or the guard gives up and a
    person's restore says why, and does it when the fault is gone."""
    path, text, _ = write
    what = f"release, {path} {text!r} {action}"
    with Host() as host:
        need(host.hook("prepare") == (0, ""), f"{what}: prepare")
        begun = len(host.log())
        host.rules((path, text, action if action == "silent" else number(action)))
        need(host.hook("release") == (0, ""), f"{what}: release")
        need(until(lambda: any(line[:2] == (path, text) for line in host.log()[begun:]), 15), f"{what}: not reached")
        until(lambda: not host.processes(), 90 if is_of_pages(path) else 60)
        need(not host.processes(), f"{what}: the guard does not end")
        host.programs_have_run(what)
        if host.is_back():
            return "by itself"
        if path.endswith("_resize") or (path.endswith("/reset_method") and action != "silent"):
            return stays(host, path, what)
        if path.endswith("/efi-framebuffer/bind") and action in ("ENODEV", "EBUSY"):
            other = {key for key, value in host.picture().items() if host.before.get(key) != value} | host.before.keys() - host.picture().keys()
            need(not host.left() and all("efi-framebuffer" in key for key in other), f"{what}: {host.left()} {other}")
            return "but for a text console"
        need(f"/run/dkvm/{UUID}/journal" in host.left(), f"{what}: no journal: {host.left()} {difference(host.picture(), host.before)}")
        if action != "EINTR": # 10 seconds for each time
            code, out, err = host.run("restore", "--all")
            need(code == 1 and any(word in err for word in named(path, text)) and err.count("\n") == 1,
                 f"{what}: restore with the fault: exit {code}, {out}{err}")
            need(NEXT.search(err), f"{what}: does not say what to do: {err}")
        host.rules()
        host.restored_by_hand(what)
        return "by restore"


def stays(host, path, what):
    """The driver has its device all the same: what it is now it has to be said, also at the next login."""
    other = {key: value for key, value in host.picture().items() if host.before.get(key) != value}
    name, now = ("resource", "0x00000000e0000000 0x00000000efffffff") if path.endswith("_resize") else ("reset_method", "flr bus")
    need(not host.left() and host.before.keys() == host.picture().keys() and len(other) == 1, f"{what}: {host.left()} {other}")
    need(all(key.endswith(f"/0000:01:00.0/{name}") and value.startswith(now) for key, value in other.items()), f"{what}: {other}")
    need(f" of {named(path, '')[0]} " in host.told(), f"{what}: nobody is told: {host.told()!r}")
    return "but for what is said"


def faults_in_release(clean, how):
    return [lambda w=write, a=action: how.update([fault_in_release(w, a)])
            for action in ERRORS + ["silent"] for write in sorted(set(clean.writes_back))]


def test_release():
    """Each write of release with each error, and taken without effect."""
    clean, how = Clean(), collections.Counter()
    cases = faults_in_release(clean, how)
    done = together(sample(cases, 12))
    print(f"# {len(set(clean.writes_back))} writes, {len(cases)} faults, {done} tried: {dict(how)}")


def wedged(host, what):
    code, out, err = host.run("status")
    need(code == 4 and "stuck" in out, f"{what}: status: exit {code}: {out}{err}")


def blocked_in_prepare(write):
    """The write does not come back: the start is refused when that step's time is over, all else is put back, and nothing
    more is taken from this host; when it does come back, the rest is put back without anybody's help."""
    path, text, _ = write
    what = f"prepare, {path} {text!r} blocks"
    with Host() as host:
        host.rules((path, text, "block"))
        begun = time.monotonic()
        refused(host.hook("prepare"), what, named(path, text), ("stuck in the kernel",))
        need(time.monotonic() - begun < (24 if is_of_pages(path) else 14), f"{what}: refused after {time.monotonic() - begun:.1f} s")
        wedged(host, what)
        number_of_writes = len(host.log())
        refused(host.hook("prepare"), f"{what}: the next start", named(path, text), ("stuck in the kernel",))
        need(len(host.log()) == number_of_writes, f"{what}: the next start wrote {host.log()[number_of_writes:]}")
        # Only what hangs on it is not as before.
        late = {key for key, value in host.picture().items() if host.before.get(key) != value}
        need(all(any(word in key for word in (*named(path, text), "vtcon", "/dev/vfio")) for key in late), f"{what}: {late}")
        need(host.hook("release") == (0, ""), f"{what}: release")
        host.rules()
        host.comes_back(8, f"{what}, and ends")
        host.programs_have_run(what)
        need(host.hook("prepare") == (0, ""), f"{what}: the start after it")


def blocked_in_release(write):
    path, text, _ = write
    what = f"release, {path} {text!r} blocks"
    with Host() as host:
        need(host.hook("prepare") == (0, ""), f"{what}: prepare")
        host.rules((path, text, "block"))
        begun = time.monotonic()
        need(host.hook("release") == (0, ""), f"{what}: release")
        need(time.monotonic() - begun < 1.5, f"{what}: release took {time.monotonic() - begun:.1f} s")
        need(until(lambda: host.run("status")[0] == 4, 25 if is_of_pages(path) else 15), f"{what}: is not said to be stuck")
        wedged(host, what)
        code, out, err = host.run("restore", "--all")
        need(code == 4 and "stuck" in err, f"{what}: restore: exit {code}: {out}{err}")
        host.rules()
        host.comes_back(8, f"{what}, and ends")
        host.programs_have_run(what)


def all_blocked(clean):
    cases = [(blocked_in_prepare, write) for write in sorted(set(clean.writes))]
    cases += [(blocked_in_release, write) for write in sorted(set(clean.writes_back))]
    return [lambda c=case, w=write: c(w) for case, write in cases]


def test_blocked():
    """Each write blocked in the kernel, on the way there and back."""
    clean = Clean()
    done = together(sample(all_blocked(clean), 8))
    print(f"# {len(set(clean.writes))} writes and {len(set(clean.writes_back))} back, {done} blocked")


def test_writes():
    """These three at once: the longest case of a sample takes as long as all of it."""
    clean, how = Clean(), collections.Counter()
    cases = faults_in_prepare(clean) + faults_in_release(clean, how) + all_blocked(clean)
    done = together(sample(cases, 80))
    print(f"# {len(cases)} faults, {done} tried; release: {dict(how)}")


# ---- system calls that fail ---------------------------------------------------------------------

# Memory, of which the end is the program's, as it is where glibc's locks fail; the end itself; and what has no error.
NEVER = {"futex", "mmap", "munmap", "mprotect", "madvise", "brk", "mremap", "exit_group", "exit", "execve", "rt_sigreturn", "umask",
         "getpid", "getppid", "gettid", "geteuid", "sched_yield", "arch_prctl", "set_tid_address", "restart_syscall"}

# Whose call (client, guard, worker), the part of the run (prepare, release), its name, and the how manieth of that name.
Call = collections.namedtuple("Call", "process phase name nth text")


def traced(log, name=None, nth=None, error=None):
    inject = ["-e", f"trace={name}", "-e", f"inject={name}:error={error}:when={nth}"] if name else []
    return ["/usr/bin/strace", "-qq", "-e", "signal=none", "-s", "200", "-o", log, *inject]


class Guard:
    """The guard of this VM, started before anybody asks for it, so that it alone is traced."""

    def __init__(self, host, prefix):
        self.host, self.socket = host, f"{host.state}/run/dkvm/{UUID}/sock"
        self.child = subprocess.Popen([*prefix, GPU, "guard", UUID], env=host.environment, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: os.path.exists(self.socket) or self.child.poll() is not None, 8)

    def worker(self):
        def find():
            for pid in self.host.processes():
                with open(f"/proc/{pid}/comm") as file:
                    if file.read() == "dkvm-worker\n":
                        return pid
            return None
        pid = until(find, 5)
        need(pid, "no worker")
        return pid

    def end(self):
        try:
            self.child.wait(30)
        except subprocess.TimeoutExpired:
            raise Bad("the guard does not end") from None


def attach(prefix, pid):
    child = subprocess.Popen([word for word in prefix if word != "-qq"] + ["-p", str(pid)], stderr=subprocess.PIPE, text=True)
    need("attached" in child.stderr.readline(), "strace -p does not attach")
    return child


def calls_in(log, process, phases, after=None):
    """The calls of LOG, from the call AFTER on; PHASES: (name, the number of lines until then)."""
    seen, on = collections.Counter(), after is None
    with open(log, errors="replace") as file:
        for line_number, line in enumerate(file):
            found = re.match(r"([a-z]\w*)\((.*)", line)
            if not found:
                continue
            name, text = found.groups()
            seen[name] += 1
            on = on or name == after
            phase = next((phase for phase, end in phases if line_number < end), None)
            if on and phase and name not in NEVER:
                yield Call(process, phase, name, seen[name], text[:100])


def lines_of(log):
    with open(log, errors="replace") as file:
        return sum(1 for _ in file)


def record_calls():
    """What the three processes call in a run without faults."""
    every = []
    for process in "guard", "worker", "client":
        with Host() as host:
            log, back = f"{host.state}/trace", f"{host.state}/trace-back"
            guard = Guard(host, traced(log) if process == "guard" else ())
            tracer = attach(traced(log), guard.worker()) if process == "worker" else None
            need(host.hook("prepare", traced(log) if process == "client" else ()) == (0, ""), "prepare")
            middle = lines_of(log)
            need(host.hook("release", traced(back) if process == "client" else ()) == (0, ""), "release")
            host.comes_back(10, "release")
            guard.end()
            if tracer:
                tracer.wait(10)
            phases = (("prepare", middle), ("release", 10**9))
            every += calls_in(log, process, phases, None if process == "worker" else "umask")
            if process == "client":
                every += calls_in(back, process, (("release", 10**9),), "umask")
    return every


def failing_call(clean, call, error):
    """TRUE: nothing came of it; else what it was refused with, or "by itself" and "by restore" for release."""
    what = f"{call.process}, {call.phase}, {call.name} {call.nth} ({call.text[:60]}): {error}"
    with Host() as host:
        log = f"{host.state}/trace"
        prefix = traced(log, call.name, call.nth, error)
        guard = Guard(host, prefix if call.process == "guard" else ())
        tracer = attach(prefix, guard.worker()) if call.process == "worker" else None
        of_client = prefix if call.process == "client" else ()
        code, err = host.hook("prepare", of_client if call.phase == "prepare" else ())
        if code != 0:
            refused((code, err), what)
            host.comes_back(15, what)
            result = "refused"
        else:
            need(err == "", f"{what}: says {err}")
            same = host.picture() == clean.prepared and {step[:2] for step in clean.steps} <= {step[:2] for step in steps_of(host)}
            # That something is not there is believed, and the hand-over is another one.
            need(same or error in ("ENOENT", "ENODEV"),
                 f"{what}: succeeds otherwise: {difference(host.picture(), clean.prepared)} {steps_of(host)}")
            all_are_taken(host, what, not same)
            code, err = host.hook("release", of_client if call.phase == "release" else ())
            need(code == 0, f"{what}: release: exit {code}: {err}")
            if until(host.is_back, 6):
                result = "by itself" if call.phase == "release" else "no matter" if same else "believed"
            else:
                host.restored_by_hand(what)
                result = "by restore"
        guard.end()
        if tracer:
            tracer.wait(10)
        # A program of post.d that cannot be run is reported and hinders nothing; one that is believed not to be there is not run.
        ran = host.programs()
        need(result == "believed" or ran in ([], [*ON.programs], [*ON.programs[1:]]) or (ran == [*ON.programs[:1]] and "post.d" in host.told()),
             f"{what}: programs: {ran}, told: {host.told()}")
        with open(log, errors="replace") as file:
            return result if "(INJECTED)" in file.read() else "not reached"


def held(tree):
    """A process has the first GPU's node open, and nothing says that it may be ended."""
    with open(f"{tree}/sys/bus/pci/devices/0000:01:00.0/drm/card0/dev", "w") as file:
        file.write("1:5\n") # /dev/zero, which process 4242 has


def failing_look(call, error, on):
    """Whichever call fails, what is in use is not taken: an unbind then may never end (facts/handoff.md F01)."""
    what = f"in use, {call.name} {call.nth}{on} ({call.text[:60]}): {error}"
    with Host(held) as host:
        guard = Guard(host, traced(f"{host.state}/trace", call.name, f"{call.nth}{on}", error))
        code, err = host.hook("prepare")
        need(not [line for line in host.log() if line[0].endswith("amdgpu/unbind")], f"{what}: the GPU was taken")
        refused((code, err), what)
        if on and not until(host.is_back, 3):
            # Where nothing can be read or opened any more nothing can be put back, until it can.
            guard.end()
            host.restored_by_hand(what)
        host.comes_back(15, what)
        guard.end()


def test_held():
    """A GPU that is in use, and each system call failing, once or from then on, until that is found out."""
    with Host(held) as host:
        log = f"{host.state}/trace"
        guard = Guard(host, traced(log))
        refused(host.hook("prepare"), "in use", ("0000:01:00.0",), ("reader (4242, reader.service) has /dev/zero open",))
        need(not host.log(), f"written: {host.log()}")
        guard.end()
        every = list(calls_in(log, "guard", (("prepare", 10**9),), "umask"))
    begin = max(i for i, call in enumerate(every) if "dkvm.conf" in call.text)
    # From the look at the host on.
    every = [call for call in every[begin:] if call.name != "poll"]
    cases = [(call, error, on) for call in every for error in ERRORS for on in ("", "+")]
    # Who is told again and again to try again does so.
    cases = [(call, error, on) for call, error, on in cases if error != "EINTR" or not on]
    if not LONG:
        seed = int(os.environ.get("DKVM_SEED", "0"), 16)
        users = [call for call in every if "/proc" in call.text or "4242" in call.text or '"fd"' in call.text]
        cases = [(call, error, "" if error == "EINTR" or (i + seed) % 3 == 0 else "+")
                 for i, call in enumerate(users + sample([call for call in every if call not in users], 24))
                 for error in [ERRORS[(seed + i) % len(ERRORS)]]]
    done = together([lambda c=call, e=error, o=on: failing_look(c, e, o) for call, error, on in cases])
    print(f"# {len(every)} calls, {done} faults")


def some_calls(every):
    """(call, error): all, or one of each name, process and phase."""
    if LONG:
        return [(call, error) for call in every for error in ERRORS]
    kinds = collections.defaultdict(list)
    for call in every:
        kinds[call[:3]].append(call)
    seed, chosen = int(os.environ.get("DKVM_SEED", "0"), 16), []
    for number_of_kind, calls in enumerate(kinds.values()):
        chosen.append((calls[seed % len(calls)], ERRORS[(seed + number_of_kind) % len(ERRORS)]))
    return sample(chosen, len(chosen))


def test_calls():
    """Each system call of client, guard and worker failing."""
    clean, every = Clean(), record_calls()
    chosen = some_calls(every)
    table = collections.defaultdict(collections.Counter)
    names = collections.defaultdict(set)
    for call in every:
        names[call.process, call.phase].add(call.name)

    missed = []

    def one(call, error):
        result = failing_call(clean, call, error)
        if result == "not reached":
            missed.append((call, error))
        else:
            table[call.process, call.phase][result] += 1

    def reach(again, call, error):
        """One that was not reached: once more, unless that call is not made in each run."""
        if call[:4] not in again:
            table[call.process, call.phase]["not in each run"] += 1
            print(f"# not in each run: {call.process}, {call.phase}, {call.name} {call.nth} ({call.text[:60]})")
            return
        result = failing_call(clean, call, error)
        need(result != "not reached", f"{call}: {error}: not reached, twice")
        table[call.process, call.phase][result] += 1

    try:
        together([lambda c=call, e=error: one(c, e) for call, error in chosen])
        if missed:
            again = {call[:4] for call in record_calls()}
            together([lambda c=call, e=error: reach(again, c, e) for call, error in missed])
    finally:
        for key in sorted(names):
            print(f"# {' '.join(key)}: {sum(1 for call in every if call[:2] == key)} calls, {len(names[key])} names; {dict(table[key])}")
    tried = sum(sum(counts.values()) for counts in table.values())
    need(tried == len(chosen), f"{tried} of {len(chosen)} faults were tried")


# ---- processes and sleep ------------------------------------------------------------------------

WAITS = "nanosleep,clock_nanosleep,pause,poll,ppoll,select,pselect6,epoll_wait,epoll_pwait"


def traced_lines(path):
    with open(path) as file:
        return file.read().splitlines()


def other_children(lines):
    """How many processes were made beside workers: one at a time, each waited for before the next."""
    workers, count = set(re.findall(r'^(\d+) +prctl\(PR_SET_NAME, "dkvm-worker"', "\n".join(lines), re.M)), 0
    alive = None
    for line in lines:
        made = re.search(r"\b(?:clone3?|v?fork)\b.* = (\d+)$", line)
        if made and made.group(1) not in workers:
            need(alive is None, f"{alive} was not waited for: {line}")
            alive, count = made.group(1), count + 1
        if alive and re.search(rf"\bwait4\b.* = {alive}$", line):
            alive = None
    need(alive is None and workers, f"workers {workers}, {alive} was not waited for")
    return count


def test_frugal():
    """No program is started beside the guard, no process but its worker and one at a time that reads what others have
    mapped; nobody sleeps: who waits waits for a file or a process."""
    with Host() as host:
        logs = [f"{host.state}/{name}" for name in ("guard", "there", "back")]
        prefix = ["/usr/bin/strace", "-f", "-qq", "-e", "signal=none", "-e", f"trace=%process,prctl,{WAITS}", "-o"]
        guard = Guard(host, [*prefix, logs[0]])
        for operation, log in ("prepare", logs[1]), ("release", logs[2]):
            need(host.hook(operation, [*prefix, log]) == (0, ""), operation)
        host.comes_back(10, "release")
        guard.end()
        of_guard, *of_clients = map(traced_lines, logs)
    need(not any(re.search(r"\b(clone3?|v?fork)\b", line) for lines in of_clients for line in lines), "a client forks")
    every = of_guard + sum(of_clients, [])
    programs = [line for line in every if "execve" in line]
    need(len(programs) == 3, f"programs: {programs}")
    waits = [line for line in every if re.search(rf"^\d+ +({WAITS.replace(',', '|')})\(", line)]
    idle = [line for line in waits if not re.search(r" poll\(\[\{fd=\d", line)]
    need(waits and not idle, f"waits for nothing: {idle}")
    print(f"# {other_children(of_guard)} processes beside the worker, {len(waits)} waits")


def main():
    make_template()
    try:
        globals()[f"test_{sys.argv[1]}"]()
    except Bad as bad:
        print(bad)
        return 1
    return 0


sys.exit(main())
