# SPDX-License-Identifier: LGPL-2.1-or-later
"""In the guest, one boot before and one after the host ends: on a disk that lasts.

    boot.py NAME-1    hand the GPU over; then the host ends
    boot.py NAME-2    what the next boot finds

NAME: reboot, prepare, release (cut off while a VM has the GPU, in the middle of taking it, of giving it back), panic,
shutdown, sleep.

Prints "ok" and "not ok" lines."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import cases
import host
import kill
import snapshot
from host import GPU, SOUND, Domain, Host, No, configure, need, run, wait

BEFORE = "/root/before"
FOUND = "/root/found"
ALARM, KINDS = "/sys/class/rtc/rtc0/wakealarm", "/sys/power/mem_sleep"


def remember():
    host.write(BEFORE, "\n".join(snapshot.take()) + "\n")
    os.sync()


def sysrq(letter):
    print("the host ends now", flush=True)
    os.sync()
    host.write("/proc/sysrq-trigger", letter)
    time.sleep(300)


def is_as_before():
    with open(BEFORE) as file:
        changes = snapshot.diff(file.read().splitlines(), snapshot.take())
    # What one boot numbers so, another may number otherwise.
    return [line for line in changes if not re.match(r"[-+] (irq\.|node\./dev/input|module\.|node\./dev/snd/seq)", line)]


def reboot_1():
    Domain("reboot", [GPU, SOUND]).define()
    remember()
    Domain("reboot", [GPU, SOUND]).begin("--paused")
    cases.on_vfio(GPU, SOUND)
    sysrq("b")


def reboot_2():
    changes = is_as_before()
    need(not changes, "the next boot differs:\n" + "\n".join(changes))
    host.report(True, "a host that was cut off while a VM had the GPU: the next boot is as the one before")
    need(run("dkvm-gpu", "status").code == 0, "status")
    where = Host()
    domain = Domain("reboot", [GPU, SOUND])
    cases.cycle(where, domain, GPU, SOUND, words=("--paused",))
    host.report(True, "the VM starts and ends as ever")


def stopped_at(domain, command, *marks):
    """virsh COMMAND, and the guard, which does it all, stopped as soon as its journal has records with MARKS, one after
    the other: where the drivers are then."""
    killer = kill.Killer(domain.uuid)
    with open("/root/virsh", "w") as said:
        subprocess.Popen(["virsh", "-q", *command, domain.name], stdout=said, stderr=said)
    guard, marks = None, list(marks)
    while marks:
        line = killer.process.stdout.readline()
        need(line, f"no record {marks[0]} in the journal")
        # Looked for early: it does not wait for us.
        guard = guard or host.guards()
        if marks[0] in line:
            marks.pop(0)
    os.kill(guard[0], signal.SIGSTOP)
    return host.drivers(GPU, SOUND)


def cut_off_at(domain, command, *marks):
    found = {"drivers": stopped_at(domain, command, *marks), "memory": os.listdir("/var/lib/dkvm")}
    with open(FOUND, "w") as file:
        json.dump(found, file)
    sysrq("b")


def prepare_1():
    domain = Domain("prepare", [GPU, SOUND]).define()
    remember()
    cut_off_at(domain, ("start", "--paused"), f"INTENT unbind {GPU}", "INTENT override")


def release_1():
    domain = Domain("release", [GPU, SOUND]).define()
    remember()
    domain.begin("--paused")
    cases.on_vfio(GPU, SOUND)
    cut_off_at(domain, ("destroy",), "RESTORING", " UNDO ")


def after_the_middle(domain, what):
    """A step that was under way when the host ended is one that it may have died of: said, and no more than that."""
    with open(FOUND) as file:
        found = json.load(file)
    host.note(f"{what}: cut off with {found}")
    need(found["drivers"] != ["bochs-drm", "snd_hda_intel"], f"that was not in the middle: {found}")
    files = os.listdir("/var/lib/dkvm")
    need(bool(files) == bool(found["memory"]), f"the crash memory was {found['memory']} and is {files}")
    changes = [line for line in is_as_before() if "file./var/lib/dkvm/suspect-" not in line]
    need(not changes, "the next boot differs:\n" + "\n".join(changes))
    host.report(True, f"a host that was cut off in the middle of {what}: the next boot is as the one before")
    where = Host()
    for name in files:
        path = f"/var/lib/dkvm/{name}"
        cases.refused(domain, "The host died the last time it was ", f"remove {path}.")
        need(not where.changes(), "nothing was touched")
        os.remove(path)
    where = Host()
    cases.cycle(where, domain, GPU, SOUND, words=("--paused",))
    host.report(True, "the VM starts and ends as ever")


def prepare_2():
    after_the_middle(Domain("prepare", [GPU, SOUND]), "prepare")


def release_2():
    after_the_middle(Domain("release", [GPU, SOUND]), "release")


def panic_1():
    """The driver of this card (qxl) leaves its interrupt handler behind when the card goes, and the kernel dies of the
    next interrupt on that line: mostly when the card is given back, not each time."""
    domain = Domain("panic", [GPU]).define()
    remember()
    print("the host ends now", flush=True)
    for _ in range(8):
        domain.begin("--paused")
        os.sync()
        domain.destroy()
        time.sleep(20)
    host.report(False, "the driver does not panic: choose another card")


def panic_2():
    files = os.listdir("/var/lib/dkvm")
    need(files, "there is a crash memory")
    domain = Domain("panic", [GPU])
    where = Host()
    said = cases.refused(domain, GPU, "The host died the last time it was ", f", kernel {os.uname().release}).",
                         f"remove /var/lib/dkvm/suspect-{GPU}.")
    need(host.driver(GPU) == "qxl", f"the GPU is on {host.driver(GPU)}")
    where.back("a refusal")
    host.report(True, f"a card whose driver panicked is not tried again: {said}")


def hears_the_button(domain):
    """Its boot sector runs (at 0x7c00): the button is pressed only once by libvirt-guests."""
    return "EIP=00007c" in run("virsh", "-q", "qemu-monitor-command", domain.name, "--hmp", "info registers").text


def shutdown_1():
    host.write("/etc/systemd/journald.conf.d/rig.conf", "[Journal]\nStorage=persistent\n")
    os.makedirs("/var/log/journal", exist_ok=True)
    host.must("systemctl", "restart", "systemd-journald")
    # The unit that does this at boot is off in this guest.
    host.must("journalctl", "--flush")
    run("rm", "/etc/systemd/system/libvirt-guests.service")
    host.must("systemctl", "daemon-reload")
    host.write("/etc/default/libvirt-guests", "ON_SHUTDOWN=shutdown\nSHUTDOWN_TIMEOUT=60\n")
    host.must("systemctl", "start", "libvirt-guests")
    configure(domains="all", desktop="stop")
    cases.display_manager()
    remember()
    domain = Domain("shutdown", [GPU, SOUND]).define()
    domain.begin()
    need(not cases.active("display-manager"), "the display manager is stopped")
    wait(lambda: hears_the_button(domain), host.START, "the guest waits for its power button")
    host.must("journalctl", "--sync")
    print("the host ends now", flush=True)
    os.sync()
    host.must("systemctl", "poweroff")
    time.sleep(600)


def slept():
    """How often and how the kernel says that it slept."""
    return re.findall(r"PM: suspend entry \((.*)\)|PM: (suspend exit)", run("dmesg").text)


def sleep_1():
    """The folder of the tests is on 9p, which does not outlive a sleep, and neither does who has a file there open."""
    shutil.copytree("/rig", "/run/rig-sleep", ignore=lambda folder, names: [n for n in names if not n.endswith(".py")])
    print("the host ends now", flush=True)
    host.must("systemd-run", "--quiet", "--unit=rig-sleep", "--working-directory=/", "/usr/bin/python3",
              "/run/rig-sleep/boot.py", "sleep-asleep")
    host.must("systemctl", "stop", "rig-agent")


def sleep_for_it():
    """The GPU's driver is denied, so the host sleeps for it."""
    configure(domains="all", suspend="rescue")
    where = Host()
    host.write(KINDS, "s2idle")
    domain = Domain("sleep", [GPU, SOUND]).define().begin("--paused")
    module = os.path.basename(os.readlink("/sys/bus/pci/drivers/bochs-drm/module"))
    host.must("rmmod", module)
    host.write(cases.DENIED, f"blacklist {module}\n")
    domain.destroy()
    wait(lambda: len(slept()) == 2, 120, "the host has slept and woken up")
    os.remove(cases.DENIED)
    host.must("dkvm-gpu", "restore", "--all")
    # As in cases.dark().
    wait(lambda: not [line for line in where.changes() if f"{GPU}.reset_method" not in line], host.BACK,
         "a GPU that came back late: the rest is as before")
    return {"slept": slept(), "kinds": snapshot.read(KINDS), "alarm": snapshot.read(ALARM, "")}


