/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/patch.h"

#include <string.h>

#include "lib/error.h"
#include "xslt/added.h"
#include "xslt/commandline.h"
#include "xslt/compare.h"
#include "xslt/data.h"
#include "xslt/domain.h"
#include "xslt/input.h"
#include "xslt/locator.h"
#include "xslt/marker.h"
#include "xslt/merge.h"
#include "xslt/parts.h"
#include "xslt/report.h"
#include "xslt/undo.h"

struct DkvmPatcher {
    const DkvmFacts *facts;
    const char *osk, *model;
    const GPtrArray *admin;
    DkvmStylesheet *darwin;
    DkvmDoc *input, *admin_input;
};

/* One run over one domain. */
typedef struct {
    DkvmPatcher *patcher;
    const DkvmDomainState *state;
    DkvmDoc *doc; /* the definition as it is; the result is made of it */
    xmlNode *domain;
    DkvmMarker *marker;
    DkvmMacos macos;
    const char *model;
    GHashTable
        *keep; /* settled units that were not taken back: they stay if the stylesheets let them */
    GHashTable *redo;  /* settled units that must be decided from the original */
    GHashTable *force; /* parts whose user edits are given up (--set) */
    xmlNode *base;     /* what the stylesheets saw */
    GPtrArray *numbered;
    DkvmDoc *target; /* what they made of it */
    DkvmChanges *fresh;
    DkvmPatched *patched;
} Run;

/* ---- objects ---- */

DkvmPatcher *dkvm_patcher_new(const DkvmFacts *facts, const char *osk, const char *model,
                              const GPtrArray *admin, GError **error)
{
    g_autoptr(DkvmPatcher) patcher = g_new0(DkvmPatcher, 1);
    patcher->facts = facts;
    patcher->osk = osk;
    patcher->model = model;
    patcher->admin = admin;
    patcher->darwin = dkvm_stylesheet_new(dkvm_data_darwin, dkvm_data_darwin_end - dkvm_data_darwin,
                                          "darwin.xsl", error);
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
    dkvm_stylesheet_free(patcher->darwin);
    xmlFreeDoc(patcher->input);
    xmlFreeDoc(patcher->admin_input);
    g_free(patcher);
}

static void run_forget_pass(Run *run)
{
    g_clear_pointer(&run->numbered, g_ptr_array_unref);
    g_clear_pointer(&run->fresh, dkvm_changes_free);
    g_clear_pointer(&run->target, xmlFreeDoc);
}

