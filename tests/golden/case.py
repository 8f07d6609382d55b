# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a golden case is written down, and the edits that derive inputs from virt-install's output.

C(NAME, RULE, OSINFO, ARGS..., opts=, kvm=, canonical=, step=, needs=, edits=)
  ARGS       virt-install's words, "@" in a value is this case's own path without suffix
  opts       dkvm-patch's options, "facts=... macos=..." (make-inputs says how)
  kvm        the domain is of type kvm (default) or qemu
  canonical  as libvirt prints it after defining it, not as virt-install does
  step       of an installation: 1 is what is started first, 2 what is defined (default for a CD or PXE)
  needs      see make-inputs
"""

import dataclasses
import re

# id suffix -> kind of entry; the rest is in osinfo-db (facts: it knows 10.0 to 10.7).
OSINFO = {
    "macosx/10.8": "nv", "macosx/10.9": "nv", "macosx/10.10": "nv", "macosx/10.11": "nv",
    "macos/10.12": "nv", "macos/10.13": "nv", "macos/10.14": "nv", "macos/10.15": "full",
    "macos/11": "full", "macos/12": "nv", "macos/13": "min", "macos/14": "full", "macos/15": "full",
    "macos/26": "full",
}
OSINFO = {key.replace("/", "-"): kind for key, kind in OSINFO.items()}


def osinfo_xml(version, kind):
    """full: UEFI, q35, virtio devices.  nv: the same without virtio.  min: neither firmware nor devices."""
    product, number = version.split("-")
    text = f"""<libosinfo version="0.0.1">
  <os id="http://apple.com/{product}/{number}">
    <short-id>t{number}</short-id>
    <name>macOS {number} (test)</name>
    <version>{number}</version>
    <vendor>Apple Inc.</vendor>
    <family>darwin</family>
    <distro>osx</distro>
"""
    if kind != "min":
        text += """    <firmware arch="x86_64" type="efi"/>
    <firmware arch="x86_64" type="bios" supported="false"/>
"""
    devices = {"min": [], "nv": ["qemu.org/chipset/x86/q35", "pcisig.com/pci/1b36/000d"],
               "full": ["qemu.org/chipset/x86/q35", "pcisig.com/pci/1b36/000d",
                        "pcisig.com/pci/1af4/1000", "pcisig.com/pci/1af4/1041",
                        "pcisig.com/pci/1af4/1001", "pcisig.com/pci/1af4/1042"]}[kind]
    if devices:
        text += "    <devices>\n" + "".join(f'      <device id="http://{d}"/>\n' for d in devices) + "    </devices>\n"
    return text + """    <resources arch="all">
      <recommended><cpu>1000000000</cpu><n-cpus>4</n-cpus><ram>8589934592</ram><storage>137438953472</storage></recommended>
    </resources>
  </os>
</libosinfo>
"""


@dataclasses.dataclass
class Case:
    name: str
    rule: str
    osinfo: str
    args: tuple
    options: str
    kvm: bool
    canonical: bool
    step: int
    needs: str
    edits: tuple


CASES = []


def C(name, rule, osinfo, *args, opts="", kvm=True, canonical=False, step=None, needs="", edits=()):
    if step is None and any(word.startswith(("--cdrom", "--pxe")) for word in args):
        step = 2
    if "facts=" not in opts:
        opts = f"facts=debian12-intel-avx512.json {opts}".strip()
    else:
        opts = re.sub(r"facts=([^ ]+)", r"facts=\1.json", opts)
    CASES.append(Case(name, rule, osinfo, args, opts, kvm, canonical, step or 0, needs, tuple(edits)))


### Edits: text to text #############################################################################


def sub(old, new, count=1):
    """The first OLD (a plain text) becomes NEW."""
    return lambda xml: xml.replace(old, new, count)


def rex(pattern, new):
    return lambda xml: re.sub(pattern, new, xml, count=1, flags=re.S)


def device(text):
    return rex(r"(\n  </devices>)", lambda m: "\n    " + text.strip() + m.group(1))


def top(text):
    """A new child of <domain>, before <devices>."""
    return rex(r"\n  <devices>", lambda m: "\n  " + text.strip() + m.group(0))


def feature(text):
    return rex(r"\n  </features>", lambda m: "\n    " + text.strip() + m.group(0))


def end(text):
    """The last child of <domain>."""
    return rex(r"\n</domain>", lambda m: "\n  " + text.strip() + m.group(0))


def clock(text):
    return rex(r"<clock .*?</clock>", lambda m: text.strip())


QEMU_NS = "http://libvirt.org/schemas/domain/qemu/1.0"


def commandline(*args, prefix="qemu", where="root", more=""):
    """<qemu:commandline> with its namespace declared on the root or (where=element) on itself."""
    p = f"{prefix}:" if prefix else ""
    xmlns = f"xmlns:{prefix}" if prefix else "xmlns"
    here = f' {xmlns}="{QEMU_NS}"'
    body = "".join(f'\n    <{p}arg value="{a}"/>' for a in args)
    text = f"<{p}commandline{here if where == 'element' else ''}>{body}{more}\n  </{p}commandline>"

    def edit(xml):
        if where == "root":
            xml = re.sub(r"<domain ", lambda m: f"<domain{here} ", xml, count=1)
        return end(text)(xml)
    return edit


HOSTDEV = """<hostdev mode="subsystem" type="pci" managed="{managed}">{driver}
      <source>
        <address domain="0x0000" bus="{bus}" slot="0x00" function="{function}"/>
      </source>{more}
    </hostdev>"""


def hostdev(bus="0x01", function="0x0", managed="yes", driver="", more=""):
    return device(HOSTDEV.format(bus=bus, function=function, managed=managed, driver=driver, more=more))

