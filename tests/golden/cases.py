# SPDX-License-Identifier: LGPL-2.1-or-later
"""The golden cases: what virt-install is asked for, and what is then edited by hand."""

import re

from case import C, CASES, QEMU_NS, clock, commandline, device, end, feature, hostdev, rex, sub, top

__all__ = ["CASES"]

Q35 = "--machine q35"
EFI = "--boot uefi"
HOST = "--cpu host-passthrough"
OSK = "ourhardworkbythesewordsguardedpleasedontsteal(c)AppleComputerInc"

# Where each version's id comes from.
VERSIONS = {v: f"http://apple.com/macosx/{v}" for v in
            "10.4 10.5 10.6 10.7 10.8 10.9 10.10 10.11".split()}
VERSIONS.update({v: f"http://apple.com/macos/{v}" for v in
                 "10.12 10.13 10.14 10.15 11 12 13 14 15 26".split()})
NAMES = {"10.4": "tiger", "10.5": "leopard", "10.6": "snowleopard", "10.7": "lion", "10.8": "mountainlion",
         "10.9": "mavericks", "10.10": "yosemite", "10.11": "elcapitan", "10.12": "sierra",
         "10.13": "highsierra", "10.14": "mojave", "10.15": "catalina", "11": "bigsur", "12": "monterey",
         "13": "ventura", "14": "sonoma", "15": "sequoia", "26": "tahoe"}
FACTS = ("debian12-intel-avx512 debian12-intel-noavx512 debian12-amd-zen3 debian13-amd-zen3 debian13-intel "
         "fedora-amd arch-intel").split()


def tag(text):
    return text.replace(".", "").replace(",", "")


### What the wizard makes, nothing added ############################################################

C("wizard-14-import", "virt-manager's own defaults for macOS 14, existing disk", VERSIONS["14"], HOST, canonical=True)
C("wizard-14-cd", "the same from a CD, as defined after the install phase began", VERSIONS["14"], HOST,
  "--cdrom /var/lib/libvirt/images/macOS.iso")
C("wizard-14-cd-first", "the same, the XML of the first boot: on_reboot destroy, CD before hd", VERSIONS["14"],
  "--cdrom /var/lib/libvirt/images/macOS.iso", step=1, kvm=False)
C("wizard-12-nv", "an OS entry without virtio: SATA and e1000e", VERSIONS["12"], HOST,
  "--cdrom /var/lib/libvirt/images/macOS.iso", canonical=True, opts="facts=debian13-amd-zen3")
C("wizard-13-min", "an OS entry without devices: i440fx, BIOS, IDE; converted when asked", VERSIONS["13"], HOST,
  opts="set=machine=q35")
C("wizard-107-stock", "osinfo-db's own Mac OS X 10.7: i440fx, BIOS, IDE, converted", VERSIONS["10.7"], HOST,
  opts="set=machine=q35 facts=old-ivybridge")
C("wizard-104-stock", "osinfo-db's own Mac OS X 10.4 on q35", VERSIONS["10.4"], Q35, HOST, canonical=True)
C("wizard-generic", "no OS chosen: version unknown, model MacPro7,1", "generic", Q35, HOST)
C("wizard-debian", "another OS's defaults, version unknown: nothing that works is replaced", "debian11", Q35, EFI, HOST)
C("wizard-win10", "Windows' defaults: hyperv features and clock stay, e1000e, SATA", "win10", Q35, HOST)
C("wizard-win10-macos", "Windows' defaults become macOS 11 by option", "win10", Q35, HOST, opts="macos=11")
C("wizard-fedora-tcg", "a plain TCG domain, all virtio", "fedora37", Q35, kvm=False, canonical=True,
  opts="facts=tcg-debian12 macos=15")
C("wizard-diskless", "no disk at all: preferred devices applied freely", VERSIONS["14"], HOST, "--disk none",
  "--cdrom /var/lib/libvirt/images/macOS.iso")
C("wizard-pxe", "boots from the network, order kept", VERSIONS["11"], HOST, "--pxe", "--disk size=64,path=@.qcow2",
  kvm=False)

### Every version: nothing that it has works, so everything is replaced ###############################

for i, (v, osid) in enumerate(VERSIONS.items()):
    C(f"replace-{tag(v)}", f"macOS {v} by libosinfo id: NIC, disk, USB, video, sound that it cannot drive",
      osid, Q35, HOST, "--disk path=@.qcow2,format=qcow2,size=64,bus=scsi,serial=KEEPME", "--controller scsi,model=lsilogic",
      "--controller usb,model=piix3-uhci", "--network network=default,model=" + ("rtl8139", "ne2k_pci", "pcnet")[i % 3],
      "--sound " + ("ac97", "es1370", "sb16")[i % 3], "--video cirrus", f"--vcpus {(2, 4, 8)[i % 3]}",
      kvm=i % 4 != 3, canonical=i % 2 == 1, opts=f"facts={FACTS[i % len(FACTS)]}")

### Every version: one of everything, so that what works is left alone ################################

# No virtio sound here: libvirt 9.0 does not know it (below, with what needs a newer one).
NICS = "virtio virtio-transitional virtio-non-transitional virtio-net-pci vmxnet3 e1000-82545em e1000 e1000e rtl8139"


def one_of_each(name, rule, osinfo, number, **kw):
    C(name, rule, osinfo, Q35, HOST, f"--vcpus {number}",
      *(f"--disk path=@-{b}.qcow2,format=qcow2,size=8,bus={b}" for b in ("sata", "usb", "virtio", "scsi")),
      *(f"--network network=default,model={n}" for n in NICS.split()),
      "--controller usb,model=qemu-xhci,index=0", "--controller usb,model=nec-xhci,index=1",
      "--controller usb,model=ich9-ehci1,index=2", "--controller usb,model=piix3-uhci,index=3",
      "--sound ich9", "--sound ich6", "--sound usb", "--sound ac97", **kw)


for i, v in enumerate(VERSIONS):
    one_of_each(f"keep-{tag(v)}", f"macOS {v} by name: all NICs, buses, USB, sound; what works stays", "generic",
                (4, 2, 8)[i % 3], opts=f"macos={NAMES[v]} facts={FACTS[(i + 3) % len(FACTS)]}")
one_of_each("keep-unknown", "version unknown: all NICs, buses, USB, sound; what works in any version stays", "generic", 4)
C("replace-unknown", "version unknown: NIC, disk, USB, video, sound that no version drives", "debian11", Q35, HOST,
  "--disk path=@.qcow2,format=qcow2,size=64,bus=scsi", "--controller usb,model=piix3-uhci",
  "--network network=default,model=rtl8139", "--sound ac97", "--video cirrus")

