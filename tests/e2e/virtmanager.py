# SPDX-License-Identifier: LGPL-2.1-or-later
"""Debian's virt-manager on a desktop of desktop.py, used as a person uses it."""

import re

from desktop import PATIENCE, Missing, click, fill, front, key, tick, until

# AT-SPI's roles of what GTK shows as a message: GtkMessageDialog is an alert.
DIALOGS = ("alert", "dialog", "file chooser")


class Dialog(Exception):
    """virt-manager showed a message that nobody expected."""


class Died(Exception):
    """virt-manager ended by itself."""


class VirtManager:
    METHODS = {"manual": "Manual install", "cdrom": "Local install media.*", "import": "Import existing.*"}

    def __init__(self, desktop, uri="qemu:///system"):
        self._desktop = desktop
        self._log = desktop.logs / "virt-manager.log"
        # Where it was when it crashed.
        self._process = desktop.spawn("env", "PYTHONFAULTHANDLER=1", "virt-manager", "--connect", uri, "--no-fork",
                                      "--debug", log="virt-manager")
        self._app = until(lambda: desktop.application("virt-manager"), "virt-manager does not show up")
        self.main = self._app.get("frame", "Virtual Machine Manager")
        self.main.get("table cell", "QEMU/KVM")

    def stop(self):
        self._process.terminate()
        self._process.wait(30)

    def lives(self):
        code = self._process.poll()
        if code is not None:
            raise Died(f"virt-manager ended with {code}:\n" + self._log.read_text(errors="replace")[-3000:])

    ### Messages ####################################################################################

    def dialogs(self):
        return [window for window in self._app.children if window.showing and window.role in DIALOGS]

    def no_dialog(self):
        """That there is no message now, and that there has been none (its own log says so)."""
        for window in self.dialogs():
            raise Dialog(f"{window.role} '{window.name}':\n" + "\n".join(window.outline()))
        log = self._log.read_text(errors="replace")
        if "dialog message:" in log:
            raise Dialog(log[log.index("dialog message:"):][:2000])

    def wait(self, condition, what, deadline=PATIENCE):
        """until(), which ends as soon as there is a message."""
        def look():
            self.lives()
            self.no_dialog()
            return condition()
        return until(look, what, deadline)

    def outline(self):
        """All that it shows, for a report."""
        return "\n".join(line for window in self._app.children if window.showing
                         for line in [f"# {window.role} '{window.name}'", *window.outline(1)])

    def _press(self, button, done, what, seconds=8):
        """Clicks until something happens: a page that has just been turned does not always hear.  SECONDS:
        until it is clicked again."""
        def look():
            if done():
                return True
            click(button)
            try:
                self.wait(done, what, seconds)
            except Missing:
                pass
            return done()
        self.wait(look, what)

    ### New VM ######################################################################################

    def _wizard(self):
        return self._app.get("frame", "New VM")

    def _forward(self, wizard):
        step = self._step(wizard)
        self._press(wizard.get("push button", "Forward"), lambda: self._step(wizard) != step,
                    f"the wizard stays at '{step}'")

    @staticmethod
    def _step(wizard):
        label = wizard.find("label", "pagenum-label")
        return label.text if label else ""

    def search_os(self, wizard, words):
        """Types WORDS into the OS search; the labels of the list that appears.  A list that is just being
        closed by the click into the entry takes the new one along: then they are typed again."""
        def listed():
            table = self._app.find("table", "os-list")
            labels = [cell.name for cell in table.all("table cell")] if table else []
            return labels if any(words.lower() in label.lower() for label in labels) else None

        def typed():
            fill(wizard.get("text", "oslist-entry"), words)
            try:
                return self.wait(listed, "", 5)
            except Missing:
                return None
        return self.wait(typed, f"no OS '{words}' in the list")

    def choose_os(self, wizard, label):
        auto = wizard.find("check box", "Automatically detect.*")
        if auto and auto.checked:
            tick(auto, False)
        entry = wizard.get("text", "oslist-entry")
        self.wait(lambda: entry.sensitive, "the OS entry stays insensitive")

        def chosen():
            self.search_os(wizard, label.lower())  # what the entry shows tells the two apart
            cell = self._app.find("table cell", re.escape(label) + r" \(.*\)")
            if cell:
                click(cell, times=2)
            try:
                return self.wait(lambda: entry.text == label, "", 10)
            except Missing:
                return False
        self.wait(chosen, f"'{label}' is not chosen")

    def to_os_page(self, method="manual"):
        """Opens the wizard and goes on to where the OS is chosen."""
        front(self.main)
        self._press(self.main.get("push button", "New"), lambda: self._app.find("frame", "New VM"),
                    "no wizard")
        wizard = self._wizard()
        self.wait(lambda: wizard.active, "the wizard is not the active window")
        tick(wizard.get("radio button", self.METHODS[method]))
        self._forward(wizard)
        return wizard

    def old_systems(self, wizard, words):
        """The box below the list of what WORDS find, which is opened again if it was closed."""
        def shown():
            box = self._app.find("check box", "include-eol")
            if not box:
                self.search_os(wizard, words)
            return box
        return self.wait(shown, "no box for old systems")

    def cancel(self, wizard):
        self._press(wizard.get("push button", "Cancel"), lambda: not wizard.showing, "the wizard stays")

    def new_vm(self, method, name, os_label, medium=None):
        """Clicks through "New VM" to its last page; the wizard.  MEDIUM: the ISO or the disk image."""
        wizard = self.to_os_page(method)
        if medium:
            fill(wizard.get("text", "media-entry" if method == "cdrom" else "import-entry"), str(medium))
        self.choose_os(wizard, os_label)
        for _ in range(2 if method == "import" else 3):
            self._forward(wizard)
        # Its label is no relation of it in virt-manager 4.1, so it has no name.
        entry = until(lambda: next((text for text in wizard.all("text")), None), "no entry for the name")
        fill(entry, name)
        return wizard

    def finish(self, wizard):
        button = wizard.get("push button", "Finish")
        self._press(button, lambda: not (wizard.showing and button.sensitive), "the wizard does not finish")

    def customize(self, wizard, name):
        """Finish with "Customize configuration before install"; the window that opens."""
        tick(wizard.get("check box", "Customize configuration.*"))
        self.finish(wizard)
        return self.created(name)

    def begin_installation(self, window, exists):
        """EXISTS tells whether the VM is there.  The button stays for a while, and a second click would be a
        second VM, so this one has time."""
        button = window.get("push button", "Begin Installation")
        self._press(button, lambda: exists() or not button.showing or self._app.find("progress bar"),
                    "the installation does not begin", 45)

    ### A VM's window ###############################################################################

    def window(self, name):
        """The window of a VM, opened if it is not open."""
        title = re.escape(name) + " on QEMU/KVM"
        def opened():
            if not self._app.find("frame", title):
                front(self.main)
                click(self._row(name), times=2)
            try:
                return self.wait(lambda: self._app.find("frame", title), "", 10)
            except Missing:
                return None
        return self.wait(opened, f"no window '{title}'")

    def created(self, name):
        """Its window, which virt-manager opens by itself once it has created it."""
        return self._app.get("frame", re.escape(name) + " on QEMU/KVM")

    def front(self, name):
        """The window of a VM, in front of the others."""
        window = self.window(name)
        front(window)
        return window

    def _row(self, name):
        cell = re.escape(name) + r"\n.*"
        return self.wait(lambda: self.main.find("table cell", cell), f"'{name}' is not in the list")

    def state(self, name):
        """What the list of VMs says below its name."""
        cell = self.main.find("table cell", re.escape(name) + r"\n.*")
        return cell.name.split("\n")[1] if cell else None

    def names(self):
        """The VMs in the list."""
        return [cell.name.split("\n")[0] for cell in self.main.all("table cell", r".+\n.*")]

    def close(self, window):
        """As by the button of the window manager."""
        def closed():
            if window.showing and not window.find("menu item", "Close"):
                front(window)
                click(window.get("menu", "File"))
            item = window.showing and window.find("menu item", "Close")
            if item:
                click(item)
            try:
                return self.wait(lambda: not window.showing, "", 5)
            except Missing:
                return False
        self.wait(closed, "the window stays")

    def hardware(self, window, label, details=True):
        """Shows the details of one device, by its name in the list on the left.  Before the installation
        there are no other views (DETAILS false)."""
        if details:
            tick(window.get("radio button", "Details"))
        table = window.get("table", "hw-list")
        self.wait(lambda: window.active, "the window is not the active one")
        cell = table.get("table cell", label)
        for _ in range(3):  # a window that has just opened does not always hear
            click(cell)
            try:
                self.wait(lambda: cell.selected, "", 3)
                break
            except Missing:
                pass
        return window

    def set_vcpus(self, window, count):
        """While there is a topology, virt-manager has the number follow from it; a person lets it go."""
        self.hardware(window, "CPUs")
        tick(window.get("check box", "Manually set CPU topology"), False)
        self.spin(window, "Virtual CPU Select", count)
        self.apply(window)

    def apply(self, window):
        button = window.get("push button", "config-apply")
        self._press(button, lambda: not button.sensitive, "the change is not applied")

    def spin(self, window, name, value):
        fill(window.get("spin button", name), str(value))
        key("Tab")

    def run(self, window):
        """Starts the VM, as the button of its window does."""
        tick(window.get("radio button", "Console"))
        click(window.get("push button", "Run"))

    def add_hardware(self, window, kind):
        """Adds one with what the dialog offers for it."""
        tick(window.get("radio button", "Details"))
        click(window.get("push button", "add-hardware"))
        dialog = self._app.get("frame", "Add New Virtual Hardware")
        click(dialog.get("table cell", kind))
        self._press(dialog.get("push button", "Finish"), lambda: not dialog.showing, "it is not added")

    def pick(self, window, combo, item):
        """Sets the combo box that shows COMBO: where one can type by typing, else from its list."""
        box = window.get("combo box", combo)
        entry = box.find("text")
        if entry:
            fill(entry, item)
            return
        click(box)
        click(self._app.get("menu item", item))
