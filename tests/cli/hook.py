#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""dkvm-hook as libvirt calls it, on whatever there may be: every operation with every kind of input, names and
definitions of strangers, failing system calls.

usage: hook.py TEST      with HOOK (the build of the tests), INSTALLED (the one that is installed), DKVM_ROOT (with
                         the stand-in as usr/sbin/dkvm-gpu), TOP and SCRATCH in the environment
"""
import concurrent.futures
import glob
import os
import re
import signal
import subprocess
import sys
import threading
import time
from xml.etree import ElementTree

HOOK, INSTALLED = os.environ["HOOK"], os.environ["INSTALLED"]
ROOT, TOP, SCRATCH = os.environ["DKVM_ROOT"], os.environ["TOP"], os.environ["SCRATCH"]
GPU = f"{ROOT}/usr/sbin/dkvm-gpu"
LIMIT = 4 << 20
UUID = "6f1c1b1e-0d3c-4b34-8d6e-0c3e5f3b7a11"
DECIDE, TELL = ["prepare", "start"], ["started", "stopped", "release", "reconnect"]
LEAVE = ["migrate", "restore", "attach", "", "Prepare", "prepare ", "preparex", "prepar", "start\n", "../prepare", "--help",
         "$(id)", "é", "x" * 5000]
BEGIN = {"stopped": "end", "release": "end"}
HOSTDEV = ("<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x01' "
           "slot='0x00' function='0x0'/></source></hostdev>")
count = 0


def domain(devices="", metadata="", title="", uuid=f"<uuid>{UUID}</uuid>"):
    return (f"<domain type='kvm' id='1'>\n  <name>mac</name>\n  {uuid}{title}{metadata}<memory>1</memory>\n"
            f"  <devices>{devices}</devices>\n</domain>\n").encode()


OURS, PLAIN = domain(HOSTDEV), domain()


class Bad(Exception):
    pass


def need(condition, why):
    if not condition:
        raise Bad(why)


class Run:
    """One call.  DATA: bytes, or None for a standard input that is closed."""

    def __init__(self, operation, data, name=b"mac", program=HOOK, prefix=(), say="", code=0, fd=None, **more):
        global count
        count += 1
        self.record = f"{SCRATCH}/record-{threading.get_ident()}-{count}"
        name = os.fsencode(name) if isinstance(name, str) else name
        arguments = [name, operation, BEGIN.get(operation, "begin"), "-"]
        environment = {"DKVM_ROOT": ROOT, "DKVM_RECORD": self.record, "DKVM_EXIT": str(code), "DKVM_SAY": say,
                       "LD_BIND_NOW": "1", "PATH": "/nonexistent", "HOME": "/nonexistent", "EVIL": "yes"}
        if data is None:
            more["preexec_fn"] = lambda: os.close(0)
        child = subprocess.Popen([*prefix, program, *arguments], stdin=subprocess.PIPE if fd is None else fd,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, **more)
        try:
            self.out, self.err = child.communicate(data, timeout=60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise Bad(f"{operation}: it does not end")
        self.code, self.pid = child.returncode, child.pid
        self.what = f"{operation!r}, name {name[:40]!r}, {len(data or b'')} bytes {(data or b'')[:60]!r}"

    def seen(self):
        """What dkvm-gpu was started with, or None."""
        if not os.path.exists(self.record):
            return None
        told = {"argument": [], "environment": [], "fd": {}}
        with open(self.record) as file:
            for line in file:
                key, _, value = line.rstrip("\n").partition(" ")
                if key == "argument":
                    told[key].append(bytes.fromhex(value))
                elif key == "environment":
                    told[key].append(value)
                elif key.startswith("fd"):
                    told["fd"][int(key[2:])] = value
                elif key == "input":
                    told[key] = bytes.fromhex(value)
                else:
                    told[key] = value
        return told

    def silent(self):
        need(self.out == b"", f"{self.what}: standard output: {self.out[:200]!r}")
        return self

    def left(self):
        """None of our business."""
        self.silent()
        need(self.code == 0, f"{self.what}: exit {self.code}: {self.err[:300]!r}")
        need(self.err == b"", f"{self.what}: it says {self.err[:300]!r}")
        need(self.seen() is None, f"{self.what}: dkvm-gpu was started")

    def refused(self, text=b""):
        self.silent()
        need(self.code == 1, f"{self.what}: exit {self.code}, not 1")
        need(re.fullmatch(rb"dkvm: VM '[ -~]{0,64}' is not started: [ -~]{40,600}\.\n", self.err),
             f"{self.what}: not one paragraph: {self.err!r}")
        need(text in self.err, f"{self.what}: says {self.err!r}, not {text!r}")
        need(self.seen() is None, f"{self.what}: dkvm-gpu was started")

    def passed(self, data, code=0):
        self.silent()
        need(self.code == code, f"{self.what}: exit {self.code}, not {code}: {self.err[:300]!r}")
        seen = self.seen()
        need(seen is not None, f"{self.what}: dkvm-gpu was not started")
        need(seen["input"] == data, f"{self.what}: other input: {seen['input'][:200]!r}")
        return seen


def by_operation(data, refused=b"", **more):
    """Input that cannot be a definition."""
    for operation in DECIDE:
        Run(operation, data, **more).refused(refused)
    for operation in TELL + LEAVE:
        Run(operation, data, **more).left()


def together(jobs):
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        for job in [pool.submit(job) for job in jobs]:
            job.result()


# ---- the table ----------------------------------------------------------------------------------


def test_operations():
    """Every operation: not ours, ours, doubtful; dkvm-gpu's own exit code."""
    for operation in DECIDE + TELL:
        Run(operation, PLAIN).left()
        for data in OURS, OURS.replace(b"'pci'", b"'p&#99;i'"), b"\xef\xbb\xbf" + PLAIN, b"rubbish":
            Run(operation, data).passed(data)
        # Where nothing may be refused, nothing of it is seen: crashed, stuck, or whatever it says.
        for code in (0, 1, 4) if operation in DECIDE else (0, 1, 4, 127, "crash", "hang"):
            run = Run(operation, OURS, code=code, say="what it says\n")
            run.passed(OURS, code if operation in DECIDE else 0)
            need(run.err == (b"what it says\n" if operation in DECIDE else b""), f"{operation}: {run.err!r}")
            if code == "hang":
                need(is_gone(run.seen()["pid"]), "what hung lives on, and may tell something later")
    for operation in LEAVE:
        for data in PLAIN, OURS, b"rubbish":
            Run(operation, data).left()
    # Handed over, and unplugged since: by its UUID, which is no path of its own making.
    state = f"{ROOT}/run/dkvm/{UUID}"
    os.makedirs(state)
    for operation in DECIDE + LEAVE:
        Run(operation, PLAIN).left()
    for operation in TELL:
        Run(operation, PLAIN).passed(PLAIN)
        for other in (UUID.replace("6", "7", 1), UUID.upper(), f"../dkvm/{UUID}", f"./{UUID}", f"{UUID}/", "", ".", ".."):
            Run(operation, domain(uuid=f"<uuid>{other}</uuid>")).left()
        Run(operation, domain(uuid="", devices=f"<uuid>{UUID}</uuid>")).left()
    os.rmdir(state)