# One USB controller at a time: with several in one domain the tablet and keyboard have a choice.
for v, facts in (("10.15", "debian12-amd-zen3"), ("11", "debian13-intel"), ("unknown", "arch-intel")):
    for usb in ("qemu-xhci", "nec-xhci", "ich9-ehci1", "piix3-uhci"):
        C(f"usb-{tag(v)}-{usb}", f"only a {usb} controller, macOS {v}", VERSIONS.get(v, "debian11"), Q35, EFI,
          f"--controller usb,model={usb}", "--input mouse,bus=usb" if usb == "nec-xhci" else "--input keyboard,bus=usb",
          kvm=v != "11", opts=f"facts={facts}")
for v in ("10.14", "10.15", "unknown"):
    for bus in ("sata", "usb", "virtio"):
        C(f"disk-{tag(v)}-{bus}", f"one {bus} disk with boot order and serial, macOS {v}", VERSIONS.get(v, "win10"), Q35, EFI,
          f"--disk path=@.raw,format=raw,size=16,bus={bus},serial=S-{bus},boot.order=1,cache=none,io=native",
          canonical=bus == "virtio", kvm=bus != "usb")

### Models: each side of every boundary ###############################################################

BOUNDS = {"MacPro7,1": "10.5 10.6 10.12 10.13 unknown", "MacPro5,1": "10.5 10.6 15 unknown",
          "MacPro4,1": "10.11 10.12 unknown", "MacPro3,1": "10.11 10.12 unknown", "MacPro2,1": "10.11 10.12 unknown"}
for i, (m, v) in enumerate((m, v) for m, vs in BOUNDS.items() for v in vs.split()):
    C(f"model-{tag(m.lower())}-{tag(v)}", f"{m} with macOS {v}", "generic", Q35, EFI, HOST,
      f"--vcpus {(2, 3, 4, 6, 8)[i % 5]}", f"--memory {2048 + 256 * i}", kvm=i % 5 != 4,
      opts=f"facts={FACTS[i % len(FACTS)]} model={m}" + ("" if v == "unknown" else f" macos={v}"))

### vCPUs and topology ################################################################################

for n in (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24):
    C(f"vcpus-{n}-new", f"{n} vCPUs, QEMU 10, a model that counts by MSR 0x35", VERSIONS["14"], HOST, f"--vcpus {n}",
      opts="facts=debian13-intel")
for n in (3, 5, 6, 12):
    C(f"vcpus-{n}-old", f"{n} vCPUs, QEMU 7.2", VERSIONS["14"], HOST, f"--vcpus {n}", canonical=True, kvm=False)
    C(f"vcpus-{n}-penryn", f"{n} vCPUs, Penryn", VERSIONS["10.13"], HOST, f"--vcpus {n}",
      opts="facts=debian13-intel model=MacPro3,1")
for f in ("debian12-amd-zen3", "debian13-amd-zen3", "fedora-amd", "arch-intel", "old-ivybridge", "unstable-tsc-amd"):
    C(f"vcpus-24-{f}", f"24 vCPUs where the host is {f}", VERSIONS["13"], Q35, EFI, HOST, "--vcpus 24", opts=f"facts={f}")
C("topology-right", "a topology that boots already", VERSIONS["14"], HOST, "--vcpus 8,sockets=1,cores=4,threads=2", canonical=True)
C("topology-sockets", "8 sockets of one core", VERSIONS["14"], HOST, "--vcpus 8,sockets=8,cores=1,threads=1")
C("topology-dies", "dies in the topology", VERSIONS["15"], HOST, "--vcpus 8,sockets=1,dies=2,cores=2,threads=2")
C("topology-odd", "1x6x1 on QEMU 7.2", VERSIONS["26"], HOST, "--vcpus 6,sockets=1,cores=6,threads=1", kvm=False)
C("vcpus-current", "fewer vCPUs present than possible", VERSIONS["14"], HOST, "--vcpus 2,maxvcpus=8", canonical=True)
C("vcpus-current-odd", "3 of 6 present", VERSIONS["14"], HOST, "--vcpus 3,maxvcpus=6")
C("vcpus-cpuset", "placement static with a cpuset", VERSIONS["14"], HOST, "--vcpus 4,cpuset=0-3")
C("vcpus-each", "per-vCPU settings, the last two absent", VERSIONS["14"], HOST, "--vcpus 4", edits=[
  sub("<vcpu>4</vcpu>", '<vcpu placement="static" current="2">4</vcpu>\n  <vcpus>\n'
      '    <vcpu id="0" enabled="yes" hotpluggable="no"/>\n    <vcpu id="1" enabled="yes" hotpluggable="no"/>\n'
      '    <vcpu id="2" enabled="no" hotpluggable="yes"/>\n    <vcpu id="3" enabled="no" hotpluggable="yes"/>\n  </vcpus>')])
C("numa-two", "two NUMA cells: the count stays", VERSIONS["14"], HOST, "--vcpus 8", "--memory 8192", edits=[
  rex(r'<cpu mode="host-passthrough"\s*/>', lambda m: '<cpu mode="host-passthrough">\n    <numa>\n'
      '      <cell id="0" cpus="0-3" memory="4194304" unit="KiB"/>\n      <cell id="1" cpus="4-7" memory="4194304" unit="KiB"/>\n'
      '    </numa>\n  </cpu>')])
C("numa-distances", "NUMA with distances, memory modes and access", VERSIONS["14"], "--vcpus 4", "--memory 4096", kvm=False,
  edits=[top('<cpu mode="custom" match="exact">\n    <model fallback="allow">qemu64</model>\n    <numa>\n'
             '      <cell id="0" cpus="0-1" memory="2097152" unit="KiB" memAccess="shared"><distances><sibling id="0" value="10"/><sibling id="1" value="21"/></distances></cell>\n'
             '      <cell id="1" cpus="2-3" memory="2097152" unit="KiB" memAccess="shared"><distances><sibling id="0" value="21"/><sibling id="1" value="10"/></distances></cell>\n'
             '    </numa>\n  </cpu>\n  <numatune>\n    <memory mode="preferred" nodeset="0"/>\n  </numatune>')])
PINS = "".join(f'\n    <vcpupin vcpu="{i}" cpuset="{i}"/>' for i in range(8))
C("pins-all", "each of 8 vCPUs pinned, emulatorpin, shares", VERSIONS["14"], HOST, "--vcpus 8", edits=[
  top(f'<cputune>\n    <shares>2048</shares>{PINS}\n    <emulatorpin cpuset="0-1"/>\n  </cputune>')])
C("pins-gone", "a pin names a vCPU that would go (6 on QEMU 7.2)", VERSIONS["14"], HOST, "--vcpus 6", edits=[
  top('<cputune>\n    <vcpupin vcpu="5" cpuset="5"/>\n  </cputune>')])
