/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* --facts: what is accepted is printed in a form that is accepted and printed alike. */
#include "tests/fuzz/fuzz.h"
#include "xslt/facts.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DkvmFacts) facts = dkvm_facts_from_json((const char *)data, size, &error);
    HOLDS((facts == NULL) == (error != NULL));
    if (facts == NULL) {
        return 0;
    }
    g_autofree char *once = dkvm_facts_to_json(facts);
    g_autoptr(DkvmFacts) again = dkvm_facts_from_json(once, strlen(once), NULL);
    HOLDS(again != NULL);
    g_autofree char *twice = dkvm_facts_to_json(again);
    HOLDS(strcmp(once, twice) == 0);
    return 0;
}
