# SPDX-License-Identifier: LGPL-2.1-or-later
"""In the guest: what the cases are put together from: a cycle, a display manager, holders, a user who may suspend."""
import os
import subprocess

import host
import measure
import snapshot
import timing
from host import GPU, SOUND, need, run, wait

# ---- a hand-over ----


def on_vfio(*bdfs):
    need(set(host.drivers(*bdfs)) == {"vfio-pci"}, f"on vfio-pci: {dict(zip(bdfs, host.drivers(*bdfs)))}")


def running(domain):
    need(domain.state() == "running" and domain.pid(), f"{domain.name} is {domain.state()}")


def holds_group(domain, bdf=GPU):
    group = snapshot.link(f"{host.PCI}/{bdf}/iommu_group")
    need(f"vfio-open.{group} = {snapshot.read(f'/proc/{domain.pid()}/comm')}" in
         [f"{k} = {v}" for k, v in snapshot.ours()], f"QEMU has group {group} open")


def cycle(where, domain, *taken, end="destroy", words=(), meanwhile=lambda: None):
    """Start, look, end, compare."""
    domain.begin(*words)
    on_vfio(*taken)
    running(domain) if not words else None
    holds_group(domain, taken[0])
    need(not where.quickly() == [], "something has changed")
    meanwhile()
    domain.shutdown() if end == "shutdown" else domain.destroy()
    seconds = where.back(f"{domain.name} after {end}")
    return seconds


def refused(domain, *texts):
    """The start is refused with all of TEXTS; nothing is touched."""
    done = domain.start()
    need(done.code != 0, f"{domain.name} was started")
    for text in texts:
        need(text in done.text, f"the refusal does not say '{text}': {done.text}")
    return done.text


def is_address(text):
    return text.startswith("0000:")


# ---- a display manager ----


def display_manager(begin=True):
    """A service that is DRM master on the GPU, as a display manager is."""
    host.write("/run/systemd/system/display-manager.service", """[Unit]
Description=Test display manager
[Service]
Type=exec
ExecStart=/bin/sh -c 'exec /rig/hold --master $(readlink -f /dev/dri/by-path/pci-0000:01:00.0-card)'
""")
    host.must("systemctl", "daemon-reload")
    if begin:
        host.must("systemctl", "start", "display-manager")
        wait(lambda: active("display-manager"), 20, "the display manager runs")


def active(unit):
    return run("systemctl", "is-active", unit).text == "active"


def no_display_manager():
    run("systemctl", "stop", "display-manager")

# What is undone behind the display manager: nothing that it would miss (steps.c).
BEHIND = {"ownership", "inhibitor", "post.d", "pre.d", "cpuset", "irq-default", "irq", "epp", "governor", "hugepages",
          "module", "display-manager"}


def started_once_and_last(domain, since):
    """F21: one start, when both functions have their drivers and the console is back."""
    undone = measure.steps(domain, since)
    order = [step for _, step, _, _ in undone]
    need({"unbind", "override", "bind", "display-manager"} <= set(order), f"undone: {order}")
    place = order.index("display-manager")
    need(order.count("display-manager") == 1 and not set(order[:place]) & {"ownership", "inhibitor"} and
         set(order[place:]) <= BEHIND, f"the display manager is undone last: {order}")
    starts = [entry["at"] for entry in measure.journal("UNIT=display-manager.service")
              if entry["at"] >= since and entry["MESSAGE"].startswith("Started ")]
    need(len(starts) == 1, f"starts of the display manager: {starts}")
    given = max(at for at, step, _, _ in undone if step in ("unbind", "override", "bind"))
    need(given < starts[0], f"the devices are back at {given:.2f}, the display manager is started at {starts[0]:.2f}")
    need(run("systemctl", "show", "-P", "NRestarts", "display-manager").text == "0", "it was not started again")


# ---- processes that hold a node ----


def holder(*words):
    """A process that has the GPU's sound open."""
    card = snapshot.link(f"/dev/snd/by-path/pci-{SOUND}")
    process = subprocess.Popen(["/rig/hold", *words, f"/dev/snd/{card}"], stdout=subprocess.PIPE, text=True)
    need(process.stdout.readline() == "holding\n", "the holder holds")
    return process


def blocked(process):
    return snapshot.read(f"/proc/{process.pid}/stat").rpartition(")")[2].split()[:1] == ["D"]

FROZEN = "rig-frozen"


def frozen(on):
    """A disk that does not answer: reads wait for it, and no signal ends them."""
    words = ("suspend", "--nolockfs", "--noflush") if on else ("resume",)
    host.must("dmsetup", *words, FROZEN)