C("pins-sched", "vcpusched and iothreadpin", VERSIONS["14"], HOST, "--vcpus 4", "--iothreads 2", edits=[
  top('<cputune>\n    <vcpupin vcpu="0" cpuset="2"/>\n    <iothreadpin iothread="1" cpuset="0-1"/>\n'
      '    <vcpusched vcpus="0-1" scheduler="fifo" priority="1"/>\n  </cputune>')])

### CPU ###############################################################################################

C("cpu-none", "no cpu element", "debian11", Q35, "--cpu none", kvm=False)
C("cpu-host-model", "host-model becomes host-passthrough", VERSIONS["14"], "--cpu host-model", canonical=False)
C("cpu-custom", "a named model with a vendor", VERSIONS["14"], "--cpu Haswell-noTSX,vendor=Intel", kvm=False)
C("cpu-features", "host-passthrough with features of the user's own", VERSIONS["14"],
  "--cpu host-passthrough,require=invtsc,disable=hle,force=ssse3", opts="facts=debian12-amd-zen3")
C("cpu-topoext", "topoext is there already (AMD)", VERSIONS["14"], "--cpu host-passthrough,require=topoext",
  opts="facts=debian13-amd-zen3", canonical=True)
C("cpu-topology-features", "topology and features together", VERSIONS["14"],
  "--cpu host-passthrough,check=none,migratable=on,require=vmx", "--vcpus 4,sockets=2,cores=2,threads=1",
  opts="facts=arch-intel")
C("cpu-cache", "cache emulated at a level", VERSIONS["14"], kvm=False, edits=[
  top('<cpu mode="custom" match="exact" check="partial">\n    <model fallback="forbid">Skylake-Client</model>\n'
      '    <cache level="3" mode="emulate"/>\n  </cpu>')])
C("cpu-maximum", "mode maximum (type qemu)", VERSIONS["14"], "--cpu maximum", kvm=False, opts="facts=tcg-debian12")
C("cpu-right", "exactly what we would write", VERSIONS["14"], "--vcpus 4,sockets=1,cores=2,threads=2", HOST, edits=[
  rex(r"<cpu mode=\"host-passthrough\".*?</cpu>", lambda m: '<cpu mode="host-passthrough" check="none" migratable="on">\n'
      '    <topology sockets="1" dies="1" cores="2" threads="2"/>\n    <cache mode="passthrough"/>\n  </cpu>')])
for f in ("debian12-intel-noavx512", "debian12-amd-zen3", "fedora-amd", "old-ivybridge", "unstable-tsc-amd"):
    C(f"cpu-string-{f}", f"what {f} lacks of MacPro5,1 is switched off by name", VERSIONS["10.14"], HOST, "--vcpus 2",
      f"--network network=default,model={'vmxnet3' if 'amd' in f else 'e1000'}", opts=f"facts={f}")

### Firmware ##########################################################################################

CODE, VARS = "/usr/share/OVMF/OVMF_CODE_4M", "/usr/share/OVMF/OVMF_VARS_4M"
C("fw-bios", "BIOS becomes UEFI", "debian11", Q35, HOST, opts="macos=14")
C("fw-bios-explicit", "os firmware=bios", "debian11", Q35, HOST, opts="macos=14", edits=[sub("<os>", '<os firmware="bios">')])
C("fw-auto", "os firmware=efi without features (Debian would pick Secure Boot)", "debian11", Q35, EFI, HOST, canonical=True)
C("fw-auto-off", "the features are off already", "debian11", Q35, HOST,
  "--boot firmware=efi,firmware.feature0.name=secure-boot,firmware.feature0.enabled=no,firmware.feature1.name=enrolled-keys,firmware.feature1.enabled=no")
C("fw-auto-on", "Secure Boot and enrolled keys asked for", "win10", Q35, HOST,
  "--boot firmware=efi,firmware.feature0.name=secure-boot,firmware.feature0.enabled=yes,firmware.feature1.name=enrolled-keys,firmware.feature1.enabled=yes",
  "--features smm.state=on")
C("fw-pair", "a matched pair without Secure Boot: left alone", VERSIONS["14"], HOST,
  f"--boot loader={CODE}.fd,loader.readonly=yes,loader.type=pflash,nvram.template={VARS}.fd,nvram=/var/lib/libvirt/qemu/nvram/own_VARS.fd")
C("fw-secure", "Debian's Secure Boot image with SMM: replaced, fresh NVRAM", VERSIONS["14"], HOST,
  f"--boot loader={CODE}.ms.fd,loader.readonly=yes,loader.type=pflash,loader.secure=yes,nvram.template={VARS}.ms.fd,nvram=/var/lib/libvirt/qemu/nvram/ms_VARS.fd",
  "--features smm.state=on", canonical=True)
C("fw-mixed", "CODE and VARS that do not match", VERSIONS["14"], HOST,
  f"--boot loader={CODE}.fd,loader.readonly=yes,loader.type=pflash,nvram.template=/usr/share/OVMF/OVMF_VARS.fd", kvm=False)
C("fw-2m", "the 2 MiB pair of Debian 12", VERSIONS["14"], HOST,
  "--boot loader=/usr/share/OVMF/OVMF_CODE.fd,loader.readonly=yes,loader.type=pflash,nvram.template=/usr/share/OVMF/OVMF_VARS.fd")
C("fw-elsewhere", "another distribution's paths", VERSIONS["14"], HOST,
  "--boot loader=/usr/share/edk2/x64/OVMF_CODE.4m.fd,loader.readonly=yes,loader.type=pflash,nvram.template=/usr/share/edk2/x64/OVMF_VARS.4m.fd",
  opts="facts=fedora-amd")
C("fw-rom", "a stateless loader of type rom", VERSIONS["14"], HOST, "--boot loader=/usr/share/ovmf/OVMF.fd,loader.readonly=yes,loader.type=rom",
  kvm=False)
for f in ("debian13-intel", "fedora-amd", "arch-intel", "old-ivybridge"):
    C(f"fw-{f}", f"BIOS becomes UEFI with the firmware of {f}", "win10", Q35, HOST, "--boot cdrom,hd,menu=on", opts=f"macos=12 facts={f}")
C("boot-order", "network before disk, menu with a timeout", VERSIONS["14"], HOST, "--boot network,hd,bootmenu.enable=yes,bootmenu.timeout=3000")
C("boot-direct", "a kernel, initrd and arguments of the user's own", VERSIONS["14"], HOST,
  "--boot kernel=/boot/k,initrd=/boot/i,kernel_args='console=ttyS0 quiet'", kvm=False)
C("boot-per-device", "boot order per device, no boot dev", VERSIONS["14"], HOST,
  "--disk path=@.qcow2,format=qcow2,size=64,boot.order=2", "--network network=default,boot.order=1")
C("boot-smbios", "sysinfo and smbios mode of the user's own", VERSIONS["14"], HOST,
  "--sysinfo type=smbios,system.manufacturer=ACME,system.product=Anvil,system.serial=0001", canonical=True, kvm=False)
