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
    said = cases.refused(domain, GPU)
    need(host.driver(GPU) == "qxl", f"the GPU is on {host.driver(GPU)}")
    where.back("a refusal")
    host.report(True, f"a card whose driver panicked is not tried again: {said}")


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
    time.sleep(5)
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


def shutdown_2():
    said = messages()
    begin = [at for at, _, text in said if "System is powering down" in text or "Powering off" in text or
             "Reached target shutdown" in text or "System is rebooting" in text]
    need(said and begin, "the journal has the shutdown: " + "\n".join(text for _, _, text in said[-40:]))
    started = [text for at, unit, text in said if at > begin[0] and "display-manager" in unit and "Started" in text]
    need(not started, f"a display manager was started: {started}")
    host.report(True, "no display manager is started once the host shuts down")
    ours = [(at, text) for at, unit, text in said if at > begin[0] and unit.startswith("dkvm-")]
    slow = [text for _, text in ours if "timed out" in text or "SIGKILL" in text]
    need(not slow, "a unit of ours was waited for:\n" +
         "\n".join(f"{at:.1f} {unit}: {text}" for at, unit, text in said if at > begin[0] - 1))
    stopping = [at for at, text in ours if text.startswith("Stopping")]
    stopped = [at for at, text in ours if text.startswith("Stopped")]
    seconds = max(stopped, default=0) - min(stopping, default=0) if stopping and stopped else 0
    need(seconds <= 5, f"our units took {seconds:.1f} s")
    host.report(True, f"no unit of ours adds more than 5 s ({seconds:.1f} s)")
    forced = [text for _, _, text in said if "Shutdown of guest" in text or "guest" in text.lower()]
    host.note("what libvirt-guests said: " + " / ".join(forced[-4:]))
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
