<?xml version="1.0" encoding="UTF-8"?>
<!-- SPDX-License-Identifier: LGPL-2.1-or-later -->
<!-- WHAT a Darwin domain is.  One input tree:

       <dkvm:input><domain/><facts/><models/><choices/></dkvm:input>

     domain   as the user has it (what dkvm changed before is taken back, apart from devices that work);
              <qemu:commandline> holds <option name='-x' value='y'/> instead of <qemu:arg> words
     facts    what this host can do (input.c)
     models   models.xml
     choices  model, macos, number (10.15 = 1015, 14 = 1400, unknown = 0), osk and every other key of the set option

     The result is the domain as it should be.  Elements are told apart by their dkvm-id attribute: copy
     an element and its attributes and dkvm knows that it is the same one.  What is left out is removed,
     what has no id is new; both can be undone.

     <xsl:message>N|text</xsl:message> with terminate="yes" ends with exit code N; note|text and
     warning|text are told to the user.  Sources: facts B2 to B7 (HACKING.md says where they are). -->
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
  <xsl:variable name="rows" select="/dkvm:input/models/devices/*[($v = 0 and @version = 'unknown')
      or ($v &gt; 0 and not(@version) and (not(@from) or substring-before(concat(@from, '.'), '.') * 100
                         + concat('0', substring-after(@from, '.')) &lt;= $v))]"/>

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
      <xsl:message terminate="yes">7|cannot convert this domain from machine '<xsl:value-of
        select="$machine"/>' to q35: its disks are not known to be empty, and an installed system may not start on another machine; if it may be converted, use --set machine=q35</xsl:message>
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
    <xsl:for-each select="/dkvm:input/models/needs/feature[$v &gt;= substring-before(concat(@from, '.'), '.') * 100
                          + concat('0', substring-after(@from, '.'))]">
      <xsl:if test="$facts/host/feature[@name = current()/@name and @present = 'no']">
        <xsl:message>warning|macOS <xsl:value-of select="concat($choices/@macos, ' needs ', @name)"/>, which this host's CPU does not have; it will not start</xsl:message>
      </xsl:if>
    </xsl:for-each>
    <xsl:if test="$facts/host/@tsc-stable = 'no' or $facts/host/feature[@name = 'invtsc' and @present = 'no']">
      <xsl:message>warning|this host's TSC is not stable: macOS with more than one vCPU freezes or panics (non-monotonic time); if the CPU is known to be good, boot the host with tsc=reliable</xsl:message>
    </xsl:if>
    <xsl:if test="$facts/emulator/@version &gt; 0 and $facts/emulator/@version &lt; 7002000 and not($penryn)">
      <xsl:message>warning|QEMU before 7.2 does not answer MSR 0x35, from which XNU counts the cores of this CPU; upgrade QEMU, or macOS sees one core per socket</xsl:message>
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

  <xsl:template match="pm/*">
    <xsl:copy><xsl:copy-of select="@*"/><xsl:attribute name="enabled">no</xsl:attribute></xsl:copy>
  </xsl:template>

  <!-- ==== devices ==== -->

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
        <xsl:apply-templates select="node()" mode="device"/>
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
        <xsl:copy>
          <xsl:copy-of select="@*"/>
          <xsl:apply-templates select="node()[not(self::model)
              and not(self::driver and not(starts-with($model, 'virtio')))]" mode="device"/>
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

  <!-- The bus that the disk gets. -->
  <xsl:template name="disk-bus">
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

  <!-- Whether a disk moves to another bus, and to which: "sata" or "virtio", else nothing. -->
  <xsl:template name="disk-move">
    <xsl:variable name="bus"><xsl:call-template name="disk-bus"/></xsl:variable>
    <xsl:if test="$bus != string(target/@bus)"><xsl:value-of select="$bus"/></xsl:if>
  </xsl:template>

  <!-- All moves, as " bus:position " words. -->
  <xsl:variable name="moves">
    <xsl:text> </xsl:text>
    <xsl:for-each select="$domain/devices/disk">
      <xsl:call-template name="disk-move"/>
      <xsl:value-of select="concat(':', position(), ' ')"/>
    </xsl:for-each>
  </xsl:variable>

  <!-- Where disks move to a bus, the disks that are there move up as well, so that all keep their order and the
       same one boots: libvirt sorts the disks of a bus by target. -->
  <xsl:template name="disk-seat">
    <xsl:variable name="move"><xsl:call-template name="disk-move"/></xsl:variable>
    <xsl:choose>
      <xsl:when test="$move != ''"><xsl:value-of select="$move"/></xsl:when>
      <xsl:when test="(not(@device) or @device = 'disk')
                      and contains($moves, concat(' ', target/@bus, ':'))">
        <xsl:value-of select="target/@bus"/>
      </xsl:when>
    </xsl:choose>
  </xsl:template>

  <xsl:variable name="seats">
    <xsl:text> </xsl:text>
    <xsl:for-each select="$domain/devices/disk">
      <xsl:call-template name="disk-seat"/>
      <xsl:value-of select="concat(':', position(), ' ')"/>
    </xsl:for-each>
  </xsl:variable>

  <xsl:template match="devices/disk">
    <xsl:variable name="seat"><xsl:call-template name="disk-seat"/></xsl:variable>
    <xsl:variable name="dev">
      <xsl:if test="$seat != ''">
        <xsl:call-template name="free-target">
          <xsl:with-param name="prefix" select="substring('sdvd', 1 + 2 * ($seat = 'virtio'), 2)"/>
          <xsl:with-param name="skip">
            <xsl:call-template name="seats-before">
              <xsl:with-param name="words" select="substring-before($seats,
                                           concat(':', count(preceding-sibling::disk) + 1, ' '))"/>
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
          <xsl:copy-of select="@*"/>
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
      <xsl:copy-of select="@*[not(name() = 'removable')]"/>
      <xsl:attribute name="dev"><xsl:value-of select="$dev"/></xsl:attribute>
      <xsl:attribute name="bus"><xsl:value-of select="$bus"/></xsl:attribute>
    </xsl:copy>
  </xsl:template>

  <!-- Driver options that only virtio disks have (libvirt's virDomainDiskDefValidate). -->
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
          </model>
        </xsl:copy>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- A second display: what the first may be is not always possible there (libvirt: vga is primary only). -->
  <xsl:template match="devices/video[preceding-sibling::video]"><xsl:call-template name="copy-device"/></xsl:template>

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
              and not(self::address and ($model = 'usb' or ../@model = 'usb'))]" mode="device"/>
        </xsl:copy>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- A tablet on another bus, or none: macOS has a driver for USB only. -->
  <xsl:template match="devices/input[@type = 'tablet' and @bus != 'usb']">
    <xsl:choose>
      <xsl:when test="$fresh and not($input-commandline)">
        <xsl:copy>
          <xsl:copy-of select="@*"/>
          <xsl:attribute name="bus">usb</xsl:attribute>
          <xsl:apply-templates select="node()[not(self::address)]" mode="device"/>
        </xsl:copy>
      </xsl:when>
      <xsl:otherwise><xsl:call-template name="copy-device"/></xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- ==== the command line: what libvirt has no element for ==== -->

  <xsl:variable name="hotplug" select="'ICH9-LPC.acpi-pci-hotplug-with-bridge-support='"/>
  <xsl:variable name="options" select="$domain/qemu:commandline/option"/>
  <xsl:variable name="smc" select="$options[@name = '-device' and contains(@value, 'isa-applesmc')]"/>
  <xsl:variable name="last-cpu" select="$options[@name = '-cpu'][last()]"/>

  <!-- The model's CPU; Intel, since XNU panics otherwise; under KVM the TSC frequency, without which
       tsc_init divides by zero on everything but Penryn (facts xnu 1.6); off what this host lacks. -->
  <xsl:variable name="cpu">
    <xsl:variable name="flags" select="string($choices/@cpu-flags)"/>
    <xsl:value-of select="concat($facts/cpu/@name, ',vendor=GenuineIntel')"/>
    <xsl:if test="$kvm">
      <xsl:text>,kvm=on,vmware-cpuid-freq=on</xsl:text>
      <xsl:if test="not(contains(concat(',', $flags, ','), ',-invtsc,'))">,+invtsc</xsl:if>
    </xsl:if>
    <xsl:for-each select="$facts/cpu/missing">
      <xsl:if test="not(contains(concat(',', $flags, ','), concat(',+', @name, ',')))">
        <xsl:value-of select="concat(',-', @name)"/>
      </xsl:if>
    </xsl:for-each>
    <xsl:if test="$flags != ''"><xsl:value-of select="concat(',', $flags)"/></xsl:if>
  </xsl:variable>

  <xsl:template match="domain/qemu:commandline">
    <xsl:copy>
      <xsl:copy-of select="@*"/>
      <xsl:apply-templates select="node()"/>
      <xsl:call-template name="new-options"/>
    </xsl:copy>
  </xsl:template>

  <xsl:template name="new-options">
    <xsl:if test="$facts/emulator/@hotplug-off = 'yes' and not($options[@name = '-global'
                  and starts-with(@value, $hotplug)])">
      <option name="-global" value="{$hotplug}off"/>
    </xsl:if>
    <xsl:if test="not($smc)">
      <xsl:if test="not($choices/@osk)">
        <xsl:message terminate="yes">4|cannot add the Apple SMC: there is no OSK; put its 64 characters into [smc] osk= of /etc/dkvm/dkvm.conf, or use --set osk=</xsl:message>
      </xsl:if>
      <option name="-device" value="isa-applesmc,osk={$choices/@osk}"/>
    </xsl:if>
    <xsl:if test="$choices/@smbios"><option name="-smbios" value="{$choices/@smbios}"/></xsl:if>
    <xsl:if test="$choices/@input = 'commandline'">
      <xsl:if test="not($options[@name = '-usb'])"><option name="-usb"/></xsl:if>
      <xsl:if test="not($options[starts-with(@value, 'usb-tablet')])">
        <option name="-device" value="usb-tablet"/>
      </xsl:if>
      <xsl:if test="not($options[starts-with(@value, 'usb-kbd')])">
        <option name="-device" value="usb-kbd"/>
      </xsl:if>
    </xsl:if>
    <xsl:if test="not($last-cpu)"><option name="-cpu" value="{$cpu}"/></xsl:if>
  </xsl:template>

  <xsl:template name="set-value">
    <xsl:param name="value"/>
    <xsl:copy><xsl:copy-of select="@*"/><xsl:attribute name="value"><xsl:value-of
      select="$value"/></xsl:attribute></xsl:copy>
  </xsl:template>

  <!-- A second -cpu replaces the first (facts 0.2): the last one counts. -->
  <xsl:template match="qemu:commandline/option[@name = '-cpu']">
    <xsl:choose>
      <xsl:when test="generate-id() = generate-id($last-cpu)">
        <xsl:call-template name="set-value"><xsl:with-param name="value" select="$cpu"/></xsl:call-template>
      </xsl:when>
      <xsl:otherwise><xsl:copy-of select="."/></xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- The user's own key stays if QEMU can use it: 64 characters, in the plain or the JSON form. -->
  <xsl:template match="qemu:commandline/option[@name = '-device' and contains(@value, 'isa-applesmc')]">
    <xsl:variable name="plain" select="substring-before(concat(substring-after(@value, 'osk='), ','), ',')"/>
    <xsl:variable name="json" select="substring-before(substring-after(
        translate(@value, ' ', ''), '&quot;osk&quot;:&quot;'), '&quot;')"/>
    <xsl:choose>
      <xsl:when test="not($choices/@osk-set) and (string-length($plain) = 64 or string-length($json) = 64)">
        <xsl:copy-of select="."/>
      </xsl:when>
      <xsl:otherwise>
        <xsl:call-template name="set-value">
          <xsl:with-param name="value" select="concat('isa-applesmc,osk=', $choices/@osk)"/>
        </xsl:call-template>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- A property that this QEMU does not know would be fatal. -->
  <xsl:template match="qemu:commandline/option[@name = '-global'
                       and starts-with(@value, 'ICH9-LPC.acpi-pci-hotplug-with-bridge-support=')]">
    <xsl:if test="$facts/emulator/@hotplug-off = 'yes'">
      <xsl:call-template name="set-value">
        <xsl:with-param name="value" select="concat($hotplug, 'off')"/>
      </xsl:call-template>
    </xsl:if>
  </xsl:template>

  <xsl:template match="qemu:commandline/option[@name = '-smbios']">
    <xsl:if test="not($choices/@smbios and substring-before(concat(@value, ','), ',')
                      = substring-before(concat($choices/@smbios, ','), ','))">
      <xsl:copy-of select="."/>
    </xsl:if>
  </xsl:template>

  <!-- The seed's own lines, where they clash or native input was asked for. -->
  <xsl:template match="qemu:commandline/option[@name = '-usb' or (@name = '-device'
                       and (starts-with(@value, 'usb-tablet') or starts-with(@value, 'usb-kbd')))]">
    <xsl:if test="$input-commandline or not($seed-input)"><xsl:copy-of select="."/></xsl:if>
  </xsl:template>
</xsl:stylesheet>
