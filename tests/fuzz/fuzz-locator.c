/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any text as a locator in a fixed domain: what it finds is inside, and is found again by its own
 * name. */
#include "tests/fuzz/fuzz.h"
#include "tests/unit/helpers.h"
#include "xslt/locator.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static DkvmDoc *doc;
    doc = doc ? doc : must_parse(plain_domain);
    xmlNode *domain = xmlDocGetRootElement(doc);
    g_autofree char *text = g_strndup((const char *)data, size);
    xmlNode *found = dkvm_locator_is_valid(text) ? dkvm_locator_find(domain, text) : NULL;
    if (found == NULL) {
        return 0;
    }
    g_autofree char *own = dkvm_locator(domain, found);
    HOLDS(dkvm_locator_is_valid(own) && dkvm_locator_find(domain, own) == found);
    return 0;
}
