# SPDX-License-Identifier: LGPL-2.1-or-later
"""A dkvm-watchd beside the private libvirtd, for the test programs of this folder."""

import json
import os
import pathlib
import signal
import subprocess
import time

import rig

PROGRAM = str(pathlib.Path(rig.DKVM).parent / "dkvm-watchd")
CONFIG = pathlib.Path("/etc/dkvm/dkvm.conf")
SHEETS = pathlib.Path("/etc/dkvm/xslt.d")
STATUS = pathlib.Path("/run/dkvm-watchd/status.json")
_count = 0


class Watcher:
    """A running dkvm-watchd; "with" ends it."""

    def __init__(self, *words, env=None, program=(PROGRAM,), watching=True):
        global _count
        _count += 1
        self.path = rig.SCRATCH / f"watchd-{_count}.log"
        with open(self.path, "wb") as log:
            self.process = subprocess.Popen([*program, *words], stderr=log, env={**os.environ, **(env or {})})
        if watching:
            try:
                self.wait_for(": watching")
            except rig.Bad:
                self.process.kill()
                raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_rest):
        if self.process.poll() is None:
            code = self.stop()
            if kind is None:
                rig.need(code == 0, f"dkvm-watchd ended with {code}\n{self.log()}")
        if kind is None:
            self.need_manners()

    def need_manners(self):
        strange = [line for line in self.log().splitlines()
                   if not line.startswith(("dkvm-watchd: error: ", "dkvm-watchd: warning: ", "dkvm-watchd: note: "))]
        rig.need(not strange, "lines without its name:\n" + "\n".join(strange[:10]))
        rig.need(not rig.BROKEN.search(self.log()), f"it broke:\n{self.log()}")
        rig.need(rig.OSK[:30] not in self.log(), "the OSK is in a message")

    def stop(self, sign=signal.SIGTERM):
        self.process.send_signal(sign)
        return self.process.wait(30)

    def log(self):
        return self.path.read_text(encoding="utf-8", errors="replace")

    def count(self, text):
        return self.log().count(text)

    def wait_for(self, text, times=1):
        try:
            rig.wait(lambda: self.count(text) >= times or self.process.poll() is not None, f"'{text}' in the log")
        except rig.Bad as bad:
            raise rig.Bad(f"{bad}\n{self.log()}") from None
        rig.need(self.count(text) >= times, f"'{text}' is not in the log, and it ended:\n{self.log()}")

    def reload(self):
        times = self.count("configuration read again")
        self.process.send_signal(signal.SIGHUP)
        self.wait_for("configuration read again", times + 1)

    def status(self):
        return json.loads(subprocess.run([PROGRAM, "--status", "--json"], check=True, capture_output=True,
                                         timeout=rig.DEADLINE).stdout)

    def said_of(self, name):
        """What the status says of a domain of that name, or None."""
        for link in self.status()["connections"]:
            for domain in link["domains"]:
                if domain["name"] == name:
                    return domain
        return None

    def wait_until_said(self, name, what, **members):
        def is_so():
            said = self.said_of(name)
            return said is not None and all(said.get(key) == value for key, value in members.items())
        try:
            rig.wait(is_so, what)
        except rig.Bad as bad:
            raise rig.Bad(f"{bad}\n{self.said_of(name)}\n{self.log()}") from None

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident(self):
        """KiB."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise rig.Bad("no VmRSS")


def patched(domain):
    return rig.marker(rig.definition(domain)) is not None


def wait_patched(domain, watcher=None):
    try:
        rig.wait(lambda: patched(domain), f"{domain.name()} is patched")
    except rig.Bad as bad:
        raise rig.Bad(f"{bad}\n{watcher.log() if watcher else ''}") from None


def settle(conn, watcher):
    """Until the watcher has done all that it was told of up to now: it looks at domains in turn, so a
    few that come last are looked at last by each of its threads."""
    time.sleep(0.2)
    fences = [conn.defineXML(rig.mac(f"fence-{number}")) for number in range(6)]
    for fence in fences:
        wait_patched(fence, watcher)
    for fence in fences:
        fence.undefineFlags(4)
    time.sleep(0.2)


def configure(text):
    CONFIG.write_text(text)


def unconfigure():
    CONFIG.unlink(missing_ok=True)
    for sheet in SHEETS.glob("*"):
        sheet.unlink()
