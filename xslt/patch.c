/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/patch.h"

#include <string.h>

#include "lib/error.h"
#include "lib/policy.h"
#include "xslt/addresses.h"
#include "xslt/commandline.h"
#include "xslt/compare.h"
#include "xslt/data.h"
#include "xslt/domain.h"
#include "xslt/edited.h"
#include "xslt/input.h"
#include "xslt/locator.h"
#include "xslt/marker.h"
#include "xslt/merge.h"
#include "xslt/report.h"
#include "xslt/run.h"
#include "xslt/undo.h"

/* ---- objects ---- */

/* The compiled stylesheet: one for all patchers, never changed. */
static DkvmStylesheet *shared_darwin(GError **error)
{
    static GMutex lock;
    static DkvmStylesheet *sheet;
    g_mutex_lock(&lock);
    if (sheet == NULL) {
        gsize length = (gsize)(dkvm_data_darwin_size);
        sheet = dkvm_stylesheet_new(dkvm_data_darwin, length, "darwin.xsl", error);
    }
    g_mutex_unlock(&lock);
    return sheet;
}

DkvmPatcher *dkvm_patcher_new(const DkvmFacts *facts, const char *osk, const char *model,
                              const GPtrArray *admin, GError **error)
{
    g_autoptr(DkvmPatcher) patcher = g_new0(DkvmPatcher, 1);
    patcher->facts = facts;
    patcher->osk = osk;
    patcher->model = model;
    patcher->admin = admin;
    patcher->darwin = shared_darwin(error);
    if (patcher->darwin == NULL) {
        return NULL;
    }
    patcher->input = dkvm_input_new();
    patcher->admin_input = dkvm_input_new();
    return g_steal_pointer(&patcher);
}

void dkvm_patcher_free(DkvmPatcher *patcher)
{
    if (patcher == NULL) {
        return;
    }
    xmlFreeDoc(patcher->input);
    xmlFreeDoc(patcher->admin_input);
    g_free(patcher);
}