static void run_clear(Run *run)
{
    run_forget_pass(run);
    g_clear_pointer(&run->marker, dkvm_marker_free);
    g_clear_pointer(&run->keep, g_hash_table_unref);
    g_clear_pointer(&run->redo, g_hash_table_unref);
    g_clear_pointer(&run->force, g_hash_table_unref);
    g_clear_pointer(&run->doc, xmlFreeDoc);
    g_clear_pointer(&run->patched, dkvm_patched_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Run, run_clear)

/* ---- what the user wants ---- */

static void choose(Run *run, const char *key, const char *value)
{
    if (g_str_equal(value, "auto")) {
        g_hash_table_remove(run->marker->choices, key);
    } else {
        g_hash_table_insert(run->marker->choices, g_strdup(key), g_strdup(value));
    }
    g_hash_table_add(run->force, g_strdup(key));
}

static void take_wishes(Run *run, const DkvmWishes *wishes)
{
    GHashTableIter i;
    gpointer key, value;
    if (wishes == NULL) {
        return;
    }
    if (wishes->model != NULL) {
        choose(run, "model", wishes->model);
    }
    if (wishes->macos != 0) {
        g_autofree char *text = dkvm_macos_text(wishes->macos);
        choose(run, "macos", text);
    }
    if (wishes->set == NULL) {
        return;
    }
    g_hash_table_iter_init(&i, wishes->set);
    while (g_hash_table_iter_next(&i, &key, &value)) {
        choose(run, key, value);
    }
}

/* The macOS and the Mac: chosen, else by libosinfo id, else unknown; chosen, else configured, else
 * what goes with the macOS. */
static void decide_model(Run *run)
{
    const char *macos = g_hash_table_lookup(run->marker->choices, "macos");
    const char *model = g_hash_table_lookup(run->marker->choices, "model");
    run->macos = macos ? dkvm_macos_parse(macos) : dkvm_domain_macos(run->domain);
    model = model ? model : run->patcher->model;
    run->model = model ? dkvm_models_find(model) : dkvm_models_default(run->macos);
}

/* Addresses on a USB controller that was replaced. */
static gboolean went_with_usb(const DkvmChange *change)
{
    return g_str_equal(change->part, "input") ||
           (change->kind == DKVM_CHANGE_REMOVE &&
            g_strcmp0(dkvm_xml_get(change->was, "type"), "usb") == 0);
}

static gboolean has_machine_change(const DkvmChanges *changes)
{
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(changes->list, i);
        if (g_str_equal(change->part, "machine")) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Another macOS than last time: devices are decided anew from what the domain had before dkvm. */
static void redo_for_other_macos(Run *run)
{
    g_autofree char *now = dkvm_macos_text(run->macos);
    if (run->marker->macos == NULL || g_str_equal(run->marker->macos, now)) {
        return;
    }
    /* On another machine every address is part of the decision. */
    gboolean converted = has_machine_change(run->marker->changes);
    static const char *const by_version[] = {"disk", "nic", "usb", "video", "sound", "input", NULL};
    for (guint i = 0; i < run->marker->changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(run->marker->changes->list, i);
        if (converted || g_strv_contains(by_version, change->part) || went_with_usb(change)) {
            g_hash_table_add(run->redo, g_strdup(change->unit));
        }
    }
}

static gboolean is_forced(const DkvmChange *change, const Run *run)
{
    if (g_hash_table_contains(run->force, change->part)) {
        return TRUE;
    }
    if (change->kind != DKVM_CHANGE_ADD || !dkvm_node_is_container(change->now)) {
        return FALSE;
    }
    /* What is decided again needs the element around it. */
    g_autofree char *inside = g_strconcat(change->at, "/", NULL);
    for (guint i = 0; i < run->marker->changes->list->len; i++) {
        const DkvmChange *other = g_ptr_array_index(run->marker->changes->list, i);
        if (g_str_has_prefix(other->at, inside) && g_hash_table_contains(run->force, other->part)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Another USB controller: what was let go for the last one is decided anew with it. */
static void redo_for_other_usb(Run *run)
{
    for (guint i = 0;
         g_hash_table_contains(run->force, "usb") && i < run->marker->changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(run->marker->changes->list, i);
        if (went_with_usb(change)) {
            g_hash_table_add(run->redo, g_strdup(change->unit));
        }
    }
}

/* The user's own: not undone, not written again. */
static gboolean is_pinned(const DkvmChange *change, const Run *run)
{
    return change->edited && !is_forced(change, run);
}

/* ---- one pass: original, stylesheets, differences ---- */

static gboolean is_taken_back(const DkvmChange *change, gpointer data)
{
    const Run *run = data;
    if (is_forced(change, run)) {
        return TRUE;
    }
    if (change->edited) {
        return FALSE;
    }
    return !g_hash_table_contains(run->keep, change->unit);
}

static void make_base(Run *run)
{
    run->base = dkvm_input_set_domain(run->patcher->input, run->domain);
    dkvm_merge_link(run->base, run->domain);
    dkvm_marker_remove(run->base);
    dkvm_added_before_undo(run->base, run->marker, is_taken_back, run);
    dkvm_undo(run->base, run->marker->changes, is_taken_back, run);
    if (run->patched->was_patched && g_hash_table_size(run->keep) == 0) {
        dkvm_added_after_undo(run->base, run->marker);
    }
    for (guint i = 0; i < run->marker->changes->list->len; i++) {
        DkvmChange *change = g_ptr_array_index(run->marker->changes->list, i);
        change->base = change->node; /* REMOVE: what was put back; ADD: a container still in use */
    }
}

static gboolean topology_is_edited(const Run *run)
{
    for (guint i = 0; i < run->marker->changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(run->marker->changes->list, i);
        if (g_str_equal(change->part, "topology") && is_pinned(change, run)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* A number of vCPUs that the user changed is theirs, and the shape that goes with it is worked out
 * again: what they edited is the new original, what they left is taken back. */
static void release_topology(Run *run)
{
    GPtrArray *list = run->marker->changes->list;
    for (guint i = list->len; i > 0; i--) {
        DkvmChange *change = g_ptr_array_index(list, i - 1);
        if (!g_str_equal(change->part, "topology")) {
            continue;
        }
        change->edited = FALSE;
        if (change->touched) {
            g_ptr_array_remove_index(list, i - 1);
        }
    }
}

static gboolean fill_input(Run *run, DkvmVcpus *vcpus, GError **error)
{
    const DkvmCpuModel *cpu = dkvm_models_cpu(run->model, run->macos);
    gboolean edited = topology_is_edited(run);
    if (!dkvm_vcpus_choose(run->base, run->patcher->facts, cpu, run->macos,
                           g_hash_table_lookup(run->marker->choices, "topology"), edited, vcpus,
                           error)) {
        return FALSE;
    }
    if (edited && !vcpus->leave) {
        release_topology(run);
        make_base(run);
        return fill_input(run, vcpus, error);
    }
    DkvmInput input = {.facts = run->patcher->facts,
                       .state = run->state,
                       .cpu = cpu,
                       .vcpus = vcpus,
                       .model = run->model,
                       .macos = run->macos,
                       .choices = run->marker->choices,
                       .osk = run->patcher->osk,
                       .original = g_hash_table_size(run->keep) == 0};
    dkvm_input_fill(run->patcher->input, &input);
    if (run->patcher->admin != NULL) {
        dkvm_input_fill(run->patcher->admin_input, &input);
    }
    return TRUE;
}

static gboolean apply_admin(Run *run, GError **error)
{
    for (guint i = 0; run->patcher->admin != NULL && i < run->patcher->admin->len; i++) {
        DkvmDoc *input = run->patcher->admin_input;
        dkvm_input_set_domain(input, xmlDocGetRootElement(run->target));
        DkvmDoc *result = dkvm_stylesheet_apply(g_ptr_array_index(run->patcher->admin, i), input,
                                                run->patched->notes, error);
        if (result == NULL) {
            return FALSE;
        }
        xmlFreeDoc(run->target);
        run->target = result;
    }
    return TRUE;
}

static gboolean pass(Run *run, GError **error)
{
    DkvmVcpus vcpus = {0};
    run_forget_pass(run);
    g_ptr_array_set_size(run->patched->notes, 0);
    make_base(run);
    if (!fill_input(run, &vcpus, error)) {
        return FALSE;
    }
    run->numbered = dkvm_compare_number(run->base);
    run->target = dkvm_stylesheet_apply(run->patcher->darwin, run->patcher->input,
                                        run->patched->notes, error);
    if (run->target == NULL || !apply_admin(run, error)) {
        return FALSE;
    }
    run->fresh = dkvm_compare(run->numbered, run->base, xmlDocGetRootElement(run->target));
    return TRUE;
}

static DkvmChange *find_equal(const DkvmChanges *changes, const DkvmChange *change)
{
    for (guint i = 0; i < changes->list->len; i++) {
        DkvmChange *other = g_ptr_array_index(changes->list, i);
        if (dkvm_change_equal(other, change)) {
            return other;
        }
    }
    return NULL;
}

static gboolean has_unit(const DkvmChanges *changes, const char *unit)
{
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(changes->list, i);
        if (g_str_equal(change->unit, unit)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* A change that stays if what it made works: of a settled part, not edited, not to be redone. */
static gboolean may_stay(const Run *run, const DkvmChange *change)
{
    return dkvm_part_is_settled(change->part) && !g_str_has_prefix(change->at, "qemu:") &&
           !change->edited && !is_forced(change, run) &&
           !g_hash_table_contains(run->redo, change->unit);
}

/* An installed system may depend on what was done for it, and libvirt has added its own to it: all
 * that is settled stays as it is now, as long as that works. */
static void find_units_to_keep(Run *run)
{
    for (guint i = 0; i < run->marker->changes->list->len; i++) {
        const DkvmChange *old = g_ptr_array_index(run->marker->changes->list, i);
        if (may_stay(run, old)) {
            g_hash_table_add(run->keep, g_strdup(old->unit));
        }
    }
}

/* It does not work: decided from the original after all.  TRUE if there is such a unit. */
static gboolean find_units_to_redo(Run *run)
{
    gboolean more = FALSE;
    for (guint i = 0; i < run->marker->changes->list->len; i++) {
        const DkvmChange *old = g_ptr_array_index(run->marker->changes->list, i);
        if (g_hash_table_contains(run->keep, old->unit) && has_unit(run->fresh, old->unit)) {
            g_hash_table_remove(run->keep, old->unit);
            more |= g_hash_table_add(run->redo, g_strdup(old->unit));
        }
    }
    return more;
}

/* Whether CHANGE is about something that the user changed. */
static gboolean has_pinned_unit(const Run *run, const DkvmChange *change)
{
    for (guint i = 0; i < run->marker->changes->list->len; i++) {
        const DkvmChange *old = g_ptr_array_index(run->marker->changes->list, i);
        if (is_pinned(old, run) && g_str_equal(old->unit, change->unit)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Whether what was done last time is what would be done now. */
static gboolean is_up_to_date(const Run *run)
{
    const DkvmChanges *old = run->marker->changes;
    for (guint i = 0; i < old->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(old->list, i);
        if (is_taken_back(change, (gpointer)run) && find_equal(run->fresh, change) == NULL) {
            return FALSE;
        }
    }
    for (guint i = 0; i < run->fresh->list->len; i++) {
        const DkvmChange *fresh = g_ptr_array_index(run->fresh->list, i);
        if (find_equal(old, fresh) == NULL && !has_pinned_unit(run, fresh)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* From the original first: the same input gives the same changes.  Where it does not (another
 * version of the rules, disks that are not empty any more, what libvirt has added to its own
 * machine), all that is settled stays as it is now as long as that works; what does not work is
 * decided from the original. */
static gboolean passes(Run *run, GError **error)
{
    g_autoptr(GError) inner = NULL;
    gboolean good = pass(run, &inner);
    gboolean first = run->marker->changes->list->len == 0;
    /* On another machine a device that is decided anew brings addresses of the old one. */
    gboolean anew = g_hash_table_size(run->force) > 0 && has_machine_change(run->marker->changes);
    if (good && (first || anew || is_up_to_date(run))) {
        return TRUE;
    }
    if (first) {
        g_propagate_error(error, g_steal_pointer(&inner));
        return FALSE;
    }
    find_units_to_keep(run);
    do {
        if (!pass(run, error)) {
            return FALSE;
        }
    } while (find_units_to_redo(run));
    return TRUE;
}

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

static gboolean check_allowed(const Run *run, GError **error)
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

/* Leaves to the user what is theirs. */
static void drop_pinned(Run *run)
{
    for (guint i = run->fresh->list->len; i > 0; i--) {
        if (has_pinned_unit(run, g_ptr_array_index(run->fresh->list, i - 1))) {
            g_ptr_array_remove_index(run->fresh->list, i - 1);
        }
    }
}

/* Old changes that go: taken back for this pass and not wanted again.  A forced one is written
 * anew, since the user's edit is in its place. */
static gboolean is_over(const DkvmChange *change, gpointer data)
{
    const Run *run = data;
    gboolean in_use = change->kind == DKVM_CHANGE_ADD && change->base != NULL;
    if (!is_taken_back(change, (gpointer)run) || in_use) {
        return FALSE;
    }
    return (change->edited && is_forced(change, run)) || find_equal(run->fresh, change) == NULL;
}

static void report(GPtrArray *lines, char *line)
{
    g_ptr_array_add(lines, line);
}

static void take_back_old(Run *run)
{
    DkvmChanges *old = run->marker->changes;
    g_autoptr(GPtrArray) over = g_ptr_array_new();
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
        report(run->patched->done, dkvm_report_change(change, TRUE));
        g_ptr_array_remove(old->list, change);
    }
}

static void apply_fresh(Run *run)
{
    g_autoptr(GHashTable) made = g_hash_table_new(NULL, NULL);
    for (guint i = 0; i < run->fresh->list->len; i++) {
        DkvmChange *fresh = g_ptr_array_index(run->fresh->list, i);
        if (find_equal(run->marker->changes, fresh) != NULL) {
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

static void report_kept(Run *run)
{
    g_autoptr(GHashTable) said = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < run->marker->changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(run->marker->changes->list, i);
        if (is_pinned(change, run) && g_hash_table_add(said, change->unit)) {
            report(run->patched->kept, dkvm_report_kept(change));
        }
    }
}

static void write_marker(Run *run)
{
    DkvmMarker *marker = run->marker;
    g_free(marker->model);
    g_free(marker->macos);
    marker->model = g_strdup(run->model);
    marker->macos = dkvm_macos_text(run->macos);
    marker->off = FALSE;
    dkvm_marker_write(run->domain, marker);
}

static void finish(Run *run, const char *text, gsize length)
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

static gboolean start(Run *run, const char *text, gsize length, const char *what, GError **error)
{
    run->keep = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    run->redo = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    run->force = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    run->doc = dkvm_xml_parse(text, length, what, error);
    run->domain = run->doc ? xmlDocGetRootElement(run->doc) : NULL;
    if (run->doc == NULL || !dkvm_domain_check(run->domain, what, error)) {
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

static gboolean run_patch(Run *run, const char *text, gsize length, const char *what,
                          const DkvmWishes *wishes, GError **error)
{
    if (!start(run, text, length, what, error)) {
        return FALSE;
    }
    dkvm_undo_look(run->domain, run->marker->changes);
    take_wishes(run, wishes);
    decide_model(run);
    redo_for_other_macos(run);
    redo_for_other_usb(run);
    if (!passes(run, error) || !check_allowed(run, error)) {
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
static gboolean proves_itself(Run *run)
{
    gboolean simple = g_hash_table_size(run->keep) == 0 &&
                      (run->patcher->admin == NULL || run->patcher->admin->len == 0);
    if (!simple) {
        return FALSE;
    }
    g_autoptr(DkvmMarker) readable = dkvm_marker_read(run->domain, NULL);
    if (readable == NULL) {
        return FALSE;
    }
    dkvm_commandline_group(run->domain);
    dkvm_undo_look(run->domain, run->marker->changes);
    dkvm_marker_remove(run->domain);
    dkvm_undo(run->domain, run->marker->changes, is_intact, NULL);
    return dkvm_node_equal(run->domain, run->base);
}

/* patch(patch(x)) = patch(x). */
static gboolean prove(Run *run, const char *what, GError **error)
{
    g_autoptr(GError) inner = NULL;
    g_auto(Run) again = {.patcher = run->patcher, .state = run->state};
    const char *xml = run->patched->xml;
    if (proves_itself(run) || (run_patch(&again, xml, strlen(xml), what, NULL, &inner) &&
                               g_str_equal(again.patched->xml, xml))) {
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

DkvmPatched *dkvm_patch(DkvmPatcher *patcher, const char *text, gsize length, const char *what,
                        const DkvmDomainState *state, const DkvmWishes *wishes, GError **error)
{
    g_auto(Run) run = {.patcher = patcher, .state = state};
    if (!run_patch(&run, text, length, what, wishes, error) || !prove(&run, what, error)) {
        return NULL;
    }
    return g_steal_pointer(&run.patched);
}
