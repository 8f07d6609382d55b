/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The hook's look at a definition against libxml2's: what the hook lets pass as a domain without
 * PCI devices is one, whatever the bytes are.  The other direction (it does not ask about
 * everything) is in tests/cli/hook.bats. */
#include <libxml/parser.h>
#include <string.h>

#include "qemu-hook/hook-scan.h"
#include "tests/fuzz/fuzz.h"

static void quiet(void *data, xmlErrorPtr error)
{
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    xmlSetStructuredErrorFunc(NULL, quiet);
    return 0;
}

/* In any namespace, at any depth. */
static gboolean has_pci(xmlNode *node)
{
    for (; node; node = node->next) {
        if (node->type != XML_ELEMENT_NODE)
            continue;
        if (xmlStrEqual(node->name, BAD_CAST "hostdev")) {
            for (xmlAttr *attribute = node->properties; attribute; attribute = attribute->next) {
                xmlChar *value = xmlNodeListGetString(node->doc, attribute->children, 1);
                gboolean pci = xmlStrEqual(attribute->name, BAD_CAST "type") &&
                               xmlStrEqual(value, BAD_CAST "pci");

                xmlFree(value);
                if (pci)
                    return TRUE;
            }
        }
        if (has_pci(node->children))
            return TRUE;
    }
    return FALSE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of that length: a byte read beyond it is a finding. */
    g_autofree char *text = g_memdup2(data, size);
    char uuid[DKVM_HOOK_UUID_SIZE];
    xmlDoc *doc;

    if (dkvm_hook_scan(text, size, uuid) == DKVM_HOOK_ASK)
        return 0;
    HOLDS(!*uuid || (strlen(uuid) == 36 && strspn(uuid, "0123456789abcdef-") == 36));
    doc = xmlReadMemory(text, (int)size, NULL, NULL, XML_PARSE_NONET);
    HOLDS(doc != NULL && doc->intSubset == NULL);
    HOLDS(xmlStrEqual(xmlDocGetRootElement(doc)->name, BAD_CAST "domain"));
    HOLDS(!has_pci(doc->children));
    xmlFreeDoc(doc);
    return 0;
}