static void run_clear(DkvmRun *run)
{
    dkvm_run_forget_pass(run);
    g_clear_pointer(&run->marker, dkvm_marker_free);
    g_clear_pointer(&run->keep, g_hash_table_unref);
    g_clear_pointer(&run->redo, g_hash_table_unref);
    g_clear_pointer(&run->force, g_hash_table_unref);
    g_clear_pointer(&run->doc, xmlFreeDoc);
    g_clear_pointer(&run->patched, dkvm_patched_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(DkvmRun, run_clear)

/* ---- from differences to the result ---- */

static const xmlNode *next_graphics(const xmlNode *node)
{
    xmlNode *n = dkvm_xml_element((xmlNode *)node);
    while (n != NULL && !dkvm_xml_is(n, "graphics")) {
        n = dkvm_xml_element(n->next);
    }
    return n;
}

/* Name, UUID and displays (with their passwords) are the user's alone, whatever a stylesheet does.
 */
static gboolean is_untouched(const xmlNode *base, const xmlNode *target)
{
    static const char *const parts[] = {"name", "uuid", "genid", "metadata"};
    for (gsize i = 0; i < G_N_ELEMENTS(parts); i++) {
        const xmlNode *was = dkvm_xml_child(base, parts[i]),
                      *now = dkvm_xml_child(target, parts[i]);
        if (was == NULL || now == NULL ? was != now : !dkvm_node_equal(was, now)) {
            return FALSE;
        }
    }
    const xmlNode *devices = dkvm_xml_child(base, "devices"),
                  *others = dkvm_xml_child(target, "devices");
    const xmlNode *was = devices ? next_graphics(devices->children) : NULL;
    const xmlNode *now = others ? next_graphics(others->children) : NULL;
    while (was != NULL && now != NULL && dkvm_node_equal(was, now)) {
        was = next_graphics(was->next);
        now = next_graphics(now->next);
    }
    return was == NULL && now == NULL && dkvm_node_values_equal(base, target);
}

static gboolean check_allowed(const DkvmRun *run, GError **error)
{
    if (is_untouched(run->base, xmlDocGetRootElement(run->target))) {
        return TRUE;
    }
    g_set_error(
        error, DKVM_ERROR, DKVM_ERROR_HOST,
        "cannot use the stylesheets: they change the domain's type, name, UUID, metadata or "
        "graphics, which are the user's alone; correct the admin's own in xslt.d");
    return FALSE;
}

/* Old changes that go: taken back for this pass and not wanted again.  A forced one is written
 * anew, since the user's edit is in its place. */
static gboolean is_over(const DkvmChange *change, gpointer data)
{
    const DkvmRun *run = data;
    gboolean in_use = change->kind == DKVM_CHANGE_ADD && change->base != NULL;
    if (!dkvm_run_is_taken_back(change, (gpointer)run) || in_use) {
        return FALSE;
    }
    return (change->edited && dkvm_run_is_forced(change, run)) ||
           dkvm_changes_find(run->fresh, change) == NULL;
}

static void report(GPtrArray *lines, char *line)
{
    g_ptr_array_add(lines, line);
}

/* Leaves to the user what is theirs.  In two steps: a change tells of the others of its unit. */
static void drop_pinned(DkvmRun *run)
{
    g_autoptr(GPtrArray) pinned = g_ptr_array_new();
    g_autoptr(GHashTable) said = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < run->fresh->list->len; i++) {
        DkvmChange *change = g_ptr_array_index(run->fresh->list, i);
        if (!dkvm_run_has_pinned_unit(run, change)) {
            continue;
        }
        /* What the marker knows of, report_kept() names. */
        if (dkvm_run_is_chosen_since(run, change) && g_hash_table_add(said, change->unit)) {
            report(run->patched->kept, dkvm_report_kept(change));
        }
        g_ptr_array_add(pinned, change);
    }
    g_hash_table_remove_all(said);
    for (guint i = 0; i < pinned->len; i++) {
        g_ptr_array_remove(run->fresh->list, g_ptr_array_index(pinned, i));
    }
}

/* The base knows no address that is not there any more. */
static void forget_lost_addresses(DkvmRun *run)
{
    g_autoptr(GHashTable) there = g_hash_table_new(NULL, NULL);
    const xmlNode *devices = dkvm_xml_child(run->domain, "devices");
    const xmlNode *base = dkvm_xml_child(run->base, "devices");
    for (xmlNode *n = devices ? dkvm_xml_element(devices->children) : NULL; n != NULL;
         n = dkvm_xml_element(n->next)) {
        g_hash_table_add(there, dkvm_xml_child(n, "address"));
    }
    for (xmlNode *n = base ? dkvm_xml_element(base->children) : NULL; n != NULL;
         n = dkvm_xml_element(n->next)) {
        xmlNode *address = dkvm_xml_child(n, "address");
        if (address != NULL && !g_hash_table_contains(there, address->_private)) {
            address->_private = NULL;
        }
    }
}

static void take_back_old(DkvmRun *run)
{
    DkvmChanges *old = run->marker->changes;
    g_autoptr(GPtrArray) over = g_ptr_array_new();
    gboolean usb = FALSE;
    for (guint i = 0; i < old->list->len; i++) {
        DkvmChange *change = g_ptr_array_index(old->list, i);
        if (is_over(change, run)) {
            g_ptr_array_add(over, change);
        }
    }
    dkvm_undo(run->domain, old, is_over, run);
    for (guint i = 0; i < over->len; i++) {
        DkvmChange *change = g_ptr_array_index(over, i);
        if (change->kind == DKVM_CHANGE_REMOVE && change->base && change->node) {
            dkvm_merge_link(change->base, change->node);
        }
        usb |= g_str_equal(change->part, "usb");
        report(run->patched->done, dkvm_report_change(change, TRUE));
    }
    if (usb) {
        dkvm_addresses_drop_usb(run->domain, old);
    }
    dkvm_addresses_settle(run->domain, old);
    forget_lost_addresses(run);
    for (guint i = 0; i < over->len; i++) {
        g_ptr_array_remove(old->list, g_ptr_array_index(over, i));
    }
}

static void apply_fresh(DkvmRun *run)
{
    g_autoptr(GHashTable) made = g_hash_table_new(NULL, NULL);
    for (guint i = 0; i < run->fresh->list->len; i++) {
        DkvmChange *fresh = g_ptr_array_index(run->fresh->list, i);
        if (dkvm_changes_find(run->marker->changes, fresh) != NULL) {
            if (fresh->kind == DKVM_CHANGE_ADD) {
                g_hash_table_insert(made, fresh->node, dkvm_locator_find(run->domain, fresh->at));
            }
            continue;
        }
        dkvm_merge_apply(fresh, run->numbered, made);
        report(run->patched->done, dkvm_report_change(fresh, FALSE));
        DkvmChange *kept = dkvm_changes_add(run->marker->changes, fresh->kind, fresh->at,
                                            fresh->was, fresh->now, FALSE);
        kept->position = fresh->position;
        kept->after = g_strdup(fresh->after);
    }
}

static void report_kept(DkvmRun *run)
{
    g_autoptr(GHashTable) said = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < run->marker->changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(run->marker->changes->list, i);
        if (dkvm_run_is_pinned(change, run) && g_hash_table_add(said, change->unit)) {
            report(run->patched->kept, dkvm_report_kept(change));
        }
    }
}

static void write_marker(DkvmRun *run)
{
    DkvmMarker *marker = run->marker;
    g_free(marker->model);
    g_free(marker->macos);
    marker->model = g_strdup(run->model);
    marker->macos = dkvm_macos_text(run->macos);
    marker->off = FALSE;
    dkvm_marker_write(run->domain, marker);
}

static void finish(DkvmRun *run, const char *text, gsize length)
{
    DkvmPatched *patched = run->patched;
    dkvm_commandline_ungroup(run->domain);
    patched->xml = dkvm_xml_serialize(run->doc);
    patched->up_to_date = patched->done->len == 0;
    patched->changed = !run->marker->present || !patched->up_to_date;
    if (!patched->changed) {
        g_autofree char *before = dkvm_patch_canonical(text, length);
        patched->changed = !g_str_equal(patched->xml, before);
    }
}

/* <metadata> with anything in it but a marker (of a domain that was reverted). */
static gboolean has_own_metadata(const xmlNode *domain)
{
    const xmlNode *metadata = dkvm_xml_child(domain, "metadata");
    const xmlNode *child = metadata ? metadata->children : NULL;
    return metadata != NULL &&
           (child == NULL || child->next != NULL || !dkvm_xml_has_ns(child, DKVM_NS));
}

/* What goes again with a revert: <metadata> for the marker, the declaration of qemu's namespace. */
static char *what_is_missing(const xmlNode *domain)
{
    const xmlNs *ns = domain->nsDef;
    while (ns != NULL && !xmlStrEqual(ns->href, BAD_CAST DKVM_NS_QEMU)) {
        ns = ns->next;
    }
    GString *words = g_string_new(NULL);
    g_string_append(words, has_own_metadata(domain) ? "" : "metadata ");
    g_string_append(words, dkvm_xml_child(dkvm_xml_child(domain, "devices"), "hub") ? "" : "hub ");
    g_string_append(words, ns ? "" : "namespace");
    g_strchomp(words->str);
    return g_string_free(words, FALSE);
}

/* Takes DOC, which may be NULL with *ERROR set. */
static gboolean start(DkvmRun *run, DkvmDoc *doc, const char *text, gsize length, const char *what,
                      GError **error)
{
    run->keep = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    run->redo = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    run->force = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    run->doc = doc;
    run->domain = run->doc ? xmlDocGetRootElement(run->doc) : NULL;
    if (run->doc == NULL || !dkvm_policy_allows(run->domain, what, error)) {
        return FALSE;
    }
    run->marker = dkvm_marker_read(run->domain, error);
    if (run->marker == NULL) {
        return FALSE;
    }
    run->patched = dkvm_domain_patched(run->doc, text, length);
    run->patched->was_patched = run->marker->present && !run->marker->off;
    if (!run->patched->was_patched) {
        run->marker->controllers = dkvm_domain_controllers(run->domain);
        run->marker->disks = dkvm_domain_disks(run->domain);
        run->marker->made = what_is_missing(run->domain);
    }
    dkvm_commandline_group(run->domain);
    return TRUE;
}

