# SPDX-License-Identifier: LGPL-2.1-or-later
# One non-recursive Makefile.  "make help" lists the targets.
VERSION := 0.1.0
prefix ?= /usr
bindir ?= $(prefix)/bin
datadir ?= $(prefix)/share
mandir ?= $(datadir)/man
sysconfdir ?= /etc
B ?= build

ifeq ($(origin CC),default)
CC := gcc
endif
PKGS := glib-2.0 gio-2.0 gio-unix-2.0 json-glib-1.0 libxml-2.0 libxslt libvirt
PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS))
PKG_LIBS = $(shell pkg-config --libs $(PKGS))
WARN := -Wall -Wextra -Wshadow -Wvla -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes \
	-Wundef -Wpointer-arith -Wwrite-strings -Wno-unused-parameter
HARDEN := -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fPIE -fstack-protector-strong \
	-fstack-clash-protection -fcf-protection=full
CFLAGS ?= -g
ALL_CFLAGS = -std=gnu17 $(WARN) $(HARDEN) -I. -D_GNU_SOURCE -DDKVM_VERSION='"$(VERSION)"' \
	-DDKVM_SYSCONFDIR='"$(sysconfdir)"' $(PKG_CFLAGS) $(CFLAGS)
ALL_LDFLAGS = -pie -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed $(LDFLAGS)

# The key that packaging/dkvm.conf ships is also the default where no dkvm.conf is installed.
OSK := $(shell sed -n 's/^osk *= *//p' packaging/dkvm.conf)

LIB_SRC := $(wildcard lib/*.c)
# What belongs to the program alone stays out of the archive that the unit tests link.
PATCH_SRC := $(filter-out xslt/dkvm-patch.c,$(wildcard xslt/*.c))
OBJ = $(patsubst %.c,$(B)/%.o,$(LIB_SRC) $(PATCH_SRC))
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/test-*.c))
PROGRAMS := $(B)/dkvm-patch

all: $(PROGRAMS)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(B)/lib/config.o: ALL_CFLAGS += -DDKVM_DEFAULT_OSK='"$(OSK)"'
$(B)/lib/config.o: packaging/dkvm.conf

# Everything of a program but main(), so that the unit tests link the same objects.
$(B)/libdkvm.a: $(OBJ)
	rm -f $@ && ar rcs $@ $(OBJ)

$(B)/dkvm-patch: $(B)/xslt/dkvm-patch.o $(B)/libdkvm.a
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(B)/tests/unit/%: tests/unit/%.c $(B)/libdkvm.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MMD -MP -o $@ $< $(B)/libdkvm.a $(PKG_LIBS)

# The golden runner brings its own copy of models.xml (to change it), so data.o stays out.
$(B)/tests/golden/golden: tests/golden/golden.c $(B)/libdkvm.a xslt/darwin.xsl
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MMD -MP -o $@ $< $(B)/libdkvm.a $(PKG_LIBS)

$(B)/tests/bench/%: tests/bench/%.c $(B)/libdkvm.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MMD -MP -o $@ $< $(B)/libdkvm.a $(PKG_LIBS)

# .incbin is invisible to -MMD.
$(B)/xslt/data.o: $(wildcard xslt/*.xsl xslt/*.xml)

-include $(OBJ:.o=.d) $(B)/xslt/dkvm-patch.d $(UNIT:=.d)
.PHONY: all
.DELETE_ON_ERROR:
