# SPDX-License-Identifier: LGPL-2.1-or-later
"""dkvm-watchd with many domains, with a libvirtd that is killed again and again, and what it asks of libvirtd.
DKVM_LONG: the numbers that are promised; else smaller ones."""

import os
import pathlib
import re
import signal
import subprocess
import threading
import time

import libvirt

import rig
import watcher
from watcher import Watcher, patched, settle, wait_patched

LONG = bool(os.environ.get("DKVM_LONG"))
RESTART = os.environ["DKVM_RESTART_LIBVIRTD"]
CLIENT = str(pathlib.Path(rig.DKVM).parent / "tests/bench/watch-client")
CONN = rig.connect()


def fresh():
    global CONN
    if not CONN.isAlive():
        CONN = rig.connect()
    rig.remove_all(CONN)
    watcher.unconfigure()


def small(name, os_id=rig.APPLE):
    """Without disks, of which there would be many."""
    return re.sub("(?s)<disk.*?</disk>", "", rig.mac(name, os_id=os_id))


def names_patched(watch):
    return re.findall(r"note: qemu:///system: (\S+) \([a-z ]+\): patched", watch.log())


def need_all_patched(names):
    missing = [name for name in names if not patched(CONN.lookupByName(name))]
    rig.need(not missing, f"{len(missing)} are not patched: {missing[:5]}")


def wait_for_all(watch, count, deadline):
    """Until COUNT domains are patched or it has been found that they are."""
    def done():
        domains = watch.status()["connections"][0]["domains"]
        return len(domains) >= count and all(d["result"] in ("patched", "up-to-date") for d in domains)
    rig.wait(done, f"all {count} are patched", deadline=deadline, every=0.5)


### What it asks of libvirtd ########################################################################


def calls(log, uuid, name):
    return len(re.findall(rf"{name}:\d+ : dom=\S+ \(VM: name=\S+ uuid={uuid}\)", log))


@rig.test("a domain that is not ours is read once for each definition, and never defined: libvirtd's own log")
def _():
    global CONN
    fresh()
    conf, path = pathlib.Path("/etc/libvirt/libvirtd.conf"), rig.SCRATCH / "libvirtd.debug"
    before = conf.read_text()
    conf.write_text(f'{before}\nlog_filters = "1:libvirt"\nlog_outputs = "1:file:{path}"\n'.replace(
        'log_outputs = "3:stderr"\n', "", 1))
    subprocess.run([RESTART], check=True, timeout=120)
    try:
        CONN = rig.connect()
        with Watcher() as watch:
            domain = CONN.defineXML(small("linux", os_id=None))
            for number in range(4):
                CONN.defineXML(small("linux", os_id=None).replace(
                    "<name>", f"<uuid>{domain.UUIDString()}</uuid><title>{number}</title><name>"))
            settle(CONN, watch)
            log = path.read_text(errors="replace")
            reads = calls(log, domain.UUIDString(), "virDomainGetXMLDesc")
            defines = len(re.findall(r"virDomainDefineXML(?:Flags)?:\d+ : conn=", log))
            ours = 6 * 2 # the fences: theirs and ours
            rig.need(reads == 5, f"{reads} reads of 5 definitions")
            rig.need(defines == 5 + ours, f"{defines} definitions, not {5 + ours}")
            rig.need(not patched(domain), "it was patched")
    finally:
        conf.write_text(before)
        subprocess.run([RESTART], check=True, timeout=120)
        CONN = rig.connect()


### libvirtd is killed ##############################################################################


class Definer(threading.Thread):
    """Defines one domain after another, whatever happens to libvirtd."""

    def __init__(self, cycle):
        super().__init__(daemon=True)
        self.cycle, self.stop, self.names = cycle, threading.Event(), []

    def run(self):
        number = 0
        while not self.stop.is_set() and number < 60:
            name = f"mac-{self.cycle}-{number}"
            self.define_once(name)
            self.names.append(name)
            number += 1

    def define_once(self, name):
        """A definition whose answer was lost with libvirtd may be there all the same."""
        while True:
            try:
                conn = libvirt.open("qemu:///system")
                try:
                    conn.lookupByName(name)
                except libvirt.libvirtError:
                    conn.defineXML(small(name))
                conn.close()
                return
            except libvirt.libvirtError:
                time.sleep(0.05)