static gboolean run_patch(DkvmRun *run, DkvmDoc *doc, const char *text, gsize length,
                          const char *what, const DkvmWishes *wishes, GError **error)
{
    if (!start(run, doc, text, length, what, error)) {
        return FALSE;
    }
    dkvm_edited_look(run->domain, run->marker->changes);
    dkvm_run_take_wishes(run, wishes);
    if (!dkvm_run_passes(run, error) || !check_allowed(run, error)) {
        g_prefix_error(error, "%s: ", what);
        return FALSE;
    }
    drop_pinned(run);
    take_back_old(run);
    apply_fresh(run);
    dkvm_changes_sort(run->marker->changes);
    report_kept(run);
    write_marker(run);
    finish(run, text, length);
    return TRUE;
}

/* ---- proof ---- */

static gboolean is_intact(const DkvmChange *change, gpointer data)
{
    return !change->edited;
}

/* Our own stylesheet is a function of its input: if taking everything back from the result gives
 * the very tree that it was applied to, applying it again gives the same changes.  Uses the result
 * up. */
static gboolean proves_itself(DkvmRun *run)
{
    gboolean simple = g_hash_table_size(run->keep) == 0 &&
                      (run->patcher->admin == NULL || run->patcher->admin->len == 0);
    if (!simple || !dkvm_marker_is_readable(run->marker)) {
        return FALSE;
    }
    dkvm_commandline_group(run->domain);
    dkvm_edited_look(run->domain, run->marker->changes);
    dkvm_marker_remove(run->domain);
    dkvm_undo(run->domain, run->marker->changes, is_intact, NULL);
    return dkvm_node_equal(run->domain, run->base);
}

static gboolean patches_to_itself(DkvmRun *run, const char *what, GError **error)
{
    const char *xml = run->patched->xml;
    gsize length = strlen(xml);
    g_auto(DkvmRun) again = {.patcher = run->patcher, .calls = run->calls, .state = run->state};
    DkvmDoc *doc = dkvm_xml_parse(xml, length, what, error);
    return run_patch(&again, doc, xml, length, what, NULL, error) &&
           g_str_equal(again.patched->xml, xml);
}

static void say_nearly_done(const DkvmRun *run)
{
    if (run->calls->nearly_done != NULL && run->patched->changed) {
        run->calls->nearly_done(run->calls->data);
    }
}

/* patch(patch(x)) = patch(x). */
static gboolean prove(DkvmRun *run, const char *what, GError **error)
{
    g_autoptr(GError) inner = NULL;
    say_nearly_done(run);
    if (proves_itself(run)) {
        return TRUE;
    }
    if (patches_to_itself(run, what, &inner)) {
        say_nearly_done(run);
        return TRUE;
    }
    const GPtrArray *admin = run->patcher->admin;
    const char *last = admin && admin->len
                           ? dkvm_stylesheet_name(g_ptr_array_index(admin, admin->len - 1))
                           : "darwin.xsl";
    g_set_error(
        error, DKVM_ERROR, DKVM_ERROR_HOST,
        "cannot patch %s: patching the result again would change it (%s); nothing was changed; "
        "the stylesheet at fault is %s or one before it",
        what, inner ? inner->message : "a stylesheet is not idempotent", last);
    return FALSE;
}

DkvmPatched *dkvm_patch_doc(DkvmPatcher *patcher, DkvmDoc *doc, const char *text, gsize length,
                            const char *what, const DkvmPatchCalls *calls, const DkvmWishes *wishes,
                            GError **error)
{
    g_auto(DkvmRun) run = {.patcher = patcher, .calls = calls};
    if (!run_patch(&run, doc, text, length, what, wishes, error) || !prove(&run, what, error)) {
        return NULL;
    }
    return g_steal_pointer(&run.patched);
}

static const DkvmDomainState *known_state(gpointer data)
{
    return data;
}

DkvmPatched *dkvm_patch(DkvmPatcher *patcher, const char *text, gsize length, const char *what,
                        const DkvmDomainState *state, const DkvmWishes *wishes, GError **error)
{
    DkvmPatchCalls calls = {.state = known_state, .data = (gpointer)state};
    DkvmDoc *doc = dkvm_xml_parse(text, length, what, error);
    return dkvm_patch_doc(patcher, doc, text, length, what, &calls, wishes, error);
}
