/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the gatherers of facts share (facts-local.c, facts-connection.c, facts-json.c, qmp.c). */
#pragma once

#include "xslt/facts.h"
#include "xslt/json.h"

/* [A-Za-z0-9_.-]{1,64}: a CPU model's or CPU feature's name, safe inside of -cpu and of XML. */
gboolean dkvm_facts_name_ok(const char *name);

/* Stores NAMES (char*; consumed, may hold duplicates) under MODEL in MISSING, sorted and unique. */
void dkvm_facts_set_missing(GHashTable *missing, const char *model, GPtrArray *names);

/* Adds to MISSING the models of FROM that it does not know. */
void dkvm_facts_merge_missing(GHashTable *missing, GHashTable *from);

/* What is asked of an emulator over QMP, from the cache where it still holds: version,
 * isa-applesmc, hotplug_off, missing_tcg and, where /dev/kvm can be opened, missing_kvm and kvm.
 * Only what FACTS does not know yet is filled in; EMULATOR is a distribution's path
 * (dkvm_qmp_is_distribution), used below the root prefix.  Errors: DKVM_ERROR_HOST. */
gboolean dkvm_facts_ask_emulator(DkvmFacts *facts, const char *emulator, GError **error);

/* This machine's /proc/cpuinfo and clocksource, where FACTS does not know yet. */
void dkvm_facts_read_cpu(DkvmFacts *facts);

/* The JSON form of such a table (facts-json.c), strict: every name checked, bounded. */
GPtrArray *dkvm_facts_feature_names(JsonArray *list); /* NULL if LIST is not one of names */
gboolean dkvm_facts_read_missing(JsonObject *object, GHashTable *missing);
JsonObject *dkvm_facts_missing_object(GHashTable *missing);
/* Sets MEMBER to a boolean, or leaves it out if VALUE is unknown. */
void dkvm_facts_set_tristate(JsonObject *object, const char *member, DkvmTristate value);
