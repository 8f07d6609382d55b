# SPDX-License-Identifier: LGPL-2.1-or-later
"""In the guest: how long a hand-over takes outside the kernel's own writes, as a ratio to the time inside them.

    timing.py COUNT    the median of COUNT hand-overs after a first one, which loads modules

Inside is what the worker spends in write(2), to sysfs; the whole is from the execve of dkvm-hook at "prepare" to its
end, and from that at "release" to the end of the guard.  By the kernel's own trace events, which cost next to nothing.
Prints "# there RATIO" and "# back RATIO", and "ok"."""
import re
import statistics
import sys

import host
from host import GPU, SOUND, Domain, Host, need, wait

TRACING = "/sys/kernel/tracing"
EVENTS = ("syscalls/sys_enter_write", "syscalls/sys_exit_write", "sched/sched_process_exec", "sched/sched_process_exit")
LINE = re.compile(r"\s*(?P<comm>.+)-(?P<pid>\d+)\s+\[\d+\]\s+\S+\s+(?P<at>[\d.]+): (?P<what>.*)")


def tracing(on):
    if on:
        host.write(f"{TRACING}/trace", "")
    for event in EVENTS:
        if on and event.startswith("syscalls"):
            host.write(f"{TRACING}/events/{event}/filter", 'comm == "dkvm-worker"')
        host.write(f"{TRACING}/events/{event}/enable", "1" if on else "0")


def events():
    """[(seconds, process, its name, text)]"""
    with open(f"{TRACING}/trace") as file:
        found = [LINE.match(line) for line in file if not line.startswith("#")]
    return [(float(m["at"]), int(m["pid"]), m["comm"], m["what"]) for m in found if m]


def inside(seen, begin, end):
    """Seconds of the worker's writes between BEGIN and END."""
    total, entered = 0.0, {}
    for at, pid, _, what in seen:
        if not begin <= at <= end:
            continue
        if what.startswith("sys_write("):
            entered[pid] = at
        elif what.startswith("sys_write ->") and pid in entered:
            total += at - entered.pop(pid)
    return total


def hooks(seen):
    """[(begin, end)] of the runs of libvirt's link to dkvm-hook, which becomes dkvm-gpu."""
    begun, found = {}, []
    for at, pid, _, what in seen:
        if what.startswith("sched_process_exec:") and "/50-dkvm" in what:
            begun[pid] = at
        elif what.startswith("sched_process_exit:") and pid in begun:
            found.append((begun.pop(pid), at))
    return sorted(found)


def once(where, domain):
    """(there, back): (outside, inside) in seconds."""
    tracing(True)
    domain.begin("--paused")
    there = hooks(events())
    guard = host.guards()
    need(there and guard, "a hook and a guard")
    domain.destroy()
    wait(lambda: not host.guards(), host.BACK, "the guard ends")
    where.back("a timed hand-over")
    tracing(False)
    seen = events()
    ended = [at for at, pid, _, what in seen if pid == guard[0] and what.startswith("sched_process_exit:")]
    # libvirt calls "stopped" and then "release", which begins the way back.
    after = [run for run in hooks(seen) if run[0] > there[-1][1]]
    need(ended and after, "the way back is seen")
    parts = []
    for begin, end in ((there[0][0], there[0][1]), (after[-1][0], ended[-1])):
        kernel = inside(seen, begin, end)
        need(kernel > 0, "the worker writes")
        parts.append((end - begin - kernel, kernel))
    return parts


def main(count):
    where = Host()
    domain = Domain("timed", [GPU, SOUND]).define()
    once(where, domain)
    rounds = [once(where, domain) for _ in range(int(count))]
    domain.remove()
    for name, pairs in zip(("there", "back"), zip(*rounds)):
        outside, kernel = (statistics.median(values) for values in zip(*pairs))
        host.note(f"{name} {outside / kernel:.3f}")
    host.report(True, "hand-overs were timed")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