def test_refusals():
    """Empty, blank, too large, closed, unreadable."""
    by_operation(b"", b"no definition")
    by_operation(b" \t\r\n" * 1000, b"no definition")
    by_operation(None, b"no definition")
    for size in LIMIT + 1, 5 << 20:
        by_operation(b" " * (size - len(OURS)) + OURS, b"larger than 4 MiB")
        by_operation(PLAIN + b" " * (size - len(PLAIN)), b"larger than 4 MiB")
    folder = os.open("/", os.O_RDONLY)
    by_operation(b"", b"failed (Is a directory)", fd=folder)
    # One byte less is a definition.
    Run("prepare", PLAIN + b" " * (LIMIT - len(PLAIN))).left()
    data = OURS + b" " * (LIMIT - len(OURS))
    Run("prepare", data).passed(data)


def slow(operation, feed):
    """FEED(file descriptor, ended) writes; the pipe stays open until dkvm-hook has ended."""
    reader, writer = os.pipe()
    ended = threading.Event()
    feeder = threading.Thread(target=feed, args=(writer, ended))
    feeder.start()
    try:
        run = Run(operation, b"", fd=reader)
    finally:
        ended.set()
        os.close(reader)
        feeder.join()
        os.close(writer)
    if operation in DECIDE:
        run.refused(b"within 5 seconds")
    else:
        run.left()


