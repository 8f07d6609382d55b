# SPDX-License-Identifier: LGPL-2.1-or-later
# One non-recursive Makefile.  "make help" lists the targets.
VERSION := 0.1.0
prefix ?= /usr
bindir ?= $(prefix)/bin
sbindir ?= $(prefix)/sbin
datadir ?= $(prefix)/share
mandir ?= $(datadir)/man
sysconfdir ?= /etc
# libosinfo looks into /usr/share/osinfo and /etc/osinfo, not below other prefixes.
osinfodir ?= $(if $(filter /usr,$(prefix)),$(datadir),$(sysconfdir))/osinfo
# Where udev and the makers of an initramfs look; not below a prefix such as /usr/local.
libdir ?= $(prefix)/lib
udevdir ?= $(libdir)/udev
B ?= build

ifeq ($(origin CC),default)
CC := gcc
endif
PKGS := glib-2.0 gio-2.0 gio-unix-2.0 json-glib-1.0 libxml-2.0 libxslt libvirt libudev libkmod
# Folders with C code; in them dkvm-NAME.c holds the main() of a program, all else is for every program.
PARTS := lib xslt hooks udev qemu-hook
# Looked up when first used: "make deps" must work where pkg-config is not installed yet.
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $(shell pkg-config --libs $(PKGS)))$(PKG_LIBS)
WARN := -Wall -Wextra -Wshadow -Wvla -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes \
	-Wundef -Wpointer-arith -Wwrite-strings -Wno-unused-parameter
HARDEN ?= -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong \
	-fstack-clash-protection -fcf-protection=full
CFLAGS ?= -g
ALL_CFLAGS = -std=gnu17 -fPIE $(WARN) $(HARDEN) -I. -D_GNU_SOURCE -DDKVM_VERSION='"$(VERSION)"' \
	-DDKVM_SYSCONFDIR='"$(sysconfdir)"' $(PKG_CFLAGS) $(CFLAGS)
ALL_LDFLAGS = -pie -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed $(LDFLAGS)

# The key that packaging/dkvm.conf ships is also the default where no dkvm.conf is installed.
OSK := $(shell sed -n 's/^osk *= *//p' packaging/dkvm.conf)

