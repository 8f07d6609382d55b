# SPDX-License-Identifier: LGPL-2.1-or-later
"""Another client's edit that lands while dkvm-patch works: none is lost silently.

dkvm-patch reads the definition (read 1), works, reads it again (read 2) and stores it (define 1)."""

import os
import random
import threading
import time

import libvirt

import rig

CONN = rig.connect()
FACTS = rig.facts(rig.SCRATCH / "facts.json")
TITLE = "<title>edited by somebody else</title>"

# Another client defines: the whole definition with a title, which is an edit of the user's own.
EDIT = (f"virsh -q dumpxml --inactive --security-info mac | grep -v '<title>' | "
        f"sed 's|</name>|</name>{TITLE}|' >{rig.SCRATCH}/edited.xml && virsh -q define {rig.SCRATCH}/edited.xml")
# The same, another title each time.
EDITS = EDIT.replace("edited by somebody else", "number $(date +%s%N)").replace("'s|", '"s|').replace(
    f"</title>|'", '</title>|"')


def fresh():
    rig.remove_all(CONN)
    return CONN.defineXML(rig.mac())


def patch(code, *rules, words=("mac",)):
    return rig.live(code, "--facts", str(FACTS), *words, env=rig.racing(*rules))


def patched(domain):
    return "isa-applesmc" in rig.definition(domain)


@rig.test("an edit before the first read is part of what is patched")
def _():
    domain = fresh()
    patch(0, f"read 1 {EDIT}")
    rig.need(TITLE in rig.definition(domain) and patched(domain), "the edit or the patch is not there")


@rig.test("an edit between the two reads: done again, with the edit")
def _():
    domain = fresh()
    patch(0, f"read 2 {EDIT}")
    rig.need(TITLE in rig.definition(domain) and patched(domain), "the edit or the patch is not there")
    rig.live(0, "--facts", str(FACTS), "--check", "mac")


@rig.test("an edit of what dkvm writes, between the two reads, is the user's")
def _():
    domain = fresh()
    change = EDIT.replace(TITLE, "<title>x</title>").replace(
        "s|</name>", "s|<sound model=.ac97.|<sound model=\"usb\"|; s|</name>")
    patch(0, f"read 2 {change}")
    rig.need("<sound model='usb'" in rig.definition(domain) and patched(domain),
             "the user's sound card, which works, was replaced")
    rig.live(0, "--facts", str(FACTS), "--revert", "--forget", "mac")
    rig.need("<sound model='usb'" in rig.definition(domain), "the user's edit was lost")


@rig.test("an edit between the second read and the define: reported by name")
def _():
    domain = fresh()
    done = patch(7, f"define 1 {EDIT}")
    rig.need("mac" in done.err and "may be lost" in done.err, f"not said: {done.err}")
    rig.need(patched(domain), "it says so without having stored anything")


@rig.test("the same, in JSON")
def _():
    fresh()
    said = patch(7, f"define 1 {EDIT}", words=("--json", "mac")).objects()[0]
    rig.need(said["exit"] == 7 and said["name"] == "mac" and "lost" in said["error"], f"{said}")


@rig.test("virsh desc --config between the second read and the define: reported by name")
def _():
    fresh()
    done = patch(7, "define 1 virsh -q desc mac --config --title lost")
    rig.need("mac" in done.err, f"not said: {done.err}")


@rig.test("somebody who edits all the time: given up, nothing lost")
def _():
    domain = fresh()
    done = patch(7, f"read 0 {EDITS}")
    rig.need("mac" in done.err and "all the time" in done.err, f"not said: {done.err}")
    rig.need(not patched(domain) and "<title>number" in rig.definition(domain), "something was stored")


@rig.test("deleted between the reads: not made again")
def _():
    fresh()
    done = patch(5, "read 2 virsh -q undefine mac")
    rig.need("mac" in done.err, f"not said: {done.err}")
    try:
        CONN.lookupByName("mac")
    except libvirt.libvirtError:
        return
    raise rig.Bad("it is there again")


@rig.test("deleted between the second read and the define: reported by name")
def _():
    fresh()
    done = patch(7, "define 1 virsh -q undefine mac")
    rig.need("mac" in done.err, f"not said: {done.err}")


@rig.test("revert: an edit between the two reads is kept")
def _():
    domain = fresh()
    rig.live(0, "--facts", str(FACTS), "mac")
    patch(0, f"read 2 {EDIT}", words=("--revert", "mac"))
    rig.need(TITLE in rig.definition(domain) and not patched(domain), "the edit is lost, or it is still a Mac")


@rig.test("one domain that raced does not stop the others")
def _():
    fresh()
    other = CONN.defineXML(rig.mac("other"))
    done = patch(7, f"define 1 {EDIT}", words=("mac", "other"))
    rig.need(patched(other), f"the other one was not patched: {done.err}")


ROUNDS = int(os.environ.get("DKVM_ROUNDS", "1000" if os.environ.get("DKVM_LONG") else "20"))
# Before the first read, before the second, before a third because of the second.
MOMENTS = [("read 1",), ("read 2",), ("read 2", "read 3")]


@rig.test(f"{ROUNDS} edits, each anywhere between the first read and the last: none is lost")
def _():
    domain = fresh()
    for number in range(ROUNDS):
        title = f"<title>round {number}</title>"
        patch(0, *(f"{moment} {EDIT.replace(TITLE, title)}" for moment in MOMENTS[number % len(MOMENTS)]))
        rig.need(title in rig.definition(domain) and patched(domain), f"round {number}: the edit is lost")
        rig.live(0, "--facts", str(FACTS), "--revert", "--forget", "mac")


def edit_after(seconds, title):
    """Another client's edit, in one call: virsh desc --config does the same."""
    time.sleep(seconds)
    OTHER.lookupByName("mac").setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, title, None, None,
                                          libvirt.VIR_DOMAIN_AFFECT_CONFIG)


OTHER = rig.connect()


@rig.test(f"{ROUNDS} edits at any time at all: every one that is lost is reported")
def _():
    domain = fresh()
    begin = time.monotonic()
    rig.live(0, "--facts", str(FACTS), "mac")
    whole = time.monotonic() - begin
    lost = reported = 0
    for number in range(ROUNDS):
        domain = fresh()
        title = f"number {number}"
        other = threading.Thread(target=edit_after, args=(random.uniform(0, 1.1 * whole), title))
        other.start()
        done = rig.live(None, "--facts", str(FACTS), "mac")
        other.join()
        rig.need(done.code in (0, 7), f"round {number}: exit {done.code}: {done.err}")
        stays = f"<title>{title}</title>" in rig.definition(domain)
        lost += not stays
        reported += done.code == 7 and "mac" in done.err
        rig.need(stays or done.code == 7, f"round {number}: the edit is lost and nobody says so")
    print(f"# {ROUNDS} edits at any time: {lost} lost, {reported} reported as lost or in doubt")


rig.run()
