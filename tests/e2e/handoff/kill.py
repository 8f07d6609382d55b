# SPDX-License-Identifier: LGPL-2.1-or-later
"""In the guest: the kill matrix.

    kill.py COUNT SEED    COUNT points chosen by SEED, "all", a part of all ("1/3" is the first of three), or those named
                          ("29:worker,30:guard")

A point is a record of the journal of one start and stop, and a process that is there when it is written.  At each
point that process is killed; then, without anybody's help, the host is as before within 40 s, or the VM goes on with a
guard, and the host is as before within 40 s after QEMU's end.  Prints a line for each point, "ok" and "not ok", and
a table.  The VM is started paused: what it would run costs time and changes nothing here."""
import os
import random
import signal
import subprocess
import sys
import time

import cases
import host
import snapshot
from host import GPU, SOUND, Domain, Host, need, run, wait

PROCESSES = ("hook", "guard", "worker", "libvirtd", "qemu")


class Killer:
    def __init__(self, *words):
        self.process = subprocess.Popen(["/rig/killer", *words], stdout=subprocess.PIPE, text=True)
        need(self.process.stdout.readline() == "ready\n", "the killer is ready")

    def ended(self):
        return self.process.poll() is not None

    def text(self):
        return self.process.communicate(timeout=150)[0]


def records(domain):
    """[(number, "TYPE FIELDS", [process])] of one start and stop."""
    killer = Killer(domain.uuid)
    domain.begin("--paused")
    domain.destroy()
    wait(killer.ended, 60, "the journal is gone")
    found = []
    for line in killer.text().splitlines():
        text, _, alive = line.rpartition("|")
        number, _, rest = text.strip().partition(" ")
        found.append((int(number), rest, alive.split()))
    need(found, "there is a journal")
    return found


def choose(points, count, seed):
    """COUNT of POINTS: one of each kind (type of record, step, process) before a second of any."""
    if count == "all":
        return points
    if ":" in count:
        return [point for name in count.split(",") for point in points if name == f"{point[0]}:{point[2]}"]
    if "/" in count:
        part, parts = map(int, count.split("/"))
        return points[part - 1::parts]
    points = list(points)
    random.Random(seed).shuffle(points)
    seen, order = {}, []
    for number, text, process in points:
        kind = (" ".join(text.split()[:2]), process)
        by_process = seen.setdefault(process, 0)
        seen[kind] = seen.get(kind, 0) + 1
        order.append(((seen[kind], by_process), (number, text, process)))
        seen[process] += 1
    return sorted(point for _, point in sorted(order, key=lambda pair: pair[0])[:int(count)])


def open_by_qemu(domain):
    group = snapshot.link(f"{host.PCI}/{GPU}/iommu_group")
    return domain.pid() and any(k == f"vfio-open.{group}" for k, _ in snapshot.ours())


def settle(where, domain):
    """After the kill: "restored" or "went on", and the seconds that the host took to be as before."""
    begin = time.monotonic()
    wait(lambda: open_by_qemu(domain) or not where.quickly(), host.BACK, "as before, or QEMU has the group")
    if not open_by_qemu(domain):
        return "restored", where.back("nobody has the group", max(1, host.BACK - (time.monotonic() - begin)))
    # A QEMU that libvirt is about to end is not one that goes on.
    time.sleep(2)
    if not open_by_qemu(domain):
        return "restored", where.back("nobody has the group")
    wait(host.guards, 20, "a guard watches")
    os.kill(domain.pid(), signal.SIGKILL)
    return "went on", where.back("QEMU has ended")


def point(where, domain, number, text, process):
    killer = Killer(domain.uuid, str(number), process)
    client = subprocess.Popen(["virsh", "-q", "start", "--paused", domain.name], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
    wait(lambda: killer.ended() or client.poll() is not None, host.START, "virsh start ends")
    if not killer.ended():
        # A record of the way back.
        subprocess.run(["virsh", "-q", "destroy", domain.name], capture_output=True, timeout=120, check=False)
        wait(killer.ended, 60, f"record {number} of the way back")
    said = killer.text().strip()
    if process not in said or not said.startswith("killed"):
        outcome = "none"
        wait(lambda: client.poll() is not None, host.START, "virsh start ends")
        run("virsh", "-q", "destroy", domain.name)
        seconds = where.back("nothing was killed")
    else:
        outcome, seconds = settle(where, domain)
    client.wait(90)
    if not host.libvirtd():
        host.start_libvirtd()
        where.back("libvirtd is back")
    wait(lambda: domain.state() == "shut off", 60, "the domain is shut off")
    return outcome, seconds


def main(count, seed):
    cases.libvirtd_without_restart()
    domain = Domain("matrix", [GPU, SOUND]).define()
    where = Host()
    for _ in range(2):  # the first loads modules, which the others find there
        known = records(domain)
        where.back("a cycle without a kill")
    points = [(number, text, process) for number, text, alive in known for process in alive]
    chosen = choose(points, count, seed)
    host.note(f"{len(known)} records, {len(points)} points; {len(chosen)} of them, chosen by {seed}:")
    host.note(" ".join(f"{number}:{process}" for number, _, process in chosen))
    rows = []
    for number, text, process in chosen:
        try:
            outcome, seconds = point(where, domain, number, text, process)
            host.report(True, f"{number} {text[:60]}: {process} killed: {outcome}, {seconds:.1f} s")
            rows.append((process, outcome))
        except (host.No, OSError, subprocess.SubprocessError) as no:
            more = "\n".join(where.changes()) + "\n" + host.diagnosis()
            host.report(False, f"{number} {text[:60]}: {process} killed", f"{no}\n{more}")
            rows.append((process, "not back"))
            cases.put_right()
            domain.define()
            cases.libvirtd_without_restart()
    outcomes = ("restored", "went on", "none", "not back")
    host.note(f"{'killed':10}" + "".join(f"{outcome:>10}" for outcome in outcomes))
    for process in PROCESSES:
        host.note(f"{process:10}" + "".join(f"{rows.count((process, outcome)):>10}" for outcome in outcomes))
    host.note(f"slowest way back: {where.slowest:.1f} s")
    return 1 if host.failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
