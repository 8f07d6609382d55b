# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every golden input defined, patched, patched again, checked, reverted, forgotten; and one model after
another is the same as the second alone.  With the disks' images empty ("new": preferred devices, i440fx is
converted) and without any ("installed": nothing that works is replaced)."""

import re
import sys
import time

import libvirt

import rig

ONE = "MacPro3,1"
OTHER = "MacPro5,1"

# Domains that cannot be patched: exit code and reason.
I440FX = (7, "cannot convert this domain from machine '[^']*' to q35: its disks are not known to be empty")
CLASH = (7, "cannot set input=commandline: QEMU's -usb needs the PCI slot 1d")
REFUSED = {
    "new": {"set-input": CLASH},
    "installed": {"set-input": CLASH},
}


class Round:
    def __init__(self, conn, kind, items, facts):
        self.conn, self.kind, self.facts = conn, kind, facts
        self.items, self.domains, self.problems = [], {}, {}
        self.original = {}
        for item in items:
            try:
                domain = conn.defineXMLFlags(item.xml, 0)
            except libvirt.libvirtError:
                continue  # accept.py knows which
            # libvirt sorts what it reads, so the form that it keeps is its own output, defined once more.
            self.domains[item.name] = conn.defineXMLFlags(rig.definition(domain), 0)
            self.items.append(item)
            if kind == "new":
                rig.make_disks(item.xml)
        self.read_into(self.original)

    def read_into(self, table):
        for item in self.items:
            table[item.name] = rig.definition(self.domains[item.name])

    def now(self):
        table = {}
        self.read_into(table)
        return table

    def settled(self):
        """In the form that libvirt keeps: what it adds to a definition is in its place only after the next."""
        for item in self.items:
            self.domains[item.name] = self.conn.defineXMLFlags(rig.definition(self.domains[item.name]), 0)
        return self.now()

    def bad(self, item, why):
        self.problems.setdefault(item.name, []).append(why)

    def patch(self, *words, with_options=True, code=0, what=None):
        """dkvm-patch for all that are still here -> name: what its JSON says."""
        said = {}
        groups = rig.by_options(self.items) if with_options else {(): self.items}
        for options, group in groups.items():
            uuids = [self.domains[item.name].UUIDString() for item in group]
            done = rig.live(None, "--facts", str(self.facts), "--json", *words, *options, "--", *uuids)
            for item, told in zip(group, done.objects(), strict=True):
                said[item.name] = told
                if code is not None and told["exit"] != code:
                    self.bad(item, f"{what or ' '.join(words)}: exit {told['exit']}: {told.get('error')}")
        return said

    def drop_refused(self, said):
        """Those that could not be patched are as they were, and leave."""
        refused = REFUSED[self.kind]
        now, stay = self.now(), []
        for item in self.items:
            told = said[item.name]
            code, why = refused.get(item.name, (0, ""))
            if told["exit"] != code or not re.search(why, told.get("error", "")):
                self.bad(item, f"patch: exit {told['exit']}, not {code}: {told.get('error')}")
            if told["exit"] == 0:
                stay.append(item)
            elif now[item.name] != self.original[item.name]:
                self.bad(item, "it was refused, and changed all the same")
        missing = set(refused) - {item.name for item in self.items}
        rig.result(not missing, f"{self.kind}: every domain that is refused is there", missing)
        self.items = stay

    def same(self, expected, now, what):
        for item in self.items:
            if now[item.name] != expected[item.name]:
                self.bad(item, f"{what}:\n" + (rig.difference(expected[item.name], now[item.name])
                                               or "the same but for white space and order"))

    def undefined(self, before, what):
        """libvirtd saw no definition since BEFORE."""
        after = rig.defines(self.conn)
        for item in self.items:
            uuid = self.domains[item.name].UUIDString()
            if after.get(uuid) != before.get(uuid):
                self.bad(item, f"{what}: it was defined")


def check_patched(rnd):
    said = rnd.patch(code=None)
    rnd.drop_refused(said)
    patched, before = rnd.now(), rig.defines(rnd.conn)
    for item in rnd.items:
        if "isa-applesmc" not in patched[item.name]:
            rnd.bad(item, "patched: there is no isa-applesmc")
    for words, with_options in (((), True), ((), False), (("--check",), False), (("--check",), True)):
        what = f"again {' '.join(words)}{' with its options' if with_options else ''}"
        said = rnd.patch(*words, with_options=with_options, what=what)
        for item in rnd.items:
            if said[item.name]["stored"]:
                rnd.bad(item, f"{what}: it was stored")
    rnd.undefined(before, "again")
    rnd.same(patched, rnd.now(), "again")


def without_empty_metadata(xml):
    return re.sub(r"<metadata>\s*</metadata>|<metadata/>", "", xml)


def check_reverted(rnd):
    rnd.patch("--revert", with_options=False)
    reverted, original, forgotten = rnd.settled(), {}, {}
    for item in rnd.items:
        element = rig.marker(reverted[item.name])
        if element is None or dict(element.attrib) != {"state": "off"} or len(element):
            rnd.bad(item, "reverted: its mark is not state=off alone")
        original[item.name] = rig.canonical(rnd.original[item.name])
        forgotten[item.name] = rig.canonical(rig.without_marker(reverted[item.name]))
        if "<metadata" not in rnd.original[item.name]:
            continue
        original[item.name] = rig.canonical(rig.without_marker(rnd.original[item.name]))
    rnd.same(original, forgotten, "reverted")
    # Once more: nothing.
    before = rig.defines(rnd.conn)
    rnd.patch("--revert", with_options=False, what="reverted again")
    rnd.undefined(before, "reverted again")
    # With the options, without which an i440fx domain cannot be patched.
    said = rnd.patch("--check", code=None)
    for item in rnd.items:
        if (said[item.name]["result"], said[item.name]["exit"]) != ("not-patched", 1):
            rnd.bad(item, f"check after revert: {said[item.name]['result']}, exit {said[item.name]['exit']}")
    rnd.patch("--revert", "--forget", with_options=False)
    now = rnd.settled()
    for item in rnd.items:
        if rig.NS in now[item.name]:
            rnd.bad(item, "forgotten: there is something of dkvm left")
    # An empty <metadata> says nothing, and the mark between revert and forget cannot remember it.
    rnd.same({n: rig.canonical(without_empty_metadata(x)) for n, x in rnd.original.items()},
             {n: rig.canonical(without_empty_metadata(x)) for n, x in now.items()}, "forgotten")


def check_models(rnd):
    """ONE, then OTHER, is OTHER alone.  They are as they were at first, so far."""
    items = rnd.items
    free = [item for item in items if not any("model=" in word or "topology=" in word for word in item.options)]
    rnd.items = free
    rnd.patch("-m", OTHER)
    direct = rnd.settled()
    rnd.patch("--revert", "--forget", with_options=False)
    rnd.patch("-m", ONE)
    one = rnd.now()
    rnd.patch("-m", OTHER)
    after = rnd.settled()
    rnd.same(direct, after, f"{ONE}, then {OTHER}")
    rig.result(sum(one[i.name] != after[i.name] for i in free) > len(free) * 3 // 4,
               f"{rnd.kind}: two models differ")
    rnd.items = items


def main():
    conn = rig.connect()
    facts = rig.facts(rig.SCRATCH / "facts.json")
    kinds = sys.argv[1:] or ["installed", "new"]
    for kind in kinds:
        started = time.monotonic()
        items = [item for item in rig.inputs() if item.fits(conn)]
        rnd = Round(conn, kind, items, facts)
        times = [time.monotonic()]
        check_patched(rnd)
        times.append(time.monotonic())
        check_reverted(rnd)
        times.append(time.monotonic())
        check_models(rnd)
        times.append(time.monotonic())
        for item in items:
            if item.name in rnd.domains:
                rig.result(item.name not in rnd.problems, f"{kind}: {item.name}",
                           "\n".join(rnd.problems.get(item.name, [])))
        rig.say(f"roundtrip, {kind}: {len(rnd.domains)} of {len(items)} inputs defined, {len(rnd.items)} patched: "
                f"defining {times[0] - started:.0f} s, patching {times[1] - times[0]:.0f} s, "
                f"reverting {times[2] - times[1]:.0f} s, models {times[3] - times[2]:.0f} s")
        rig.remove_all(conn)
    rig.finish()


main()
