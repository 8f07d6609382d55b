/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading domain XML that nobody has to be trusted for, writing it the way libvirt does, and the
 * few tree helpers that libxml2 lacks. */
#pragma once

#include <gio/gio.h>
#include <libxml/tree.h>

#define DKVM_XML_MAX_BYTES (4 * 1024 * 1024)
#define DKVM_XML_MAX_DEPTH 64
#define DKVM_XML_MAX_TAG (64 * 1024)
#define DKVM_XML_MAX_ELEMENTS 16384 /* libvirt's own largest test domain has some 600 */

#define DKVM_NS "urn:dkvm:domain:1.0"
#define DKVM_NS_QEMU "http://libvirt.org/schemas/domain/qemu/1.0"
#define DKVM_NS_OSINFO "http://libosinfo.org/xmlns/libvirt/domain/1.0"

typedef xmlDoc DkvmDoc;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmDoc, xmlFreeDoc)

/* Parses LENGTH bytes of TEXT.  Blank text between elements is dropped, text inside is kept
 * (CDATA as plain text, as libvirt does).  WHAT names
 * the document in errors.  Refused with DKVM_ERROR_INPUT: more than DKVM_XML_MAX_BYTES, a DTD of
 * any kind (so no entity can be declared), more levels or
 * elements than the limits above, undeclared namespaces, anything not well
 * formed. Nothing outside TEXT is ever read. */
DkvmDoc *dkvm_xml_parse(const char *text, gsize length, const char *what, GError **error);

/* DOC as text in the style of virsh dumpxml: two blanks a level, single quotes, attributes before
 * namespace declarations, a final newline.  Same tree, same bytes.  Returns a new string. */
char *dkvm_xml_serialize(DkvmDoc *doc);

/* The first child element of PARENT called NAME in no namespace; NULL if there is none or PARENT is
 * NULL. */
xmlNode *dkvm_xml_child(const xmlNode *parent, const char *name);
/* The same with a namespace URI. */
xmlNode *dkvm_xml_child_ns(const xmlNode *parent, const char *name, const char *uri);
/* The first element at or after NODE among its siblings; for loops. */
xmlNode *dkvm_xml_element(xmlNode *node);
/* Attribute NAME (no namespace) of ELEMENT without a copy: valid while the tree is unchanged.  NULL
 * if there is none. */
const char *dkvm_xml_get(const xmlNode *element, const char *name);
/* Sets or (VALUE NULL) removes attribute NAME in no namespace. */
void dkvm_xml_set(xmlNode *element, const char *name, const char *value);
/* The text directly inside ELEMENT, new string, never NULL. */
char *dkvm_xml_text(const xmlNode *element);
gboolean dkvm_xml_is(const xmlNode *node, const char *name);
gboolean dkvm_xml_has_ns(const xmlNode *node, const char *uri);
/* Unlinks and frees. */
void dkvm_xml_remove(xmlNode *node);
