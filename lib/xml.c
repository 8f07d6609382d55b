/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/xml.h"

#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <string.h>

#include "lib/error.h"

/* No XML_PARSE_NOENT (it means: do substitute), DTDLOAD, DTDATTR, XINCLUDE, HUGE or RECOVER:
 * libxml2's own limits stay in force (facts/style.md C4). */
#define PARSE_OPTIONS                                                                              \
    (XML_PARSE_NONET | XML_PARSE_NOBLANKS | XML_PARSE_NOCDATA | XML_PARSE_COMPACT |                \
     XML_PARSE_NOERROR | XML_PARSE_NOWARNING)

static xmlParserInput *refuse_entity(const char *url, const char *id, xmlParserCtxt *context)
{
    return NULL;
}

static void init_once(void)
{
    static gsize done = 0;
    if (!g_once_init_enter(&done)) {
        return;
    }
    xmlInitParser();
    xmlSetExternalEntityLoader(refuse_entity);
    g_once_init_leave(&done, 1);
}

/* SAX callback at "<!DOCTYPE": stops at once, before a subset is read, so that a bomb costs
 * nothing. */
static void refuse_dtd(void *data, const xmlChar *name, const xmlChar *id, const xmlChar *system)
{
    xmlParserCtxt *context = data;
    *(gboolean *)context->_private = TRUE;
    xmlStopParser(context);
}

/* Counts down *LEFT by the elements of NODE. */
static gboolean too_deep(const xmlNode *node, guint depth, guint *left)
{
    if (depth > DKVM_XML_MAX_DEPTH || *left == 0) {
        return TRUE;
    }
    (*left)--;
    for (const xmlNode *child = node->children; child != NULL; child = child->next) {
        if (child->type == XML_ELEMENT_NODE && too_deep(child, depth + 1, left)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* XML_PARSE_NOBLANKS keeps a line break that is all there is in an element. */
static void drop_lone_blanks(xmlNode *node)
{
    for (xmlNode *child = dkvm_xml_element(node->children); child != NULL;
         child = dkvm_xml_element(child->next)) {
        drop_lone_blanks(child);
    }
    xmlNode *text = node->children;
    if (text != NULL && text->next == NULL && xmlIsBlankNode(text) &&
        xmlStrchr(text->content, '\n') != NULL) {
        dkvm_xml_remove(text);
    }
}

/* The end of a comment, a CDATA section or a processing instruction that starts at P; P if none
 * does.  Nothing at or behind LIMIT is read, here and below. */
static const char *skip_opaque(const char *p, const char *limit)
{
    static const char *const pairs[][2] = {{"<!--", "-->"}, {"<![CDATA[", "]]>"}, {"<?", "?>"}};
    for (gsize i = 0; i < G_N_ELEMENTS(pairs); i++) {
        gsize length = strlen(pairs[i][0]), rest = (gsize)(limit - p);
        if (rest >= length && memcmp(p, pairs[i][0], length) == 0) {
            const char *end = memmem(p, rest, pairs[i][1], strlen(pairs[i][1]));
            return end ? end : limit;
        }
    }
    return p;
}

static const char *end_of_tag(const char *p, const char *limit)
{
    for (char quote = '\0'; p < limit && (quote != '\0' || *p != '>'); p++) {
        if (quote == '\0' && (*p == '"' || *p == '\'')) {
            quote = *p;
        } else if (*p == quote) {
            quote = '\0';
        }
    }
    return p;
}

/* What other programs put into <metadata>, or under a namespace of their own, is theirs. */
static gboolean is_libvirts(const xmlNode *element)
{
    return !dkvm_xml_is(element, "metadata") &&
           (element->ns == NULL || dkvm_xml_has_ns(element, DKVM_NS_QEMU));
}

/* Whether text stands beside elements anywhere in what is libvirt's. */
static gboolean is_mixed(const xmlNode *node)
{
    gboolean text = FALSE, element = FALSE;
    for (const xmlNode *child = node->children; child != NULL; child = child->next) {
        text |= child->type == XML_TEXT_NODE && !xmlIsBlankNode(child);
        element |= child->type == XML_ELEMENT_NODE;
        if (child->type == XML_ELEMENT_NODE && is_libvirts(child) && is_mixed(child)) {
            return TRUE;
        }
    }
    return text && element;
}

/* libxml2 compares every attribute of a tag with every other: hours for as many as the size limit
 * allows. */
static gboolean has_giant_tag(const char *text, gsize length)
{
    const char *limit = text + length;
    const char *p = memchr(text, '<', length);
    while (p != NULL) {
        const char *after = skip_opaque(p, limit);
        const char *end = after == p ? end_of_tag(p, limit) : after;
        if (after == p && end - p > DKVM_XML_MAX_TAG) {
            return TRUE;
        }
        p = memchr(end, '<', (gsize)(limit - end));
    }
    return FALSE;
}

static void set_parse_error(GError **error, const char *what, xmlParserCtxt *context)
{
    const xmlError *last = xmlCtxtGetLastError(context);
    g_autofree char *reason =
        g_utf8_make_valid(last && last->message ? last->message : "not well formed", -1);
    g_strchomp(reason);
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                "cannot read %s: line %d: %s; give the XML of a libvirt domain (virsh dumpxml)",
                what, last ? last->line : 0, reason);
}

DkvmDoc *dkvm_xml_parse(const char *text, gsize length, const char *what, GError **error)
{
    init_once();
    if (length > DKVM_XML_MAX_BYTES) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "cannot read %s: larger than %d bytes; a domain definition is far smaller",
                    what, DKVM_XML_MAX_BYTES);
        return NULL;
    }
    if (memchr(text, '\0', length) != NULL) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "cannot read %s: it has NUL bytes; give XML in UTF-8", what);
        return NULL;
    }
    if (has_giant_tag(text, length)) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "cannot read %s: a tag longer than %d bytes; this is not a libvirt domain",
                    what, DKVM_XML_MAX_TAG);
        return NULL;
    }
    gboolean dtd = FALSE;
    xmlParserCtxt *context = xmlNewParserCtxt();
    context->_private = &dtd;
    context->sax->internalSubset = refuse_dtd;
    g_autoptr(DkvmDoc) doc =
        xmlCtxtReadMemory(context, text, (int)length, NULL, NULL, PARSE_OPTIONS);
    if (dtd) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "cannot read %s: it has a DOCTYPE, which a libvirt domain never has; remove it",
                    what);
    } else if (doc == NULL || !context->nsWellFormed) {
        set_parse_error(error, what, context);
        g_clear_pointer(&doc, xmlFreeDoc);
    }
    xmlFreeParserCtxt(context);
    if (dtd || doc == NULL) {
        return NULL;
    }
    guint left = DKVM_XML_MAX_ELEMENTS;
    if (too_deep(xmlDocGetRootElement(doc), 1, &left)) {
        g_set_error(
            error, DKVM_ERROR, DKVM_ERROR_INPUT,
            "cannot read %s: more than %d elements, or nested more than %d deep; this is not a "
            "libvirt domain",
            what, DKVM_XML_MAX_ELEMENTS, DKVM_XML_MAX_DEPTH);
        return NULL;
    }
    drop_lone_blanks(xmlDocGetRootElement(doc));
    if (is_mixed(xmlDocGetRootElement(doc))) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "cannot read %s: text and elements side by side, which no libvirt element has",
                    what);
        return NULL;
    }
    return g_steal_pointer(&doc);
}

