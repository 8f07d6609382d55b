/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/commandline.h"

static gboolean is_arg(const xmlNode *node)
{
    return g_str_equal((const char *)node->name, "arg") && dkvm_xml_has_ns(node, DKVM_NS_QEMU) &&
           dkvm_xml_get(node, "value") != NULL;
}

static gboolean is_option_word(const xmlNode *arg)
{
    return dkvm_xml_get(arg, "value")[0] == '-';
}

static void to_option(xmlNode *arg)
{
    xmlNode *option = xmlNewDocNode(arg->doc, NULL, BAD_CAST "option", NULL);
    xmlNode *next = dkvm_xml_element(arg->next);
    if (!is_option_word(arg)) {
        dkvm_xml_set(option, "value", dkvm_xml_get(arg, "value"));
    } else {
        dkvm_xml_set(option, "name", dkvm_xml_get(arg, "value"));
        if (next != NULL && is_arg(next) && !is_option_word(next)) {
            dkvm_xml_set(option, "value", dkvm_xml_get(next, "value"));
            dkvm_xml_remove(next);
        }
    }
    xmlReplaceNode(arg, option);
    xmlFreeNode(arg);
}

void dkvm_commandline_group(xmlNode *domain)
{
    xmlNode *commandline = dkvm_xml_child_ns(domain, "commandline", DKVM_NS_QEMU);
    xmlNode *node = commandline ? dkvm_xml_element(commandline->children) : NULL;
    while (node != NULL) {
        xmlNode *previous = node->prev;
        if (is_arg(node)) {
            to_option(node);
            node = previous ? previous->next : commandline->children;
        }
        node = dkvm_xml_element(node->next);
    }
}

static void put_arg(xmlNode *option, const char *value)
{
    xmlNode *arg = xmlNewDocNode(option->doc, option->parent->ns, BAD_CAST "arg", NULL);
    dkvm_xml_set(arg, "value", value);
    xmlAddPrevSibling(option, arg);
}

void dkvm_commandline_ungroup(xmlNode *domain)
{
    xmlNode *commandline = dkvm_xml_child_ns(domain, "commandline", DKVM_NS_QEMU);
    xmlNode *node = commandline ? dkvm_xml_element(commandline->children) : NULL;
    while (node != NULL) {
        xmlNode *next = dkvm_xml_element(node->next);
        if (dkvm_xml_is(node, "option")) {
            if (dkvm_xml_get(node, "name") != NULL) {
                put_arg(node, dkvm_xml_get(node, "name"));
            }
            if (dkvm_xml_get(node, "value") != NULL) {
                put_arg(node, dkvm_xml_get(node, "value"));
            }
            dkvm_xml_remove(node);
        }
        node = next;
    }
}
