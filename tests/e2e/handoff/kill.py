# SPDX-License-Identifier: LGPL-2.1-or-later
"""In the guest: the kill matrix.

    kill.py COUNT SEED    COUNT points chosen by SEED, "all", a part of all ("1/3" is the first of three), those named
                          ("29:worker,30:guard"), those of some kinds ("UNDO-services:guard,RUNNING:libvirtd"), or
                          none, but a list of all ("list")

A point is a record of the journal of one start and stop, and a process that is there when it is written.  At each
point that process is killed.  Then, without anybody's help:

    before QEMU has the devices   the host is as before within 40 s, or the start succeeds and the VM goes on
    as long as QEMU has them      the VM goes on, a guard (another one, if that was killed) watches, and the host is as
                                  before within 40 s after QEMU's end
    from then on, and if QEMU     the host is as before within 40 s
    is who was killed

A process that is not there when its record comes is looked for twice more; that is a failure, too, unless one of the
surveys did not find it there either, or if there are more than 2 in 100.  Prints a line for each point, "ok" and
"not ok", and a table.  The VM is started paused: what it would run costs time and changes nothing here.

The host has a display manager and a graphical session that hold the card, a service that holds its sound, programs in
pre.d and post.d, and gives the VM huge pages and a CPU of its own.  Without a chance in this machine: bar-size (no BAR
can be resized), governor (no cpufreq), reset-method (the card has only one), nvidia's steps, and the frame buffer of
the firmware, which has no way back (cases.py has it)."""
import collections
import json
import os
import random
import signal
import subprocess
import sys
import time

import cases
import host
import snapshot
from host import GPU, SOUND, Domain, Host, configure, must, need, run, wait

PROCESSES = ("hook", "guard", "worker", "libvirtd", "qemu")
OUTCOMES = ("restored", "went on", "none", "not back")
BEFORE, RUNNING, AFTER = "before", "running", "after"
SURVEYS, TRIES = 2, 3
LONG_WITHOUT_LIBVIRT = 12  # seconds: a guard that takes a VM for dead without libvirt does so after 10
WITHOUT = 2  # in 100 points: those at which there was nobody to kill
SERVICE, SESSION = "rig-service.service", "rig-session.service"
UNITS = "/run/systemd/system"
PROGRAMS = "/run/rig-programs"
# The session is ended and does not come back by itself (it is begun again for each point).
SESSIONS = r"session\.|unit\.(rig-session|user-0)\."

Point = collections.namedtuple("Point", "number text kind step process phase sure")


# ---- the host ----


def service():
    """Holds the card's sound whenever there is one."""
    node = f"/dev/snd/by-path/pci-{SOUND}"
    host.write(f"{UNITS}/{SERVICE}", f"""[Unit]
StartLimitIntervalSec=0
[Service]
Type=exec
ExecStart=/bin/sh -c 'until [ -e {node} ]; do sleep 0.2; done; exec /rig/hold $(readlink -f {node})'
""")


def session():
    """A service that logs in is moved to a session of logind.  Type=simple: of a process that is moved away systemd
    does not hear that it was executed.  Without the manager of its user, whose coming and going takes long here."""
    permit = "".join(f"{kind} required pam_permit.so\n" for kind in ("auth", "account", "session"))
    host.write("/etc/pam.d/rig", permit + "session required pam_systemd.so\n")
    host.write(f"{UNITS}/{SESSION}", f"""[Unit]
StartLimitIntervalSec=0
[Service]
User=root
PAMName=rig
Environment=XDG_SESSION_TYPE=x11 XDG_SESSION_CLASS=user
ExecStart=/bin/sh -c 'exec /rig/hold $(readlink -f /dev/dri/by-path/pci-{GPU}-card)'
""")
    run("systemctl", "mask", "--runtime", "user@0.service")


def in_session():
    return any("/session-" in snapshot.read(f"/proc/{pid}/cgroup") for pid in host.processes("hold"))


def desktop():
    """All that a hand-over ends runs, and has what it is to let go of."""
    if not in_session():
        run("systemctl", "stop", SESSION)
        must("systemctl", "restart", SESSION)
        wait(in_session, 30, "there is a graphical session")
    wait(lambda: len(host.processes("hold")) == 3, 20, "display manager, session and service have the card")


