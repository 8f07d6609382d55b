<?xml version="1.0" encoding="UTF-8"?>
<!-- SPDX-License-Identifier: LGPL-2.1-or-later -->
<!-- WHAT a Darwin domain is.  One input tree:

       <dkvm:input><domain/><facts/><models/><choices/></dkvm:input>

     domain   as the user has it (what dkvm changed before is taken back, apart from devices that work);
              <qemu:commandline> holds <option name='-x' value='y'/> instead of <qemu:arg> words
     facts    what this host can do (input.c)
     models   models.xml; what has from= has number= too, that version as in choices
     choices  model, macos, number (10.15 = 1015, 14 = 1400, unknown = 0), osk and every other key of the set option

     The result is the domain as it should be.  Elements are told apart by their dkvm-id attribute: copy
     an element and its attributes and dkvm knows that it is the same one.  What is left out is removed,
     what has no id is new; both can be undone.

     <xsl:message>N|text</xsl:message> with terminate="yes" ends with exit code N; note|text and
     warning|text are told to the user.  Devices are in devices.xsl, QEMU's command line is in commandline.xsl;
     they are one stylesheet with this (xslt/join).  Sources: facts B2 to B7 (HACKING.md says where they are). -->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
                xmlns:dkvm="urn:dkvm:domain:1.0"
                xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0"
                exclude-result-prefixes="dkvm">

  <xsl:variable name="domain" select="/dkvm:input/domain"/>
  <xsl:variable name="facts" select="/dkvm:input/facts"/>
  <xsl:variable name="choices" select="/dkvm:input/choices"/>
  <xsl:variable name="kvm" select="$domain/@type = 'kvm'"/>
  <xsl:variable name="libvirt" select="number($facts/libvirt/@version)"/>

  <!-- The rows of models.xml that hold for this macOS; of a kind the last. -->
  <xsl:variable name="v" select="number($choices/@number)"/>
  <xsl:variable name="rows" select="/dkvm:input/models/devices/*[not(@number &gt; $v)
                                    and (@version = 'unknown') = ($v = 0)]"/>

  <!-- Nothing is installed yet: no disk that could be written to, or all of them known to be empty. -->
  <xsl:variable name="fresh" select="$facts/state/@disks-empty = 'yes' or
      not($domain/devices/disk[(not(@device) or @device = 'disk' or @device = 'lun') and not(readonly)])"/>

  <xsl:variable name="machine" select="string($domain/os/type/@machine)"/>
  <xsl:variable name="convert" select="not($machine = 'q35' or starts-with($machine, 'pc-q35'))"/>

  <!-- USB: the first controller decides. -->
  <xsl:variable name="usb-first" select="$domain/devices/controller[@type = 'usb'
      and (not(@index) or @index = 0) and not(starts-with(@model, 'ich9-uhci'))][1]"/>
  <xsl:variable name="usb-model">
    <xsl:call-template name="decide">
      <xsl:with-param name="row" select="$rows[self::usb][last()]"/>
      <xsl:with-param name="is" select="string($usb-first/@model)"/>
      <xsl:with-param name="choice" select="string($choices/@usb)"/>
    </xsl:call-template>
  </xsl:variable>
  <xsl:variable name="usb-replace" select="$usb-model != string($usb-first/@model)"/>

  <!-- Keyboard and tablet: libvirt's own elements, unless the domain has them on the command line and
       that works.  -usb brings an EHCI controller at 00:1d, where libvirt puts ich9-ehci1 (facts 0.3). -->
  <xsl:variable name="seed-input" select="$domain/qemu:commandline/option[@name = '-device'
      and (starts-with(@value, 'usb-tablet') or starts-with(@value, 'usb-kbd'))]"/>
  <xsl:variable name="ehci" select="starts-with($usb-model, 'ich9-')
      or $domain/devices/controller[@type = 'usb' and @index &gt; 0 and starts-with(@model, 'ich9-')]"/>
  <xsl:variable name="input-commandline" select="$choices/@input = 'commandline'
      or (not($choices/@input) and $seed-input and not($ehci))"/>

  <!-- ==== the document ==== -->

  <xsl:template match="/">
    <xsl:call-template name="refuse"/>
    <xsl:call-template name="warn"/>
    <xsl:apply-templates select="$domain"/>
  </xsl:template>

  <xsl:template name="refuse">
    <xsl:if test="$facts/emulator/@applesmc = 'no'">
      <xsl:message terminate="yes">4|cannot make this domain a Darwin guest: QEMU <xsl:value-of
        select="$facts/emulator/@path"/> has no isa-applesmc device, without which macOS does not start; use the distribution's full QEMU (Debian: qemu-system-x86)</xsl:message>
    </xsl:if>
    <xsl:if test="$convert and not($choices/@machine = 'q35')
                  and ($facts/state/@source = 'file' or not($fresh))">
      <xsl:message terminate="yes">7|cannot convert this domain from <xsl:choose>
          <xsl:when test="$machine = ''">the default machine</xsl:when>
          <xsl:otherwise>machine '<xsl:value-of select="$machine"/>'</xsl:otherwise>
        </xsl:choose> to q35: <xsl:choose>
          <xsl:when test="$facts/state/@source = 'file'">a file does not tell whether a system is installed, which</xsl:when>
          <xsl:otherwise>its disks are not known to be empty, and an installed system</xsl:otherwise>
        </xsl:choose> may not start on another machine; if it may be converted, use --set machine=q35</xsl:message>
    </xsl:if>
    <xsl:if test="$choices/@input = 'commandline' and $ehci">
      <xsl:message terminate="yes">7|cannot set input=commandline: QEMU's -usb needs the PCI slot 1d, where this domain's ich9 USB controller is; use --set usb=qemu-xhci as well, or --set input=native</xsl:message>
    </xsl:if>
  </xsl:template>

  <!-- What may keep macOS from starting, or from staying up, without being ours to refuse. -->
  <xsl:template name="warn">
    <xsl:variable name="penryn" select="$facts/cpu/@name = 'Penryn'"/>
    <xsl:if test="$v = 0">
      <xsl:message>note|the macOS version is unknown, so devices that work in any version were left alone; say it with --macos</xsl:message>
    </xsl:if>
    <xsl:if test="not($kvm) and not($penryn)">
      <xsl:message>warning|this domain is emulated (type 'qemu'): without KVM, XNU divides by zero in tsc_init on every CPU but Penryn, a silent hang; use type 'kvm'</xsl:message>
    </xsl:if>
    <xsl:if test="$kvm">
      <xsl:call-template name="warn-kvm"><xsl:with-param name="penryn" select="$penryn"/></xsl:call-template>
    </xsl:if>
  </xsl:template>

  <xsl:template name="warn-kvm">
    <xsl:param name="penryn"/>
    <xsl:for-each select="/dkvm:input/models/needs/feature[$v &gt;= @number]">
      <xsl:if test="$facts/host/feature[@name = current()/@name and @present = 'no']">
        <xsl:message>warning|macOS <xsl:value-of select="concat($choices/@macos, ' needs ', @name)"/>, which this host's CPU does not have; it will not start</xsl:message>
      </xsl:if>
    </xsl:for-each>
    <xsl:if test="$facts/host/@tsc-stable = 'no' or $facts/host/feature[@name = 'invtsc' and @present = 'no']">
      <xsl:message>warning|this host's TSC is not stable: macOS with more than one vCPU freezes or panics (non-monotonic time); if the CPU is known to be good, boot the host with tsc=reliable</xsl:message>
    </xsl:if>
    <xsl:if test="$facts/emulator/@version &gt; 0 and $facts/emulator/@version &lt; 7002000 and not($penryn)">
      <xsl:message>warning|QEMU before 7.2 does not answer MSR 0x35, from which XNU counts the cores of this CPU; upgrade QEMU to 7.2 or newer, else macOS sees one core per socket (OpenCore can say it too: ProvideCurrentCpuInfo)</xsl:message>
    </xsl:if>
    <xsl:if test="$facts/cpu/@known = 'no'">
      <xsl:message>note|this host does not say which features of <xsl:value-of select="$facts/cpu/@name"/> it lacks; QEMU will warn about them when the domain starts</xsl:message>
    </xsl:if>
  </xsl:template>

  <xsl:template match="domain">
    <xsl:copy>
      <xsl:copy-of select="@*"/>
      <xsl:apply-templates select="node()"/>
      <xsl:if test="not(devices)">
        <devices><xsl:call-template name="new-devices"/></devices>
      </xsl:if>
      <xsl:if test="not(qemu:commandline)">
        <qemu:commandline><xsl:call-template name="new-options"/></qemu:commandline>
      </xsl:if>
    </xsl:copy>
  </xsl:template>

  <!-- Whatever nothing below speaks of stays.  (Of two templates that fit, the later one is used.) -->
  <xsl:template match="domain/node() | cpu/node() | features/node() | clock/node() | pm/node()
                       | devices/node() | qemu:commandline/node()">
    <xsl:copy-of select="."/>
  </xsl:template>

  <xsl:template match="devices/*"><xsl:call-template name="copy-device"/></xsl:template>

  <!-- ==== memory: no page sharing, no balloon, all of it from the start ==== -->

  <xsl:template name="new-memory-backing">
    <xsl:if test="not($domain/memoryBacking)">
      <memoryBacking><nosharepages/></memoryBacking>
    </xsl:if>
  </xsl:template>

  <xsl:template match="domain/memoryBacking">
    <xsl:copy>
      <xsl:copy-of select="@* | node()"/>
      <xsl:if test="not(nosharepages)"><nosharepages/></xsl:if>
    </xsl:copy>
  </xsl:template>

  <xsl:template match="domain/currentMemory">
    <xsl:variable name="is"><xsl:call-template name="kib"/></xsl:variable>
    <xsl:variable name="all">
      <xsl:for-each select="../memory"><xsl:call-template name="kib"/></xsl:for-each>
    </xsl:variable>
    <xsl:choose>
      <xsl:when test="not(../memory) or number($is) = number($all)">
        <xsl:copy-of select="."/>
      </xsl:when>
      <xsl:otherwise>
        <xsl:copy>
          <xsl:copy-of select="@*"/>
          <xsl:attribute name="unit">KiB</xsl:attribute>
          <xsl:value-of select="$all"/>
        </xsl:copy>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- An amount of memory in KiB, rounded up as libvirt does (virScaleInteger; units of
       docs/formatdomain, "Memory Allocation"). -->
  <xsl:template name="kib">
    <xsl:variable name="u" select="@unit"/>
    <xsl:variable name="bytes">
      <xsl:choose>
        <xsl:when test="$u = 'b' or $u = 'bytes'">1</xsl:when>
        <xsl:when test="$u = 'KB'">1000</xsl:when>
        <xsl:when test="$u = 'M' or $u = 'MiB'">1048576</xsl:when>
        <xsl:when test="$u = 'MB'">1000000</xsl:when>
        <xsl:when test="$u = 'G' or $u = 'GiB'">1073741824</xsl:when>
        <xsl:when test="$u = 'GB'">1000000000</xsl:when>
        <xsl:when test="$u = 'T' or $u = 'TiB'">1099511627776</xsl:when>
        <xsl:when test="$u = 'TB'">1000000000000</xsl:when>
        <xsl:otherwise>1024</xsl:otherwise>
      </xsl:choose>
    </xsl:variable>
    <xsl:value-of select="format-number(ceiling(number(.) * $bytes div 1024), '0')"/>
  </xsl:template>

  <!-- ==== vCPUs: the shape was worked out by the oracle (topology.h) ==== -->

  <xsl:template match="domain/vcpu">
    <xsl:call-template name="new-memory-backing"/>
    <xsl:copy>
      <xsl:copy-of select="@*[not(name() = 'current' and . &gt;= number($facts/topology/@vcpus))]"/>
      <xsl:value-of select="$facts/topology/@vcpus"/>
    </xsl:copy>
  </xsl:template>

  <xsl:template name="topology">
    <xsl:attribute name="sockets"><xsl:value-of select="$facts/topology/@sockets"/></xsl:attribute>
    <xsl:attribute name="dies">1</xsl:attribute>
    <xsl:if test="@clusters"><xsl:attribute name="clusters">1</xsl:attribute></xsl:if>
    <xsl:attribute name="cores"><xsl:value-of select="$facts/topology/@cores"/></xsl:attribute>
    <xsl:attribute name="threads"><xsl:value-of select="$facts/topology/@threads"/></xsl:attribute>
  </xsl:template>

  <xsl:template match="cpu/topology">
    <xsl:copy>
      <xsl:copy-of select="@*"/>
      <xsl:if test="not($facts/topology/@leave = 'yes')"><xsl:call-template name="topology"/></xsl:if>
    </xsl:copy>
  </xsl:template>

  <!-- ==== cpu: what libvirt sees; the guest sees the -cpu option below ==== -->

  <xsl:template name="cpu-attributes">
    <xsl:attribute name="mode"><xsl:choose>
      <xsl:when test="$kvm">host-passthrough</xsl:when>
      <xsl:otherwise>maximum</xsl:otherwise>
    </xsl:choose></xsl:attribute>
    <xsl:attribute name="check">none</xsl:attribute>
    <xsl:attribute name="migratable">on</xsl:attribute>
  </xsl:template>

  <xsl:template name="new-cpu-children">
    <xsl:if test="not($domain/cpu/topology)">
      <topology><xsl:call-template name="topology"/></topology>
    </xsl:if>
    <xsl:if test="not($domain/cpu/cache)"><cache mode="passthrough"/></xsl:if>
    <xsl:if test="$kvm and $facts/host/@vendor = 'AuthenticAMD'
                  and not($domain/cpu/feature[@name = 'topoext'])">
      <feature policy="require" name="topoext"/>
    </xsl:if>
  </xsl:template>

  <xsl:template match="domain/cpu">
    <xsl:copy>
      <xsl:copy-of select="@*[name() != 'match']"/>
      <xsl:call-template name="cpu-attributes"/>
      <xsl:apply-templates select="node()"/>
      <xsl:call-template name="new-cpu-children"/>
    </xsl:copy>
  </xsl:template>

  <xsl:template match="cpu/model | cpu/vendor"/>

  <xsl:template match="cpu/cache">
    <xsl:copy><xsl:copy-of select="@dkvm-id"/><xsl:attribute name="mode">passthrough</xsl:attribute></xsl:copy>
  </xsl:template>

  <xsl:template match="cpu/feature[@name = 'topoext']">
    <xsl:copy>
      <xsl:copy-of select="@*"/>
      <xsl:if test="$kvm and $facts/host/@vendor = 'AuthenticAMD'">
        <xsl:attribute name="policy">require</xsl:attribute>
      </xsl:if>
    </xsl:copy>
  </xsl:template>

  <!-- ==== os: q35, UEFI without Secure Boot, boot menu ==== -->

  <!-- The firmware is right when libvirt selects it with both features off, or when it is a plain pflash
       image: of this host, or of the user's own.  An image below a distribution's folder that this host
       does not have came from another distribution.  Before 9.2 libvirt takes no loader beside
       firmware='efi' (facts B6). -->
  <xsl:variable name="os" select="$domain/os"/>
  <xsl:variable name="loader" select="string($os/loader)"/>
  <xsl:variable name="known-loader" select="$facts/firmware/pair[@code = $loader]"/>
  <xsl:variable name="foreign-loader" select="$facts/firmware/pair and not($known-loader)
      and (starts-with($loader, '/usr/share/') or starts-with($loader, '/run/libvirt/nix-'))"/>
  <xsl:variable name="secure-loader" select="$os/loader/@secure = 'yes'
      or contains($loader, 'secboot') or contains($loader, '.ms.') or contains($loader, 'snakeoil')
      or contains($loader, '-ms-')"/>
  <xsl:variable name="firmware-right" select="
      ($os/@firmware = 'efi'
       and $os/firmware/feature[@name = 'secure-boot' and @enabled = 'no']
       and $os/firmware/feature[@name = 'enrolled-keys' and @enabled = 'no']
       and not($os/loader and ($libvirt &lt; 9002000 or $foreign-loader or $secure-loader)))
      or (not($os/@firmware) and $os/loader/@type = 'pflash' and not($secure-loader)
          and not($foreign-loader)
          and not($os/nvram/@template and $known-loader
                  and $os/nvram/@template != $known-loader/@vars))"/>
  <xsl:variable name="pair" select="$facts/firmware/pair[
      $libvirt &gt;= 9002000 or (@code-format = 'raw' and @vars-format = 'raw')][1]"/>
  <xsl:variable name="autoselect" select="$facts/firmware/@autoselect = 'yes'"/>

  <xsl:template match="domain/os">
    <xsl:if test="not(../vcpu)">
      <xsl:call-template name="new-memory-backing"/>
      <vcpu><xsl:value-of select="$facts/topology/@vcpus"/></vcpu>
    </xsl:if>
    <xsl:if test="not($firmware-right or $autoselect or $pair)">
      <xsl:message terminate="yes">4|cannot give this domain UEFI: this host has no OVMF image without Secure Boot that this libvirt takes; install it (Debian and Ubuntu: ovmf, Fedora: edk2-ovmf, Arch: edk2-ovmf, openSUSE: qemu-ovmf-x86_64)</xsl:message>
    </xsl:if>
    <xsl:copy>
      <xsl:choose>
        <xsl:when test="$firmware-right">
          <xsl:copy-of select="@*"/>
          <xsl:apply-templates select="node()" mode="os"/>
        </xsl:when>
        <xsl:otherwise>
          <xsl:copy-of select="@*[name() != 'firmware']"/>
          <xsl:if test="$autoselect"><xsl:attribute name="firmware">efi</xsl:attribute></xsl:if>
          <xsl:apply-templates select="node()[not(self::firmware or self::loader or self::nvram)]" mode="os"/>
          <xsl:call-template name="new-firmware"/>
        </xsl:otherwise>
      </xsl:choose>
      <xsl:call-template name="new-boot"/>
    </xsl:copy>
    <xsl:call-template name="new-after-os"/>
  </xsl:template>

  <xsl:template name="new-firmware">
    <xsl:choose>
      <xsl:when test="$autoselect">
        <firmware>
          <feature enabled="no" name="enrolled-keys"/>
          <feature enabled="no" name="secure-boot"/>
        </firmware>
        <xsl:if test="$facts/firmware/@nvram">
          <nvram><xsl:value-of select="$facts/firmware/@nvram"/></nvram>
        </xsl:if>
      </xsl:when>
      <xsl:otherwise>
        <loader readonly="yes" type="pflash">
          <xsl:if test="$pair/@code-format != 'raw'">
            <xsl:attribute name="format"><xsl:value-of select="$pair/@code-format"/></xsl:attribute>
          </xsl:if>
          <xsl:value-of select="$pair/@code"/>
        </loader>
        <nvram template="{$pair/@vars}">
          <xsl:if test="$libvirt &gt;= 10010000 and $pair/@vars-format != 'raw'">
            <xsl:attribute name="templateFormat"><xsl:value-of select="$pair/@vars-format"/></xsl:attribute>
          </xsl:if>
          <xsl:if test="$pair/@vars-format != 'raw'">
            <xsl:attribute name="format"><xsl:value-of select="$pair/@vars-format"/></xsl:attribute>
          </xsl:if>
          <xsl:value-of select="$facts/firmware/@nvram"/>
        </nvram>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <xsl:template match="node()" mode="os"><xsl:copy-of select="."/></xsl:template>

  <xsl:template match="type" mode="os">
    <xsl:copy>
      <xsl:copy-of select="@*"/>
      <xsl:if test="$convert"><xsl:attribute name="machine">q35</xsl:attribute></xsl:if>
      <xsl:copy-of select="node()"/>
    </xsl:copy>
  </xsl:template>

  <xsl:template match="bootmenu" mode="os">
    <xsl:copy><xsl:copy-of select="@*"/><xsl:attribute name="enable">yes</xsl:attribute></xsl:copy>
  </xsl:template>

  <xsl:template name="new-boot">
    <xsl:if test="not($os/boot or $domain/devices/*/boot)"><boot dev="hd"/></xsl:if>
    <xsl:if test="not($os/bootmenu)"><bootmenu enable="yes"/></xsl:if>
  </xsl:template>

  <!-- ==== features, clock, power ==== -->

  <xsl:template name="new-after-os">
    <xsl:if test="not($domain/features)">
      <features><xsl:call-template name="new-features"/></features>
    </xsl:if>
    <xsl:if test="not($domain/cpu)">
      <cpu><xsl:call-template name="cpu-attributes"/><xsl:call-template name="new-cpu-children"/></cpu>
    </xsl:if>
    <xsl:if test="not($domain/clock)">
      <clock offset="utc"><xsl:call-template name="new-timers"/></clock>
    </xsl:if>
    <xsl:if test="not($domain/pm)">
      <pm><suspend-to-mem enabled="no"/><suspend-to-disk enabled="no"/></pm>
    </xsl:if>
  </xsl:template>

  <xsl:template name="new-features">
    <xsl:if test="not($domain/features/acpi)"><acpi/></xsl:if>
    <xsl:if test="not($domain/features/apic)"><apic/></xsl:if>
    <xsl:if test="not($domain/features/smm)"><smm state="off"/></xsl:if>
  </xsl:template>

  <xsl:template match="domain/features">
    <xsl:copy>
      <xsl:copy-of select="@*"/>
      <xsl:apply-templates select="node()"/>
      <xsl:call-template name="new-features"/>
    </xsl:copy>
  </xsl:template>

  <xsl:template match="features/smm">
    <xsl:copy><xsl:copy-of select="@*"/><xsl:attribute name="state">off</xsl:attribute></xsl:copy>
  </xsl:template>

  <xsl:variable name="hpet">
    <xsl:choose>
      <xsl:when test="$choices/@hpet"><xsl:value-of select="$choices/@hpet"/></xsl:when>
      <xsl:otherwise>yes</xsl:otherwise>
    </xsl:choose>
  </xsl:variable>

  <xsl:template name="new-timers">
    <xsl:variable name="timers" select="$domain/clock/timer"/>
    <xsl:if test="not($timers[@name = 'rtc'])"><timer name="rtc" tickpolicy="catchup"/></xsl:if>
    <xsl:if test="not($timers[@name = 'pit'])"><timer name="pit" tickpolicy="delay"/></xsl:if>
    <xsl:if test="not($timers[@name = 'hpet'])"><timer name="hpet" present="{$hpet}"/></xsl:if>
    <xsl:if test="$kvm and not($timers[@name = 'tsc'])">
      <timer name="tsc" present="yes" mode="native"/>
    </xsl:if>
  </xsl:template>

  <xsl:template match="domain/clock">
    <xsl:copy>
      <xsl:copy-of select="@*"/>
      <xsl:apply-templates select="node()"/>
      <xsl:call-template name="new-timers"/>
    </xsl:copy>
  </xsl:template>

  <xsl:template match="clock/timer">
    <xsl:copy>
      <xsl:copy-of select="@*"/>
      <xsl:choose>
        <xsl:when test="@name = 'rtc'"><xsl:attribute name="tickpolicy">catchup</xsl:attribute></xsl:when>
        <xsl:when test="@name = 'pit'"><xsl:attribute name="tickpolicy">delay</xsl:attribute></xsl:when>
        <xsl:when test="@name = 'hpet'">
          <xsl:attribute name="present"><xsl:value-of select="$hpet"/></xsl:attribute>
        </xsl:when>
        <xsl:when test="@name = 'tsc' and $kvm">
          <xsl:attribute name="present">yes</xsl:attribute>
          <xsl:attribute name="mode">native</xsl:attribute>
        </xsl:when>
      </xsl:choose>
      <xsl:copy-of select="node()"/>
    </xsl:copy>
  </xsl:template>

  <xsl:template match="domain/pm">
    <xsl:copy>
      <xsl:copy-of select="@*"/>
      <xsl:apply-templates select="node()"/>
      <xsl:if test="not(suspend-to-mem)"><suspend-to-mem enabled="no"/></xsl:if>
      <xsl:if test="not(suspend-to-disk)"><suspend-to-disk enabled="no"/></xsl:if>
    </xsl:copy>
  </xsl:template>

  <xsl:template match="pm/suspend-to-mem | pm/suspend-to-disk">
    <xsl:copy>
      <xsl:copy-of select="@*"/>
      <xsl:attribute name="enabled">no</xsl:attribute>
      <xsl:copy-of select="node()"/>
    </xsl:copy>
  </xsl:template>
</xsl:stylesheet>