def sleep_asleep():
    wait(lambda: run("umount", "/rig").code == 0, 60, "nobody uses the folder of the tests")
    try:
        found = sleep_for_it()
    except (No, OSError, subprocess.SubprocessError) as no:
        found = {"wrong": f"{no}\n{host.diagnosis()}"}
    with open(FOUND, "w") as file:
        json.dump(found, file)
        file.flush()
        os.fsync(file.fileno())
    host.write("/proc/sysrq-trigger", "b")
    time.sleep(300)


def sleep_2():
    with open(FOUND) as file:
        found = json.load(file)
    need("wrong" not in found, found.get("wrong"))
    need(found["slept"] == [["deep", ""], ["", "suspend exit"]], f"the kernel slept: {found['slept']}")
    host.report(True, "a GPU that does not come back: the host sleeps (deep), wakes up by itself, once")
    need("[s2idle]" in found["kinds"], f"kinds of sleep: {found['kinds']}")
    need(found["alarm"].strip() == "", f"the clock's alarm: {found['alarm']}")
    host.report(True, "the kind of sleep, the clock's alarm and all else are as before")


def messages():
    """[(seconds, unit, text)] of the boot before."""
    found = []
    for line in host.must("journalctl", "-q", "-b", "-1", "-o", "json", "--no-pager").splitlines():
        need(line.startswith("{"), f"journalctl says: {line}")
        entry = json.loads(line)
        if isinstance(entry.get("MESSAGE"), str):
            found.append((int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6, entry.get("UNIT", entry.get("_SYSTEMD_UNIT", "")),
                          entry["MESSAGE"]))
    return found


