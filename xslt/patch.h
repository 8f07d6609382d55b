/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One domain definition made a Darwin guest, and back: text in, text out.  Knows nothing of libvirt
 * connections and files. */
#pragma once

#include "xslt/facts.h"
#include "xslt/models.h"
#include "xslt/transform.h"

/* What cannot be read in the XML. */
typedef struct {
    gboolean from_file;        /* an XML file: nothing is known of its disks */
    DkvmTristate disks_empty;  /* every writable disk: at most 64 MiB allocated, nothing written */
    DkvmTristate own_emulator; /* the connection can use the domain's own <emulator> */
} DkvmDomainState;

/* What the user asked for on the command line. */
typedef struct {
    const char *model; /* -m, or NULL */
    DkvmMacos macos;   /* --macos, or 0 */
    GHashTable *set;   /* --set: key -> value or "auto"; or NULL */
} DkvmWishes;

typedef struct {
    char *name, *uuid;    /* as in the XML; NULL if absent */
    char *before;         /* the definition as it was read */
    char *xml;            /* the definition as it should be */
    gboolean changed;     /* they differ, the form aside */
    gboolean up_to_date;  /* they differ in the marker at most */
    gboolean was_patched; /* it had a marker of ours that is not off */
    GPtrArray
        *done; /* char*: what was changed, a line each ("nic: devices/interface[...]/model") */
    GPtrArray *kept;  /* char*: parts that the user changed, a line each */
    GPtrArray *notes; /* char*: "note|text", "warning|text" */
} DkvmPatched;

void dkvm_patched_free(DkvmPatched *patched);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmPatched, dkvm_patched_free)

typedef struct DkvmPatcher DkvmPatcher;

/* FACTS and OSK (may be NULL: no key configured) are copied by reference and must outlive the
 * patcher. MODEL: the configured default model, or NULL.  ADMIN: the admin's stylesheets in order
 * (DkvmStylesheet*, may be NULL), owned by the caller. */
DkvmPatcher *dkvm_patcher_new(const DkvmFacts *facts, const char *osk, const char *model,
                              const GPtrArray *admin, GError **error);
void dkvm_patcher_free(DkvmPatcher *patcher);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmPatcher, dkvm_patcher_free)

/* Makes the domain in TEXT a Darwin guest.  WHAT names it in errors.  Nothing of a domain is
 * trusted. Proven before it returns: patching the result again changes nothing (DKVM_ERROR_HOST
 * naming the stylesheet if not), name and UUID are what they were, <graphics> is untouched. Errors:
 * DKVM_ERROR_INPUT (not a domain of type kvm or qemu for x86_64, a marker that makes no sense),
 * DKVM_ERROR_HOST, DKVM_ERROR_REFUSED. */
DkvmPatched *dkvm_patch(DkvmPatcher *patcher, const char *text, gsize length, const char *what,
                        const DkvmDomainState *state, const DkvmWishes *wishes, GError **error);

/* For a caller that has to wait for somebody else meanwhile. */
typedef struct {
    /* Asked once, when it is needed; what it returns outlives the patch. */
    const DkvmDomainState *(*state)(gpointer data);
    /* What state() will most likely say of a domain that was never patched, to work with until it
     * does; NULL: no idea. */
    const DkvmDomainState *likely;
    /* The result will be another definition, and what remains is a short proof.  Comes again where
     * that took longer.  May be NULL. */
    void (*nearly_done)(gpointer data);
    gpointer data;
} DkvmPatchCalls;

/* The same of a definition that is parsed already: DOC, which goes over to it, is TEXT. */
DkvmPatched *dkvm_patch_doc(DkvmPatcher *patcher, DkvmDoc *doc, const char *text, gsize length,
                            const char *what, const DkvmPatchCalls *calls, const DkvmWishes *wishes,
                            GError **error);

/* TEXT (that dkvm_patch() or dkvm_revert() took) in the form that their results have, to compare
 * with.  New string. */
char *dkvm_patch_canonical(const char *text, gsize length);

/* The same with the passwords of displays left out, for a diff.  New string. */
char *dkvm_patch_showable(const char *text);

/* Takes back what dkvm_patch() did and the user has not changed since.  LEAVE_OFF: leave
 * <dkvm:darwin state="off"/> so that the watcher and --all skip the domain. */
DkvmPatched *dkvm_revert(const char *text, gsize length, const char *what, gboolean leave_off,
                         GError **error);