def programs():
    for folder, word in (("pre.d", "pre"), ("post.d", "post")):
        path = f"/etc/dkvm/{folder}/rig"
        host.write(path, f"#!/bin/sh\necho {word} >>{PROGRAMS}\n")
        os.chmod(path, 0o755)


def settings():
    cases.libvirtd_without_restart()
    service()
    session()
    programs()
    cases.display_manager()
    must("systemctl", "start", SERVICE)
    desktop()
    configure(domains="all", desktop="stop", services=SERVICE, hugepages="allocate", irqs="move", **{"host-cpus": "0"})


def machine():
    return Domain("matrix", [GPU, SOUND], extra="<memoryBacking><hugepages/></memoryBacking>"
                  "<cputune><vcpupin vcpu='0' cpuset='1'/></cputune>")


def need_all_done(domain):
    """What is done when the guest runs is done, or cannot be done."""
    def is_done():
        states = [step["state"] for one in json.loads(run("dkvm-gpu", "status", "--json").text)
                  if one["uuid"] == domain.uuid and one["phase"] == "running" for step in one["steps"]]
        return states and not {"begun", "waits for the guest"} & set(states)
    try:
        wait(is_done, 60, "all is done")
    except host.No as no:
        raise host.No(f"{no}\n{run('dkvm-gpu', 'status').text}") from no


# ---- records and points ----


class Killer:
    def __init__(self, *words):
        self.process = subprocess.Popen(["/rig/killer", *words], stdout=subprocess.PIPE, text=True)
        need(self.process.stdout.readline() == "ready\n", "the killer is ready")

    def ended(self):
        return self.process.poll() is not None

    def text(self):
        said = self.process.communicate(timeout=150)[0].strip()
        need(self.process.returncode == 0, f"the killer waited in vain: {said}")
        return said

    def end(self):
        """One that still waited would kill at another point."""
        if not self.ended():
            self.process.kill()
            self.process.communicate()


def kinds(records):
    """[(kind, step)]: "INTENT-unbind", "UNDO-unbind", "RUNNING": also of a record that has an action's number only."""
    steps, found = {}, []
    for number, text, _ in records:
        words = text.split()
        step = ""
        if words[0] in ("INTENT", "PLANNED"):
            step = steps[str(number)] = words[1]
        elif words[0] in ("DONE", "FAILED", "SKIPPED", "UNDO", "UNDONE", "FOREIGN", "LATE"):
            step = steps.get(words[1], "")
        found.append((f"{words[0]}-{step}" if step else words[0], step))
    return found


def survey(domain):
    """[(number, "TYPE FIELDS", [process])] of one start and stop."""
    killer = Killer(domain.uuid)
    try:
        domain.begin("--paused")
        need_all_done(domain)
        domain.destroy()
        wait(killer.ended, 60, "the journal is gone")
        lines = killer.text().splitlines()
    finally:
        killer.end()
    need(lines, "there is a journal")
    found = []
    for line in lines:
        text, _, alive = line.rpartition("|")
        number, _, rest = text.strip().partition(" ")
        found.append((int(number), rest, alive.split()))
    return found


def points_of(surveys):
    """Of the last survey; "sure" are those whose process each survey found."""
    last = surveys[-1]
    names = kinds(last)
    need(all(kinds(one) == names for one in surveys), "two starts write the same records:\n" +
         "\n".join(" ".join(kind for kind, _ in kinds(one)) for one in surveys))
    begin, end = ([kind for kind, _ in names].index(kind) for kind in ("RUNNING", "RESTORING"))
    points = []
    for index, ((number, text, alive), (kind, step)) in enumerate(zip(last, names)):
        phase = BEFORE if index < begin else RUNNING if index < end else AFTER
        for process in alive:
            # Once QEMU is there nobody waits for a hook, nor it for what the guard does.
            sure = all(process in one[index][2] for one in surveys) and (process != "hook" or phase == BEFORE)
            points.append(Point(number, text, kind, step, process, phase, sure))
    return points