def first(said, begin, unit, text):
    """When UNIT's first message since BEGIN was that has TEXT; a journal without it proves nothing."""
    found = [at for at, who, what in said if at >= begin and unit in who and text in what]
    need(found, f"no '{text}' of {unit} in the journal:\n" +
         "\n".join(f"{at:.1f} {who}: {what}" for at, who, what in said if at >= begin - 1))
    return found[0]


def guest_is_first(said, begin):
    asked = first(said, begin, "libvirt-guests", "Starting shutdown on guest: shutdown")
    ended = first(said, begin, "machine-qemu", "Deactivated successfully")
    given = min(at for at, unit, text in said if at > begin and text.endswith((": undone", "nothing to undo")))
    daemon = first(said, begin, "libvirtd.service", "Stopping ")
    times = f"asked {asked - begin:.1f} s, ended {ended - begin:.1f} s, first device or setting given back " \
            f"{given - begin:.1f} s, libvirtd stopped {daemon - begin:.1f} s after the shutdown's begin"
    need(asked < ended < given and ended < daemon, times)
    host.report(True, f"the guest ends first, by its power button: {times}")


def no_display_manager(said, begin):
    first(said, 0, "display-manager", "Started ")
    need(first(said, 0, "display-manager", "Stopped ") < begin, "it was stopped for the VM")
    first(said, begin, "systemd-journald", "Journal stopped")
    after = [f"{at - begin:.1f} s: {text}" for at, unit, text in said if at > begin and
             ("display-manager" in unit and "Start" in text or "start display-manager" in text)]
    need(not after, "a display manager is started, or dkvm tries to:\n" + "\n".join(after))
    host.report(True, "no display manager is started once the host shuts down")


def no_delay(said, begin):
    """systemd says "Stopping" of a unit that it has to wait for; a guard may have ended by itself before its turn."""
    stopped = first(said, begin, "dkvm-guard@", "Stopped ")
    stopping = [at for at, unit, text in said if at > begin and "dkvm-guard@" in unit and text.startswith("Stopping ")]
    ours = [text for at, unit, text in said if at > begin and unit.startswith("dkvm-")]
    slow = [text for text in ours if "timed out" in text or "SIGKILL" in text]
    need(not slow, f"a unit of ours was waited for: {slow}")
    waited = stopped - stopping[0] if stopping else 0
    need(waited <= 5, f"our unit took {waited:.1f} s")
    need(stopped < first(said, begin, "dbus.service", "Stopping "), "the guard could ask systemd to its end")
    host.report(True, f"no unit of ours adds more than 5 s ({waited:.1f} s)")


def shutdown_2():
    said = messages()
    begin = first(said, 0, "systemd-logind", "System is powering down")
    for check in (guest_is_first, no_display_manager, no_delay):
        try:
            check(said, begin)
        except No as no:
            host.report(False, check.__name__, no)
    need(not [line for line in run("virsh", "list", "--name").text.split() if line], "no VM runs")
    changes = [line for line in is_as_before() if "display-manager" not in line and "libvirt-guests" not in line]
    need(not changes, "the next boot differs:\n" + "\n".join(changes))
    host.report(True, "the next boot is as the one before")


def main(name):
    try:
        globals()[name.replace("-", "_")]()
    except (No, OSError, subprocess.SubprocessError) as no:
        host.report(False, name, no)
    return 1 if host.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
