/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/policy.h"

#include <fnmatch.h>

#include "xslt/domain.h"

static gboolean name_matches(char *const *globs, const char *name)
{
    if (globs == NULL || *globs == NULL) {
        return TRUE;
    }
    for (; *globs != NULL; globs++) {
        if (fnmatch(*globs, name, 0) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean is_apple(const xmlNode *domain)
{
    const xmlNode *info =
        dkvm_xml_child_ns(dkvm_xml_child(domain, "metadata"), "libosinfo", DKVM_NS_OSINFO);
    const char *id = dkvm_xml_get(dkvm_xml_child_ns(info, "os", DKVM_NS_OSINFO), "id");
    return id != NULL && (g_str_has_prefix(id, "http://apple.com/") ||
                          g_str_has_prefix(id, "https://apple.com/"));
}

gboolean dkvm_policy_matches(const DkvmConfig *config, const xmlNode *domain)
{
    const xmlNode *marker =
        dkvm_xml_child_ns(dkvm_xml_child(domain, "metadata"), "darwin", DKVM_NS);
    g_autofree char *name = dkvm_xml_text(dkvm_xml_child(domain, "name"));
    if (!dkvm_domain_check(domain, name, NULL) || !name_matches(config->names, name) ||
        g_strcmp0(dkvm_xml_get(marker, "state"), "off") == 0) {
        return FALSE;
    }
    switch (config->match) {
    case DKVM_MATCH_ALL:
        return TRUE;
    case DKVM_MATCH_MARKED:
        return marker != NULL;
    case DKVM_MATCH_MACOS:
        break;
    }
    return marker != NULL || is_apple(domain);
}