C("boot-bios-serial", "bios useserial and rebootTimeout", "debian11", Q35, HOST, "--boot bios.useserial=yes,bios.rebootTimeout=0,hd", opts="macos=10.9")

### Memory ############################################################################################

C("mem-current", "currentMemory below memory", VERSIONS["14"], HOST, "--memory memory=8192,currentMemory=4096", canonical=True)
C("mem-units", "sizes in other units", VERSIONS["14"], HOST, edits=[
  rex(r"<memory>.*?</currentMemory>", lambda m: '<memory unit="GiB">8</memory>\n  <currentMemory unit="MiB">4096</currentMemory>')])
C("mem-hugepages", "hugepages", VERSIONS["14"], HOST, "--memorybacking hugepages=yes")
C("mem-hugepages-size", "hugepages of 1 GiB, locked, nosharepages there already", VERSIONS["14"], HOST,
  "--memorybacking hugepages=yes,hugepages.page0.size=1048576,locked=yes,nosharepages=yes")
C("mem-memfd", "memfd, shared", VERSIONS["14"], HOST, "--memorybacking source.type=memfd,access.mode=shared", canonical=True, kvm=False)
C("mem-slots", "room for DIMMs", VERSIONS["14"], HOST, "--memory 4096", "--vcpus 4", edits=[
  sub("<memory>", '<maxMemory slots="4" unit="KiB">16777216</maxMemory>\n  <memory>'),
  rex(r'<cpu mode="host-passthrough"\s*/>', lambda m: '<cpu mode="host-passthrough">\n    <numa>\n      <cell id="0" cpus="0-3" memory="4194304" unit="KiB"/>\n    </numa>\n  </cpu>')])
C("mem-balloon", "a balloon with statistics", VERSIONS["14"], HOST, "--memballoon model=virtio,autodeflate=on,stats.period=10")
C("mem-balloon-none", "no balloon already", VERSIONS["14"], HOST, "--memballoon none", canonical=True)
C("mem-tune", "memtune and blkiotune pass through", VERSIONS["14"], HOST, "--memtune hard_limit=16777216", "--blkiotune weight=200", kvm=False)

### Graphics, video, sound ############################################################################

VIDEOS = {"vga": "vga", "vmvga": "vmvga", "qxl": "qxl,ram=65536,vram=65536", "virtio": "virtio,accel3d=no",
          "bochs": "bochs", "none": "none", "ramfb": "ramfb"}
for i, (v, model) in enumerate(VIDEOS.items()):
    for j, osid in enumerate((VERSIONS[("14", "10.11", "26", "13", "15", "11", "12")[i]], "debian11")):
        C(f"video-{v}-{'unknown' if j else 'known'}", f"video {v} stays, version {'unknown' if j else 'known'}", osid, Q35, EFI,
          f"--video model={model}", "--graphics spice" if i % 2 else "--graphics vnc",
          kvm=bool((i + j) % 2), opts=f"facts={FACTS[(i + j) % len(FACTS)]}")
C("video-two", "two video devices, the first primary", VERSIONS["14"], HOST, "--video model=vga", "--video qxl", edits=[
  sub('<model type="vga"/>', '<model type="vga" primary="yes"/>')])
C("video-3d", "virtio with 3D and egl-headless", VERSIONS["14"], "--graphics egl-headless", "--video virtio,accel3d=yes", kvm=False)
C("graphics-vnc-password", "a VNC password is not for us", VERSIONS["14"], HOST,
  "--graphics vnc,listen=0.0.0.0,port=5999,password=geheim99,keymap=de", canonical=True, kvm=False)
C("graphics-spice-password", "a SPICE password with an expiry, channels secured", VERSIONS["14"], HOST,
  "--graphics spice,password=tresor77,clipboard.copypaste=no", edits=[
  sub('passwd="tresor77"', 'passwd="tresor77" passwdValidTo="2030-01-01T00:00:00"')])
C("graphics-both", "SPICE and VNC, GL off", VERSIONS["14"], HOST, "--graphics spice,gl.enable=no", "--graphics vnc,listen=none", kvm=False)
C("graphics-none", "no graphics, no video", VERSIONS["14"], HOST, "--graphics none", "--video none", "--serial pty")
C("sound-none", "no sound", VERSIONS["14"], HOST, "--sound none")
C("sound-codec", "ich9 with a codec and an audio backend", VERSIONS["14"], HOST, "--sound model=ich9,codec0.type=micro", "--audio id=1,type=none",
  canonical=True, kvm=False)
C("sound-ich6", "ich6 stays", VERSIONS["10.13"], HOST, "--sound ich6")
C("sound-ac97", "ac97 is driven by none", VERSIONS["11"], HOST, "--sound ac97")
for v in ("11", "12", "unknown"):
    C(f"sound-virtio-{v}", f"virtio sound, macOS {v}", VERSIONS.get(v, "debian11"), Q35, EFI, HOST, "--sound none",
      opts="facts=debian13-intel", needs="libvirt 10.4", edits=[device('<sound model="virtio"/>')])

### Host devices ######################################################################################

C("hostdev-pci", "one PCI device, managed", VERSIONS["14"], HOST, edits=[hostdev()])
C("hostdev-pair", "GPU and its audio on one slot, multifunction", VERSIONS["14"], HOST, canonical=True, edits=[
  hostdev(more='\n      <address type="pci" domain="0x0000" bus="0x0a" slot="0x00" function="0x0" multifunction="on"/>'),
  hostdev(function="0x1", more='\n      <address type="pci" domain="0x0000" bus="0x0a" slot="0x00" function="0x1"/>')])
C("hostdev-unmanaged", "managed no, a ROM file, the vfio driver named", VERSIONS["14"], HOST, "--graphics none", "--video none", edits=[
  hostdev(bus="0x65", managed="no", driver='\n      <driver name="vfio"/>', more='\n      <rom bar="on" file="/usr/share/vgabios/card.rom"/>')])
C("hostdev-alias", "a user alias and a boot order", VERSIONS["14"], HOST, "--boot menu=on", edits=[
  rex(r'\n    <boot dev="hd"/>', lambda m: ""), hostdev(bus="0x03", more='\n      <boot order="1"/>\n      <alias name="ua-nic"/>')])
C("hostdev-usb", "a USB device by id and one by address", VERSIONS["14"], HOST, kvm=False, edits=[
  device('<hostdev mode="subsystem" type="usb" managed="yes">\n      <source startupPolicy="optional">\n        <vendor id="0x05ac"/>\n        <product id="0x0220"/>\n      </source>\n    </hostdev>')])
C("hostdev-mdev", "a mediated device", VERSIONS["14"], HOST, edits=[
  device('<hostdev mode="subsystem" type="mdev" managed="no" model="vfio-pci" display="off">\n      <source>\n        <address uuid="c2177883-f1bb-47f0-914d-32a22e3a8804"/>\n      </source>\n    </hostdev>')])
