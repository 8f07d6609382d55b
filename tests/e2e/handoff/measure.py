# SPDX-License-Identifier: LGPL-2.1-or-later
"""In the guest: what the cases measure: libvirt's answers, dkvm's lines in the journal, what a hand-over leaves."""
import json
import os
import subprocess
import threading
import time

import host
import snapshot
from host import need, wait

# ---- libvirt's answers ----


class Virsh:
    """A virsh that is connected already: its own start takes longer here than what is to be measured."""
    END = "# echo the-end"

    def __init__(self):
        self.process = subprocess.Popen(["virsh", "-q"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)
        self.ask("list --all")

    def ask(self, words):
        """When it was asked and when it had answered, and the answer; the echo of a second command comes when the
        first is done."""
        begin = time.monotonic()
        self.process.stdin.write(f"{words}\necho the-end\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line.rstrip().endswith(self.END):
                return begin, time.monotonic(), "".join(lines)
            lines.append(line)
        raise host.No(f"virsh ended: {''.join(lines)}")

    def close(self):
        self.process.kill()
        self.process.wait()


class Asking:
    """Another client, which asks for the list again and again until stop()."""

    def __init__(self):
        self.virsh, self.answers, self.over = Virsh(), [], False
        self.thread = threading.Thread(target=self.go_on, daemon=True)
        self.thread.start()

    def go_on(self):
        while not self.over:
            try:
                self.answers.append(self.virsh.ask("list --all"))
            except (host.No, OSError):
                # stop() has ended it; otherwise who waits for an answer says that there is none.
                return
            time.sleep(0.1)

    def slowest(self, since):
        """Seconds of the slowest answer that was asked for from SINCE on."""
        return max(end - begin for begin, end, _ in self.answers if begin >= since)

    def answered(self, since):
        return sum(begin >= since for begin, _, _ in self.answers)

    def stop(self):
        self.over = True
        self.virsh.close()
        self.thread.join(10)


# ---- the journal ----


def journal(*matches):
    """Entries of this boot as systemd has them, oldest first, with "at", CLOCK_MONOTONIC in seconds."""
    host.must("journalctl", "--sync")
    found = []
    for line in host.must("journalctl", "-q", "-b", "-o", "json", "--no-pager", *matches).splitlines():
        need(line.startswith("{"), f"journalctl says: {line}")
        entry = json.loads(line)
        entry["at"] = int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6
        found.append(entry)
    return found


def steps(domain, since=0.0):
    """[(at, step, device or None, what)] of the lines that dkvm-gpu wrote about DOMAIN's steps."""
    return [(entry["at"], entry.get("DKVM_STEP"), entry.get("DKVM_BDF"), entry["MESSAGE"])
            for entry in journal(f"DKVM_UUID={domain.uuid}") if entry["at"] >= since]


def status(domain):
    """What "dkvm-gpu status --json" says of DOMAIN."""
    for one in json.loads(host.must("dkvm-gpu", "status", "--json")):
        if one["uuid"] == domain.uuid:
            return one
    raise host.No(f"status --json does not name {domain.name}")

# ---- what is left behind ----

# Bytes a cycle: less than one struct device, one unit of systemd or one connection.  Of a few cycles the noise (arenas
# of malloc, slabs that are half full) is larger than that and is only printed.
SMALL, ENOUGH = 1024, 50


def people():
    """{name: process id} of those who could keep something for each hand-over."""
    found = {"libvirtd": host.libvirtd(), "systemd": 1}
    for name, comm in (("logind", "systemd-logind"), ("dbus", "dbus-daemon")):
        pids = host.processes(comm)
        need(pids, f"{comm} runs")
        found[name] = pids[0]
    return found


def descriptors():
    return {name: len(os.listdir(f"/proc/{pid}/fd")) for name, pid in people().items()}


def fields(path, separator=":"):
    """{name: number} of a file of lines "name: number kB"."""
    lines = (line.partition(separator) for line in snapshot.read(path, "").splitlines())
    words = ((name.strip(), rest.split()[:1]) for name, _, rest in lines)
    return {name: int(number[0]) for name, number in words if number and number[0].isdigit()}


def memory():
    """Bytes of each process that are its own, and of the kernel that it cannot give back when asked to."""
    os.sync()
    host.write("/proc/sys/vm/drop_caches", "3")
    sizes = {}
    for name, pid in people().items():
        rollup = fields(f"/proc/{pid}/smaps_rollup")
        sizes[name] = 1024 * (rollup["Private_Dirty"] + rollup["Swap"])
    kernel = fields("/proc/meminfo")
    sizes.update({name: 1024 * kernel[name] for name in ("Slab", "SUnreclaim", "Percpu")})
    return sizes


def objects():
    """What the kernel counts itself."""
    return fields("/sys/fs/cgroup/cgroup.stat", " ")


class Left:
    """What there is now; and what is more than that later."""

    def __init__(self):
        self.descriptors, self.objects, self.memory = descriptors(), objects(), memory()

    def more(self, cycles):
        """{name: (before, now)} of what is left."""
        found = {}
        for before, now, allowed in ((self.descriptors, descriptors(), 0), (self.objects, objects(), 0),
                                     (self.memory, memory(), SMALL * cycles if cycles >= ENOUGH else float("inf"))):
            found.update({name: (before[name], now[name]) for name in before if now[name] > before[name] + allowed})
        return found

    def need_nothing(self, cycles):
        """After CYCLES; what the kernel and daemons free a little later is waited for."""
        try:
            wait(lambda: not self.more(cycles), 60, "nothing is left behind")
        except host.No as no:
            raise host.No(f"{no}: after {cycles} cycles {self.more(cycles)}") from no
        now = memory()
        grown = [f"{name} {(now[name] - size) / max(cycles, 1):+.0f}" for name, size in self.memory.items()]
        host.note(f"after {cycles} more cycles open files {self.descriptors} and cgroups {self.objects} as before; bytes a "
                  "cycle: " + ", ".join(grown))