/* ---- writing ---- */

static void put_escaped(GString *out, const xmlChar *text, gboolean attribute)
{
    if (text == NULL) {
        return;
    }
    const char *start = (const char *)text;
    for (const char *p = start;; p++) {
        const char *entity = NULL;
        switch (*p) {
        case '&':
            entity = "&amp;";
            break;
        case '<':
            entity = "&lt;";
            break;
        case '>':
            entity = "&gt;";
            break;
        case '\r':
            entity = "&#13;";
            break;
        case '\'':
            entity = attribute ? "&apos;" : NULL;
            break;
        case '"':
            entity = attribute ? "&quot;" : NULL;
            break;
        case '\n':
            entity = attribute ? "&#10;" : NULL;
            break;
        case '\t':
            entity = attribute ? "&#9;" : NULL;
            break;
        default:
            break;
        }
        if (entity == NULL && *p != '\0') {
            continue;
        }
        g_string_append_len(out, start, p - start);
        if (*p == '\0') {
            return;
        }
        g_string_append(out, entity);
        start = p + 1;
    }
}

static void put_name(GString *out, const xmlNs *ns, const xmlChar *name)
{
    if (ns != NULL && ns->prefix != NULL) {
        g_string_append(out, (const char *)ns->prefix);
        g_string_append_c(out, ':');
    }
    g_string_append(out, (const char *)name);
}

static void put_attributes(GString *out, const xmlNode *node)
{
    for (const xmlAttr *a = node->properties; a != NULL; a = a->next) {
        g_string_append_c(out, ' ');
        put_name(out, a->ns, a->name);
        g_string_append(out, "='");
        for (const xmlNode *t = a->children; t != NULL; t = t->next) {
            put_escaped(out, t->content, TRUE);
        }
        g_string_append_c(out, '\'');
    }
    for (const xmlNs *ns = node->nsDef; ns != NULL; ns = ns->next) {
        g_string_append(out, ns->prefix ? " xmlns:" : " xmlns");
        g_string_append(out, ns->prefix ? (const char *)ns->prefix : "");
        /* libxml2 keeps an ampersand of a namespace as it was read. */
        g_autoptr(GString) uri = g_string_new((const char *)ns->href);
        g_string_replace(uri, "&#38;", "&", 0);
        g_string_append(out, "='");
        put_escaped(out, BAD_CAST uri->str, TRUE);
        g_string_append_c(out, '\'');
    }
}

static gboolean has_text(const xmlNode *node)
{
    for (const xmlNode *child = node->children; child != NULL; child = child->next) {
        if (child->type == XML_TEXT_NODE && *child->content != '\0') {
            return TRUE;
        }
    }
    return FALSE;
}

