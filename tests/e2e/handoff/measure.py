# SPDX-License-Identifier: LGPL-2.1-or-later
"""In the guest: what the cases measure: libvirt's answers, dkvm's lines in the journal, what a hand-over leaves."""
import json
import os
import subprocess
import threading
import time

import host
import snapshot
from host import need, wait

# ---- libvirt's answers ----


class Virsh:
    """A virsh that is connected already: its own start takes longer here than what is to be measured."""
    END = "# echo the-end"

    def __init__(self):
        self.process = subprocess.Popen(["virsh", "-q"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)
        self.ask("list --all")

    def ask(self, words):
        """When it was asked and when it had answered, and the answer; the echo of a second command comes when the
        first is done."""
        begin = time.monotonic()
        self.process.stdin.write(f"{words}\necho the-end\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line.rstrip().endswith(self.END):
                return begin, time.monotonic(), "".join(lines)
            lines.append(line)
        raise host.No(f"virsh ended: {''.join(lines)}")

    def close(self):
        self.process.kill()
        self.process.wait()


class Asking:
    """Another client, which asks for the list again and again until stop()."""

    def __init__(self):
        self.virsh, self.answers, self.over = Virsh(), [], False
        self.thread = threading.Thread(target=self.go_on, daemon=True)
        self.thread.start()

    def go_on(self):
        while not self.over:
            try:
                self.answers.append(self.virsh.ask("list --all"))
            except (host.No, OSError):
                # stop() has ended it; otherwise who waits for an answer says that there is none.
                return
            time.sleep(0.1)

    def slowest(self, since):
        """Seconds of the slowest answer that was asked for from SINCE on."""
        return max(end - begin for begin, end, _ in self.answers if begin >= since)

    def answered(self, since):
        return sum(begin >= since for begin, _, _ in self.answers)

    def stop(self):
        self.over = True
        self.virsh.close()
        self.thread.join(10)


# ---- the journal ----


def journal(*matches):
    """Entries of this boot as systemd has them, oldest first, with "at", CLOCK_MONOTONIC in seconds."""
    host.must("journalctl", "--sync")
    found = []
    for line in host.must("journalctl", "-q", "-b", "-o", "json", "--no-pager", *matches).splitlines():
        need(line.startswith("{"), f"journalctl says: {line}")
        entry = json.loads(line)
        entry["at"] = int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6
        found.append(entry)
    return found


def steps(domain, since=0.0):
    """[(at, step, device or None, what)] of the lines that dkvm-gpu wrote about DOMAIN's steps."""
    return [(entry["at"], entry.get("DKVM_STEP"), entry.get("DKVM_BDF"), entry["MESSAGE"])
            for entry in journal(f"DKVM_UUID={domain.uuid}") if entry["at"] >= since]
