# SPDX-License-Identifier: LGPL-2.1-or-later
"""In the guest: hand-overs through virsh, each compared with the host before.

    cases.py [--cycles N] CASE...    prints "ok" and "not ok" lines; --list: the cases

--cycles is for the cases behind it, of those that hand over and back; without: 1.

A case begins and ends with a host that is as it was; one that does not leaves a "not ok" and a host put right by
"dkvm-gpu restore --all", so that the next one is judged by itself."""
import collections
import os
import signal
import subprocess
import sys
import time

import host
import measure
import snapshot
from host import GPU, SOUND, Domain, Host, configure, need, run, wait
from props import (AWAY, FROZEN, LINK, LOGIND, RULE, SLICES, active, blocked, can_suspend, cycle, display_manager,
                   found_again, frozen, holder, holds_group, hook_that_hung, is_address, is_tuned,
                   libvirtd_without_restart, may_run_on, may_suspend, must_reload, no_display_manager, on_vfio, refused,
                   rest_is_back, running, started_once_and_last, suspends, thaw, trace, worker_is_stuck)

CASES = {}
CYCLES = 1


def case(text):
    def add(function):
        CASES[function.__name__] = (text, function)
        return function
    return add


def cycles(domain, *taken, ends=("destroy",), **more):
    """The first tenth of them, and at least one, loads modules and fills caches; then nothing may grow."""
    where = Host()
    domain.define()
    count = max(CYCLES, len(ends))
    warm = max(1, count // 10)
    for number in range(count):
        cycle(where, domain, *taken, end=ends[number % len(ends)], **more)
        if number + 1 == warm:
            left = measure.Left()
    left.need_nothing(count - warm)
    domain.remove()
    host.note(f"{domain.name}: {count} cycles, back after at most {where.slowest:.1f} s")
    return count


# ---- the rig itself ----


@case("the rig: a boot sector that is shut down by its power button, no device, no change")
def plain():
    where = Host()
    domain = Domain("plain", darwin=False).define().begin()
    time.sleep(2)
    domain.shutdown()
    domain.remove()
    where.back("a machine without devices")


@case("the rig: libvirt's own managed='yes', without any hook of ours")
def libvirt_managed():
    where = Host()
    cycle(where, Domain("own", [GPU, SOUND], darwin=False).define(), GPU, SOUND)
    run("virsh", "undefine", "own")


@case("the rig can fail: a hook that does not give back is found")
def standin():
    link = f"{host.HOOKS}/40-standin"
    run("cp", "/rig/standin", link)
    os.chmod(link, 0o755)
    must_reload()
    host.write("/run/standin.devices", f"{GPU}\n{SOUND}\n")
    where = Host()
    domain = Domain("standin", [GPU, SOUND], managed="no", darwin=False).define()
    try:
        cycle(where, domain, GPU, SOUND)
        host.write("/run/standin.forgets", "")
        domain.begin()
        domain.destroy()
        try:
            where.back("a hook that forgets", seconds=5)
        except host.No as no:
            need(f"+ pci.{GPU}.driver = vfio-pci" in str(no), f"the driver is not named: {no}")
        else:
            raise host.No("a GPU that stays on vfio-pci is called back")
        os.remove("/run/standin.forgets")
        domain.begin()
        domain.destroy()
        where.back("a hook that does not forget")
    finally:
        domain.remove()
        for path in (link, "/run/standin.devices", "/run/standin.forgets"):
            if os.path.exists(path):
                os.remove(path)
        must_reload()


# ---- layouts ----


def done_steps(domain):
    """{(step, target)} as the records have them."""
    return {(one["step"], one["target"]) for one in measure.status(domain)["steps"] if one["state"] == "done"}


def logs_each_step(domain, known, since, *taken):
    """A line in the journal for each of the KNOWN steps, each of the times that it was done, there and back, with the
    fields to find it by; of a step without a device, without a field for one."""
    need({(step, bdf) for step in ("unbind", "override", "bind") for bdf in taken} <= set(known), f"steps: {known}")
    lines = measure.steps(domain, since)
    for (step, target), times in known.items():
        bdf = target if is_address(target) else None
        said = [text for _, one, device, text in lines if (one, device) == (step, bdf)]
        for word in (": done", "undo"):
            found = [text for text in said if word in text]
            need(len(found) >= times, f"{len(found)} lines '{word}' of DKVM_STEP={step} DKVM_BDF={bdf}, not {times}:\n"
                 + "\n".join(map(str, lines)))
    for bdf in taken:
        found = measure.journal(f"DKVM_UUID={domain.uuid}", f"DKVM_BDF={bdf}")
        need(found and all(bdf in one["MESSAGE"] for one in found), f"DKVM_BDF={bdf}: {found}")
        need({one["SYSLOG_IDENTIFIER"] for one in found} == {"dkvm-gpu"}, "they are dkvm-gpu's")
    host.note(f"{len(lines)} lines of {len(known)} steps")


@case("GPU and sound, managed='yes', destroyed and shut down; a line in the journal for each step")
def managed():
    domain = Domain("managed", [GPU, SOUND])
    known, since = collections.Counter(), time.monotonic()  # a module is loaded once, and stays
    cycles(domain, GPU, SOUND, ends=("shutdown", "destroy"), meanwhile=lambda: known.update(done_steps(domain)))
    logs_each_step(domain, known, since, GPU, SOUND)


@case("GPU and sound, managed='no'")
def unmanaged():
    cycles(Domain("unmanaged", [GPU, SOUND], managed="no"), GPU, SOUND)


@case("GPU managed='yes', sound managed='no'")
def mixed():
    cycles(Domain("mixed", [(GPU, "yes"), (SOUND, "no")]), GPU, SOUND)


@case("only the VGA function given: its sound goes along to vfio-pci and comes back")
def alone():
    cycles(Domain("alone", [GPU]), GPU, SOUND)


@case("GPU, sound, USB controller and NVMe")
def everything():
    cycles(Domain("everything", [GPU, SOUND, host.USB, host.NVME]), GPU, SOUND, host.USB, host.NVME)


@case("one function of a group behind a PCIe-to-PCI bridge: the group goes along")
def shared():
    cycles(Domain("shared", host.SHARED[:1]), *host.SHARED)


SERIAL = "/tmp/uefi.serial"


def boots_firmware(where, domain):
    """Not paused: OVMF finds the card's memory, runs its ROM, looks for something to boot, and says so."""
    domain.define().begin()
    begin = time.monotonic()
    wait(lambda: "BdsDxe: " in snapshot.read(SERIAL, ""), host.START, "the firmware looks for something to boot")
    host.note(f"{domain.name}: {time.monotonic() - begin:.0f} s after its start the firmware says: " +
              snapshot.read(SERIAL).partition("BdsDxe: ")[2].splitlines()[0])
    running(domain)
    on_vfio(GPU, SOUND)
    holds_group(domain)
    domain.destroy()
    where.back("a firmware that has run")
    domain.remove()


@case("a UEFI guest: its firmware runs; paused, over and back")
def uefi():
    boots_firmware(Host(), Domain("firm", [GPU, SOUND], uefi=True, memory=256, arguments=("-serial", f"file:{SERIAL}")))
    cycles(Domain("uefi", [GPU, SOUND], uefi=True), GPU, SOUND, words=("--paused",))


@case("a card without a driver, on which the firmware's frame buffer is (UEFI): it lets go of it")
def firmware():
    device = "/sys/bus/platform/devices/efi-framebuffer.0"
    need(snapshot.link(f"{device}/driver") == "efi-framebuffer", f"{device} has its driver")
    need(host.driver(GPU) == "-", f"the GPU has no driver but {host.driver(GPU)}")
    where = Host()
    domain = Domain("firmware", [GPU, SOUND]).define().begin("--paused")
    on_vfio(GPU, SOUND)
    holds_group(domain)
    # This kernel's vfio-pci would do it, too: that the step did it, and before the card was bound, is in the records.
    names = [one["step"] for one in measure.status(domain)["steps"]]
    done = [one for one in measure.status(domain)["steps"] if one["step"] == "firmware"]
    need(done == [{"step": "firmware", "target": "efi-framebuffer.0", "before": "efi-framebuffer", "after": "",
                   "state": "done"}], f"the step firmware: {done}")
    need(names.index("firmware") < names.index("bind"), f"before the card is bound: {names}")
    said = run("dmesg").text
    need("can't reserve" not in said, "a region is still held:\n" + said[-2000:])
    domain.destroy()
    wait(lambda: host.driver(GPU) == "-" and host.driver(SOUND) != "vfio-pci", host.BACK, "nobody has the card")
    # Its platform device goes when vfio-pci takes the card (sysfb_disable()): no kernel brings it back.
    lost = ("- platform.efi-framebuffer.0", "- fb.", "- node./dev/fb", "- vtconsole.", "+ vtconsole.")
    wait(lambda: not [line for line in where.changes() if not line.startswith(lost)], host.BACK,
         "all but the firmware's frame buffer is as before")
    domain.begin("--paused")
    on_vfio(GPU, SOUND)
    domain.destroy()
    wait(lambda: host.driver(GPU) == "-", host.BACK, "nobody has the card")
    domain.remove()


# ---- display manager ----


@case("a display manager holds the GPU: refused with its name and the line to add, nothing stopped")
def desktop_refused():
    display_manager()
    where = Host()
    domain = Domain("desktop", [GPU, SOUND]).define()
    refused(domain, "display-manager", "desktop", "stop")
    need(active("display-manager"), "the display manager still runs")
    where.back("a refusal")
    domain.remove()
    no_display_manager()


@case("desktop = stop: the display manager is stopped and, when the GPU is back, started on it")
def desktop_stopped():
    configure(domains="all", desktop="stop")
    display_manager()
    where = Host()
    domain = Domain("desktop", [GPU, SOUND]).define()
    try:
        domain.begin()
        need(not active("display-manager"), "the display manager is stopped")
        since = time.monotonic()
        domain.destroy()
        where.back("a stopped display manager")
        need(active("display-manager"), "the display manager runs again")
        started_once_and_last(domain, since)
        need(any("/dev/dri" in snapshot._target(f"/proc/{pid}/fd/3") for pid in host.processes("hold")),
             "it has the card")
    finally:
        domain.remove()
        no_display_manager()
        configure(domains="all")


@case("a VM that is still being created (transient) may not stop the desktop")
def wizard():
    configure(domains="all", desktop="stop")
    display_manager()
    where = Host()
    domain = Domain("wizard", [GPU, SOUND])
    host.write("/tmp/wizard.xml", domain.xml())
    try:
        done = run("virsh", "-q", "create", "/tmp/wizard.xml", seconds=host.START)
        need(done.code != 0 and "still being created" in done.text, f"refused with the sentence: {done.text}")
        need(active("display-manager"), "the display manager still runs")
        where.back("a refused wizard")
    finally:
        domain.remove()
        no_display_manager()
        configure(domains="all")


@case("desktop = stop while something must not be interrupted (an inhibitor of shutdown): refused with its name")
def inhibited():
    configure(domains="all", desktop="stop")
    display_manager()
    where = Host()
    domain = Domain("inhibited", [GPU, SOUND]).define()
    process = subprocess.Popen(["systemd-inhibit", "--what=shutdown", "--mode=block", "--who=burner", "--why=a disc",
                                "sleep", "600"], start_new_session=True)
    try:
        wait(lambda: "burner" in run("systemd-inhibit", "--list").text, 20, "the inhibitor is there")
        refused(domain, "burner", "a disc")
        need(active("display-manager"), "the display manager still runs")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    try:
        where.back("a refusal")
    finally:
        domain.remove()
        no_display_manager()
        configure(domains="all")


@case("virsh start in a terminal that goes with the desktop (SIGHUP): the VM starts all the same")
def terminal():
    configure(domains="all", desktop="stop")
    display_manager()
    where = Host()
    domain = Domain("terminal", [GPU, SOUND]).define()
    client = subprocess.Popen(["virsh", "-q", "start", domain.name], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    try:
        wait(lambda: not active("display-manager"), 60, "the display manager is stopped")
        need(client.poll() is None, "virsh still waits")
        client.send_signal(signal.SIGHUP)
        need(client.wait(60) == -signal.SIGHUP, "virsh died of it")
        wait(lambda: domain.state() == "running", host.START, "the VM runs")
        on_vfio(GPU, SOUND)
        holds_group(domain)
        domain.destroy()
        where.back("a start without its terminal")
        need(active("display-manager"), "the display manager runs again")
    finally:
        domain.remove()
        no_display_manager()
        configure(domains="all")


# ---- holders ----


@case("a process that ignores SIGTERM has the GPU's sound open: named before anything is touched")
def held():
    configure(domains="all", desktop="stop")
    display_manager()
    process = holder("--ignore-term")
    where = Host()
    domain = Domain("held", [GPU, SOUND]).define()
    try:
        refused(domain, str(process.pid), "hold")
        need(active("display-manager"), "the display manager still runs")
        where.back("a refusal")
        need(process.poll() is None, "the holder lives")
    finally:
        process.kill()
        process.wait()
        domain.remove()
        no_display_manager()
        configure(domains="all")


@case("holders = terminate: that process is ended, and the hand-over goes on")
def terminated():
    configure(domains="all", holders="terminate")
    where = Host()
    process = holder("--ignore-term")
    domain = Domain("terminated", [GPU, SOUND]).define()
    try:
        domain.begin()
        need(process.wait(10) == -signal.SIGKILL, "the holder was killed")
        domain.destroy()
        where.back("a holder that was ended")
    finally:
        process.kill()
        domain.remove()
        configure(domains="all")


# The design's: of one write, of all that the hook may take, of virsh list.  And what an emulated machine that does
# something else as well needs on top: to wake the guard; to undo all the rest, a display manager's start among it.
WRITE, HOOK, ANSWER = 10.0, 60.0, 1.0
WAKE, UNDO = 2.0, 8.0


def gave_up_in_time(domain):
    """From the write that hangs until dkvm leaves it alone, from there to the end of the hook, and the whole hook."""
    write, begin, end = hook_that_hung()
    late = [at for at, step, bdf, text in measure.steps(domain, write)
            if (step, bdf) == ("unbind", SOUND) and "is stuck in the kernel" in text]
    need(late, f"dkvm says that it is stuck: {measure.steps(domain)}")
    took = (late[0] - write, end - late[0], end - begin)
    text = f"write, undoing, hook: {took[0]:.2f} s, {took[1]:.2f} s, {took[2]:.2f} s"
    need(WRITE <= took[0] <= WRITE + WAKE and took[1] <= UNDO and took[2] <= HOOK, text)
    return text


@case("an unbind that blocks in the kernel: the hook fails when its 10 s are over, then virsh list answers within 1 s, "
      "all else is rolled back; when the holder ends the rest is restored")
def stuck():
    configure(domains="all", desktop="stop")
    display_manager()
    where = Host()
    process = holder("--in-flight")
    domain = Domain("stuck", [GPU, SOUND]).define()
    asking = measure.Asking()
    trace(True)
    try:
        wait(lambda: asking.answered(0) >= 5, 60, "virsh list answers")
        usual = asking.slowest(0)
        done = domain.start()
        refused_at = time.monotonic()
        trace(False)
        need(done.code != 0, f"{domain.name} was started")
        need("50-dkvm" in done.text and "exit status 1" in done.text, f"the hook ends with 1: {done.text}")
        hook = gave_up_in_time(domain)
        worker_is_stuck()
        wait(lambda: asking.answered(refused_at) >= 10, 60, "virsh list answers")
        slowest = asking.slowest(refused_at)
        need(slowest <= ANSWER, f"virsh list takes {slowest:.2f} s ({usual:.2f} s before)")
        worker_is_stuck()
        host.note(f"stuck: {hook}; virsh list: {usual:.2f} s before, {asking.slowest(0):.2f} s meanwhile, "
                  f"{slowest:.2f} s after: {done.text}")
        wait(lambda: not rest_is_back(where, SOUND), 30, "the rest is as before")
        need(active("display-manager"), "the display manager runs again")
        status = run("dkvm-gpu", "status")
        need(status.code == 4 and f"take {SOUND} from the driver snd_hda_intel: stuck" in status.text,
             f"status: exit {status.code}: {status.text}")
        refused(domain, "stuck in the kernel", SOUND, "end what uses")
        need(active("display-manager"), "a second try stops nothing")
        process.kill()
        process.wait()
        where.back("the holder has ended")
    finally:
        trace(False)
        asking.stop()
        process.kill()
        process.wait()
        domain.remove()
        no_display_manager()
        configure(domains="all")


@case("a process in the kernel that no signal ends has the GPU's sound open: named before anything is touched; "
      "holders = terminate gives up in time")
def unkillable():
    configure(domains="all", desktop="stop")
    display_manager()
    host.must("dmsetup", "create", FROZEN, "--table", "0 8 linear /dev/nvme0n1 0")
    host.must("udevadm", "settle")
    where = Host()
    frozen(True)
    process = holder("--read", f"/dev/mapper/{FROZEN}")
    domain = Domain("unkillable", [GPU, SOUND]).define()
    try:
        wait(lambda: blocked(process), 20, "the holder is in uninterruptible sleep")
        process.kill()
        time.sleep(1)
        need(blocked(process), "SIGKILL does not end it")
        refused(domain, f"hold ({process.pid}", "/dev/snd/")
        need(active("display-manager"), "the display manager still runs")
        where.back("a refusal")
        configure(domains="all", desktop="stop", holders="terminate")
        begin = time.monotonic()
        refused(domain, f"{SOUND} is still in use: hold ({process.pid}")
        host.note(f"unkillable: given up after {time.monotonic() - begin:.0f} s")
        where.back("a holder that cannot be ended")
        need(active("display-manager"), "the display manager runs again")
        need(blocked(process), "the holder is where it was")
    finally:
        thaw()
        process.kill()
        process.wait()
        domain.remove()
        no_display_manager()
        configure(domains="all")


# ---- other machines and hooks ----


@case("a second VM wants the GPU: refused with the name of the first, which goes on")
def second():
    where = Host()
    first = Domain("first", [GPU, SOUND]).define().begin()
    other = Domain("second", [GPU, SOUND]).define()
    pid = first.pid()
    refused(other, "first")
    on_vfio(GPU, SOUND)
    running(first)
    need(first.pid() == pid, "the same QEMU")
    need(host.guards(), "the first one's guard watches")
    holds_group(first)
    first.destroy()
    where.back("the first one's end")
    other.begin()
    on_vfio(GPU, SOUND)
    other.destroy()
    where.back("the second one's end")
    first.remove()
    other.remove()


@case("a neighbour's hook, before or after ours, fails in prepare: all comes back")
def neighbour():
    where = Host()
    domain = Domain("neighbour", [GPU, SOUND], managed="no").define()
    for who in ("10-before", "90-after"):
        path = f"/run/neighbour-{who}-prepare"
        host.write(path, "")
        try:
            refused(domain, "says no")
            where.back(f"{who} failed")
        finally:
            os.remove(path)
    domain.remove()


@case("QEMU that ends after prepare: all comes back")
def qemu_fails():
    where = Host()
    domain = Domain("fails", [GPU, SOUND], arguments=("-device", "no-such-device")).define()
    refused(domain, "no-such-device")
    where.back("QEMU failed")
    domain.remove()


@case("QEMU killed: all comes back")
def qemu_killed():
    where = Host()
    domain = Domain("killed", [GPU, SOUND]).define().begin()
    os.kill(domain.pid(), signal.SIGKILL)
    where.back("QEMU was killed")
    domain.remove()


@case("a guest that is reset keeps its devices: the same QEMU, no hook, a guard that watches")
def reset():
    where = Host()
    domain = Domain("reset", [GPU, SOUND]).define().begin()
    pid = domain.pid()
    host.write("/run/hook.log", "")
    host.must("virsh", "-q", "reset", domain.name)
    time.sleep(3)
    need(domain.pid() == pid, "the same QEMU")
    need(host.hook_log() == "", f"hooks: {host.hook_log()}")
    on_vfio(GPU, SOUND)
    holds_group(domain)
    need(host.guards(), "a guard watches")
    domain.destroy()
    where.back("a guest that was reset")
    domain.remove()


@case("a darwin VM with managed='no', then a plain one with managed='yes' on the same card")
def stale():
    configure(domains="darwin")
    where = Host()
    ours = Domain("ours", [GPU, SOUND], managed="no").define()
    theirs = Domain("theirs", [GPU, SOUND], darwin=False).define()
    try:
        cycle(where, ours, GPU, SOUND)
        cycle(where, theirs, GPU, SOUND)
        cycle(where, ours, GPU, SOUND)
    finally:
        ours.remove()
        theirs.remove()
        configure(domains="all")


# ---- when the guest runs ----


@case("host-cpus and irqs while the guest runs, all back; also with another guard")
def tuned():
    configure(domains="all", governor="performance", irqs="move", **{"host-cpus": "0"})
    where = Host()
    domain = Domain("tuned", [GPU, SOUND], extra="<cputune><vcpupin vcpu='0' cpuset='1'/></cputune>").define()
    try:
        for killed in (False, True):
            domain.begin()
            wait(is_tuned, 60, "the CPUs are divided: " + str([may_run_on(slice_) for slice_ in SLICES]))
            need(may_run_on("machine.slice")[0] == "", "guests are not limited")
            threads = host.glob.glob(f"/proc/{domain.pid()}/task/*/status")
            need(any("Cpus_allowed_list:\t1\n" in snapshot.read(path) for path in threads), "the vCPU has its CPU")
            if killed:
                os.kill(host.guards()[0], signal.SIGKILL)
                wait(host.guards, 20, "another guard watches")
            running(domain)
            status = run("dkvm-gpu", "status").text
            need("failed" not in status and "waits" not in status, status)
            domain.destroy()
            where.back("a VM with CPUs of its own")
            # What systemd says is in the snapshot; this is what the kernel does.
            wait(lambda: all(may_run_on(slice_)[1] in ("-", "0-1") for slice_ in SLICES), 30,
                 "the kernel lets the host run on all CPUs")
    finally:
        domain.remove()
        configure(domains="all")


# ---- libvirtd ----


@case("libvirtd killed while a VM runs, started again (reconnect): the VM goes on, then all comes back")
def reconnect():
    libvirtd_without_restart()
    where = Host()
    domain = Domain("reconnect", [GPU, SOUND]).define().begin()
    pid = domain.pid()
    host.kill_libvirtd()
    time.sleep(1)
    host.start_libvirtd()
    running(domain)
    need(domain.pid() == pid, "the same QEMU")
    need(host.guards(), "a guard watches")
    host.must("systemctl", "restart", "libvirtd")
    wait(lambda: domain.state() == "running", 60, "running after a restart")
    domain.destroy()
    where.back("a VM that outlived libvirtd")
    domain.remove()


@case("libvirtd killed while a VM runs, and QEMU ends before it is back: the guard restores")
def libvirtd_gone():
    libvirtd_without_restart()
    where = Host()
    domain = Domain("gone", [GPU, SOUND]).define().begin()
    host.write("/run/hook.log", "")
    host.kill_libvirtd()
    time.sleep(1)
    os.kill(domain.pid(), signal.SIGKILL)
    where.back("nobody sent release")
    # It believes that the VM has the devices, and resets what has the host's driver by its bus.
    host.start_libvirtd()
    wait(lambda: f"90-after {domain.name} release" in host.hook_log(), 60, "libvirt says release")
    where.back("libvirtd is back")
    need("/config " not in snapshot.read("/proc/mounts"), "nothing of the devices is kept from libvirt any more")
    cycle(where, domain, GPU, SOUND)
    domain.remove()


@case("libvirtd killed in the middle of prepare: no release ever comes, the guard restores")
def libvirtd_in_prepare():
    libvirtd_without_restart()
    where = Host()
    domain = Domain("prepare", [GPU, SOUND]).define()
    client = subprocess.Popen(["virsh", "-q", "start", domain.name], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    wait(lambda: where.quickly(), 60, "the hand-over has begun")
    host.kill_libvirtd()
    client.wait(60)
    if domain.pid():
        os.kill(domain.pid(), signal.SIGKILL)
    where.back("libvirtd died in prepare")
    host.start_libvirtd()
    domain.remove()
    where.back("libvirtd is back")


@case("libvirtd killed while a VM is stopped: all comes back")
def libvirtd_in_stop():
    libvirtd_without_restart()
    where = Host()
    domain = Domain("stopping", [GPU, SOUND]).define().begin()
    host.write("/run/hook.log", "")
    client = subprocess.Popen(["virsh", "-q", "destroy", domain.name], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    wait(lambda: "stopped" in host.hook_log(), 60, "libvirt says stopped")
    host.kill_libvirtd()
    client.wait(60)
    where.back("libvirtd died while it stopped the VM")
    host.start_libvirtd()
    domain.remove()
    where.back("libvirtd is back")


# guardian.c: QEMU is gone, libvirtd is there, and no release came.
NO_RELEASE = 30


@case("libvirtd is there, QEMU is gone, and release never comes (libvirt finds no hook of ours): the guard restores")
def release_lost():
    where = Host()
    domain = Domain("lost", [GPU, SOUND], managed="no").define().begin()
    host.write("/run/hook.log", "")
    # libvirt looks into the folder each time, and passes over what is not there.
    os.rename(LINK, AWAY)
    try:
        pid, daemon = domain.pid(), host.libvirtd()
        client = subprocess.Popen(["virsh", "-q", "destroy", domain.name], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        wait(lambda: not os.path.exists(f"/proc/{pid}"), 60, "QEMU has ended")
        ended = time.monotonic()
        client.wait(60)
        need(f"90-after {domain.name} release" in host.hook_log(), f"libvirt says release: {host.hook_log()}")
        on_vfio(GPU, SOUND)
        need(host.guards(), "the guard waits")
        where.back("nobody sent release", host.BACK - (time.monotonic() - ended))
        took = time.monotonic() - ended
        need(took >= NO_RELEASE - 1, f"back after {took:.0f} s: that was not for want of a release")
        need(host.libvirtd() == daemon, "libvirtd was there all the time")
        host.note(f"release_lost: all is back {took:.1f} s after QEMU's end")
    finally:
        found_again()
        domain.remove()
    heard = Domain("heard", [GPU, SOUND], managed="no").define()
    cycle(where, heard, GPU, SOUND)
    heard.remove()


# ---- suspend ----


ALARM = "/sys/class/rtc/rtc0/wakealarm"


# systemctl looks for inhibitors for whoever is at a terminal and not root; for root if told to.  A desktop asks logind.
NAMES = ("Operation inhibited", '"dkvm"', "VM awake has a GPU of this host")
ASKED_TO = {"a user": (NAMES, "runuser", "-u", "nobody", "--", "script", "-qec", "systemctl suspend", "/dev/null"),
            "root": (NAMES, "systemctl", "suspend", "--check-inhibitors=yes"),
            "a desktop": ((), "runuser", "-u", "nobody", "--", "busctl", "call", *LOGIND, "Suspend", "b", "false")}


@case("while the VM has the GPU, suspend is refused, naming dkvm and the VM; then it is as before")
def suspend():
    where = Host()
    domain = Domain("awake", [GPU, SOUND])
    try:
        may_suspend()
        domain.define().begin()
        lines = [f"{k} = {v}" for k, v in snapshot.inhibitors()]
        need(any("awake" in line and "sleep" in line and "block" in line for line in lines), f"inhibitors: {lines}")
        slept, meanwhile = suspends(), can_suspend()
        need(meanwhile != 's "yes"', "logind says that the host may be suspended")
        # Should it sleep all the same, it wakes up to say so.
        host.write(ALARM, "+120")
        for who, (texts, *words) in ASKED_TO.items():
            done = run(*words)
            host.note(f"suspend, asked by {who}: exit {done.code}: {done.text}")
            need(done.code != 0, f"{who} was not refused")
            for text in texts:
                need(text in done.text, f"what {who} is told has no '{text}': {done.text}")
        host.write(ALARM, "0")
        need(suspends() == slept, "the host has slept")
        running(domain)
        domain.destroy()
        where.back("an inhibitor")
        need(can_suspend() == 's "yes"', f"CanSuspend: {can_suspend()} now, {meanwhile} with the VM, yes before")
    finally:
        os.remove(RULE)
        domain.remove()


@case("dkvm-gpu plan and status: read, nothing changed")
def plan():
    where = Host()
    domain = Domain("planned", [GPU, SOUND]).define()
    text = host.must("dkvm-gpu", "plan", domain.name)
    need(GPU in text and SOUND in text, f"plan: {text}")
    host.note("plan:\n" + text)
    host.must("dkvm-gpu", "status")
    where.back("a plan")
    domain.remove()


# ---- AppArmor ----


@case("AppArmor: libvirtd is confined")
def confined():
    run("systemctl", "start", "apparmor")
    host.must("systemctl", "restart", "libvirtd")
    wait(lambda: run("virsh", "-q", "list", seconds=30).code == 0, 60, "libvirtd answers")
    label = snapshot.read(f"/proc/{host.libvirtd()}/attr/current")
    need("(enforce)" in label, f"libvirtd is {label}")


@case("after uninstall every VM still starts")
def uninstalled():
    with open("/rig/uninstalled") as file:
        for line in file:
            os.remove("/" + line.strip())
    need(not os.path.lexists(f"{host.HOOKS}/50-dkvm"), "the link is gone")
    where = Host()
    domain = Domain("after", darwin=False).define().begin("--paused")
    domain.destroy()
    where.back("no hook of ours")
    domain.remove()
    cycle(where, Domain("later", [GPU, SOUND], darwin=False).define(), GPU, SOUND)
    run("virsh", "undefine", "later")


SCHEDULED = "/run/systemd/shutdown/scheduled"
DENIED = "/etc/modprobe.d/rig-dark.conf"


@case("the only display does not come back: logind is asked to start the host again, and told when it does after all")
def dark():
    configure(domains="all", reboot="rescue")
    host.write("/run/uptime", "86400.00 86400.00\n")
    host.must("mount", "--bind", "/run/uptime", "/proc/uptime")
    where = Host()
    domain = Domain("dark", [GPU, SOUND]).define().begin("--paused")
    module = os.path.basename(os.readlink("/sys/bus/pci/drivers/bochs-drm/module"))
    try:
        host.must("rmmod", module)
        host.write(DENIED, f"blacklist {module}\n")
        domain.destroy()
        scheduled = wait(lambda: snapshot.read(SCHEDULED, ""), 60, "logind is asked to start the host again")
        need("MODE=reboot" in scheduled, f"logind has scheduled: {scheduled}")
        need(host.driver(GPU) != "bochs-drm", "the GPU is back")
    finally:
        os.remove(DENIED)
        host.must("umount", "/proc/uptime")
    host.must("dkvm-gpu", "restore", "--all")
    need(not os.path.exists(SCHEDULED), "it is called off")
    # Found anew beside its sibling it cannot be reset by its bus any more (pci_parent_bus_reset()).
    wait(lambda: not [line for line in where.changes() if f"{GPU}.reset_method" not in line], host.BACK,
         "a GPU that came back late: the rest is as before")
    domain.remove()
    configure(domains="all")


def put_right():
    """After a case that left something behind."""
    for path in ("/run/neighbour-10-before-prepare", "/run/neighbour-90-after-prepare"):
        if os.path.exists(path):
            os.remove(path)
    no_display_manager()
    for pid in host.processes("hold"):
        os.kill(pid, signal.SIGKILL)
    thaw()
    found_again()
    if not host.libvirtd():
        host.start_libvirtd()
    for name in run("virsh", "-q", "list", "--name").text.split():
        run("virsh", "-q", "destroy", name)
    for name in run("virsh", "-q", "list", "--all", "--name").text.split():
        run("virsh", "-q", "undefine", name, "--nvram")
    if os.path.exists("/usr/sbin/dkvm-gpu"):
        run("dkvm-gpu", "restore", "--all")
    configure(domains="all")
    for bdf in (GPU, SOUND, host.USB, host.NVME, *host.SHARED):
        if host.driver(bdf) == "vfio-pci":
            host.write(f"{host.PCI}/{bdf}/driver_override", "\n")
            host.write(f"{host.PCI}/{bdf}/driver/unbind", bdf)
            host.write("/sys/bus/pci/drivers_probe", bdf)


def main(names):
    if names == ["--list"]:
        print("\n".join(f"{name}: {text}" for name, (text, _) in CASES.items()))
        return 0
    global CYCLES
    names = list(names)
    while names:
        name = names.pop(0)
        if name == "--cycles":
            CYCLES = int(names.pop(0)) if names[0].isdigit() else CYCLES
            continue
        text, function = CASES[name]
        begin = time.monotonic()
        bad = host.bad_kernel_lines()
        host.write("/run/hook.log", "")
        try:
            function()
            new = [line for line in host.bad_kernel_lines() if line not in bad]
            need(name == "stuck" or not new, "the kernel complains: " + "\n".join(new))
            host.report(True, f"{name}: {text}")
        except (host.No, OSError, subprocess.SubprocessError) as no:
            host.report(False, f"{name}: {text}", no)
            put_right()
        host.note(f"{name}: {time.monotonic() - begin:.0f} s")
    return 1 if host.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
