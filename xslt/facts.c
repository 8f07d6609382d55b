/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/facts-private.h"

#include <string.h>

#define COMPONENT 1000 /* libvirt's own encoding of versions (virGetVersion) */

static GHashTable *missing_new(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_strfreev);
}

DkvmFacts *dkvm_facts_new(void)
{
    DkvmFacts *facts = g_new0(DkvmFacts, 1);

    facts->smt = facts->tsc_stable = DKVM_UNKNOWN;
    facts->sse42 = facts->avx2 = facts->invtsc = DKVM_UNKNOWN;
    facts->kvm = facts->applesmc = facts->hotplug_off = facts->autoselect = DKVM_UNKNOWN;
    facts->firmware = g_ptr_array_new_with_free_func((GDestroyNotify)dkvm_firmware_pair_free);
    facts->missing_kvm = missing_new();
    facts->missing_tcg = missing_new();
    return facts;
}

void dkvm_firmware_pair_free(DkvmFirmwarePair *pair)
{
    if (!pair)
        return;
    g_free(pair->code);
    g_free(pair->code_format);
    g_free(pair->vars);
    g_free(pair->vars_format);
    g_free(pair->source);
    g_free(pair);
}

void dkvm_facts_free(DkvmFacts *facts)
{
    if (!facts)
        return;
    g_free(facts->cpu_vendor);
    g_free(facts->host_source);
    g_free(facts->libvirt_source);
    g_free(facts->emulator);
    g_free(facts->emulator_source);
    g_ptr_array_unref(facts->firmware);
    g_free(facts->nvram_dir);
    g_free(facts->firmware_source);
    g_hash_table_unref(facts->missing_kvm);
    g_hash_table_unref(facts->missing_tcg);
    g_free(facts->missing_source);
    g_free(facts);
}

/* Digits only, at least one, below COMPONENT; moves *TEXT behind them. */
static gboolean component(const char **text, gulong *value)
{
    *value = 0;
    if (!g_ascii_isdigit(**text))
        return FALSE;
    for (; g_ascii_isdigit(**text); (*text)++) {
        *value = *value * 10 + (gulong)g_ascii_digit_value(**text);
        if (*value >= COMPONENT)
            return FALSE;
    }
    return TRUE;
}

gulong dkvm_version_parse(const char *text)
{
    gulong parts[3] = {0, 0, 0};

    if (!text)
        return 0;
    for (guint i = 0; i < G_N_ELEMENTS(parts); i++) {
        if (!component(&text, &parts[i]))
            return 0;
        if (*text == '\0' && i > 0)
            break;
        if (i + 1 < G_N_ELEMENTS(parts) && *text++ != '.')
            return 0;
    }
    if (*text != '\0')
        return 0;
    return (parts[0] * COMPONENT + parts[1]) * COMPONENT + parts[2];
}

char *dkvm_version_text(gulong version)
{
    return g_strdup_printf("%lu.%lu.%lu", version / (COMPONENT * COMPONENT),
                           version / COMPONENT % COMPONENT, version % COMPONENT);
}

gboolean dkvm_facts_name_ok(const char *name)
{
    gsize length = strspn(name, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "_.-");

    return length > 0 && length <= 64 && name[length] == '\0';
}

static gint compare(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void dkvm_facts_set_missing(GHashTable *missing, const char *model, GPtrArray *names)
{
    g_autoptr(GStrvBuilder) unique = g_strv_builder_new();
    const char *last = NULL;

    g_ptr_array_sort(names, compare);
    for (guint i = 0; i < names->len; i++) {
        if (last && g_str_equal(last, names->pdata[i]))
            continue;
        last = names->pdata[i];
        g_strv_builder_add(unique, last);
    }
    g_hash_table_replace(missing, g_strdup(model), g_strv_builder_end(unique));
    g_ptr_array_unref(names);
}

void dkvm_facts_merge_missing(GHashTable *missing, GHashTable *from)
{
    GHashTableIter iterator;
    gpointer model, names;

    g_hash_table_iter_init(&iterator, from);
    while (g_hash_table_iter_next(&iterator, &model, &names))
        if (!g_hash_table_contains(missing, model))
            g_hash_table_insert(missing, g_strdup(model), g_strdupv(names));
}
