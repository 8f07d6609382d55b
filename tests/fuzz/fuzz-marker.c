/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is inside <dkvm:darwin>, which anyone who may edit the domain can write: patching and
 * reverting never crash, and name, UUID and graphics stay.  Reading and writing are inverse. */
#include "tests/fuzz/fuzz.h"
#include "tests/unit/helpers.h"
#include "xslt/marker.h"

static char *around(const uint8_t *data, size_t size)
{
    g_autofree char *body = g_strndup((const char *)data, size);
    g_autofree char *marker = g_strdup_printf(
        "<dkvm:darwin xmlns:dkvm='urn:dkvm:domain:1.0' schema='1' controllers='pci-0' "
        "macos='14'>%s</dkvm:darwin></metadata>",
        body);
    g_autoptr(GString) text = g_string_new(plain_domain);
    g_string_replace(text, "</metadata>", marker, 1);
    return g_strdup(text->str);
}

static void check_untouched(const DkvmPatched *patched)
{
    if (patched == NULL) {
        return;
    }
    HOLDS(strstr(patched->xml, "<name>mac</name>") != NULL);
    HOLDS(strstr(patched->xml, "<uuid>4e013e70-48ce-5f56-8fd3-aaff52ec246e</uuid>") != NULL);
    HOLDS(strstr(patched->xml, "<graphics type='vnc' port='-1' autoport='yes' passwd='secret'/>") !=
          NULL);
}

static void check_round_trip(const char *text)
{
    g_autoptr(DkvmDoc) doc = dkvm_xml_parse(text, strlen(text), "x", NULL);
    g_autoptr(DkvmMarker) marker = doc ? dkvm_marker_read(xmlDocGetRootElement(doc), NULL) : NULL;
    if (marker == NULL) {
        return;
    }
    dkvm_marker_write(xmlDocGetRootElement(doc), marker);
    g_autofree char *once = dkvm_xml_serialize(doc);
    g_autoptr(DkvmDoc) again = must_parse(once);
    g_autoptr(DkvmMarker) reread = dkvm_marker_read(xmlDocGetRootElement(again), NULL);
    HOLDS(reread != NULL && reread->changes->list->len == marker->changes->list->len);
    dkvm_marker_write(xmlDocGetRootElement(again), reread);
    g_autofree char *twice = dkvm_xml_serialize(again);
    HOLDS(g_str_equal(once, twice));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Bench bench;
    if (bench.patcher == NULL) {
        bench = bench_new(&hosts[0]);
    }
    g_autofree char *text = around(data, size);
    check_round_trip(text);
    g_autoptr(DkvmPatched) reverted = dkvm_revert(text, strlen(text), "x", FALSE, NULL);
    check_untouched(reverted);
    g_autoptr(DkvmPatched) patched =
        dkvm_patch(bench.patcher, text, strlen(text), "x", &as_installed, NULL, NULL);
    check_untouched(patched);
    return 0;
}