SRC := $(foreach part,$(PARTS),$(wildcard $(part)/*.c))
MAIN := $(foreach part,$(PARTS),$(wildcard $(part)/dkvm-*.c))
OBJ := $(patsubst %.c,$(B)/%.o,$(filter-out $(MAIN),$(SRC)))
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/test-*.c))
GOLDEN := $(B)/tests/golden/golden
BENCH := $(patsubst tests/bench/%.c,$(B)/tests/bench/%,$(wildcard tests/bench/*.c))
# dkvm-hook knows where dkvm-gpu is installed: for an unusual sbindir another one is built.
HOOK_MAIN := qemu-hook/dkvm-hook.c
HOOK_PROGRAM := $(B)$(if $(filter /usr/sbin,$(sbindir)),,/sbindir$(subst /,-,$(sbindir)))/dkvm-hook
PROGRAMS := $(addprefix $(B)/,$(notdir $(patsubst %.c,%,$(filter-out $(HOOK_MAIN),$(MAIN))))) $(HOOK_PROGRAM)
SCD := $(foreach part,$(PARTS),$(wildcard $(part)/*.scd))
MAN := $(addprefix $(B)/,$(notdir $(SCD:.scd=)))

all: $(PROGRAMS) $(MAN)

### building

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(B)/lib/config.o: ALL_CFLAGS += -DDKVM_DEFAULT_OSK='"$(OSK)"'
$(B)/lib/config.o: packaging/dkvm.conf

# One stylesheet in parts that are easier to read.
SHEETS := xslt/darwin.xsl xslt/devices.xsl xslt/commandline.xsl
$(B)/darwin.xsl: xslt/join $(SHEETS)
	@mkdir -p $(@D)
	xslt/join $(SHEETS) >$@

# .incbin is invisible to -MMD.
$(B)/xslt/data.o: xslt/models.xml $(B)/darwin.xsl
$(B)/xslt/data.o $(GOLDEN): ALL_CFLAGS += -Wa,-I$(B)

# Everything of the programs but their main(), so that the tests link the same objects.
$(B)/libdkvm.a: $(OBJ)
	@rm -f $@
	ar rcs $@ $(OBJ)

# $(1): a program's main file without .c
define program
$(B)/$(notdir $(1)): $(B)/$(1).o $(B)/libdkvm.a
	$$(CC) $$(ALL_CFLAGS) $$(ALL_LDFLAGS) -o $$@ $$^ $$(PKG_LIBS)
endef
$(foreach main,$(filter-out $(HOOK_MAIN),$(MAIN)),$(eval $(call program,$(main:.c=))))

# libvirt runs it for every virtual machine: libc and nothing else, and that inside, so that it is started in a
# quarter less time, and also while an upgrade of libc is half done (what cannot start ends a VM at "started").
HOOK_LDFLAGS ?= -static-pie
HOOK_OBJ := $(B)/qemu-hook/hook-input.o $(B)/qemu-hook/hook-scan.o
define hook-program
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -DDKVM_GPU='"$(sbindir)/dkvm-gpu"' $(1) $(ALL_LDFLAGS) $(HOOK_LDFLAGS) -MMD -MP -o $@ \
		$< $(HOOK_OBJ)
endef
$(HOOK_PROGRAM): $(HOOK_MAIN) $(HOOK_OBJ)
	$(call hook-program)

# The same for the tests: it looks for dkvm-gpu below DKVM_ROOT.
HOOK_TEST := $(B)/tests/dkvm-hook
$(HOOK_TEST): $(HOOK_MAIN) $(HOOK_OBJ)
	$(call hook-program,-DDKVM_HOOK_TEST)

$(B)/tests/unit/%: tests/unit/%.c $(B)/libdkvm.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MMD -MP -o $@ $< $(B)/libdkvm.a $(PKG_LIBS)

# The golden runner brings its own copy of models.xml (to change it), so data.o stays out.
$(GOLDEN): tests/golden/golden.c $(B)/libdkvm.a $(B)/darwin.xsl
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MMD -MP -o $@ $< $(B)/libdkvm.a $(PKG_LIBS)

$(B)/tests/bench/%: tests/bench/%.c $(B)/libdkvm.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MMD -MP -o $@ $< $(B)/libdkvm.a $(PKG_LIBS)

# $(1): a page's source
define page
$(B)/$(notdir $(1:.scd=)): $(1)
	@mkdir -p $$(@D)
	scdoc <$$< >$$@
endef
$(foreach scd,$(SCD),$(eval $(call page,$(scd))))

### what a newcomer runs

# Lists what is missing and installs it (asks on a terminal; YES=1 does not).
deps:
	packaging/deps.sh build test lint

build-deps:
	@packaging/deps.sh build
test-deps:
	@packaging/deps.sh build test
lint-deps:
	@packaging/deps.sh build lint

demo: test-deps
	@$(MAKE) --no-print-directory all
	DKVM_BUILD=$(B) tests/demo

# Everything once, at most 30 minutes on 2 cores.
check: test-deps
	@$(MAKE) --no-print-directory -j $$(nproc) all $(UNIT) $(GOLDEN) $(BENCH) $(HOOK_TEST)
	DKVM_BUILD=$(B) tests/run

# Without a limit: all repetitions, long fuzzing, sanitizers, valgrind, coverage, ratios.  Goes on where it
# was stopped; its table is in $(B)/check-long.
check-long: test-deps
	@$(MAKE) --no-print-directory all $(UNIT) $(GOLDEN) $(BENCH) $(HOOK_TEST)
	DKVM_BUILD=$(B) tests/long

bench: test-deps
	@$(MAKE) --no-print-directory all $(BENCH)
	DKVM_BUILD=$(B) tests/bench/run

coverage: test-deps
	tests/coverage

# 30 seconds a target; FUZZ_SECONDS says otherwise.
fuzz: test-deps
	tests/fuzz/run $${FUZZ_SECONDS:-30}

lint: lint-deps
	B=$(B) tests/lint

# Writes tests/golden/out and tests/golden/hosts anew; git diff shows what that changes.
golden: $(GOLDEN) $(B)/dkvm-iommu
	$(GOLDEN) --regenerate
	DKVM_BUILD=$(B) tests/golden/hosts.sh --regenerate

### installing

# From and to.  As a whole: a starting VM, a hook or udev may be starting the program just now.
put-program = install -m 755 $(1) $(2).new && mv -f $(2).new $(2)

# Rules and hooks name the installed places.
PLACES = sed -e 's,/etc/dkvm,$(sysconfdir)/dkvm,g' -e 's,/usr/lib/udev,$(udevdir),g'
TOOLS := $(DESTDIR)$(datadir)/initramfs-tools
DRACUT := $(DESTDIR)$(libdir)/dracut/modules.d/61dkvm
INITCPIO := $(DESTDIR)$(libdir)/initcpio
UDEV := $(DESTDIR)$(udevdir)
RESERVED := $(DESTDIR)$(libdir)/systemd/system/dkvm-reserved.service
RESERVED_WANTED := $(DESTDIR)$(libdir)/systemd/system/sysinit.target.wants/dkvm-reserved.service

# Each as an addition to the entry of its id, whose own file osinfo-db may ship one day.
OSINFO := $(patsubst hooks/osinfo/dkvm-%.xml,%,$(wildcard hooks/osinfo/dkvm-*.xml))
osinfo-file = $(DESTDIR)$(osinfodir)/os/apple.com/$(1).d/dkvm-$(1).xml

install-osinfo:
	$(foreach os,$(OSINFO),install -D -m 644 hooks/osinfo/dkvm-$(os).xml $(call osinfo-file,$(os)) &&) :

uninstall-osinfo:
	rm -f $(foreach os,$(OSINFO),$(call osinfo-file,$(os)))
	for d in $(foreach os,$(OSINFO),$(dir $(call osinfo-file,$(os)))) \
		$(DESTDIR)$(osinfodir)/os/apple.com $(DESTDIR)$(osinfodir)/os $(DESTDIR)$(osinfodir); do \
		! test -d $$d || rmdir --ignore-fail-on-non-empty $$d; done

unitdir ?= $(prefix)/lib/systemd
hookdir := $(sysconfdir)/libvirt/hooks/daemon.d
HOOK_MARK := ^\# dkvm: starts dkvm-watchd
# The places that libvirt's AppArmor profile lets libvirtd start a program from.
HOOK_DIRS := /usr/sbin /usr/bin /sbin /bin
QEMU_LINK := $(DESTDIR)$(sysconfdir)/libvirt/hooks/qemu.d/50-dkvm
link-is-ours = case ' $(addsuffix /dkvm-hook,$(HOOK_DIRS)) ' in *" $$(readlink $(QEMU_LINK)) "*) ;; *) false;; esac
TEMPLATES := dkvm-watchd.service dkvm-watchd-user.service 50-dkvm-watchd dkvm-guard@.service dkvm-recover.service

# Made anew each time: sbindir may be another one.
$(addprefix $(B)/,$(TEMPLATES)): $(B)/%: packaging/%.in FORCE
	@mkdir -p $(@D)
	sed 's|@SBINDIR@|$(sbindir)|' $< >$@

# The hook of hosts without systemd.  HOOK=no leaves it out.
check-hook:
	@test '$(HOOK)' = no || case ' $(HOOK_DIRS) ' in *' $(sbindir) '*) ;; *) \
		echo 'sbindir=$(sbindir): libvirtd may not start programs from there (AppArmor), and every' \
			'VM would fail to start; use one of: $(HOOK_DIRS), or HOOK=no' >&2; exit 1;; esac
	@test '$(HOOK)' = no || ! test -e $(DESTDIR)$(hookdir)/50-dkvm-watchd || \
		grep -q '$(HOOK_MARK)' $(DESTDIR)$(hookdir)/50-dkvm-watchd || { \
		echo '$(DESTDIR)$(hookdir)/50-dkvm-watchd is not ours; move it away, or HOOK=no' >&2; exit 1; }
	@test '$(HOOK)' = no || ! test -e $(QEMU_LINK) -o -L $(QEMU_LINK) || $(link-is-ours) || { \
		echo '$(QEMU_LINK) is not ours; move it away, or HOOK=no' >&2; exit 1; }

# Nothing is written before check-hook has had its say.
install: check-hook all $(addprefix $(B)/,$(TEMPLATES))
	@$(MAKE) --no-print-directory install-osinfo install-udev install-gpu
	install -d $(DESTDIR)$(bindir) $(DESTDIR)$(sbindir) $(DESTDIR)$(datadir)/dkvm $(DESTDIR)$(mandir)/man1 \
		$(DESTDIR)$(mandir)/man5 $(DESTDIR)$(mandir)/man8 $(DESTDIR)$(sysconfdir)/dkvm \
		$(DESTDIR)$(unitdir)/system $(DESTDIR)$(unitdir)/user $(DESTDIR)$(prefix)/lib/sysusers.d
	$(call put-program,$(B)/dkvm-patch,$(DESTDIR)$(bindir)/dkvm-patch)
	$(call put-program,$(B)/dkvm-watchd,$(DESTDIR)$(sbindir)/dkvm-watchd)
	install -m 644 $(SHEETS) xslt/models.xml $(DESTDIR)$(datadir)/dkvm/
	install -m 644 $(B)/dkvm-patch.1 $(DESTDIR)$(mandir)/man1/
	install -m 644 $(B)/dkvm.conf.5 $(DESTDIR)$(mandir)/man5/
	install -m 644 $(B)/dkvm-watchd.8 $(DESTDIR)$(mandir)/man8/
	install -m 644 $(B)/dkvm-watchd.service $(DESTDIR)$(unitdir)/system/
	install -m 644 $(B)/dkvm-watchd-user.service $(DESTDIR)$(unitdir)/user/dkvm-watchd.service
	install -m 644 packaging/dkvm.sysusers.conf $(DESTDIR)$(prefix)/lib/sysusers.d/dkvm.conf
	test -e $(DESTDIR)$(sysconfdir)/dkvm/dkvm.conf || \
		install -m 644 packaging/dkvm.conf $(DESTDIR)$(sysconfdir)/dkvm/dkvm.conf
	test '$(HOOK)' = no || install -D -m 755 $(B)/50-dkvm-watchd $(DESTDIR)$(hookdir)/50-dkvm-watchd
	@$(MAKE) --no-print-directory install-qemu-hook

# The link comes last and goes first, so that it never leads to a program that is not there.  Nothing
# for AppArmor: its profile of libvirtd lets whatever is in HOOK_DIRS run unconfined.
install-qemu-hook: all
	install -d $(DESTDIR)$(sbindir) $(DESTDIR)$(mandir)/man8
	install -m 644 $(B)/dkvm-hook.8 $(DESTDIR)$(mandir)/man8/
	$(call put-program,$(HOOK_PROGRAM),$(DESTDIR)$(sbindir)/dkvm-hook)
	test '$(HOOK)' = no || DESTDIR='$(DESTDIR)' packaging/link-hook $(sbindir)/dkvm-hook $(QEMU_LINK)

uninstall-qemu-hook:
	! $(link-is-ours) || rm -f $(QEMU_LINK)
	rm -f $(DESTDIR)$(sbindir)/dkvm-hook $(DESTDIR)$(mandir)/man8/dkvm-hook.8

install-udev: all
	install -d $(DESTDIR)$(bindir) $(UDEV)/rules.d $(TOOLS)/hooks $(TOOLS)/scripts/init-top $(DRACUT) \
		$(INITCPIO)/install $(INITCPIO)/hooks $(DESTDIR)$(mandir)/man1 $(DESTDIR)$(mandir)/man8 \
		$(dir $(RESERVED_WANTED))
	$(call put-program,$(B)/dkvm-iommu,$(DESTDIR)$(bindir)/dkvm-iommu)
	$(call put-program,$(B)/dkvm-udev,$(UDEV)/dkvm-udev)
	install -m 644 $(B)/dkvm-iommu.1 $(DESTDIR)$(mandir)/man1/
	install -m 644 $(B)/dkvm-udev.8 $(DESTDIR)$(mandir)/man8/
	for rule in 61-dkvm.rules 72-dkvm-seat.rules; do \
		$(PLACES) udev/rules.d/$$rule >$(UDEV)/rules.d/$$rule && chmod 644 $(UDEV)/rules.d/$$rule || exit 1; done
	$(PLACES) udev/initramfs/initramfs-tools-hook >$(TOOLS)/hooks/dkvm
	$(PLACES) udev/initramfs/initramfs-tools-script >$(TOOLS)/scripts/init-top/dkvm
	$(PLACES) udev/initramfs/dracut-module-setup.sh >$(DRACUT)/module-setup.sh
	$(PLACES) udev/initramfs/dracut-boot.sh >$(DRACUT)/dkvm-boot.sh
	$(PLACES) udev/initramfs/mkinitcpio-install >$(INITCPIO)/install/dkvm
	$(PLACES) udev/initramfs/mkinitcpio-hook >$(INITCPIO)/hooks/dkvm
	$(PLACES) udev/initramfs/dkvm-reserved.service >$(RESERVED)
	ln -sf ../dkvm-reserved.service $(RESERVED_WANTED)
	chmod 644 $(RESERVED)
	chmod 755 $(TOOLS)/hooks/dkvm $(TOOLS)/scripts/init-top/dkvm $(DRACUT)/module-setup.sh $(DRACUT)/dkvm-boot.sh
	chmod 644 $(INITCPIO)/install/dkvm $(INITCPIO)/hooks/dkvm

install-gpu: all $(addprefix $(B)/,$(TEMPLATES))
	install -d $(DESTDIR)$(sbindir) $(DESTDIR)$(mandir)/man8 $(DESTDIR)$(unitdir)/system \
		$(DESTDIR)$(unitdir)/system/multi-user.target.wants $(DESTDIR)$(prefix)/lib/tmpfiles.d
	$(call put-program,$(B)/dkvm-gpu,$(DESTDIR)$(sbindir)/dkvm-gpu)
	install -m 644 $(B)/dkvm-gpu.8 $(DESTDIR)$(mandir)/man8/
	install -m 644 '$(B)/dkvm-guard@.service' $(B)/dkvm-recover.service $(DESTDIR)$(unitdir)/system/
	ln -sfn ../dkvm-recover.service $(DESTDIR)$(unitdir)/system/multi-user.target.wants/dkvm-recover.service
	install -m 644 packaging/dkvm.tmpfiles.conf $(DESTDIR)$(prefix)/lib/tmpfiles.d/dkvm.conf

uninstall-gpu:
	rm -f $(DESTDIR)$(sbindir)/dkvm-gpu $(DESTDIR)$(mandir)/man8/dkvm-gpu.8 \
		'$(DESTDIR)$(unitdir)/system/dkvm-guard@.service' $(DESTDIR)$(unitdir)/system/dkvm-recover.service \
		$(DESTDIR)$(unitdir)/system/multi-user.target.wants/dkvm-recover.service \
		$(DESTDIR)$(prefix)/lib/tmpfiles.d/dkvm.conf

# What install made, and nothing else: a dkvm.conf that was changed and a list of reserved devices
# stay, as does another's hook.
uninstall: uninstall-qemu-hook uninstall-gpu uninstall-osinfo uninstall-udev
	! grep -qs '$(HOOK_MARK)' $(DESTDIR)$(hookdir)/50-dkvm-watchd || \
		rm -f $(DESTDIR)$(hookdir)/50-dkvm-watchd
	rm -f $(DESTDIR)$(unitdir)/system/dkvm-watchd.service $(DESTDIR)$(unitdir)/user/dkvm-watchd.service \
		$(DESTDIR)$(prefix)/lib/sysusers.d/dkvm.conf $(DESTDIR)$(sbindir)/dkvm-watchd \
		$(DESTDIR)$(mandir)/man8/dkvm-watchd.8
	rm -f $(DESTDIR)$(bindir)/dkvm-patch \
		$(addprefix $(DESTDIR)$(datadir)/dkvm/,$(notdir $(SHEETS)) models.xml) \
		$(DESTDIR)$(mandir)/man1/dkvm-patch.1 $(DESTDIR)$(mandir)/man5/dkvm.conf.5
	! cmp -s packaging/dkvm.conf $(DESTDIR)$(sysconfdir)/dkvm/dkvm.conf || \
		rm -f $(DESTDIR)$(sysconfdir)/dkvm/dkvm.conf
	for d in $(DESTDIR)$(datadir)/dkvm $(DESTDIR)$(sysconfdir)/dkvm; do \
		! test -d $$d || rmdir --ignore-fail-on-non-empty $$d; done

uninstall-udev:
	rm -f $(DESTDIR)$(bindir)/dkvm-iommu $(UDEV)/dkvm-udev $(UDEV)/rules.d/61-dkvm.rules \
		$(UDEV)/rules.d/72-dkvm-seat.rules $(DESTDIR)$(mandir)/man1/dkvm-iommu.1 \
		$(DESTDIR)$(mandir)/man8/dkvm-udev.8 $(TOOLS)/hooks/dkvm $(TOOLS)/scripts/init-top/dkvm \
		$(DRACUT)/module-setup.sh $(DRACUT)/dkvm-boot.sh $(INITCPIO)/install/dkvm $(INITCPIO)/hooks/dkvm \
		$(RESERVED_WANTED) $(RESERVED)
	! test -d $(DRACUT) || rmdir --ignore-fail-on-non-empty $(DRACUT)

# The cache (downloaded kernel, Debian 13 root) stays: "rm -r build" removes it too.
clean:
	rm -rf $(addprefix $(B)/,$(PARTS)) $(B)/sbindir-* $(B)/tests $(B)/gui $(B)/*.a $(B)/*.json $(B)/darwin.xsl $(MAN) $(PROGRAMS) \
		$(addprefix $(B)/,$(TEMPLATES))

help:
	@echo 'all          build the programs and their man pages (default)'
	@echo 'demo         the main job on a libvirtd of its own, shown step by step'
	@echo 'check        all tests, once'
	@echo 'check-long   the same with everything that takes long'
	@echo 'bench        ratios, also in $(B)/bench.json'
	@echo 'coverage     line coverage of all tests that need no libvirtd'
	@echo 'fuzz         the fuzzers, FUZZ_SECONDS (30) each'
	@echo 'lint         compilers, analyzers, formatting, spelling'
	@echo 'golden       write the expected files of the golden pairs anew'
	@echo 'install, uninstall   DESTDIR, prefix, bindir, datadir, mandir, sysconfdir,'
	@echo '             osinfodir (/usr/share/osinfo) are honoured'
	@echo 'deps         install the Debian packages that all this needs'
	@echo 'clean        remove what was built, keep the cache'

# The libraries' names and the folders with code, for the scripts that compile by themselves.
packages:
	@echo $(PKGS)
parts:
	@echo $(PARTS)

-include $(OBJ:.o=.d) $(patsubst %.c,$(B)/%.d,$(MAIN)) $(UNIT:=.d) $(GOLDEN).d $(BENCH:=.d) \
	$(HOOK_PROGRAM).d $(HOOK_TEST).d
.PHONY: all packages parts deps build-deps test-deps lint-deps demo check check-long bench coverage fuzz lint golden \
	install uninstall install-osinfo uninstall-osinfo install-udev uninstall-udev install-gpu uninstall-gpu install-qemu-hook uninstall-qemu-hook check-hook clean help FORCE
.DELETE_ON_ERROR:
.SECONDARY:
