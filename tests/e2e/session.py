# SPDX-License-Identifier: LGPL-2.1-or-later
"""dkvm-watchd --session: a user's own libvirt daemon, which it neither starts nor keeps alive."""

import os
import pathlib
import shutil
import subprocess
import time

import rig
import watcher

USER = 64200
HOME = rig.SCRATCH / "user"
for part in ("", "run", "config", "cache", "data", "sbin"):
    (HOME / part).mkdir(mode=0o700)
with open("/etc/passwd", "a") as passwd, open("/etc/group", "a") as group:
    passwd.write(f"tester:x:{USER}:{USER}::{HOME}:/bin/sh\n")
    group.write(f"tester:x:{USER}:\n")
for program in (watcher.PROGRAM, rig.DKVM):
    shutil.copy(program, HOME / "sbin")
for path in (HOME, *HOME.iterdir()):
    os.chown(path, USER, USER)
for path in (rig.SCRATCH, *rig.SCRATCH.parents):
    os.chmod(path, os.stat(path).st_mode | 0o011)
ENVIRONMENT = {"HOME": str(HOME), "XDG_RUNTIME_DIR": str(HOME / "run"), "XDG_CONFIG_HOME": str(HOME / "config"),
               "XDG_CACHE_HOME": str(HOME / "cache"), "XDG_DATA_HOME": str(HOME / "data"), "PATH": os.environ["PATH"],
               "LC_ALL": "C.UTF-8"}
AS_USER = {"user": USER, "group": USER, "extra_groups": [], "env": ENVIRONMENT, "cwd": "/"}


def run(*words, code=0):
    done = subprocess.run(words, capture_output=True, text=True, timeout=rig.DEADLINE, check=False, **AS_USER)
    rig.need(done.returncode == code, f"{words}: {done.returncode} {done.stderr}")
    return done.stdout


def virsh(*words):
    return run("virsh", "-q", "-c", "qemu:///session", *words)


def daemons():
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().strip() == "libvirtd" and os.stat(path.parent).st_uid == USER:
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


def definition():
    return (HOME / "config/libvirt/qemu/mac.xml").read_text()


@rig.test("it starts no daemon, patches while one runs, and lets it end")
def _():
    log_path = rig.SCRATCH / "session.log"
    with open(log_path, "wb") as log:
        process = subprocess.Popen([HOME / "sbin/dkvm-watchd", "--session"], stderr=log, **AS_USER)
    try:
        time.sleep(5)
        rig.need(process.poll() is None and not daemons(), f"a daemon was started\n{log_path.read_text()}")
        said = run(HOME / "sbin/dkvm-watchd", "--session", "--status")
        rig.need("qemu:///session: idle" in said, said)
        daemon = subprocess.Popen(["libvirtd", "--timeout=10"], stderr=subprocess.DEVNULL, **AS_USER)
        rig.wait(lambda: (HOME / "run/libvirt/libvirt-sock").exists(), "the user's daemon")
        # A client that is gone at once.
        path = HOME / "mac.xml"
        path.write_text(rig.mac(image="/nowhere").replace("type='network'", "type='user'").replace(
            "<source network='default'/>", ""))
        virsh("define", str(path))
        rig.wait(lambda: "dkvm:darwin" in definition(), f"it is patched\n{log_path.read_text()}")
        rig.wait(lambda: "mac: patched" in run(HOME / "sbin/dkvm-watchd", "--session", "--status"), "the status")
        daemon.wait(60) # by its own timeout
        time.sleep(3)
        rig.need(not daemons(), "a daemon was started again")
        log = log_path.read_text()
        rig.need("error" not in log and "cannot connect" not in log, log)
    finally:
        process.terminate()
        rig.need(process.wait(30) == 0, log_path.read_text())


rig.run()
