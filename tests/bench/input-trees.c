/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes the trees that dkvm-patch gives to its stylesheets, so that xsltproc can be given the
 * same. usage: input-trees FACTS OUTPUT-DIR FILE... */
#include <stdio.h>
#include <string.h>

#include "lib/config.h"
#include "lib/file.h"
#include "xslt/commandline.h"
#include "xslt/compare.h"
#include "xslt/domain.h"
#include "xslt/input.h"

static gboolean write_tree(const DkvmFacts *facts, const char *osk, const char *folder,
                           const char *path, GError **error)
{
    gsize length = 0;
    g_autofree char *text = dkvm_file_read(path, DKVM_XML_MAX_BYTES, &length, error);
    g_autoptr(DkvmDoc) domain = text ? dkvm_xml_parse(text, length, path, error) : NULL;
    if (domain == NULL) {
        return FALSE;
    }
    dkvm_commandline_group(xmlDocGetRootElement(domain));
    g_autoptr(DkvmDoc) input = dkvm_input_new();
    xmlNode *base = dkvm_input_set_domain(input, xmlDocGetRootElement(domain));
    DkvmMacos macos = dkvm_domain_macos(base);
    const char *model = dkvm_models_default(macos);
    const DkvmCpuModel *cpu = dkvm_models_cpu(model, macos);
    const DkvmDomainState state = {TRUE, DKVM_UNKNOWN, DKVM_UNKNOWN};
    DkvmVcpus vcpus;
    if (!dkvm_vcpus_choose(base, facts, cpu, macos, NULL, FALSE, &vcpus, error)) {
        return FALSE;
    }
    g_autoptr(GHashTable) choices = g_hash_table_new(g_str_hash, g_str_equal);
    const DkvmInput what = {facts, &state, cpu, &vcpus, model, macos, choices, osk, TRUE};
    dkvm_input_fill(input, &what);
    g_ptr_array_unref(dkvm_compare_number(base));
    g_autofree char *tree = dkvm_xml_serialize(input);
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *target = g_build_filename(folder, name, NULL);
    return dkvm_file_replace(target, tree, strlen(tree), error);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    gsize length = 0;
    if (argc < 4) {
        fprintf(stderr, "usage: input-trees FACTS OUTPUT-DIR FILE...\n");
        return 2;
    }
    g_autofree char *json = dkvm_file_read(argv[1], DKVM_XML_MAX_BYTES, &length, &error);
    g_autoptr(DkvmFacts) facts = json ? dkvm_facts_from_json(json, length, &error) : NULL;
    g_autoptr(DkvmConfig) config = dkvm_config_load(&error);
    gboolean good = facts != NULL && config != NULL;
    for (int i = 3; i < argc && good; i++) {
        good = write_tree(facts, config->osk, argv[2], argv[i], &error);
    }
    if (!good) {
        fprintf(stderr, "input-trees: %s\n", error->message);
    }
    return good ? 0 : 1;
}
