# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a hand-over may change on a host, as sorted "key = value" lines.

    snapshot.py            print them
    snapshot.py diff A B   what differs, "- key = value" and "+ key = value"; exit 1 if anything does

Two snapshots of a host that is as it was are equal: what comes and goes by itself (services that D-Bus starts, process
ids, the modules of vfio, which stay loaded for other VMs) is not in them."""
import collections
import glob
import os
import re
import subprocess
import sys

PCI = "/sys/bus/pci/devices"
# Started by a question on the bus, ended by their own clock; virtlogd and virtlockd by libvirtd, user managers by a
# login; the slice of a template stays when its last unit has ended.
BY_THEMSELVES = re.compile(
    r"^(systemd-(tmpfiles-clean|(hostname|machine|locale|timedate|udev|journal)d)|virt\w+d|libvirtd|polkit|user@|"
    r"user-runtime-dir@|session-|machine-|rig-agent|dbus|init\.scope|system-.*\.slice)")
MODULES_THAT_STAY = re.compile(r"^(vfio|irqbypass|kvm|tun|iommufd|nf_|libcrc32c|nfnetlink|bridge|stp|llc)")


def read(path, default="-"):
    try:
        with open(path, errors="replace") as file:
            return file.read().strip()
    except OSError:
        return default


def link(path):
    try:
        return os.path.basename(os.readlink(path))
    except OSError:
        return "-"


def output(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stdout


def holds_its_addresses(path):
    """Of a device whose bus was reset the registers are zero, and the kernel still believes in what it wrote there."""
    try:
        with open(path + "/config", "rb") as file:
            config = file.read(64)
    except OSError:
        return "-"
    if len(config) < 64 or config[14] & 0x7f or config[:2] == b"\xff\xff":
        return "-"
    for number, line in enumerate(read(path + "/resource").splitlines()[:6]):
        start, _, flags = (int(word, 16) for word in line.split())
        register = int.from_bytes(config[16 + 4 * number:20 + 4 * number], "little")
        # include/linux/ioport.h: memory, and not without a place; the upper half of one of 64 bits is not looked at.
        if flags & 0x200 and not flags & 0x20000000 and register & ~0xf != start & 0xfffffff0:
            return "no"
    return "yes"


def devices():
    for path in sorted(glob.glob(PCI + "/*")):
        bdf = os.path.basename(path)
        # Reading driver_override of a device whose unbind is stuck would be stuck too; links never are.
        yield f"pci.{bdf}.driver", link(path + "/driver")
        yield f"pci.{bdf}.driver_override", read(path + "/driver_override")
        for name in ("reset_method", "enable", "power/control", "d3cold_allowed"):
            yield f"pci.{bdf}.{name}", read(f"{path}/{name}")
        yield f"pci.{bdf}.holds_its_addresses", holds_its_addresses(path)
        for name in sorted(glob.glob(path + "/resource?_resize")):
            yield f"pci.{bdf}.{os.path.basename(name)}", read(name)
        for name in sorted(glob.glob(path + "/drm/*") + glob.glob(path + "/sound/*")):
            yield f"pci.{bdf}.child.{os.path.basename(name)}", "present"
    for path in sorted(glob.glob("/sys/bus/platform/devices/*framebuffer*")):
        yield f"platform.{os.path.basename(path)}.driver", link(path + "/driver")
    for name in sorted(os.listdir("/sys/module")):
        if os.path.exists(f"/sys/module/{name}/refcnt") and not MODULES_THAT_STAY.match(name):
            yield f"module.{name}", "loaded"


def consoles():
    for path in sorted(glob.glob("/sys/class/vtconsole/*")):
        yield f"vtconsole.{read(path + '/name')}", read(path + "/bind")
    for path in sorted(glob.glob("/sys/class/graphics/fb*")):
        if os.path.exists(path + "/name"):
            yield f"fb.{os.path.basename(path)}", read(path + "/name") + " " + link(path + "/device")


def nodes():
    for folder in ("dri", "snd", "vfio", "input", "hugepages"):
        for top, _, names in os.walk("/dev/" + folder):
            for name in names:
                path = os.path.join(top, name)
                if os.path.islink(path):
                    yield f"node.{path}", "-> " + os.readlink(path)
                elif os.path.exists(path):
                    status = os.stat(path)
                    yield f"node.{path}", f"{status.st_mode:o} {status.st_uid}:{status.st_gid}"
    for path in sorted(glob.glob("/dev/fb*") + glob.glob("/dev/nvme*") + glob.glob("/dev/i2c-*")):
        yield f"node.{path}", f"{os.stat(path).st_mode:o}"


def units():
    text = output("systemctl", "list-units", "--all", "--plain", "--no-legend", "--full",
                  "--type=service,socket,target,scope,slice,timer,path", "--state=active,activating,deactivating,failed")
    for line in text.splitlines():
        words = line.split()
        if len(words) > 3 and not BY_THEMSELVES.match(words[0]):
            yield f"unit.{words[0]}", f"{words[2]} {words[3]}"
    text = output("systemctl", "show", "-p", "Id", "-p", "AllowedCPUs", "init.scope", "system.slice", "user.slice",
                  "machine.slice")
    for block in text.strip().split("\n\n"):
        one = dict(line.split("=", 1) for line in block.splitlines())
        yield f"cpus.{one['Id']}", one.get("AllowedCPUs") or "-"


def inhibitors():
    text = output("busctl", "--no-pager", "call", "org.freedesktop.login1", "/org/freedesktop/login1",
                  "org.freedesktop.login1.Manager", "ListInhibitors")
    # what, who, why, mode in quotes, then two numbers
    for what, who, why, mode in re.findall(r'"([^"]*)" "([^"]*)" "([^"]*)" "([^"]*)"', text):
        if who != "libvirt":
            yield f"inhibitor.{who}", f"{what} {mode}: {why}"
    text = output("busctl", "--no-pager", "call", "org.freedesktop.login1", "/org/freedesktop/login1",
                  "org.freedesktop.login1.Manager", "ListSessions")
    for name in re.findall(r'"([^"]*)" \d+ "[^"]*" "([^"]*)"', text):
        yield f"session.{name[0]}", name[1]


def tuning():
    for path in sorted(glob.glob("/sys/devices/system/node/node*/hugepages/*/nr_hugepages")):
        yield path, read(path)
    for path in sorted(glob.glob("/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")):
        yield path, read(path)
    yield "irq.default", read("/proc/irq/default_smp_affinity")
    masks = {read(path) for path in glob.glob("/proc/irq/*/smp_affinity")} - {"-"}
    yield "irq.affinities", " ".join(sorted(masks))


def ours():
    for top in ("/run/dkvm", "/var/lib/dkvm"):
        for folder, _, names in os.walk(top):
            for name in names:
                yield f"file.{os.path.join(folder, name)}", "present"
    # What the next login is told: the way back was not as usual.
    for path in sorted(glob.glob("/run/motd.d/dkvm-*")):
        yield f"motd.{os.path.basename(path)}", read(path).replace("\n", " / ")
    counts, opened = collections.Counter(), []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        name = read(f"/proc/{pid}/comm")
        if name.startswith(("dkvm-", "qemu-system")):
            counts[name] += 1
        opened += [(group, name) for group in groups_open(pid)]
    for name, count in sorted(counts.items()):
        yield f"process.{name}", str(count)
    for group, name in opened:
        yield f"vfio-open.{group}", name


def groups_open(pid):
    found = []
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            target = _target(f"/proc/{pid}/fd/{fd}")
            if re.fullmatch(r"/dev/vfio/\d+", target):
                found.append(target[len("/dev/vfio/"):])
    except OSError:
        pass  # it has ended
    return found


def _target(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


PARTS = (devices, consoles, nodes, units, inhibitors, tuning, ours)


def take(*parts):
    """Of PARTS only, if there are any: all of them together take seconds in an emulated machine."""
    return sorted({f"{key} = {value}" for part in parts or PARTS for key, value in part()})


def diff(before, after):
    return [f"- {line}" for line in before if line not in set(after)] + \
        [f"+ {line}" for line in after if line not in set(before)]


def main(words):
    if words[:1] == ["diff"] and len(words) == 3:
        changes = diff(*(open(name).read().splitlines() for name in words[1:]))
        print("\n".join(changes))
        return 1 if changes else 0
    if words:
        print(__doc__, file=sys.stderr)
        return 2
    print("\n".join(take()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
