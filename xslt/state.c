/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/state.h"

#include <stdlib.h>

#include "lib/xml.h"
#include "xslt/ahead.h"

#define EMPTY_ALLOCATION (64ULL * 1024 * 1024) /* covers the metadata of a preallocated qcow2 */

struct DkvmAsk {
    virDomainPtr domain;
    GPtrArray *disks; /* targets of the writable ones (char*, NULL: it has none) */
    char *emulator;   /* that the connection may not know; NULL: nothing to ask */
    DkvmDomainState state;
    DkvmAhead *ahead;
    gboolean asked;
};

/* ---- disks ---- */

static gboolean is_writable(const xmlNode *disk)
{
    const char *device = dkvm_xml_get(disk, "device");
    return (device == NULL || g_str_equal(device, "disk") || g_str_equal(device, "lun")) &&
           dkvm_xml_child(disk, "readonly") == NULL;
}

static GPtrArray *writable_disks(const xmlNode *devices)
{
    GPtrArray *targets = g_ptr_array_new_with_free_func(g_free);
    for (xmlNode *n = devices ? dkvm_xml_element(devices->children) : NULL; n != NULL;
         n = dkvm_xml_element(n->next)) {
        if (dkvm_xml_is(n, "disk") && is_writable(n)) {
            g_ptr_array_add(targets, g_strdup(dkvm_xml_get(dkvm_xml_child(n, "target"), "dev")));
        }
    }
    return targets;
}

static gboolean is_empty(virDomainPtr domain, const char *target, gboolean running)
{
    virDomainBlockInfo info;
    virDomainBlockStatsStruct stats;
    if (target == NULL || virDomainGetBlockInfo(domain, target, &info, 0) < 0 ||
        info.allocation > EMPTY_ALLOCATION) {
        return FALSE;
    }
    return !running || (virDomainBlockStats(domain, target, &stats, sizeof stats) == 0 &&
                        stats.wr_bytes == 0); /* -1, unknown, counts as written */
}

static DkvmTristate are_empty(virDomainPtr domain, const GPtrArray *targets)
{
    gboolean running = targets->len > 0 && virDomainIsActive(domain) != 0;
    for (guint i = 0; i < targets->len; i++) {
        if (!is_empty(domain, targets->pdata[i], running)) {
            return DKVM_NO;
        }
    }
    return DKVM_YES;
}

/* ---- emulator ---- */

static char *unknown_emulator(const xmlNode *devices, const DkvmFacts *facts)
{
    g_autofree char *path = dkvm_xml_text(dkvm_xml_child(devices, "emulator"));
    gboolean known = *path == '\0' || g_strcmp0(path, facts->emulator) == 0;
    return known ? NULL : g_steal_pointer(&path);
}

static DkvmTristate can_use(virDomainPtr domain, const char *emulator)
{
    char *caps = virConnectGetDomainCapabilities(virDomainGetConnect(domain), emulator, "x86_64",
                                                 NULL, NULL, 0);
    DkvmTristate answer = caps ? DKVM_YES : DKVM_NO;
    free(caps);
    return answer;
}

/* ---- the object ---- */

DkvmAsk *dkvm_ask_new(virDomainPtr domain, const xmlNode *root, const DkvmFacts *facts)
{
    const xmlNode *devices = dkvm_xml_child(root, "devices");
    DkvmAsk *ask = g_new0(DkvmAsk, 1);
    ask->domain = domain;
    ask->disks = writable_disks(devices);
    ask->emulator = unknown_emulator(devices, facts);
    return ask;
}

static void call(gpointer data)
{
    DkvmAsk *ask = data;
    ask->state.disks_empty = are_empty(ask->domain, ask->disks);
    ask->state.own_emulator = ask->emulator ? can_use(ask->domain, ask->emulator) : DKVM_UNKNOWN;
}

void dkvm_ask_start(DkvmAsk *ask)
{
    if (ask->disks->len > 0 || ask->emulator != NULL) {
        ask->asked = TRUE;
        ask->ahead = dkvm_ahead_start(call, ask);
    }
}

const DkvmDomainState *dkvm_ask_likely(const DkvmAsk *ask)
{
    static const DkvmDomainState likely = {.disks_empty = DKVM_YES, .own_emulator = DKVM_UNKNOWN};
    return ask->emulator == NULL ? &likely : NULL;
}

const DkvmDomainState *dkvm_ask_answer(gpointer data)
{
    DkvmAsk *ask = data;
    g_clear_pointer(&ask->ahead, dkvm_ahead_wait);
    if (!ask->asked) {
        ask->asked = TRUE;
        call(ask);
    }
    return &ask->state;
}

void dkvm_ask_free(DkvmAsk *ask)
{
    g_clear_pointer(&ask->ahead, dkvm_ahead_wait);
    g_ptr_array_unref(ask->disks);
    g_free(ask->emulator);
    g_free(ask);
}