C("hostdev-sriov", "an SR-IOV interface and an NVMe disk", VERSIONS["14"], HOST, edits=[
  device('<interface type="hostdev" managed="yes">\n      <mac address="52:54:00:6d:90:02"/>\n      <source>\n        <address type="pci" domain="0x0000" bus="0x07" slot="0x10" function="0x0"/>\n      </source>\n    </interface>'),
  device('<disk type="nvme" device="disk">\n      <driver name="qemu" type="raw"/>\n      <source type="pci" managed="yes" namespace="1">\n        <address domain="0x0000" bus="0x08" slot="0x00" function="0x0"/>\n      </source>\n      <target dev="vdz" bus="virtio"/>\n    </disk>')])

### Watchdog, TPM and what else a virt-manager user adds ##############################################

C("watchdog-i6300esb", "another watchdog: its action is kept", VERSIONS["14"], HOST, "--watchdog i6300esb,action=poweroff", canonical=True,
  opts="facts=debian13-intel")
C("watchdog-i6300esb-old", "the same on libvirt 9.0, which has no itco", VERSIONS["14"], HOST, "--watchdog i6300esb,action=pause")
C("watchdog-ib700", "an ISA watchdog", VERSIONS["14"], HOST, "--watchdog ib700,action=reset", kvm=False, opts="facts=fedora-amd")
for action in ("none", "reset"):
    C(f"watchdog-itco-{action}", f"itco with action {action}, as libvirt 9.1 and newer add it", VERSIONS["14"], HOST, opts="facts=arch-intel",
      needs="libvirt 9.1", edits=[device(f'<watchdog model="itco" action="{action}"/>')])
C("tpm-emulator", "an emulated TPM 2.0", VERSIONS["14"], HOST, "--tpm backend.type=emulator,backend.version=2.0,model=tpm-crb",
  needs="swtpm")
C("tpm-passthrough", "the host's TPM", VERSIONS["14"], HOST, "--tpm backend.type=passthrough,model=tpm-tis,backend.device.path=/dev/tpm0", kvm=False)
C("iothreads", "iothreads used by a disk", VERSIONS["14"], HOST, "--iothreads 2",
  "--disk path=@.qcow2,format=qcow2,size=64,bus=virtio,driver.iothread=1,cache=none", canonical=True, kvm=False)
C("disks-many", "several disks: shareable, readonly, network, block, empty CD", VERSIONS["14"], HOST,
  "--disk path=@.qcow2,format=qcow2,size=64,bus=sata", "--disk path=@-b.raw,format=raw,size=8,bus=virtio,shareable=on",
  "--disk path=@-c.qcow2,format=qcow2,size=8,bus=scsi,readonly=on", "--disk device=cdrom,bus=sata",
  edits=[device('<disk type="network" device="disk">\n      <driver name="qemu" type="raw"/>\n      <source protocol="nbd" name="x"><host name="192.0.2.7" port="10809"/></source>\n      <target dev="sdz" bus="usb"/>\n    </disk>'),
         device('<disk type="block" device="disk">\n      <driver name="qemu" type="raw" cache="none"/>\n      <source dev="/dev/disk/by-id/ata-OLD"/>\n      <target dev="sdy" bus="sata"/>\n    </disk>')])
C("disk-encrypted", "LUKS with a secret, backing chain, throttled", VERSIONS["14"], HOST, kvm=False, edits=[
  rex(r'(<source file="[^"]*")/>', lambda m: m.group(1) + '>\n        <encryption format="luks">\n          <secret type="passphrase" uuid="0a81f5b2-8403-4b23-8c8d-21ccc2f80d6f"/>\n        </encryption>\n      </source>\n      <backingStore/>'),
  rex(r"(\n      <target dev=[^>]*/>)", lambda m: m.group(1) + "\n      <iotune>\n        <total_bytes_sec>10000000</total_bytes_sec>\n      </iotune>")])
C("disks-scsi", "virtio-scsi disks and CD, macOS 14: moved", VERSIONS["14"], HOST, "--controller scsi,model=virtio-scsi",
  "--disk path=@.qcow2,format=qcow2,size=64,bus=scsi", "--disk path=@-b.qcow2,format=qcow2,size=64,bus=scsi", "--disk device=cdrom,bus=scsi", kvm=False,
  canonical=True)
C("nics-many", "bridge, user, macvtap, a filter, bandwidth, link down", VERSIONS["14"], HOST, "--network bridge=br0,model=rtl8139",
  "--network user,model=e1000e", "--network type=direct,source=eth0,source.mode=bridge,model=virtio",
  "--network network=default,model=virtio,link.state=down,mtu.size=9000", kvm=False)
C("nic-default-model", "a NIC without a model, multiqueue driver on another", VERSIONS["14"], HOST, "--network network=default,model=virtio,driver.queues=4",
  "--network network=default,model=virtio", edits=[rex(r'(<mac address="[^"]*:01"/>\s*)<model type="virtio"/>\s*', lambda m: m.group(1))])
C("nic-none", "no NIC", VERSIONS["14"], HOST, "--network none")
C("nic-rom", "NIC options that go with the model: rom, driver, offloads", VERSIONS["10.12"], HOST,
  "--network network=default,model=virtio,driver.name=vhost,rom.bar=off,boot.order=1", kvm=False)
C("fs-9p", "a 9p share", VERSIONS["14"], HOST, "--filesystem /srv/share,share,type=mount,accessmode=mapped")
C("fs-virtiofs", "a virtiofs share with its shared memory", VERSIONS["14"], HOST,
  "--filesystem source=/srv/share,target=share,driver.type=virtiofs", "--memorybacking source.type=memfd,access.mode=shared", canonical=True, kvm=False)
C("redir-none", "no redirected USB devices, no channel", VERSIONS["14"], HOST, "--redirdev none", "--channel none")
C("redir-four", "four redirected USB devices on ich9", VERSIONS["10.13"], HOST, "--controller usb2", *["--redirdev usb,type=spicevmc"] * 4, kvm=False,
  canonical=True)
C("channels", "guest agent, unix and spiceport channels", VERSIONS["14"], HOST, "--channel unix,target.type=virtio,target.name=org.qemu.guest_agent.0",
  "--channel spiceport,source.channel=org.spice-space.webdav.0,target.type=virtio,target.name=org.spice-space.webdav.0", kvm=False)
C("serials", "serial to a file and over TCP, a parallel port, no console", VERSIONS["14"], HOST, "--serial file,path=/tmp/serial.log",
  "--serial tcp,host=127.0.0.1:4444,mode=bind,protocol=telnet", "--console none", kvm=False)