def choose(points, count, seed):
    """COUNT of POINTS: one of each kind (type of record, step, process) before a second of any, and of these one of the
    process and the step that was chosen least."""
    if count == "all":
        return points
    if count == "list":
        return []
    if ":" in count:
        return [point for name in count.split(",") for point in points
                if name in (f"{point.number}:{point.process}", f"{point.kind}:{point.process}")]
    if "/" in count:
        part, parts = map(int, count.split("/"))
        return points[part - 1::parts]
    left, chosen, used = list(points), [], collections.Counter()
    random.Random(seed).shuffle(left)
    while left and len(chosen) < int(count):
        one = min(left, key=lambda p: (used[p.kind, p.process], used[p.process], used["step", p.step or p.kind]))
        left.remove(one)
        chosen.append(one)
        used.update([(one.kind, one.process), one.process, ("step", one.step or one.kind)])
    return sorted(chosen)


# ---- one point ----


def open_by_qemu(domain):
    group = snapshot.link(f"{host.PCI}/{GPU}/iommu_group")
    return domain.pid() and any(k == f"vfio-open.{group}" and v.startswith("qemu") for k, v in snapshot.ours())


class Killed:
    """Who, when, and at which record, by what the killer said."""

    def __init__(self, said):
        words = said.splitlines()[0].split()
        self.pid, self.at, self.record = int(words[2]), float(words[3]), " ".join(words[5:])


