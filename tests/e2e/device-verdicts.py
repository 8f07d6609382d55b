# SPDX-License-Identifier: LGPL-2.1-or-later
"""In the guest: is the kernel's verdict of dkvm-iommu what the kernel does?  For every device whose host verdict
allows it: all that goes along is put on vfio-pci, the group is opened, and VFIO_GROUP_GET_STATUS must be viable if
and only if the verdict says yes; a device that vfio-pci does not take must have a no.  Then everything goes back.
Prints "ok" and "not ok" lines."""
import fcntl
import json
import os
import struct
import subprocess
import sys
import time

GET_STATUS = 0x3B67  # _IO(';', 100 + 3), linux/vfio.h
DEVICES = "/sys/bus/pci/devices"
failed = tried = 0


def report(good, text):
    global failed
    print(("ok " if good else "not ok ") + text, flush=True)
    failed += not good


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def driver(bdf):
    try:
        return os.path.basename(os.readlink(f"{DEVICES}/{bdf}/driver"))
    except OSError:
        return None


def move(bdf, override):
    """To vfio-pci, or ("\\n") back to what the host has for it; returns the driver then."""
    write(f"{DEVICES}/{bdf}/driver_override", override)
    if driver(bdf):
        write(f"{DEVICES}/{bdf}/driver/unbind", bdf)
    try:
        write("/sys/bus/pci/drivers_probe", bdf)
    except OSError:
        pass
    return driver(bdf)


def viable(group):
    """Whether the group can be opened and is viable; None: there is no such group to open."""
    path = f"/dev/vfio/{group}"
    for _ in range(50):
        if os.path.exists(path):
            break
        time.sleep(0.1)
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError:
        return None
    status = bytearray(struct.pack("II", 8, 0))
    try:
        fcntl.ioctl(fd, GET_STATUS, status)
    finally:
        os.close(fd)
    return bool(struct.unpack("II", status)[1] & 1)


def ask(*operands):
    out = subprocess.run(["/rig/dkvm-iommu", "--json", *operands], stdout=subprocess.PIPE, check=False).stdout
    return json.loads(out)


def try_device(device, before):
    global tried
    tried += 1
    bdf, group = device["bdf"], device["group"]
    moved = [bdf] + [w["bdf"] for w in device["with"]]
    # The rule is about the group; companions elsewhere have groups of their own.
    members = [m for m in moved if any(d["bdf"] == m and d["group"] == group for d in before)]
    taken = [move(m, "vfio-pci") == "vfio-pci" for m in members]
    says = device["kernel"]["verdict"] == "yes"
    does = taken[0] and viable(group) is True
    report(says == does, f"{bdf} (group {group}, with {' '.join(members[1:]) or 'nothing'}): "
           f"kernel verdict {'yes' if says else 'no'}, the kernel {'does' if does else 'does not'}")
    # Without what goes along the group is not viable: the list is not too long.
    if does and len(members) > 1:
        write(f"{DEVICES}/{members[-1]}/driver_override", "\n")
        back = move(members[-1], "\n")
        report(back is None or viable(group) is False, f"{bdf}: without {members[-1]} ({back}) it is not viable")
    for member in members:
        move(member, "\n")
    subprocess.run(["udevadm", "settle", "--timeout=60"], check=False)
    for member in members:
        had = next(d["driver"] for d in before if d["bdf"] == member)
        report(driver(member) == had, f"{member} is back on {had}")


def stands_on(device):
    """What the test itself stands on: the disk, and the share, which no verdict knows of."""
    return device["ids"] == "1af4:1009" or any(u["kind"] in ("mount", "swap") for u in device["uses"])


def main():
    everything = sys.argv[1:] == ["--all"]  # in a boot that needs none of it
    subprocess.run(["modprobe", "vfio-pci"], check=True)
    before = ask()["devices"]
    for device in before:
        if device["header-type"] != 0:
            says = device["kernel"]["verdict"]
            move_to = None if driver(device["bdf"]) else move(device["bdf"], "vfio-pci")
            if move_to is None and not driver(device["bdf"]):
                write(f"{DEVICES}/{device['bdf']}/driver_override", "\n")
                report(says == "no", f"{device['bdf']}: a bridge without a driver is not taken by vfio-pci either")
            continue
        if stands_on(device) or device["group"] is None or (device["host"]["verdict"] == "no" and not everything):
            print(f"# {device['bdf']}: host verdict {device['host']['verdict']}, not tried", flush=True)
            continue
        try_device(device, before)
    report(tried > 0, f"{tried} devices were tried")
    sys.exit(1 if failed else 0)


main()