C("inputs-there", "USB tablet and keyboard are there already", VERSIONS["14"], HOST, "--input tablet,bus=usb", "--input keyboard,bus=usb", canonical=True)
C("inputs-virtio", "virtio tablet and keyboard (the way out for macOS 26)", VERSIONS["26"], HOST, "--input tablet,bus=virtio", "--input keyboard,bus=virtio")
C("inputs-ps2", "PS/2 only", VERSIONS["14"], HOST, kvm=False, edits=[
  sub('\n    <input type="tablet" bus="usb"/>', "")])
C("inputs-evdev", "a host keyboard by evdev", VERSIONS["14"], HOST, edits=[
  device('<input type="evdev">\n      <source dev="/dev/input/by-id/usb-kbd-event-kbd" grab="all" repeat="on" grabToggle="ctrl-ctrl"/>\n    </input>')])
C("misc-devices", "rng, panic, vsock, smartcard, shmem, crypto", VERSIONS["14"], HOST, "--rng /dev/urandom,rate.bytes=1234", "--panic isa", "--vsock cid.auto=no,cid.address=7",
  "--smartcard passthrough,type=spicevmc", edits=[device('<shmem name="looking-glass">\n      <model type="ivshmem-plain"/>\n      <size unit="M">32</size>\n    </shmem>')])
C("iommu-intel", "a guest IOMMU", VERSIONS["14"], HOST, "--iommu model=intel,driver.intremap=on", "--features ioapic.driver=qemu", kvm=True)
C("floppy", "a floppy drive", VERSIONS["14"], HOST, "--disk path=@.qcow2,format=qcow2,size=64,bus=sata", "--disk device=floppy,path=@.img,size=0.001,format=raw", kvm=False)
C("controllers", "explicit controllers with addresses: pcie-to-pci bridge, expander", VERSIONS["14"], HOST,
  "--controller pci,model=pcie-root",
  *["--controller pci,model=pcie-root-port"] * 10, "--controller pci,model=pcie-to-pci-bridge", "--controller pci,model=pcie-expander-bus,target.busNr=180", "--controller virtio-serial", kvm=False, canonical=True)
C("controllers-user", "a root port with hotplug off and a user alias", VERSIONS["14"], HOST, edits=[
  rex(r'<controller type="pci" model="pcie-root-port"/>', lambda m: '<controller type="pci" model="pcie-root-port">\n      <target hotplug="off"/>\n      <alias name="ua-port"/>\n    </controller>')])

### Clock, features, power ############################################################################

C("clock-localtime", "local time, no timers", VERSIONS["14"], HOST, edits=[clock('<clock offset="localtime"/>')])
C("clock-hpet-no", "hpet off, kvmclock, tsc with a frequency", VERSIONS["14"], HOST, edits=[
  clock('<clock offset="utc">\n    <timer name="hpet" present="no"/>\n    <timer name="kvmclock" present="yes"/>\n    <timer name="tsc" frequency="3500000000" mode="native"/>\n  </clock>')])
C("clock-right", "the clock is what we would write", VERSIONS["14"], HOST, edits=[
  clock('<clock offset="utc">\n    <timer name="rtc" tickpolicy="catchup"/>\n    <timer name="pit" tickpolicy="delay"/>\n    <timer name="hpet" present="yes"/>\n    <timer name="tsc" present="yes" mode="native"/>\n  </clock>')])
C("clock-hyperv", "hypervclock and an adjustment", VERSIONS["14"], HOST, edits=[
  clock('<clock offset="variable" adjustment="-3600" basis="utc">\n    <timer name="rtc" tickpolicy="delay" track="guest"/>\n    <timer name="hypervclock" present="yes"/>\n  </clock>')])
C("clock-none", "no clock element", "generic", Q35, HOST, edits=[rex(r"\n  <clock .*?</clock>", lambda m: "")], opts="macos=10.10")
C("features-none", "no features element", "generic", Q35, HOST, edits=[rex(r"\n  <features>.*?</features>", lambda m: "")], opts="macos=10.8")
C("features-many", "hyperv, kvm hidden, vmport, pae, hap, ioapic, pmu off", VERSIONS["14"], HOST, edits=[
  feature('<pae/>\n    <hyperv mode="custom">\n      <relaxed state="on"/>\n      <vendor_id state="on" value="abc"/>\n    </hyperv>\n    <kvm>\n      <hidden state="on"/>\n    </kvm>\n    <pmu state="off"/>')])
C("features-smm", "SMM on with a TSEG size", VERSIONS["14"], HOST, edits=[feature('<smm state="on">\n      <tseg unit="MiB">16</tseg>\n    </smm>')], kvm=False)
C("pm-on", "suspend enabled, on_crash and on_reboot of the user's own", VERSIONS["14"], HOST, "--pm suspend_to_mem.enabled=yes,suspend_to_disk.enabled=yes",
  "--events on_poweroff=destroy,on_reboot=destroy,on_crash=coredump-destroy", kvm=False)
C("pm-none", "no pm element", VERSIONS["14"], HOST, edits=[rex(r"\n  <pm>.*?</pm>", lambda m: "")])
C("seclabel", "a security label, idmap-free, launchSecurity-free", VERSIONS["14"], HOST, "--seclabel type=none", "--resource /machine", kvm=False)
C("keywrap-perf", "perf events and throttle groups pass through", VERSIONS["14"], HOST, edits=[top('<perf>\n    <event name="cmt" enabled="no"/>\n  </perf>')])

### qemu:commandline ##################################################################################

CPU = "Penryn,vendor=GenuineIntel,+invtsc"
C("args-plain", "an argument of the user's own", VERSIONS["14"], kvm=False, canonical=True,
  edits=[commandline("-fw_cfg", "name=opt/x,string=y")])
C("args-prefix-q", "prefix q instead of qemu", VERSIONS["14"], HOST, edits=[commandline("-fw_cfg", "name=opt/x,string=y", prefix="q")])
C("args-prefix-element", "the namespace declared on the element", VERSIONS["14"], HOST, edits=[commandline("-fw_cfg", "name=opt/x,string=y", where="element")])
C("args-prefix-default", "the namespace as the element's default", VERSIONS["14"], HOST, edits=[commandline("-fw_cfg", "name=opt/x,string=y", prefix="", where="element")])
C("args-prefix-taken", "the prefix qemu means something else", VERSIONS["14"], HOST, edits=[
  commandline("-fw_cfg", "name=opt/x,string=y", prefix="q"), sub("<metadata>", '<metadata>\n    <qemu:note xmlns:qemu="http://example.org/not-qemu">mine</qemu:note>')])