def kill_at(domain, point):
    """Start and stop DOMAIN and kill at POINT: (Killed, or None if nobody was there; what virsh start said)."""
    killer = Killer(domain.uuid, str(point.number), point.process)
    client = subprocess.Popen(["virsh", "-q", "start", "--paused", domain.name], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
    try:
        wait(lambda: killer.ended() or client.poll() is not None, host.START, "virsh start ends")
        if not killer.ended() and point.phase == AFTER:
            need(client.returncode == 0, f"the VM starts: {client.stdout.read()}")
            need_all_done(domain)
            domain.destroy()
        wait(killer.ended, 60, f"record {point.number} is written")
        said = killer.text()
        text = client.communicate(timeout=host.START)[0].strip()
        return Killed(said) if said.startswith("killed") else None, host.Done(client.returncode, text)
    finally:
        killer.end()
        if client.poll() is None:
            client.kill()
            client.communicate()


def goes_on(where, domain, point, killed):
    """QEMU lives, has the devices, and somebody watches; the seconds that the way back took when it was ended."""
    pid = domain.pid()
    wait(lambda: [guard for guard in host.guards() if guard != killed.pid], 20, "a guard watches")
    time.sleep(LONG_WITHOUT_LIBVIRT if point.process == "libvirtd" else 2)
    need(domain.pid() == pid and open_by_qemu(domain), "the VM goes on")
    need([guard for guard in host.guards() if guard != killed.pid], "a guard still watches")
    cases.on_vfio(GPU, SOUND)
    os.kill(pid, signal.SIGKILL)
    return where.back("QEMU has ended", since=time.monotonic())


def settle(where, domain, point, killed, start):
    """After the kill: "restored" or "went on", as it has to be, and the seconds that the host took to be as before."""
    if point.process != "qemu" and point.phase != AFTER and open_by_qemu(domain):
        need(point.phase == RUNNING or start.code == 0 or point.process == "libvirtd",
             f"virsh start failed, and QEMU has the group: {start.text}")
        return "went on", goes_on(where, domain, point, killed)
    seconds = where.back("after the kill", since=killed.at)
    # libvirt itself ends a VM whose hook at "started" is killed (qemuProcessFinishStartup()).
    ended_by_libvirt = point.process == "hook" and start.code != 0 and "Hook script execution failed" in start.text
    need(point.phase != RUNNING or point.process == "qemu" or ended_by_libvirt,
         f"restored, but QEMU had the group and should have gone on: {start.text}")
    return "restored", seconds


def put_away(where, domain, killed):
    """What the point itself is not about: libvirtd, and a VM that nobody killed."""
    if not host.libvirtd():
        host.start_libvirtd()
        where.back("libvirtd is back")
    if not killed:
        domain.destroy()
        where.back("nobody was killed")
    wait(lambda: domain.state() == "shut off", 60, "the domain is shut off")


def need_programs():
    """Whatever happens to a hand-over that ran pre.d, post.d is run behind it."""
    ran = snapshot.read(PROGRAMS, "").split()
    need("pre" not in ran or ran[-1] == "post", f"post.d is run: {ran}")


def same_record(record, point):
    """The killer has to have killed where the survey was; numbers of processes in a record may be others."""
    there, then = record.split()[1:], point.text.split()
    return there[:2] == then[:2] if point.step else there[:1] == then[:1]


def try_point(where, domain, point):
    desktop()
    host.write(PROGRAMS, "")
    killed, start = kill_at(domain, point)
    if not killed:
        outcome, seconds = "none", 0.0
    else:
        need(same_record(killed.record, point), f"record {point.number} is {killed.record}, and was {point.text}")
        outcome, seconds = settle(where, domain, point, killed, start)
    put_away(where, domain, killed)
    need_programs()
    return outcome, seconds


def do_point(where, domain, point):
    for _ in range(TRIES):
        outcome, seconds = try_point(where, domain, point)
        if outcome != "none":
            break
    need(outcome != "none" or not point.sure, f"there is no such process, and was in {SURVEYS} surveys")
    return outcome, seconds


# ---- all of them ----


def put_right(where, domain):
    """After a point that went wrong; FALSE: nothing helps."""
    cases.put_right()
    settings()
    domain.define()
    try:
        where.back("put right")
    except host.No as no:
        host.report(False, "the host is put right, so that the points that are left can be looked at", no)
        return False
    return True


def look_at(where, domain, chosen):
    """[(process, outcome)]"""
    rows = []
    for point in chosen:
        text = f"{point.number} {point.kind} ({point.text[:50]}): {point.process} killed"
        bad = host.bad_kernel_lines()
        try:
            outcome, seconds = do_point(where, domain, point)
            new = [line for line in host.bad_kernel_lines() if line not in bad]
            need(not new, "the kernel complains: " + "\n".join(new))
            host.report(True, f"{text}: {outcome}, {seconds:.1f} s")
            rows.append((point.process, outcome))
        except (host.No, OSError, subprocess.SubprocessError) as no:
            more = "\n".join(where.changes()) + "\n" + host.diagnosis()
            host.report(False, text, f"{no}\n{more}")
            rows.append((point.process, "not back"))
            if not put_right(where, domain):
                break
    return rows


def table(rows, known, points):
    host.note(f"{len(rows)} of {len(points)} points at {len(known)} records of the journal:")
    host.note(f"{'killed':10}" + "".join(f"{outcome:>10}" for outcome in OUTCOMES))
    for process in PROCESSES:
        host.note(f"{process:10}" + "".join(f"{rows.count((process, outcome)):>10}" for outcome in OUTCOMES))


def main(count, seed):
    settings()
    domain = machine().define()
    where = Host(but=SESSIONS)
    surveys = []
    for _ in range(SURVEYS + 1):
        desktop()
        surveys.append(survey(domain))
        host.note(f"a cycle without a kill: back after {where.back('a cycle without a kill'):.1f} s")
    del surveys[0]  # it loads modules, which the others find there
    points = points_of(surveys)
    chosen = choose(points, count, seed)
    host.note(f"{len(surveys[-1])} records, {len(points)} points; {len(chosen)} of them, chosen by {seed}:")
    host.note(" ".join(f"{point.number}:{point.process}" for point in chosen))
    if count == "list" or ":" in count:
        for (number, text, alive), (kind, _) in zip(surveys[-1], kinds(surveys[-1])):
            host.note(f"{number} {kind} ({text[:60]}): {' '.join(alive)}")
    if count == "list":
        host.report(True, "all records are read")
        return 0
    need(chosen, "there are points")
    rows = look_at(where, domain, chosen)
    table(rows, surveys[-1], points)
    without = [outcome for _, outcome in rows].count("none")
    host.report(without * 100 <= WITHOUT * len(rows), f"at {without} points there was nobody to kill")
    host.note(f"slowest way back: {where.slowest:.1f} s")
    return 1 if host.failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
