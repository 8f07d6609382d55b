<?xml version="1.0" encoding="UTF-8"?>
<!-- SPDX-License-Identifier: LGPL-2.1-or-later -->
<!-- The part of darwin.xsl that is about the command line: what libvirt has no element for. -->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
                xmlns:dkvm="urn:dkvm:domain:1.0"
                xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0"
                exclude-result-prefixes="dkvm">

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