C("args-declared-only", "the namespace is declared, nothing uses it", VERSIONS["14"], HOST, edits=[sub("<domain ", f'<domain xmlns:qemu="{QEMU_NS}" ')])
C("args-empty", "an empty commandline", VERSIONS["14"], HOST, edits=[commandline()])
C("args-cpu", "a -cpu of the user's own", VERSIONS["14"], HOST, edits=[commandline("-cpu", CPU)])
C("args-cpu-two", "two -cpu: QEMU takes the last", VERSIONS["14"], HOST, edits=[commandline("-cpu", "host", "-cpu", CPU)])
C("args-smc", "isa-applesmc with our key", VERSIONS["14"], HOST, edits=[commandline("-device", f"isa-applesmc,osk={OSK}")])
C("args-smc-own", "isa-applesmc with another key", VERSIONS["14"], HOST, edits=[
  commandline("-device", "isa-applesmc,osk=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")])
C("args-smc-json", "isa-applesmc in JSON", VERSIONS["14"], HOST, edits=[
  commandline("-device", '{&quot;driver&quot;:&quot;isa-applesmc&quot;,&quot;osk&quot;:&quot;' + OSK + '&quot;,&quot;id&quot;:&quot;smc&quot;}')])
C("args-global", "the -global is there already, and another", VERSIONS["14"], HOST, edits=[
  commandline("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off", "-global", "ICH9-LPC.disable_s3=1")])
C("args-global-on", "the -global with the opposite value", VERSIONS["14"], HOST, edits=[
  commandline("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=on")], kvm=False)
C("args-global-long", "-global in its long form", VERSIONS["14"], HOST, edits=[
  commandline("-global", "driver=ICH9-LPC,property=acpi-pci-hotplug-with-bridge-support,value=off")])
C("args-smbios", "-smbios arguments of the user's own", VERSIONS["14"], HOST, edits=[
  commandline("-smbios", "type=2,manufacturer=Apple Inc.,product=Mac-27AD2F918AE68F61")])
C("args-env", "environment variables and arguments mixed", VERSIONS["14"], HOST, edits=[
  commandline("-fw_cfg", "name=opt/x,string=y", more='\n    <qemu:env name="G_DEBUG" value="fatal-warnings"/>\n    <qemu:env name="EMPTY"/>')])
C("args-seed-usb", "the seed's own -usb, usb-tablet and usb-kbd", VERSIONS["14"], HOST, edits=[
  commandline("-usb", "-device", "usb-tablet", "-device", "usb-kbd")])
C("args-all", "OSX-KVM's usual arguments", VERSIONS["14"], HOST, opts="facts=debian13-amd-zen3", edits=[
  commandline("-device", f"isa-applesmc,osk={OSK}", "-smbios", "type=2", "-usb", "-device", "usb-tablet", "-device", "usb-kbd",
              "-cpu", "Haswell-noTSX,kvm=on,vendor=GenuineIntel,+invtsc,vmware-cpuid-freq=on", "-global", "nec-usb-xhci.msi=off")])
C("args-equals", "options with two dashes, an argument that looks like one", VERSIONS["14"], HOST, edits=[
  commandline("--device", f"isa-applesmc,osk={OSK}", "-name", "-cpu")])
C("args-comment", "a comment between the arguments, single quotes", VERSIONS["14"], HOST, edits=[
  commandline("-fw_cfg", "name=opt/x,string=it's &amp; &lt;that&gt;", more="\n    <!-- keep me -->")])
C("qemu-override", "qemu:override, qemu:capabilities and qemu:deprecation beside it", VERSIONS["14"], HOST, kvm=False, edits=[
  commandline("-fw_cfg", "name=opt/x,string=y"), end('<qemu:capabilities>\n    <qemu:del capability="device.json"/>\n  </qemu:capabilities>'),
  end('<qemu:override>\n    <qemu:device alias="video0">\n      <qemu:frontend>\n        <qemu:property name="xmax" type="unsigned" value="1920"/>\n      </qemu:frontend>\n    </qemu:device>\n  </qemu:override>')])

### Text: what other programs and people put in #######################################################

C("meta-others", "metadata of other programs", VERSIONS["14"], HOST, edits=[
  sub("<metadata>", '<metadata>\n    <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1"><nova:name>x</nova:name></nova:instance>\n'
      '    <app:a xmlns:app="http://example.org/a" app:k="v" k="w"><app:b/>text<app:b/></app:a>')])
C("meta-none", "no metadata element", "debian11", Q35, HOST, edits=[rex(r"\n  <metadata>.*?</metadata>", lambda m: "")], opts="macos=14")
C("meta-empty", "an empty metadata element", "debian11", Q35, HOST, edits=[rex(r"<metadata>.*?</metadata>", lambda m: "<metadata/>")], opts="macos=14")
C("meta-hoisted", "namespaces hoisted to the root, as ElementTree writes them", VERSIONS["14"], HOST, edits=[
  sub(' xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0"', ""),
  sub("<domain ", '<domain xmlns:ns0="http://libosinfo.org/xmlns/libvirt/domain/1.0" '), sub("libosinfo:", "ns0:", 99)])
C("meta-osinfo-two", "two OS ids: only the first counts", VERSIONS["14"], HOST, edits=[
  rex(r'(<libosinfo:os id="[^"]*"/>)', lambda m: m.group(1) + '\n      <libosinfo:os id="http://apple.com/macosx/10.5"/>')])
C("meta-osinfo-strange", "an Apple id of no version that we know", VERSIONS["14"], HOST, edits=[sub("http://apple.com/macos/14", "http://apple.com/macos/99")])
C("title-utf8", "title and description beyond ASCII", VERSIONS["14"], HOST, edits=[
  rex(r"(</uuid>)", lambda m: m.group(1) + "\n  <title>Mäc für Jürgen — 苹果 🍏</title>\n  <description>Zeile 1\n    Zeile 2 &amp; mehr &lt;b&gt; &quot;so&quot;\n  </description>")], canonical=True)
C("title-markup", "a description that looks like XML and like a shell", VERSIONS["14"], HOST, edits=[
  rex(r"(</uuid>)", lambda m: m.group(1) + "\n  <title>$(id) `id` ; {x} %s</title>\n  <description><![CDATA[<qemu:arg value='-cpu'/> ]]]]><![CDATA[>]]></description>")])
C("text-comments", "comments everywhere, also after the root", VERSIONS["14"], HOST, edits=[
  rex(r"(\n  <os)", lambda m: "\n  <!-- before os -->" + m.group(1)),
  sub("<devices>", "<devices><!-- first -->"), sub("</vcpu>", "</vcpu><!-- after vcpu -->"), lambda xml: xml + "<!-- the end -->\n"])
C("text-one-line", "no white space at all", VERSIONS["14"], HOST, edits=[lambda xml: re.sub(r">\s+<", "><", xml)])
C("text-tabs", "tabs, CRLF and blank lines", VERSIONS["14"], HOST, edits=[lambda xml: xml.replace("  ", "\t").replace("\n", "\r\n", 40).replace("<devices>", "\n\n\n<devices>\n\n")])
C("text-quotes", "single quotes and white space inside tags", VERSIONS["14"], HOST, edits=[
  lambda xml: xml.replace('="', " = '").replace('"', "'").replace("/>", "\n   />")])
