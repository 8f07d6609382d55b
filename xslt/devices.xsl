<?xml version="1.0" encoding="UTF-8"?>
<!-- SPDX-License-Identifier: LGPL-2.1-or-later -->
<!-- The part of darwin.xsl that is about devices; its variables are there. -->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
                xmlns:dkvm="urn:dkvm:domain:1.0"
                xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0"
                exclude-result-prefixes="dkvm">

  <xsl:template match="domain/devices">
    <xsl:copy>
      <xsl:copy-of select="@*"/>
      <xsl:apply-templates select="node()"/>
      <xsl:call-template name="new-devices"/>
    </xsl:copy>
  </xsl:template>

  <xsl:template name="new-devices">
    <xsl:if test="not($domain/devices/emulator) and $facts/emulator/@path">
      <emulator><xsl:value-of select="$facts/emulator/@path"/></emulator>
    </xsl:if>
    <xsl:if test="$usb-replace"><xsl:call-template name="new-usb"/></xsl:if>
    <xsl:if test="not($input-commandline)">
      <xsl:if test="not($domain/devices/input[@type = 'tablet'])"><input type="tablet" bus="usb"/></xsl:if>
      <xsl:if test="not($domain/devices/input[@type = 'keyboard' and @bus = 'usb'])">
        <input type="keyboard" bus="usb"/>
      </xsl:if>
    </xsl:if>
    <!-- libvirt knows the chip set's watchdog from 9.1 on, and then adds it with action reset. -->
    <xsl:if test="$libvirt &gt;= 9001000 and not($domain/devices/watchdog)">
      <watchdog model="itco" action="none"/>
    </xsl:if>
    <xsl:if test="not($domain/devices/memballoon)"><memballoon model="none"/></xsl:if>
  </xsl:template>

  <!-- An emulator of another distribution's path; any path of the user's own stays. -->
  <xsl:template match="devices/emulator">
    <xsl:copy>
      <xsl:copy-of select="@*"/>
      <xsl:choose>
        <xsl:when test="$facts/emulator/@path and . != $facts/emulator/@path
                        and . = /dkvm:input/models/emulators/emulator/@path
                        and not($facts/emulator/@own = 'works')">
          <xsl:value-of select="$facts/emulator/@path"/>
        </xsl:when>
        <xsl:otherwise><xsl:copy-of select="node()"/></xsl:otherwise>
      </xsl:choose>
    </xsl:copy>
  </xsl:template>

  <xsl:template match="devices/memballoon">
    <xsl:copy><xsl:copy-of select="@dkvm-id"/><xsl:attribute name="model">none</xsl:attribute></xsl:copy>
  </xsl:template>

  <!-- Another watchdog keeps running, but must not reset a guest that has no driver for it.  libvirt before
       9.1 does not know the chip set's and refuses the domain. -->
  <xsl:template match="devices/watchdog">
    <xsl:if test="not(@model = 'itco' and $libvirt &gt; 0 and $libvirt &lt; 9001000)">
      <xsl:copy>
        <xsl:copy-of select="@*"/>
        <!-- Newer libvirt refuses the ISA card on q35. -->
        <xsl:if test="@model = 'ib700' and $libvirt &gt;= 9001000">
          <xsl:attribute name="model">itco</xsl:attribute>
        </xsl:if>
        <xsl:attribute name="action">none</xsl:attribute>
        <xsl:apply-templates select="node()[not(self::address and ../@model = 'ib700'
                                     and $libvirt &gt;= 9001000)]" mode="device"/>
      </xsl:copy>
    </xsl:if>
  </xsl:template>

  <!-- ++ addresses: let go when the bus that they name goes ++ -->

  <xsl:template match="node()" mode="device"><xsl:copy-of select="."/></xsl:template>

  <xsl:template match="address" mode="device">
    <xsl:if test="not(($convert and (@type = 'pci' or @type = 'isa'))
                      or (($convert or $usb-replace) and @type = 'usb' and @bus = 0))">
      <xsl:copy-of select="."/>
    </xsl:if>
  </xsl:template>

  <xsl:template name="copy-device">
    <xsl:choose>
      <xsl:when test="$convert or $usb-replace">
        <xsl:copy>
          <xsl:copy-of select="@*"/>
          <xsl:apply-templates select="node()" mode="device"/>
        </xsl:copy>
      </xsl:when>
      <xsl:otherwise><xsl:copy-of select="."/></xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- ++ controllers ++ -->

  <xsl:template match="devices/controller">
    <xsl:choose>
      <xsl:when test="@type = 'usb' and $usb-replace and (not(@index) or @index = 0)"/>
      <xsl:when test="$convert and (@type = 'pci' or @type = 'ide')"/>
      <xsl:when test="not($fresh and $facts/state/@original = 'yes')">
        <xsl:call-template name="copy-device"/>
      </xsl:when>
      <!-- Added by libvirt or virt-manager, used by nothing. -->
      <xsl:when test="@type = 'pci' and @model = 'pcie-root-port'
                      and @index &gt; number($facts/state/@highest-bus)"/>
      <xsl:when test="@type = 'virtio-serial' and not(../channel or ../console[target/@type = 'virtio'])"/>
      <xsl:when test="@type = 'scsi' and not(../disk[target/@bus = 'scsi'] or ../hostdev[@type = 'scsi'])"/>
      <xsl:otherwise><xsl:call-template name="copy-device"/></xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <xsl:template name="new-usb">
    <controller type="usb" index="0" model="{$usb-model}"/>
    <xsl:if test="$usb-model = 'ich9-ehci1'">
      <controller type="usb" index="0" model="ich9-uhci1"><master startport="0"/></controller>
      <controller type="usb" index="0" model="ich9-uhci2"><master startport="2"/></controller>
      <controller type="usb" index="0" model="ich9-uhci3"><master startport="4"/></controller>
    </xsl:if>
  </xsl:template>

  <!-- ++ what models.xml decides: choice, else what works, else what is preferred ++ -->

  <xsl:template name="decide">
    <xsl:param name="row"/>
    <xsl:param name="is"/>
    <xsl:param name="choice"/>
    <xsl:choose>
      <xsl:when test="$choice != ''"><xsl:value-of select="$choice"/></xsl:when>
      <xsl:when test="not($fresh) and $is != ''
                      and contains(concat(' ', $row/@works, ' '), concat(' ', $is, ' '))">
        <xsl:value-of select="$is"/>
      </xsl:when>
      <xsl:otherwise><xsl:value-of select="$row/@prefer"/></xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- What only the old bus or model has cannot stay with the new one: libvirt would refuse the domain
       (virDomainDiskDefValidate and its neighbours in conf/domain_validate.c, qemuValidateDomainDeviceDef* in
       qemu/qemu_validate.c).  It comes back when the change is undone. -->

  <!-- ++ network ++ -->

  <xsl:template match="devices/interface[not(@type = 'hostdev' or @type = 'vdpa' or @type = 'vhostuser')]">
    <xsl:variable name="model">
      <xsl:call-template name="decide">
        <xsl:with-param name="row" select="$rows[self::nic][last()]"/>
        <xsl:with-param name="is" select="string(model/@type)"/>
        <xsl:with-param name="choice" select="string($choices/@nic)"/>
      </xsl:call-template>
    </xsl:variable>
    <xsl:choose>
      <xsl:when test="$model = model/@type"><xsl:call-template name="copy-device"/></xsl:when>
      <xsl:otherwise>
        <xsl:variable name="virtio" select="starts-with($model, 'virtio')"/>
        <xsl:if test="teaming[@type = 'persistent'] and not($virtio)">
          <xsl:message>note|the interface <xsl:value-of select="mac/@address"/> is not teamed any more: that needs a virtio interface; if its partner is to be used alone, remove the partner's &lt;teaming&gt; too</xsl:message>
        </xsl:if>
        <xsl:copy>
          <xsl:copy-of select="@*"/>
          <!-- usb-net has a USB address; what it becomes is on PCI. -->
          <xsl:apply-templates select="node()[not(self::model) and not(self::address[@type != 'pci'])
              and not(not($virtio) and (self::driver or self::teaming[@type = 'persistent']))]" mode="device"/>
          <model>
            <xsl:copy-of select="model/@dkvm-id"/>
            <xsl:attribute name="type"><xsl:value-of select="$model"/></xsl:attribute>
          </model>
        </xsl:copy>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- ++ disks: source, serial, boot order and the rest stay ++ -->

  <xsl:variable name="disk-row" select="$rows[self::disk][last()]"/>

  <!-- The bus that the disk should have. -->
  <xsl:template name="disk-wish">
    <xsl:variable name="is" select="string(target/@bus)"/>
    <xsl:choose>
      <xsl:when test="@device = 'floppy' or @device = 'lun'"><xsl:value-of select="$is"/></xsl:when>
      <xsl:when test="@device = 'cdrom'">
        <xsl:choose>
          <xsl:when test="$is = 'sata' or $is = 'usb'"><xsl:value-of select="$is"/></xsl:when>
          <xsl:otherwise>sata</xsl:otherwise>
        </xsl:choose>
      </xsl:when>
      <xsl:when test="$choices/@disk"><xsl:value-of select="$choices/@disk"/></xsl:when>
      <xsl:otherwise>
        <xsl:call-template name="decide">
          <xsl:with-param name="row" select="$disk-row"/>
          <xsl:with-param name="is" select="$is"/>
          <xsl:with-param name="choice" select="''"/>
        </xsl:call-template>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- Why a disk cannot be on the bus WISH, else nothing.  A CD is always read-only; without <readonly/> a
       disk would lose its protection.  Sectors: QEMU hw/ide/ide-dev.c. -->
  <xsl:template name="disk-stuck">
    <xsl:param name="wish"/>
    <xsl:choose>
      <xsl:when test="@device = 'cdrom' or $wish != 'sata'"/>
      <xsl:when test="@type = 'vhostuser' or @type = 'vhostvdpa'">its source works with virtio only</xsl:when>
      <xsl:when test="readonly">libvirt has no read-only SATA disks</xsl:when>
      <xsl:when test="blockio/@logical_block_size &gt; 512">SATA disks have sectors of 512 bytes</xsl:when>
    </xsl:choose>
  </xsl:template>

  <!-- The bus that the disk gets. -->
  <xsl:template name="disk-bus">
    <xsl:variable name="wish"><xsl:call-template name="disk-wish"/></xsl:variable>
    <xsl:variable name="stuck">
      <xsl:call-template name="disk-stuck"><xsl:with-param name="wish" select="string($wish)"/></xsl:call-template>
    </xsl:variable>
    <xsl:choose>
      <xsl:when test="$stuck = ''"><xsl:value-of select="$wish"/></xsl:when>
      <xsl:otherwise><xsl:value-of select="target/@bus"/></xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <xsl:template name="disk-note">
    <xsl:variable name="wish"><xsl:call-template name="disk-wish"/></xsl:variable>
    <xsl:variable name="stuck">
      <xsl:call-template name="disk-stuck"><xsl:with-param name="wish" select="string($wish)"/></xsl:call-template>
    </xsl:variable>
    <xsl:if test="$stuck != '' and $wish != string(target/@bus)">
      <xsl:message>note|the disk <xsl:value-of select="concat(target/@dev, ' stays on ', target/@bus,
        ' instead of ', $wish, ': ', $stuck)"/>; where macOS has no driver for it, put it on USB</xsl:message>
    </xsl:if>
  </xsl:template>

  <!-- Whether a disk moves to another bus, and to which: "sata" or "virtio", else nothing. -->
  <xsl:template name="disk-move">
    <xsl:variable name="bus"><xsl:call-template name="disk-bus"/></xsl:variable>
    <xsl:if test="$bus != string(target/@bus)"><xsl:value-of select="$bus"/></xsl:if>
  </xsl:template>

  <!-- All moves, as "bus:position " words after a first one for position 0. -->
  <xsl:variable name="moves">
    <xsl:text> :0 </xsl:text>
    <xsl:for-each select="$domain/devices/disk">
      <xsl:call-template name="disk-move"/>
      <xsl:value-of select="concat(':', position(), ' ')"/>
    </xsl:for-each>
  </xsl:variable>

  <!-- Where disks move to a bus, the disks that are there move up as well, so that all keep their order and the
       same one boots: libvirt sorts the disks of a bus by target. -->
  <xsl:template name="disk-seat">
    <xsl:param name="position"/>
    <xsl:variable name="move" select="substring-after(substring-before($moves,
        concat(':', $position, ' ')), concat(':', $position - 1, ' '))"/>
    <xsl:choose>
      <xsl:when test="$move != ''"><xsl:value-of select="$move"/></xsl:when>
      <xsl:when test="(not(@device) or @device = 'disk')
                      and contains($moves, concat(' ', target/@bus, ':'))">
        <xsl:value-of select="target/@bus"/>
      </xsl:when>
    </xsl:choose>
  </xsl:template>

  <xsl:variable name="seats">
    <xsl:text> :0 </xsl:text>
    <xsl:for-each select="$domain/devices/disk">
      <xsl:call-template name="disk-seat"><xsl:with-param name="position" select="position()"/></xsl:call-template>
      <xsl:value-of select="concat(':', position(), ' ')"/>
    </xsl:for-each>
  </xsl:variable>

  <xsl:template match="devices/disk">
    <xsl:variable name="position" select="count(preceding-sibling::disk) + 1"/>
    <xsl:variable name="seat" select="substring-after(substring-before($seats,
        concat(':', $position, ' ')), concat(':', $position - 1, ' '))"/>
    <xsl:if test="$seat = '' or $seat = target/@bus"><xsl:call-template name="disk-note"/></xsl:if>
    <xsl:variable name="dev">
      <xsl:if test="$seat != ''">
        <xsl:call-template name="free-target">
          <xsl:with-param name="prefix" select="substring('sdvd', 1 + 2 * ($seat = 'virtio'), 2)"/>
          <xsl:with-param name="skip">
            <xsl:call-template name="seats-before">
              <xsl:with-param name="words" select="substring-before($seats,
                                           concat(':', $position, ' '))"/>
              <xsl:with-param name="bus" select="concat(' ', $seat, ':')"/>
            </xsl:call-template>
          </xsl:with-param>
        </xsl:call-template>
      </xsl:if>
    </xsl:variable>
    <xsl:choose>
      <xsl:when test="$seat = '' or ($seat = target/@bus and $dev = target/@dev)">
        <xsl:call-template name="copy-device"/>
      </xsl:when>
      <xsl:otherwise>
        <xsl:copy>
          <xsl:copy-of select="@*[not(name() = 'model') or $seat = ../target/@bus]"/>
          <xsl:apply-templates select="node()[not(self::address)]" mode="disk">
            <xsl:with-param name="bus" select="string($seat)"/>
            <xsl:with-param name="dev" select="string($dev)"/>
          </xsl:apply-templates>
        </xsl:copy>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- How many disks before this one get a seat on the same bus. -->
  <xsl:template name="seats-before">
    <xsl:param name="words"/>
    <xsl:param name="bus"/>
    <xsl:param name="count" select="0"/>
    <xsl:choose>
      <xsl:when test="contains($words, $bus)">
        <xsl:call-template name="seats-before">
          <xsl:with-param name="words" select="concat(' ', substring-after($words, $bus))"/>
          <xsl:with-param name="bus" select="$bus"/>
          <xsl:with-param name="count" select="$count + 1"/>
        </xsl:call-template>
      </xsl:when>
      <xsl:otherwise><xsl:value-of select="$count"/></xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- The first target name of PREFIX that no disk without a new seat has, after SKIP others. -->
  <xsl:template name="free-target">
    <xsl:param name="prefix"/>
    <xsl:param name="skip"/>
    <xsl:param name="letters" select="'abcdefghijklmnopqrstuvwxyz'"/>
    <xsl:variable name="dev" select="concat($prefix, substring($letters, 1, 1))"/>
    <xsl:choose>
      <xsl:when test="$letters = ''">
        <xsl:message terminate="yes">4|cannot move the disks of this domain to another bus: it has more than 26 of them; use --set disk= with the bus that they have</xsl:message>
      </xsl:when>
      <xsl:when test="$domain/devices/disk[target/@dev = $dev][contains($seats,
                      concat(' :', count(preceding-sibling::disk) + 1, ' '))]">
        <xsl:call-template name="free-target">
          <xsl:with-param name="prefix" select="$prefix"/>
          <xsl:with-param name="skip" select="$skip"/>
          <xsl:with-param name="letters" select="substring($letters, 2)"/>
        </xsl:call-template>
      </xsl:when>
      <xsl:when test="$skip &gt; 0">
        <xsl:call-template name="free-target">
          <xsl:with-param name="prefix" select="$prefix"/>
          <xsl:with-param name="skip" select="$skip - 1"/>
          <xsl:with-param name="letters" select="substring($letters, 2)"/>
        </xsl:call-template>
      </xsl:when>
      <xsl:otherwise><xsl:value-of select="$dev"/></xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <xsl:template match="node()" mode="disk"><xsl:copy-of select="."/></xsl:template>

  <xsl:template match="target" mode="disk">
    <xsl:param name="bus"/>
    <xsl:param name="dev"/>
    <xsl:copy>
      <xsl:copy-of select="@*[not(name() = 'removable') and ($bus = 'sata' or not(name() = 'rotation_rate'))]"/>
      <xsl:attribute name="dev"><xsl:value-of select="$dev"/></xsl:attribute>
      <xsl:attribute name="bus"><xsl:value-of select="$bus"/></xsl:attribute>
    </xsl:copy>
  </xsl:template>

  <!-- What SCSI (and for wwn IDE) disks have. -->
  <xsl:template match="wwn | vendor | product" mode="disk">
    <xsl:param name="bus"/>
    <xsl:if test="$bus = ../target/@bus"><xsl:copy-of select="."/></xsl:if>
  </xsl:template>

  <!-- Only IDE disks have a translation mode. -->
  <xsl:template match="geometry" mode="disk">
    <xsl:copy><xsl:copy-of select="@*[name() != 'trans'] | node()"/></xsl:copy>
  </xsl:template>

  <!-- Only a virtio disk is a PCI device of its own. -->
  <xsl:template match="acpi" mode="disk">
    <xsl:param name="bus"/>
    <xsl:if test="$bus = 'virtio'"><xsl:copy-of select="."/></xsl:if>
  </xsl:template>

  <!-- A shared backing image needs a disk that can be plugged in while QEMU runs. -->
  <xsl:template match="transient" mode="disk">
    <xsl:param name="bus"/>
    <xsl:copy><xsl:copy-of select="@*[$bus = 'virtio' or name() != 'shareBacking'] | node()"/></xsl:copy>
  </xsl:template>

  <!-- Driver options that only virtio disks have. -->
  <xsl:template match="driver" mode="disk">
    <xsl:param name="bus"/>
    <xsl:copy>
      <xsl:copy-of select="@*[$bus = 'virtio' or not(name() = 'iothread' or name() = 'queues'
          or name() = 'queue_size' or name() = 'ioeventfd' or name() = 'event_idx' or name() = 'iommu'
          or name() = 'ats' or name() = 'packed' or name() = 'page_per_vq')]"/>
      <xsl:copy-of select="node()[$bus = 'virtio' or not(self::iothreads)]"/>
    </xsl:copy>
  </xsl:template>

  <!-- ++ display and sound ++ -->

  <xsl:template match="devices/video">
    <xsl:variable name="is" select="string(model/@type)"/>
    <xsl:variable name="model">
      <xsl:choose>
        <!-- No display of its own, or 3D that the user set up: nothing to improve. -->
        <xsl:when test="not($choices/@video) and ($is = 'none' or $is = 'ramfb'
                        or model/acceleration/@accel3d = 'yes')"><xsl:value-of select="$is"/></xsl:when>
        <xsl:otherwise>
          <xsl:call-template name="decide">
            <xsl:with-param name="row" select="$rows[self::video][last()]"/>
            <xsl:with-param name="is" select="$is"/>
            <xsl:with-param name="choice" select="string($choices/@video)"/>
          </xsl:call-template>
        </xsl:otherwise>
      </xsl:choose>
    </xsl:variable>
    <xsl:choose>
      <xsl:when test="$model = $is"><xsl:call-template name="copy-device"/></xsl:when>
      <xsl:otherwise>
        <xsl:copy>
          <xsl:copy-of select="@*"/>
          <xsl:apply-templates select="node()[not(self::model or self::driver)
              and not(self::address and $model = 'none')]" mode="device"/>
          <model>
            <xsl:copy-of select="model/@dkvm-id"/>
            <xsl:attribute name="type"><xsl:value-of select="$model"/></xsl:attribute>
            <xsl:copy-of select="model/@heads[$model != 'none' and $model != 'bochs']
                                 | model/@primary[$model != 'none']"/>
            <xsl:if test="model/@heads &gt; 1 and ($model = 'vga' or $model = 'vmvga')">
              <xsl:attribute name="heads">1</xsl:attribute>
            </xsl:if>
          </model>
        </xsl:copy>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- Another display beside the primary one, which libvirt takes to be the first unless it is said: what the
       primary may be is not always possible there (libvirt: vga is primary only), and "none" is alone. -->
  <xsl:template match="devices/video[(../video/model/@primary = 'yes' and not(model/@primary = 'yes'))
                       or (not(../video/model/@primary = 'yes') and preceding-sibling::video)]">
    <xsl:if test="not($choices/@video = 'none')"><xsl:call-template name="copy-device"/></xsl:if>
  </xsl:template>

  <xsl:template match="devices/sound">
    <xsl:variable name="model">
      <xsl:call-template name="decide">
        <xsl:with-param name="row" select="$rows[self::sound][last()]"/>
        <xsl:with-param name="is" select="string(@model)"/>
        <xsl:with-param name="choice" select="string($choices/@sound)"/>
      </xsl:call-template>
    </xsl:variable>
    <xsl:choose>
      <xsl:when test="$model = 'none'"/>
      <xsl:when test="$model = @model"><xsl:call-template name="copy-device"/></xsl:when>
      <xsl:otherwise>
        <xsl:copy>
          <xsl:copy-of select="@*"/>
          <xsl:attribute name="model"><xsl:value-of select="$model"/></xsl:attribute>
          <xsl:apply-templates select="node()[not(self::codec and not(starts-with($model, 'ich')))
              and not(self::acpi and $model = 'usb')
              and not(self::address and ($model = 'usb' or @type != 'pci'))]" mode="device"/>
        </xsl:copy>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- A tablet on another bus, or none: macOS has a driver for USB only. -->
  <xsl:template match="devices/input[@type = 'tablet' and @bus != 'usb']">
    <xsl:choose>
      <xsl:when test="$fresh and not($input-commandline)">
        <xsl:copy>
          <xsl:copy-of select="@*[not(name() = 'model')]"/>
          <xsl:attribute name="bus">usb</xsl:attribute>
          <xsl:apply-templates select="node()[not(self::address or self::driver or self::acpi)]" mode="device"/>
        </xsl:copy>
      </xsl:when>
      <xsl:otherwise><xsl:call-template name="copy-device"/></xsl:otherwise>
    </xsl:choose>
  </xsl:template>
</xsl:stylesheet>
