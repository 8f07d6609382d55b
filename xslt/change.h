/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One difference between a domain as the user has it and as the stylesheets want it.  Changes are
 * what the marker keeps; everything else (patch again, revert, "changed by you") is computed from
 * them. */
#pragma once

#include "lib/xml.h"

typedef enum {
    DKVM_CHANGE_SET,    /* attributes or text of an element that both have */
    DKVM_CHANGE_ADD,    /* an element that only the Darwin guest has */
    DKVM_CHANGE_REMOVE, /* an element that only the original has */
} DkvmChangeKind;

typedef struct {
    DkvmChangeKind kind;
    char *at;         /* locator of the element, as it is called after the change */
    char *part;       /* what --set and --diff call it: "nic", "firmware" ...  (parts.h) */
    char *unit;       /* what belongs together when the user edits it (parts.h) */
    xmlNode *was;     /* SET: an element with the attributes (text) before; REMOVE: the element */
    xmlNode *now;     /* SET: with the attributes (text) after; ADD: the element */
    guint position;   /* REMOVE: how many siblings of that name came before it */
    char *after;      /* REMOVE: the name of the sibling before it, NULL if it was the first */
    xmlNode *node;    /* working: the element in the tree at hand, NULL if it is not there */
    xmlNode *parent;  /* working: REMOVE: where it would go back, NULL if that is gone */
    xmlNode *base;    /* working: the element in the tree that the stylesheets saw */
    gboolean undone;  /* working: the last dkvm_undo() took it back */
    gboolean touched; /* working: the user changed or removed what we wrote */
    gboolean edited;  /* working: the same of any change of its unit */
    gboolean needed;  /* working: what the user has made since cannot be without it */
    gboolean doubled; /* working: the user has put one of their own beside it, which QEMU prefers */
} DkvmChange;

/* A list that owns its changes and, through STORE, their elements. */
typedef struct {
    GPtrArray *list; /* DkvmChange* */
    xmlDoc *store;
} DkvmChanges;

DkvmChanges *dkvm_changes_new(void);
void dkvm_changes_free(DkvmChanges *changes);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmChanges, dkvm_changes_free)

/* Appends a change with its part and unit worked out.  WAS and NOW (either may be NULL) are copied
 * into the store; with SHALLOW without their children. */
DkvmChange *dkvm_changes_add(DkvmChanges *changes, DkvmChangeKind kind, const char *at,
                             const xmlNode *was, const xmlNode *now, gboolean shallow);

/* One order for the same set of changes, however it came about: by place, elements before what is
 * inside them, removed ones by their position. */
void dkvm_changes_sort(DkvmChanges *changes);

/* Whether A and B say the same (position aside: it shifts with the user's own additions). */
gboolean dkvm_change_equal(const DkvmChange *a, const DkvmChange *b);

/* The one of CHANGES that is equal to CHANGE; NULL if there is none. */
DkvmChange *dkvm_changes_find(const DkvmChanges *changes, const DkvmChange *change);

/* Copies NODE (deep unless SHALLOW) for DOC.  Namespaces: qemu's becomes the one declared on DOC's
 * root (declared there when missing: libvirt drops the block otherwise, virt-manager#519); others
 * are declared on the copy.  The patcher's own id attributes are left out. */
xmlNode *dkvm_node_import(xmlDoc *doc, const xmlNode *node, gboolean shallow);

/* The attribute that says which element of the input an element of a stylesheet's result was. */
#define DKVM_ID "dkvm-id"
gboolean dkvm_is_id(const xmlAttr *attribute);

/* Whether the trees A and B are equal: name, namespace, attributes in any order (ids aside), text,
 * children in order. */
gboolean dkvm_node_equal(const xmlNode *a, const xmlNode *b);
/* The same for the elements' own attributes and text. */
gboolean dkvm_node_values_equal(const xmlNode *a, const xmlNode *b);

/* Puts TEXT in the place of the text directly inside NODE; elements in it stay. */
void dkvm_node_set_text(xmlNode *node, const char *text);

/* An element whose children are changes of their own, so that what the user adds to it stays. */
gboolean dkvm_node_is_container(const xmlNode *node);