C("text-charrefs", "character references in names and values", VERSIONS["14"], HOST, edits=[
  rex(r"<name>text", lambda m: "<name>te&#120;t"), sub("host-passthrough", "host&#45;passthrough"), sub('"q35"', '"&#x71;35"')])
C("text-pi", "a processing instruction inside the domain", VERSIONS["14"], HOST, edits=[sub("<devices>", '<?editor mode="x"?>\n  <devices>')])
C("text-padded", "white space around a number", VERSIONS["14"], HOST, "--vcpus 6", edits=[
  sub("<vcpu>6</vcpu>", "<vcpu>\n    6\n  </vcpu>")], needs="patch")
C("text-unknown", "elements and attributes that nobody knows", VERSIONS["14"], HOST, edits=[
  sub("<vcpu>", '<vcpu x-note="mine">'), top("<futureElement mode='x'><y/></futureElement>")], needs="no-schema")
C("name-odd", "a name with blanks, quotes and a comma", VERSIONS["14"], HOST, edits=[rex(r"<name>.*?</name>", lambda m: "<name>Mac, the \"2nd\" $HOME 'x'</name>")])
C("no-uuid", "no uuid: the NVRAM path cannot come from it", "generic", Q35, HOST, edits=[rex(r"\n  <uuid>.*?</uuid>", lambda m: "")], opts="macos=15")

### Machines ##########################################################################################

C("machine-q35-versioned", "a pinned q35 of this QEMU", VERSIONS["14"], HOST, "--machine pc-q35-6.2", canonical=True)
C("machine-q35-old", "a pinned q35 that is going away", VERSIONS["14"], HOST, edits=[sub('machine="q35"', 'machine="pc-q35-4.2"')], kvm=False)
C("machine-pc-ide", "i440fx with IDE disks and CD: bus and addresses let go", "win10", "--machine pc", HOST,
  "--disk path=@.qcow2,format=qcow2,size=64,bus=ide", "--disk device=cdrom,bus=ide", canonical=True, opts="macos=14 set=machine=q35")
C("machine-pc-versioned", "pc-i440fx-6.2 with virtio everything", "debian11", "--machine pc-i440fx-6.2", HOST, canonical=True, kvm=False,
  opts="macos=11 set=machine=q35")
C("machine-pc-diskless", "i440fx without a disk is converted unasked", "generic", "--machine pc", HOST, "--disk none", "--boot network", canonical=True,
  opts="macos=10.13")
C("machine-pc-many", "i440fx: floppy, SATA and SCSI controllers, rtl8139, ich6, ib700", "generic", "--machine pc", HOST,
  "--disk path=@.qcow2,format=qcow2,size=64,bus=ide", "--disk device=floppy,path=@.img,size=0.001,format=raw",
  "--controller sata", "--controller scsi,model=lsilogic", "--network network=default,model=rtl8139", "--sound ich6", "--watchdog ib700",
  canonical=True, kvm=False, opts="macos=10.6 set=machine=q35")
C("machine-pc-hostdev", "i440fx with a host device on a guest slot", "debian11", "--machine pc", HOST, opts="macos=12 set=machine=q35", edits=[
  hostdev(more='\n      <address type="pci" domain="0x0000" bus="0x00" slot="0x09" function="0x0"/>')])

### --set #############################################################################################

C("set-topology", "a topology chosen", VERSIONS["14"], HOST, "--vcpus 6", opts="set=topology=3x1x2 facts=debian13-intel")
C("set-input", "the seed's input lines instead of native devices", VERSIONS["10.14"], HOST, opts="set=input=commandline",
  edits=[rex(r'\n    <controller type="usb".*?(?=\n    <controller type="pci")', lambda m: '\n    <controller type="usb" model="none"/>'),
         rex(r'\n    <input type="tablet" bus="usb"/>', lambda m: ""), rex(r"(\n    <redirdev[^\n]*)+", lambda m: "")])
C("set-video", "video chosen", VERSIONS["14"], HOST, opts="set=video=vmvga")
C("set-nic", "NIC chosen", VERSIONS["14"], HOST, "--network network=default,model=virtio", "--network network=default,model=rtl8139", opts="set=nic=vmxnet3")
C("set-disk", "disk bus chosen", VERSIONS["14"], HOST, "--disk path=@.qcow2,format=qcow2,size=64,bus=virtio", "--disk device=cdrom,bus=sata", opts="set=disk=sata")
C("set-usb", "USB controller chosen", VERSIONS["14"], HOST, opts="set=usb=nec-xhci", kvm=False)
C("set-sound", "sound chosen", VERSIONS["14"], HOST, opts="set=sound=ich6")
C("set-hpet", "no hpet", VERSIONS["14"], HOST, opts="set=hpet=no", kvm=False)
C("set-smbios", "SMBIOS chosen", VERSIONS["14"], HOST, opts="set=smbios=type=2")
C("set-osk", "one's own key", VERSIONS["14"], HOST, opts="set=osk=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB")
C("set-cpu-flags", "CPU flags added", VERSIONS["14"], HOST, opts="set=cpu-flags=-pcid,+ssse3 facts=debian12-amd-zen3")
C("set-handoff", "a hand-over step switched off", VERSIONS["14"], HOST, opts="set=handoff.consoles=off", edits=[hostdev()])
C("set-several", "several choices at once", VERSIONS["12"], HOST, "--vcpus 12", opts="set=nic=e1000-82545em set=video=virtio set=hpet=no model=MacPro7,1 facts=arch-intel")

### Emulators #########################################################################################

for i, path in enumerate(("/usr/bin/kvm", "/usr/bin/qemu-kvm", "/usr/libexec/qemu-kvm", "/run/libvirt/nix-emulators/qemu-system-x86_64",
                          "/run/libvirt/nix-emulators/qemu-kvm", "/opt/qemu/bin/qemu-system-x86_64")):
    C(f"emulator-{i}", f"emulator {path}: " + ("the user's own, kept" if "/opt" in path else "another distribution's"), VERSIONS["14"], HOST,
      f"--vcpus {i + 1}", opts=f"facts={FACTS[i]}", edits=[rex(r"<emulator>.*?</emulator>", lambda m, p=path: f"<emulator>{p}</emulator>")],
      needs="emulator" if "/opt" in path else "patch")
C("emulator-none", "no emulator element", VERSIONS["14"], HOST, "--vcpus 3", edits=[rex(r"\n    <emulator>.*?</emulator>", lambda m: "")])
C("emulator-fedora", "Debian's emulator path, a host whose own is elsewhere", VERSIONS["14"], HOST, "--vcpus 2", opts="facts=fedora-amd")