static void put_node(GString *out, const xmlNode *node, guint level, gboolean raw);

static void put_indent(GString *out, guint level)
{
    static const char blanks[2 * DKVM_XML_MAX_DEPTH + 1] =
        "                                                                                "
        "                                                ";
    g_string_append_len(out, blanks, 2 * MIN(level, DKVM_XML_MAX_DEPTH));
}

/* An empty text node is nothing: "<a></a>" would be read again as "<a/>". */
static gboolean has_content(const xmlNode *node)
{
    const xmlNode *child = node->children;
    while (child != NULL && child->type == XML_TEXT_NODE && *child->content == '\0') {
        child = child->next;
    }
    return child != NULL;
}

static void put_element(GString *out, const xmlNode *node, guint level, gboolean raw)
{
    g_string_append_c(out, '<');
    put_name(out, node->ns, node->name);
    put_attributes(out, node);
    if (!has_content(node)) {
        g_string_append(out, "/>");
        return;
    }
    g_string_append_c(out, '>');
    gboolean inner_raw = raw || has_text(node);
    for (const xmlNode *child = node->children; child != NULL; child = child->next) {
        if (!inner_raw) {
            g_string_append_c(out, '\n');
            put_indent(out, level + 1);
        }
        put_node(out, child, level + 1, inner_raw);
    }
    if (!inner_raw) {
        g_string_append_c(out, '\n');
        put_indent(out, level);
    }
    g_string_append(out, "</");
    put_name(out, node->ns, node->name);
    g_string_append_c(out, '>');
}

static void put_node(GString *out, const xmlNode *node, guint level, gboolean raw)
{
    switch (node->type) {
    case XML_ELEMENT_NODE:
        put_element(out, node, level, raw);
        break;
    case XML_TEXT_NODE:
        put_escaped(out, node->content, FALSE);
        break;
    case XML_COMMENT_NODE:
        g_string_append_printf(out, "<!--%s-->", (const char *)node->content);
        break;
    case XML_PI_NODE:
        g_string_append_printf(out, "<?%s%s%s?>", (const char *)node->name,
                               node->content ? " " : "",
                               node->content ? (const char *)node->content : "");
        break;
    default: /* a document without a DTD has no other kinds */
        break;
    }
}

char *dkvm_xml_serialize(DkvmDoc *doc)
{
    GString *out = g_string_sized_new(16 * 1024);
    for (const xmlNode *node = doc->children; node != NULL; node = node->next) {
        put_node(out, node, 0, FALSE);
        g_string_append_c(out, '\n');
    }
    return g_string_free(out, FALSE);
}

/* ---- looking around ---- */

xmlNode *dkvm_xml_element(xmlNode *node)
{
    while (node != NULL && node->type != XML_ELEMENT_NODE) {
        node = node->next;
    }
    return node;
}

gboolean dkvm_xml_has_ns(const xmlNode *node, const char *uri)
{
    if (uri == NULL) {
        return node->ns == NULL;
    }
    return node->ns != NULL && strcmp((const char *)node->ns->href, uri) == 0;
}

gboolean dkvm_xml_is(const xmlNode *node, const char *name)
{
    return node != NULL && node->type == XML_ELEMENT_NODE && node->ns == NULL &&
           strcmp((const char *)node->name, name) == 0;
}

xmlNode *dkvm_xml_child_ns(const xmlNode *parent, const char *name, const char *uri)
{
    if (parent == NULL) {
        return NULL;
    }
    for (xmlNode *n = dkvm_xml_element(parent->children); n != NULL;
         n = dkvm_xml_element(n->next)) {
        if (strcmp((const char *)n->name, name) == 0 && dkvm_xml_has_ns(n, uri)) {
            return n;
        }
    }
    return NULL;
}

xmlNode *dkvm_xml_child(const xmlNode *parent, const char *name)
{
    return dkvm_xml_child_ns(parent, name, NULL);
}

const char *dkvm_xml_get(const xmlNode *element, const char *name)
{
    if (element == NULL) {
        return NULL;
    }
    for (const xmlAttr *a = element->properties; a != NULL; a = a->next) {
        if (a->ns == NULL && strcmp((const char *)a->name, name) == 0) {
            return a->children && a->children->content ? (const char *)a->children->content : "";
        }
    }
    return NULL;
}

void dkvm_xml_set(xmlNode *element, const char *name, const char *value)
{
    if (value != NULL) {
        xmlSetNsProp(element, NULL, BAD_CAST name, BAD_CAST value);
        return;
    }
    xmlUnsetNsProp(element, NULL, BAD_CAST name);
}

char *dkvm_xml_text(const xmlNode *element)
{
    GString *text = g_string_new(NULL);
    for (const xmlNode *n = element ? element->children : NULL; n != NULL; n = n->next) {
        if (n->type == XML_TEXT_NODE) {
            g_string_append(text, (const char *)n->content);
        }
    }
    return g_string_free(text, FALSE);
}

void dkvm_xml_remove(xmlNode *node)
{
    xmlUnlinkNode(node);
    xmlFreeNode(node);
}
