# SPDX-License-Identifier: LGPL-2.1-or-later
"""A desktop without a screen, and a person in front of it.

Xvfb, a window manager and a session bus with AT-SPI, all inside the namespaces of ns-libvirtd.  What is on
the screen is read from AT-SPI, as a screen reader does; what is done is done by mouse and keyboard
(xdotool), so that a button under a dialog or outside of the window cannot be pressed."""

import os
import pathlib
import re
import subprocess
import time

import gi

gi.require_version("Atspi", "2.0")
from gi.repository import Atspi, GLib  # noqa: E402  pylint: disable=wrong-import-position

SIZE = (1400, 1050)
PATIENCE = 180  # seconds for whatever takes one or two on an idle machine


class Missing(Exception):
    """Something that should be on the screen is not."""


def until(condition, what, deadline=PATIENCE, every=0.1):
    """Polls until CONDITION() is true; its value."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Missing(f"{what}: not within {deadline} s")
        time.sleep(every)


### What is on the screen ###########################################################################


class Thing:
    """A widget.  It may be gone at any time: then it is not showing and has no children."""

    def __init__(self, accessible):
        self._it = accessible

    def _ask(self, question, otherwise):
        try:
            # No main loop runs here that would hear of changes, so nothing may be remembered.  (Cache.NONE
            # as the mask makes Atspi 2.46 ask for ever.)
            self._it.clear_cache()
            return question()
        except GLib.Error:
            return otherwise

    @property
    def role(self):
        return self._ask(self._it.get_role_name, "")

    @property
    def name(self):
        return self._ask(self._it.get_name, "") or ""

    @property
    def text(self):
        """What an entry or a label shows."""
        return self._ask(lambda: Atspi.Text.get_text(self._it, 0, -1), "") or ""

    def has(self, state):
        return self._ask(lambda: self._it.get_state_set().contains(state), False)

    @property
    def showing(self):
        return self.has(Atspi.StateType.SHOWING)

    @property
    def sensitive(self):
        return self.has(Atspi.StateType.SENSITIVE)

    @property
    def checked(self):
        return self.has(Atspi.StateType.CHECKED)

    @property
    def selected(self):
        return self.has(Atspi.StateType.SELECTED)

    @property
    def active(self):
        return self.has(Atspi.StateType.ACTIVE)

    @property
    def parent(self):
        found = self._ask(self._it.get_parent, None)
        return Thing(found) if found else None

    @property
    def children(self):
        count = self._ask(self._it.get_child_count, 0)
        found = (self._ask(lambda i=i: self._it.get_child_at_index(i), None) for i in range(count))
        return [Thing(child) for child in found if child]

    @property
    def box(self):
        """x, y, width, height on the screen."""
        box = self._ask(lambda: Atspi.Component.get_extents(self._it, Atspi.CoordType.SCREEN), None)
        return (box.x, box.y, box.width, box.height) if box else (0, 0, 0, 0)

    def is_(self, role, name):
        return (role is None or self.role == role) and (name is None or re.fullmatch(name, self.name))

    def all(self, role=None, name=None):
        """The showing things below (what is not showing has nothing in it that is), in order."""
        for child in self.children:
            # A menu bar's menus hold their items whether they are open or not.
            if not child.showing:
                continue
            if child.is_(role, name):
                yield child
            yield from child.all(role, name)

    def find(self, role=None, name=None):
        """The first of them, or None."""
        return next(self.all(role, name), None)

    def get(self, role=None, name=None, deadline=PATIENCE):
        """The first of them as soon as it is there."""
        return until(lambda: self.find(role, name), f"no {role} '{name}' in '{self.name}'", deadline)

    def outline(self, depth=0):
        """What is there, for a report."""
        lines = []
        for child in self.children:
            if child.showing:
                words = child.text if child.role in ("text", "label") else ""
                lines.append(f"{'  ' * depth}{child.role} '{child.name}' {words!r}".rstrip(" '\""))
                lines += child.outline(depth + 1)
        return lines


### What a person does ##############################################################################


def xdotool(*words):
    subprocess.run(["xdotool", *map(str, words)], check=True, timeout=PATIENCE, capture_output=True)


def _steady(thing):
    """Its place, once it has stopped moving (a window that opens, a list that is filtered)."""
    until(lambda: thing.showing and thing.sensitive, f"{thing.role} '{thing.name}' cannot be used")
    seen = [thing.box]

    def still():
        seen.append(thing.box)
        return seen[-1] if seen[-1] == seen[-2] and seen[-1][2] > 0 else None
    return until(still, f"{thing.role} '{thing.name}' does not stand still", every=0.15)


def click(thing, button=1, times=1):
    x, y, width, height = _steady(thing)
    # The buttons of a spin button are at its right.
    across, down = x + width // (6 if thing.role == "spin button" else 2), y + height // 2
    if not (0 <= across < SIZE[0] and 0 <= down < SIZE[1]):
        raise Missing(f"{thing.role} '{thing.name}' is outside of the screen: {(x, y, width, height)}")
    xdotool("mousemove", across, down)
    xdotool("click", "--repeat", times, "--delay", 60, button)


def tick(button, wanted=True):
    """A check box or radio button, until it is as wanted: a window that has just opened may not hear yet."""
    def done():
        if button.checked != wanted:
            click(button)
            time.sleep(0.3)
        return button.checked == wanted
    until(done, f"{button.role} '{button.name}' stays as it is", 30)


def _in_front():
    """The title of the window that has the keyboard.  (AT-SPI does not always hear of it.)"""
    done = subprocess.run(["xdotool", "getactivewindow", "getwindowname"], check=False, timeout=PATIENCE,
                          capture_output=True, text=True)
    return done.stdout.rstrip("\n")


def front(window):
    """Brings a window to the front, as by its button in a list of windows."""
    title = window.name

    def to_front(*how):
        subprocess.run(["xdotool", "search", "--onlyvisible", "--name", f"^{re.escape(title)}$", *how],
                       check=False, timeout=PATIENCE, capture_output=True)

    def active():
        if _in_front() == title:
            to_front("windowraise")  # the one with the keyboard may lie under another
            return True
        to_front("windowactivate")
        try:
            return until(lambda: _in_front() == title, "", 3)
        except Missing:
            return False
    until(active, f"'{title}' does not come to the front")


def key(*names):
    xdotool("key", "--clearmodifiers", *names)


def write(text):
    xdotool("type", "--clearmodifiers", "--delay", 15, text)


def fill(entry, text):
    """What is in an entry is replaced.  A click or a key that gets lost is repeated."""
    def filled():
        click(entry)
        key("ctrl+a")
        write(text)
        try:
            return until(lambda: entry.text == text, "", 10)
        except Missing:
            return False
    until(filled, f"the entry does not hold '{text}'")


### The desktop #####################################################################################


class Desktop:
    """One at a time: Atspi is one per process."""

    def __init__(self, logs):
        self.logs = pathlib.Path(logs)
        self._children = []
        self._own_x_directory()
        display = self._start_x()
        os.environ.update(DISPLAY=f":{display}", GSETTINGS_BACKEND="memory", GDK_BACKEND="x11",
                          NO_AT_BRIDGE="0", LC_ALL="C.UTF-8")
        os.environ["DBUS_SESSION_BUS_ADDRESS"] = self._start_bus()
        self.spawn("metacity")
        Atspi.init()
        self._root = Atspi.get_desktop(0)
        Atspi.set_timeout(10000, 10000)  # milliseconds; a program that hangs must not hang the test

    @staticmethod
    def _own_x_directory():
        # /tmp is the machine's; X servers of others are none of ours.
        where = pathlib.Path("/tmp/.X11-unix")
        where.mkdir(mode=0o1777, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(where)], check=True)

    def _start_x(self):
        read, write_end = os.pipe()
        # Without a lock, which would lie in /tmp: the directory of the sockets is ours.
        self.spawn("Xvfb", "-displayfd", str(write_end), "-screen", "0", f"{SIZE[0]}x{SIZE[1]}x24",
                   "-nolisten", "tcp", "-noreset", "-nolock", pass_fds=(write_end,))
        os.close(write_end)
        with os.fdopen(read) as file:
            return file.readline().strip()

    def _start_bus(self):
        read, write_end = os.pipe()
        self.spawn("dbus-daemon", "--session", "--nofork", f"--print-address={write_end}",
                   pass_fds=(write_end,))
        os.close(write_end)
        with os.fdopen(read) as file:
            return file.readline().strip()

    def spawn(self, *command, log=None, **more):
        """Starts a program of the desktop; its output goes to a log of its name, or to LOG's."""
        # GTK's criticals end ours in tests; virt-manager has some whenever it closes a window.
        ordinary = {name: value for name, value in os.environ.items() if name != "G_DEBUG"}
        with open(self.logs / f"{log or pathlib.Path(command[0]).name}.log", "ab") as file:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=ordinary, **more)
        self._children.append(child)
        return child

    def application(self, name):
        root = Thing(self._root)
        return next((app for app in root.children if app.name == name), None)

    def screenshot(self, path):
        subprocess.run(["import", "-window", "root", str(path)], check=False, timeout=PATIENCE,
                       capture_output=True)

    def stop(self):
        for child in reversed(self._children):
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