def thaw():
    """After a case that may have left it."""
    if os.path.exists(f"/dev/mapper/{FROZEN}"):
        frozen(False)
        run("dmsetup", "remove", "--retry", FROZEN)


# ---- an unbind that hangs ----


def trace(on):
    """timing.py's, by the clock that the journal has, too; a clock that is set empties the trace."""
    if on:
        host.write(f"{timing.TRACING}/trace_clock", "mono")
    timing.tracing(on)


def hook_that_hung():
    """When the kernel's write that never came back began; begin and end of the hook that waited for it."""
    seen = timing.events()
    hanging = {}
    for at, pid, comm, what in seen:
        if comm == "dkvm-worker" and what.startswith("sys_write("):
            hanging[pid] = at
        elif comm == "dkvm-worker" and what.startswith("sys_write ->"):
            hanging.pop(pid, None)
    need(len(hanging) == 1, f"one write hangs: {hanging}")
    began = next(iter(hanging.values()))
    found = [(first, last) for first, last in timing.hooks(seen) if first < began < last]
    need(len(found) == 1, f"one hook waited for it: {timing.hooks(seen)}, {began}")
    return began, *found[0]


def worker_is_stuck():
    found = run("ps", "-eo", "stat,wchan:30,args").text
    need(any(line.startswith("D") and "dkvm" in line for line in found.splitlines()),
         f"a worker is stuck in the kernel:\n{found}")


def rest_is_back(where, *stuck):
    """All but the STUCK devices and what watches over them is as before.  Their attributes are not read: that would
    wait for the kernel, too."""
    now = [f"{key} = {value}" for part in (snapshot.consoles, snapshot.nodes, snapshot.units, snapshot.inhibitors,
                                           snapshot.tuning) for key, value in part()]
    known = ("node./dev/snd/", "unit.dkvm-guard@", "irq.")
    before = [line for line in where.before if line.split(".")[0] in
              ("vtconsole", "fb", "node", "unit", "cpus", "inhibitor", "session") or line.startswith("/sys")]
    changes = [line for line in snapshot.diff(before, now) if not line[2:].startswith(known)]
    for line in where.before:
        words = line.split(" ")
        if words[0].endswith(".driver") and words[0].startswith("pci.") and words[0][4:-7] not in stuck:
            if host.driver(words[0][4:-7]) != words[2]:
                changes.append("- " + line)
    return changes


# ---- CPUs ----

SLICES = ("user.slice", "system.slice", "init.scope")


def may_run_on(slice_):
    """What systemd says, and what the kernel does ("-": all, it has no such file then)."""
    said = snapshot.output("systemctl", "show", "-P", "AllowedCPUs", slice_).strip()
    return said, snapshot.read(f"/sys/fs/cgroup/{slice_}/cpuset.cpus.effective")


def is_tuned():
    return (all(may_run_on(slice_) == ("0", "0") for slice_ in SLICES) and
            snapshot.read("/proc/irq/default_smp_affinity").lstrip("0") == "1")


# ---- libvirtd ----


def must_reload():
    """libvirt looks for hooks when it starts, and when it is told."""
    host.must("systemctl", "reload", "libvirtd")
    wait(lambda: run("virsh", "-q", "list", seconds=30).code == 0, 60, "libvirtd answers")


def libvirtd_without_restart():
    host.write("/run/systemd/system/libvirtd.service.d/rig.conf", "[Service]\nRestart=no\n")
    host.must("systemctl", "daemon-reload")

LINK, AWAY = f"{host.HOOKS}/50-dkvm", "/root/50-dkvm"


def found_again():
    """After a case that may have taken our hook away."""
    if os.path.lexists(AWAY):
        os.rename(AWAY, LINK)


# ---- suspend ----

LOGIND = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")

RULE = "/etc/polkit-1/rules.d/10-rig.rules"


def may_suspend():
    """A user whom polkit lets suspend the host, as it lets the one who sits at it."""
    host.write(RULE, """polkit.addRule(function(action, subject) {
    if (action.id == "org.freedesktop.login1.suspend" && subject.user == "nobody") { return "yes"; }
});
""")
    wait(lambda: can_suspend() == 's "yes"', 30, "a user may suspend the host")


def can_suspend():
    """What logind says to that user."""
    return run("runuser", "-u", "nobody", "--", "busctl", "call", *LOGIND, "CanSuspend").text


def suspends():
    """How often this kernel has begun to sleep."""
    return run("dmesg").text.count("PM: suspend entry")