def nothing(writer, ended):
    ended.wait()


def half(writer, ended):
    os.write(writer, OURS[:len(OURS) // 2])
    ended.wait()


def whole(writer, ended):
    os.write(writer, PLAIN)
    ended.wait()


def trickle(writer, ended):
    try:
        while not ended.wait(0.005):
            os.write(writer, b" ")
    except BrokenPipeError:
        pass


def test_slow():
    """Standard input that does not end: nothing, a half, a whole definition, a byte now and then."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    together([lambda o=o, f=f: slow(o, f) for o in DECIDE + TELL for f in (nothing, half, whole, trickle)])
    # Slow, but in time.
    def pieces(writer, _ended):
        for i in range(0, len(OURS), 100):
            os.write(writer, OURS[i:i + 100])
            time.sleep(0.05)
    reader, writer = os.pipe()
    feeder = threading.Thread(target=lambda: (pieces(writer, None), os.close(writer)))
    feeder.start()
    Run("prepare", b"", fd=reader).passed(OURS)
    feeder.join()


def test_exec():
    """What dkvm-gpu is started with: arguments, environment, files, signals, folder, alarm."""
    def dirty():
        signal.pthread_sigmask(signal.SIG_BLOCK, set(range(1, 65)) - {32, 33})
        for number in set(range(1, 65)) - {9, 19, 32, 33}:
            signal.signal(number, signal.SIG_IGN)
    more = [os.open("/", os.O_RDONLY), *os.pipe(), os.open("/dev/zero", os.O_RDONLY)]
    high = os.dup2(more[0], 700)
    for operation in DECIDE + TELL:
        run = Run(operation, OURS, pass_fds=[*more, high], preexec_fn=dirty, cwd=SCRATCH)
        seen = run.passed(OURS)
        need(seen["argument"] == [b"dkvm-gpu", b"hook", b"mac", operation.encode(), BEGIN.get(operation, "begin").encode(), b"-"],
             seen["argument"])
        need(f"DKVM_CALLER={os.getpid()}" in seen["environment"], seen["environment"])
        ours = [word for word in seen["environment"] if not word.startswith("DKVM_")]
        need(ours == ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"], ours)
        need(sorted(seen["fd"]) == [0, 1, 2], seen["fd"])
        need(seen["fd"][0].startswith("/memfd:dkvm-domain") and seen["fd"][1] == "/dev/null"
             and (seen["fd"][2].startswith("pipe:") if operation in DECIDE else seen["fd"][2] == "/dev/null"), seen["fd"])
        need(seen["seals"] == "15" and seen["offset"] == "0", f"seals {seen['seals']}, offset {seen['offset']}")
        # 32 and 33 are libc's own: it lets no program touch them.
        need(int(seen["SigBlk"], 16) == 0 and int(seen["SigIgn"], 16) & ~(3 << 31) == 0, f"{seen['SigBlk']} {seen['SigIgn']}")
        need(seen["folder"] == "/", seen["folder"])
        need((int(seen["pid"]) == run.pid) == (operation in DECIDE), f"{operation}: which process it is")
        need(int(seen["alarm"]) > 60, f"{operation}: alarm {seen['alarm']}")


def is_gone(pid):
    """Dead, whether somebody has asked for it yet or not.  One that is killed may need a moment on a busy machine."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] in "ZX":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


# ---- strangers ----------------------------------------------------------------------------------

WORDS = ["..", ".", "/", "../../../etc/passwd", "/etc/libvirt/qemu.conf", "a/b", "a/../b", "--help", "--version", "-h", "--", "-",
         "--xml=/etc/passwd", "-rf", "hook", "prepare", "$(touch PWNED)", "`touch PWNED`", ";touch PWNED", "|touch PWNED",
         "&& touch PWNED", "> PWNED", "\ntouch PWNED\n", "$HOME", "${IFS}", "~", "~root", "*", "?", "[a-z]", "{a,b}", "!!", "#", "'", '"',
         "'; touch PWNED; '", "\\", "%s%s%n%n", "%99999d", "\n", "a\nb", "\r\n", "\t", "\x1b[2J", "\x07", "\x7f", "\x01", " ", "  a  ", "",
         "é", "\u202e", "\U0001f34f", "\ufeff", "&lt;", "&amp;", "<hostdev type='pci'/>", "]]>", "<!--", "LD_PRELOAD=/x", "PATH=", "name=x",
         "con", "NUL", "mac'\" is not started"]
BYTES = [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x80" * 255, b"a" * 255, b"." * 255, b"/" * 255, b"$" * 255, b"a" * 65536,
         "é".encode() * 127]


def names():
    for word in WORDS:
        yield os.fsencode(word)
        yield b"../" + os.fsencode(word)
        yield b"$(" + os.fsencode(word) + b")"
        yield b"--" + os.fsencode(word)
    yield from BYTES


def allowed(path):
    """What may be opened or asked about before dkvm-gpu has taken over; the link is libc's own question at its start."""
    return path in ("/dev/null", "/proc/self/exe", f"{ROOT}/run/dkvm/{UUID}")


def trace(name, data, operation):
    """The run under strace: no process but dkvm-gpu's where it is only told, nothing opened, nothing run but it."""
    log = f"{SCRATCH}/trace-{threading.get_ident()}"
    run = Run(operation, data, name, prefix=["/usr/bin/strace", "-f", "-qq", "-s", "100000", "-o", log,
                                              "-e", "trace=%file,%process,%network,memfd_create"])
    with open(log, errors="surrogateescape") as file:
        lines = [re.sub(r"^\d+ +", "", line) for line in file]
    started = [i for i, line in enumerate(lines) if re.match(r"execve\(.*(= 0|<unfinished \.\.\.>)\n\Z", line)]
    need(len(started) == (2 if run.seen() else 1), f"{name!r}: {len(started)} programs")
    if run.seen():
        need(lines[started[1]].startswith(f'execve("{GPU}", ["dkvm-gpu", "hook", '), lines[started[1]])
        lines = lines[:started[1]]
    for line in lines[1:]:
        call, _, rest = line.partition("(")
        own = call == "clone" and operation in TELL and run.seen()
        need(own or not re.match(r"v?fork|clone|socket|unlink|rename|mkdir|mknod|symlink|link", call), line)
        if call in ("open", "openat", "stat", "lstat", "newfstatat", "access", "faccessat", "faccessat2", "readlink", "readlinkat"):
            path = re.search(r'"((?:[^"\\]|\\.)*)"', rest)
            need(path and (allowed(path.group(1)) or path.group(1) == ""), f"{name!r}: {line}")
        if call == "chdir":
            need(rest.startswith('"/")'), line)
    return run


def test_names():
    """Names: passed on as they are, printed without control characters, never part of a path, never seen by a shell."""
    every = list(names())
    need(len(set(every)) >= 200, f"only {len(set(every))} names")
    os.chdir(SCRATCH)
    for i, name in enumerate(every):
        operation = (DECIDE + TELL)[i % 6]
        seen = trace(name, OURS, operation).passed(OURS)
        need(seen["argument"][2] == name, f"{name!r} became {seen['argument'][2]!r}")
        trace(name, PLAIN, operation).left()
        Run("prepare", b"", name).refused()
        Run("migrate", OURS, name).left()
    need(not os.path.exists("PWNED"), "a name was run")
    print(f"# {len(set(every))} names")


def definitions():
    """(what, bytes, whether it is certainly none of ours)."""
    yield "no UUID", domain(HOSTDEV, uuid=""), False
    yield "no UUID, no device", domain(uuid=""), True
    marker = "<metadata><dkvm:darwin xmlns:dkvm='urn:dkvm:domain:1.0' {}/></metadata>"
    for step in ("desktop='stop'", "holders='terminate'", "handoff.reboot='yes'", "suspend='on'", "command='/bin/sh'", "units='a.service'"):
        yield "marker", domain(HOSTDEV, marker.format(step)), False
        yield "marker without a device", domain("", marker.format(step)), True
    for number in range(len(OURS)):
        if number % 8 == 0:
            yield f"cut after {number} bytes", OURS[:number] or b"<", False
    for number in range(0, len(PLAIN) - 1, 8):
        yield f"plain, cut after {number} bytes", PLAIN[:number] or b"<", False
    text = OURS.decode()
    for encoding in "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp037":
        yield encoding, text.encode(encoding), encoding == "nothing"
        yield f"{encoding}, declared", f"<?xml version='1.0' encoding='{encoding}'?>{text}".encode(encoding), False
    around = [("<!-- ", " -->", True), ("<!-- -->", "<!-- -->", False), ("<!--->", "<!-- -->", False), ("<!-- -- >", "<!-- -->", False),
              ("<![CDATA[", "]]>", True), ("<![CDATA[]]>", "<![CDATA[]]>", False), ("<a b='", "'/>", False), ('<a b="', '"/>', False),
              ("<?x ", "?>", False), ("<a b='<!--'/>", "<a b='-->'/>", False), ("<a b='&lt;!--'/>", "<a b='--&gt;'/>", False),
              ("]]>", "", False), ("&nbsp;", "", False), ("<x:y xmlns:x='u'>", "</x:y>", False), ("<hostdev type='usb'>", "</hostdev>", False),
              ("\0", "", False), ("<a>" * 200, "</a>" * 200, False), ("<a" + " b='1'" * 2 + "/>", "", False)]
    for before, after, plain in around:
        yield f"{before[:20]} around it", domain(before + HOSTDEV + after), plain
    for kind in ("type=\"pci\"", "type = 'pci'", "type\n=\n'pci'", "type='p&#99;i'", "type='&#x70;ci'", "type='PCI'", "type=' pci'", "type=pci", "",
                 "type='usb' type='pci'", "x:type='usb' type='pci'", "type='vdpa'", "type='p\nci'"):
        yield f"hostdev {kind}", domain(f"<hostdev mode='subsystem' {kind}/>"), False
    yield "x:hostdev", domain("<x:hostdev xmlns:x='u' type='pci'/>"), False
    for kind in "usb", "scsi", "scsi_host", "mdev":
        yield kind, domain(f"<hostdev mode='subsystem' type='{kind}'/>"), True
    yield "entity", f"<!DOCTYPE domain [<!ENTITY e \"{HOSTDEV}\">]>".encode() + domain("&e;"), False
    yield "default attribute", b"<!DOCTYPE domain [<!ATTLIST hostdev type CDATA 'pci'>]>" + domain("<hostdev/>"), False
    yield "two domains", PLAIN + OURS, False
    yield "one attribute twice", PLAIN.replace(b"id='1'", b"id='1' id='2'"), False
    yield "one attribute twice, by another prefix", PLAIN.replace(b"id='1'", b"xmlns:a='u' xmlns:b='u' a:x='1' b:x='2'"), False
    yield "something after it", PLAIN + b"x", False
    yield "something before it", b"x" + PLAIN, False
    yield "comments around it", b"<!-- a -->" + PLAIN + b"<!-- b -->", True
    yield "upper case", OURS.replace(b"domain", b"DOMAIN"), False
    yield "another root", PLAIN.replace(b"domain", b"network"), False
    yield "a title in UTF-8", domain(title="<title>Größe 𝄞</title>"), True
    yield "a title in Latin-1", domain(title="<title>Größe</title>").decode().encode("latin-1"), False
    yield "ELF", open("/proc/self/exe", "rb").read(5000), False
    yield "zeros", bytes(10000), False
    yield "many levels", b"<a>" * 100000, False
    yield "many attributes", b"<domain " + b" ".join(b"a%d='1'" % i for i in range(5000)) + b"/>", False
    yield "a long name", b"<" + b"a" * 1000000 + b"/>", False
    yield "a long value", b"<domain a='" + b"a" * 1000000 + b"'/>", True
    for path in sorted(glob.glob(f"{TOP}/tests/data/xml/evil/*")):
        with open(path, "rb") as file:
            data = file.read(LIMIT)
        if data.strip():
            yield os.path.basename(path), data, None


def test_definitions():
    """Definitions of strangers: what is not certainly none of ours goes to dkvm-gpu, byte for byte."""
    every = list(definitions())
    need(len(every) >= 200, f"only {len(every)} definitions")
    for i, (what, data, plain) in enumerate(every):
        operation = (DECIDE + TELL)[i % 6]
        run = Run(operation, data)
        try:
            if plain is None:
                plain = run.seen() is None and not re.search(rb"hostdev[^>]*pci", data)
            if plain:
                run.left()
            else:
                run.passed(data)
        except Bad as bad:
            raise Bad(f"{what}: {bad}") from None
        Run("restore", data).left()
    print(f"# {len(every)} definitions")


# ---- strangers, before the real dkvm-gpu and its guard ------------------------------------------

GPU_OF_TREE = HOSTDEV.replace("bus='0x01'", "bus='0x03'") # of the recorded host that hook.bats puts below DKVM_ROOT


def tree():
    """All that is below DKVM_ROOT, with what is in it."""
    seen = {}
    for folder, folders, files in os.walk(os.fsencode(ROOT)):
        for name in folders + files:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                seen[path] = os.readlink(path)
            elif os.path.isdir(path):
                seen[path] = None
            else:
                try:
                    with open(path, "rb") as file:
                        seen[path] = file.read()
                except OSError as error: # a socket; one that is gone now
                    seen[path] = error.errno
    return seen


def made_by(before, seconds=10):
    """What differs from BEFORE, but for the folders that dkvm-gpu has for itself; its guard may need a moment to end."""
    own = {os.fsencode(f"{ROOT}/{path}") for path in ("run", "run/dkvm", "run/dkvm/own", "var", "var/lib", "var/lib/dkvm")}
    end = time.monotonic() + seconds
    while True:
        now = tree()
        different = sorted(path for path in {*now, *before} if now.get(path, 0) != before.get(path, 0) and path not in own)
        if not different or time.monotonic() > end:
            return different
        time.sleep(0.1)


def is_xml(text):
    """XML 1.0 has no word for other characters."""
    return all(c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" for c in text)


def as_xml(name):
    """NAME as the text of an element; None if it cannot be one."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return None
    return "".join(f"&#{ord(c)};" if c in "\t\n\r<>&'\"" else c for c in text) if is_xml(text) else None


def paragraph(run):
    """Refused by dkvm-gpu itself: one line, nothing in it that moves a terminal."""
    run.silent()
    need(run.code == 1, f"{run.what}: exit {run.code}, not 1: {run.err[:300]!r}")
    need(re.fullmatch(rb"dkvm: [^\x00-\x1f\x7f]{20,6000}\n", run.err), f"{run.what}: not one paragraph: {run.err[:400]!r}")


def paths_of(log):
    """(whether it makes, changes or removes something, path) of each call under strace."""
    with open(log, errors="surrogateescape") as file:
        for line in file:
            call = re.search(r"^(?:\d+ +)?(\w+)\(", line)
            if call and call.group(1) != "execve":
                changes = "O_CREAT" in line or not re.match(r"open|stat|lstat|newfstatat|access|faccessat|readlink|chdir|inotify|statfs|statx|getcwd",
                                                              call.group(1))
                for path in re.findall(r'"((?:[^"\\]|\\.)*)"', line):
                    yield changes, path


def hand_over(name, xml, before, told):
    """Refused in the middle: the GPU's driver has no file "unbind" here.  Then told, as libvirt goes on."""
    data = domain(GPU_OF_TREE).replace(b"<name>mac</name>", f"<name>{xml}</name>".encode())
    if os.path.exists(told):
        os.unlink(told)
    log = f"{SCRATCH}/real-trace"
    prefix = ["/usr/bin/strace", "-f", "-qq", "-s", "4096", "-o", log, "-e", "trace=%file"] if b"PWNED" in name else []
    run = Run("prepare", data, name, prefix=prefix)
    paragraph(run)
    different = made_by(before)
    need(not different, f"{name[:80]!r}: made or changed: {different[:5]}")
    if prefix:
        paths = list(paths_of(log))
        need(any(changes for changes, _ in paths) and len(paths) > 500, f"{name!r}: the guard was not seen")
        need(not any("PWNED" in path for _, path in paths), f"{name!r}: a path with it: {[p for _, p in paths if 'PWNED' in p][:3]}")
        bad = [path for changes, path in paths if changes and not path.startswith((f"{ROOT}/run/dkvm", f"{ROOT}/var/lib/dkvm", f"{ROOT}/run",
               f"{ROOT}/var", f"{ROOT}/sys/", "/dev/null", "/proc/self/", told)) and path != "sock"]
        need(not bad, f"{name!r}: changes {bad[:5]}")
    for operation in TELL:
        again = Run(operation, data, name).silent()
        need(again.code == 0 and again.err == b"", f"{again.what}: exit {again.code}: {again.err[:200]!r}")
    return run.err


def test_real_names():
    """Names, as argument and in the definition, before the guard, its journal and a program of pre.d."""
    before, told, count_of_xml = tree(), f"{SCRATCH}/told", 0
    folder = f"{SCRATCH}/empty"
    os.makedirs(folder)
    os.chdir(folder)
    for name in names():
        xml = as_xml(name)
        err = hand_over(name, "mac" if xml is None else xml, before, told)
        if not name.strip() and not os.path.exists(told):
            continue # blank: refused as none, or a name like any other
        if xml and len(name) <= 4096:
            count_of_xml += 1
            need(os.path.exists(told), f"{name!r}: pre.d was not reached: {err!r}")
            with open(told, "rb") as file:
                got = file.read()
            need(got in (name, name.strip(b"\n")), f"{name!r}: DKVM_NAME is {got!r}")
        elif xml is not None:
            need(not os.path.exists(told), f"{name[:80]!r}: no name or a long one, and handed over")
    need(not os.listdir(folder) and not os.path.exists("/PWNED") and not os.path.exists(f"{SCRATCH}/PWNED"), "a name was run")
    need(count_of_xml >= 200, f"only {count_of_xml} names in definitions")
    print(f"# {count_of_xml} names in definitions")


def judge(data):
    """(can be read, has a PCI device of the host) by another XML library; None where that does not know the encoding."""
    try:
        text = data.decode() # as libvirt's is
    except UnicodeDecodeError:
        return None
    if "<!DOCTYPE" in text or "\0" in text or "<a>" * 65 in text: # 64 levels are the limit of lib/xml.h
        return False, False
    if re.match(r"<\?xml[^>]*encoding=.(?!utf-8)", text, re.I):
        return None
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        return None if "encoding" in str(error) else (False, False)
    except (ValueError, LookupError):
        return None
    if root.tag != "domain" or not root.findtext("name") or not root.findtext("uuid"):
        return False, False
    wanted = [one for one in root.findall("devices/hostdev") if one.get("type") == "pci" and one.get("mode", "subsystem") == "subsystem"]
    if any(one.find("source/address") is None for one in wanted):
        return False, False
    return True, bool(wanted)


def test_real_definitions():
    """Definitions of strangers, before the real dkvm-gpu: exit codes as another XML library judges, nothing is made."""
    before, codes = tree(), {}
    every = list(definitions())
    need(len(every) >= 200, f"only {len(every)} definitions")
    for what, data, plain in every:
        # dkvm-hook alone lets pass what is plain; of the files it is not known here whether they are.
        known = (True, False) if plain else None if plain is None and not re.search(rb"hostdev[^>]*pci", data) else judge(data)
        for operation in DECIDE + TELL:
            run = Run(operation, data).silent()
            wanted = 0 if operation in TELL else None if known is None else int(not known[0] or (known[1] and operation == "prepare"))
            need(run.code in (0, 1) if wanted is None else run.code == wanted, f"{what}: {run.what}: exit {run.code}, not {wanted}: {run.err[:200]!r}")
            if run.code == 1:
                paragraph(run)
            else:
                need(run.err == b"", f"{what}: {run.what}: says {run.err[:200]!r}")
            codes[operation, run.code] = codes.get((operation, run.code), 0) + 1
    different = made_by(before)
    need(not different, f"made or changed: {different[:5]}")
    print(f"# {len(every)} definitions: prepare refuses {codes['prepare', 1]}, lets {codes['prepare', 0]} pass")


def test_ordinary():
    """What virt-manager and virt-install make is none of ours unless it has a PCI device: no XML library is needed."""
    asked = []
    every = sorted(glob.glob(f"{TOP}/tests/golden/in/*.xml"))
    for path in every:
        with open(path, "rb") as file:
            data = file.read()
        run = Run("prepare", data)
        run.silent()
        has = re.search(rb"<hostdev\b[^>]*\btype=.pci", data) is not None
        need(not has or run.seen(), f"{path} has a PCI device")
        if run.seen() and not has:
            asked.append(os.path.basename(path))
    need(len(every) > 100 and len(asked) <= len(every) // 50, f"asks dkvm-gpu about {len(asked)} of {len(every)}: {asked}")


# ---- failures -----------------------------------------------------------------------------------


def inject(call, when, error, operation, path=None, program=HOOK):
    where = ["-P", path] if path else []
    children = ["-f"] if call == "execve" else []
    log = f"{SCRATCH}/inject-{threading.get_ident()}"
    run = Run(operation, OURS, program=program,
              prefix=["/usr/bin/strace", *children, "-qq", "-o", log, *where, "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}"])
    with open(log, errors="replace") as file:
        need("(INJECTED)" in file.read(), f"{call} {when}: not reached")
    return run


def test_faults():
    """Each system call failing: prepare refuses, with the reason; all others go on."""
    calls = [("poll", 1, None), ("read", 1, None), ("read", 2, None), ("memfd_create", 1, None), ("pwrite64", 1, None), ("dup2", 1, None),
             ("dup2", 2, None), ("openat", 1, "/dev/null"), ("close_range", 1, None), ("chdir", 1, None), ("execve", 1, None),
             *(("fcntl", n, None) for n in range(1, 5))]
    for call, when, path in calls:
        for error in ("EIO", "ENOSPC", "EACCES", "ENOENT", "EMFILE", "ENOMEM", "EBUSY", "ENODEV"):
            if call == "fcntl" and when < 4:
                continue
            inject(call, when, error, "prepare", path).refused()
        inject(call, when, "EIO", "start", path).refused()
        inject(call, when, "EIO", "started", path).left()
        inject(call, when, "EIO", "release", path).left()
    for operation in TELL:
        inject("clone", 1, "EAGAIN", operation).left()
    for call, when in ("poll", 1), ("read", 1), ("pwrite64", 1):
        inject(call, when, "EINTR", "prepare").passed(OURS)


def test_missing():
    """dkvm-gpu is not there, may not be run, or is no program."""
    kept = f"{GPU}.kept"
    os.rename(GPU, kept)
    try:
        for text, mode, why in ((None, 0, b"is not there"), ("#!/nonexistent\n", 0o755, b"is not there"), ("x", 0o755, b"Exec format error"),
                                ("x", 0o644, b"Permission denied")):
            if text is not None:
                with open(GPU, "w") as file:
                    file.write(text)
                os.chmod(GPU, mode)
            for operation in DECIDE:
                run = Run(operation, OURS)
                run.refused(why)
                need(b"50-dkvm" in run.err and b"Install" in run.err, f"no way out: {run.err}")
                Run(operation, PLAIN).left()
            for operation in TELL + LEAVE:
                Run(operation, OURS).left()
            if text is not None:
                os.unlink(GPU)
    finally:
        os.rename(kept, GPU)


def test_installed():
    """The program that is installed looks in one place, whatever its environment says."""
    run = inject("execve", 1, "ENOENT", "prepare", program=INSTALLED)
    run.refused(b", /usr/sbin/dkvm-gpu, is not there")
    Run("prepare", PLAIN, program=INSTALLED).left()
    Run("prepare", b"", program=INSTALLED).refused()


def test_not_root():
    """Not root: nothing, not even a look at standard input."""
    reader, writer = os.pipe()
    for operation in DECIDE + TELL + LEAVE:
        Run(operation, b"", fd=reader, prefix=["/usr/bin/setpriv", "--reuid=65534", "--clear-groups"]).left()
    os.close(writer)


def test_nobody_listens():
    """Standard error without a reader, or closed: the exit code is the same."""
    global count
    for broken in (True, False):
        count += 1
        reader, writer = os.pipe()
        os.close(reader)
        child = subprocess.Popen([HOOK, "mac", "prepare", "begin", "-"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=writer if broken else None, preexec_fn=None if broken else lambda: os.close(2))
        out = child.communicate(timeout=60)[0]
        need(child.returncode == 1 and out == b"", f"exit {child.returncode}, {out!r}")
        os.close(writer)
    # A standard output that is full or closed is not looked at.
    for operation, data, code in ("prepare", b"", 1), ("migrate", OURS, 0), ("prepare", PLAIN, 0):
        count += 1
        with open("/dev/full", "w") as full:
            done = subprocess.run([HOOK, "mac", operation, "begin", "-"], input=data, stdout=full, stderr=subprocess.DEVNULL, timeout=60)
        need(done.returncode == code, f"{operation}: exit {done.returncode}")


def main():
    test = globals()[f"test_{sys.argv[1]}"]
    try:
        test()
    except Bad as bad:
        print(bad)
        return 1
    print(f"# {sys.argv[1]}: {count} runs")
    return 0 if count else 1


sys.exit(main())
