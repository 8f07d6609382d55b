# SPDX-License-Identifier: LGPL-2.1-or-later
"""In the guest: what the cases are put together from: a cycle, a display manager, holders."""
import subprocess

import host
import snapshot
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


def cycle(where, domain, *taken, end="destroy", words=()):
    """Start, look, end, compare."""
    domain.begin(*words)
    on_vfio(*taken)
    running(domain) if not words else None
    holds_group(domain, taken[0])
    need(not where.quickly() == [], "something has changed")
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


# ---- processes that hold a node ----


def holder(*words):
    """A process that has the GPU's sound open."""
    card = snapshot.link(f"/dev/snd/by-path/pci-{SOUND}")
    process = subprocess.Popen(["/rig/hold", *words, f"/dev/snd/{card}"], stdout=subprocess.PIPE, text=True)
    need(process.stdout.readline() == "holding\n", "the holder holds")
    return process


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