@rig.test("libvirtd is killed again and again while domains are defined: nothing missed, nothing twice")
def _():
    global CONN
    fresh()
    cycles = 50 if LONG else 5
    seen = []
    with Watcher() as watch:
        for cycle in range(cycles):
            definer = Definer(cycle)
            definer.start()
            rig.wait(lambda: len(definer.names) >= 10, "ten definitions")
            os.kill(int(pathlib.Path("/run/libvirtd.pid").read_text()), signal.SIGKILL)
            subprocess.run([RESTART], check=True, timeout=120)
            watch.wait_for(": watching", cycle + 2)
            rig.wait(lambda: len(definer.names) == 60, "more definitions")
            definer.join(60)
            CONN = rig.connect()
            for name in definer.names:
                wait_patched(CONN.lookupByName(name), watch)
            settle(CONN, watch)
            seen.append((watch.descriptors(), watch.resident()))
            rig.remove_all(CONN)
        lines = [name for name in names_patched(watch) if name.startswith("mac-")]
        twice = {name for name in lines if lines.count(name) > 1}
        rig.need(not twice, f"patched twice: {sorted(twice)[:5]}\n{watch.log()[-3000:]}")
        rig.need("error: " not in watch.log(), watch.log()[-3000:])
    first = seen[1]
    rig.say(f"{cycles} times: {seen[0][0]} to {seen[-1][0]} descriptors, {seen[0][1]} to {seen[-1][1]} KiB")
    rig.need(max(fds for fds, _ in seen) <= first[0] + 1, f"descriptors: {seen}")
    rig.need(seen[-1][1] <= first[1] * 1.1, f"memory: {seen}")


### Many ############################################################################################


@rig.test("many are defined as fast as libvirt can")
def _():
    fresh()
    count = 1000 if LONG else 200
    with Watcher() as watch:
        names = [f"mac-{number}" for number in range(count)]
        begun = time.monotonic()
        for name in names:
            CONN.defineXML(small(name))
        defined = time.monotonic() - begun
        wait_for_all(watch, count, 300)
        took = time.monotonic() - begun
        need_all_patched(names)
        rig.need(sorted(names_patched(watch)) == sorted(names), "not each of them once")
        rig.say(f"{count} defined in {defined:.1f} s, all patched after {took:.1f} s")


def client_memory():
    client = subprocess.Popen([CLIENT, "idle"])
    try:
        time.sleep(1)
        text = pathlib.Path(f"/proc/{client.pid}/status").read_text()
    finally:
        client.kill()
        client.wait()
    return int(re.search(r"VmRSS:\s*(\d+)", text).group(1))


def scan(count):
    """Seconds for a scan of COUNT domains that were there before, and the memory afterwards."""
    fresh()
    for number in range(count):
        CONN.defineXML(small(f"mac-{number}"))
    begun = time.monotonic()
    with Watcher() as watch:
        wait_for_all(watch, count, 1800)
        took = time.monotonic() - begun
        need_all_patched([f"mac-{number}" for number in range(count)])
        time.sleep(1)
        return took, watch.resident()


@rig.test("many are there at the start: time grows with their number, memory does not")
def _():
    few, many = (1000, 10000) if LONG else (100, 500)
    short, _memory = scan(few)
    long, memory = scan(many)
    bare = client_memory()
    rig.say(f"{few}: {short:.1f} s, {many}: {long:.1f} s; {memory} KiB, an event client {bare} KiB, "
            f"ratio {memory / bare:.2f}")
    rig.need(memory <= 1.5 * bare, "it takes more than 1.5 times the memory of an event client")
    # A few seconds on a busy machine say nothing; a thousand and ten thousand do.
    rig.need(not LONG or long <= 1.3 * short * many / few, "time grows more than linearly")


rig.run()
