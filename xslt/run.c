/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/run.h"

#include "lib/error.h"
#include "xslt/added.h"
#include "xslt/compare.h"
#include "xslt/domain.h"
#include "xslt/input.h"
#include "xslt/merge.h"
#include "xslt/parts.h"
#include "xslt/undo.h"

void dkvm_run_forget_pass(DkvmRun *run)
{
    g_clear_pointer(&run->numbered, g_ptr_array_unref);
    g_clear_pointer(&run->fresh, dkvm_changes_free);
    g_clear_pointer(&run->target, xmlFreeDoc);
}

const DkvmDomainState *dkvm_run_state(DkvmRun *run)
{
    if (run->state == NULL) {
        run->state = run->calls->state(run->calls->data);
    }
    return run->state;
}

/* ---- what the user wants ---- */

static void choose(DkvmRun *run, const char *key, const char *value)
{
    if (g_str_equal(value, "auto")) {
        g_hash_table_remove(run->marker->choices, key);
    } else {
        g_hash_table_insert(run->marker->choices, g_strdup(key), g_strdup(value));
    }
    g_hash_table_add(run->force, g_strdup(key));
}

static void take_choices(DkvmRun *run, const DkvmWishes *wishes)
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
static void decide_model(DkvmRun *run)
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

/* Another macOS than last time and nothing installed yet: devices are decided anew from what the
 * domain had before dkvm.  An installed one keeps those that work. */
static void redo_for_other_macos(DkvmRun *run)
{
    g_autofree char *now = dkvm_macos_text(run->macos);
    if (run->marker->macos == NULL || g_str_equal(run->marker->macos, now) ||
        dkvm_run_state(run)->disks_empty != DKVM_YES) {
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

gboolean dkvm_run_is_forced(const DkvmChange *change, const DkvmRun *run)
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
static void redo_for_other_usb(DkvmRun *run)
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
gboolean dkvm_run_is_pinned(const DkvmChange *change, const DkvmRun *run)
{
    return change->edited && !dkvm_run_is_forced(change, run);
}

void dkvm_run_take_wishes(DkvmRun *run, const DkvmWishes *wishes)
{
    take_choices(run, wishes);
    decide_model(run);
    redo_for_other_macos(run);
    redo_for_other_usb(run);
}

/* ---- one pass: original, stylesheets, differences ---- */

gboolean dkvm_run_is_taken_back(const DkvmChange *change, gpointer data)
{
    const DkvmRun *run = data;
    if (dkvm_run_is_forced(change, run)) {
        return TRUE;
    }
    if (change->edited) {
        return FALSE;
    }
    return !g_hash_table_contains(run->keep, change->unit);
}

static void make_base(DkvmRun *run)
{
    run->base = dkvm_input_set_domain(run->patcher->input, run->domain);
    dkvm_merge_link(run->base, run->domain);
    dkvm_marker_remove(run->base);
    g_autoptr(GHashTable) added =
        dkvm_added_before_undo(run->base, run->marker, dkvm_run_is_taken_back, run);
    dkvm_undo(run->base, run->marker->changes, dkvm_run_is_taken_back, run);
    if (run->patched->was_patched && g_hash_table_size(run->keep) == 0) {
        dkvm_added_after_undo(run->base, run->marker, added);
    }
    for (guint i = 0; i < run->marker->changes->list->len; i++) {
        DkvmChange *change = g_ptr_array_index(run->marker->changes->list, i);
        change->base = change->node; /* REMOVE: what was put back; ADD: a container still in use */
    }
}

static gboolean topology_is_edited(const DkvmRun *run)
{
    for (guint i = 0; i < run->marker->changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(run->marker->changes->list, i);
        if (g_str_equal(change->part, "topology") && dkvm_run_is_pinned(change, run)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* A number of vCPUs that the user changed is theirs, and the shape that goes with it is worked out
 * again: what they edited is the new original, what they left is taken back. */
static void release_topology(DkvmRun *run)
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

static gboolean fill_input(DkvmRun *run, DkvmVcpus *vcpus, GError **error)
{
    const DkvmCpuModel *cpu = dkvm_models_cpu(run->model, run->macos);
    gboolean edited = topology_is_edited(run);
    if (edited) {
        g_hash_table_remove(run->marker->choices, "topology"); /* the edit is newer */
    }
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
                       .state = dkvm_run_state(run),
                       .cpu = cpu,
                       .vcpus = vcpus,
                       .model = run->model,
                       .macos = run->macos,
                       .choices = run->marker->choices,
                       .osk = run->patcher->osk,
                       .original = g_hash_table_size(run->keep) == 0};
    dkvm_input_fill(run->patcher->input, &input);
    if (run->patcher->admin != NULL && run->patcher->admin->len > 0) {
        dkvm_input_fill(run->patcher->admin_input, &input);
    }
    return TRUE;
}

static gboolean apply_admin(DkvmRun *run, GError **error)
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

static gboolean pass(DkvmRun *run, GError **error)
{
    DkvmVcpus vcpus = {0};
    dkvm_run_forget_pass(run);
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

/* The device of the tree that the stylesheets saw that NODE is or belongs to; NULL if it is none.
 */
static const xmlNode *device_of(const DkvmRun *run, const xmlNode *node)
{
    const xmlNode *devices = dkvm_xml_child(run->base, "devices");
    while (node != NULL && node->parent != devices) {
        node = node->parent;
    }
    return devices != NULL ? node : NULL;
}

/* Whether OLD, of the last time, and FRESH are about the same thing.  A disk may have got another
 * name with the fresh change. */
static gboolean is_same_unit(const DkvmRun *run, const DkvmChange *old, const DkvmChange *fresh)
{
    if (g_str_equal(old->unit, fresh->unit)) {
        return TRUE;
    }
    const xmlNode *device = device_of(run, old->node);
    return device != NULL && device == device_of(run, fresh->base);
}

static gboolean has_old_unit(const DkvmRun *run, const DkvmChange *fresh)
{
    for (guint i = 0; i < run->marker->changes->list->len; i++) {
        if (is_same_unit(run, g_ptr_array_index(run->marker->changes->list, i), fresh)) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean has_fresh_unit(const DkvmRun *run, const DkvmChange *old)
{
    for (guint i = 0; i < run->fresh->list->len; i++) {
        if (is_same_unit(run, old, g_ptr_array_index(run->fresh->list, i))) {
            return TRUE;
        }
    }
    return FALSE;
}

/* A change that stays if what it made works: of a settled part, not edited, not to be redone. */
static gboolean may_stay(const DkvmRun *run, const DkvmChange *change)
{
    return dkvm_part_is_settled(change->part) && !g_str_has_prefix(change->at, "qemu:") &&
           !change->edited && !dkvm_run_is_forced(change, run) &&
           !g_hash_table_contains(run->redo, change->unit);
}

/* An installed system may depend on what was done for it, and libvirt has added its own to it: all
 * that is settled stays as it is now, as long as that works. */
static void find_units_to_keep(DkvmRun *run)
{
    for (guint i = 0; i < run->marker->changes->list->len; i++) {
        const DkvmChange *old = g_ptr_array_index(run->marker->changes->list, i);
        if (may_stay(run, old)) {
            g_hash_table_add(run->keep, g_strdup(old->unit));
        }
    }
}

/* It does not work: decided from the original after all.  TRUE if there is such a unit. */
static gboolean find_units_to_redo(DkvmRun *run)
{
    gboolean more = FALSE;
    for (guint i = 0; i < run->marker->changes->list->len; i++) {
        const DkvmChange *old = g_ptr_array_index(run->marker->changes->list, i);
        if (g_hash_table_contains(run->keep, old->unit) && has_fresh_unit(run, old)) {
            g_hash_table_remove(run->keep, old->unit);
            more |= g_hash_table_add(run->redo, g_strdup(old->unit));
        }
    }
    return more;
}

/* What kind of device it is: the model of a card, the bus of a disk. */
static gboolean is_kind(const DkvmChange *change)
{
    return change->kind == DKVM_CHANGE_SET &&
           (dkvm_xml_get(change->was, "model") || dkvm_xml_get(change->was, "type") ||
            dkvm_xml_get(change->was, "bus"));
}

gboolean dkvm_run_is_chosen_since(const DkvmRun *run, const DkvmChange *change)
{
    static const char *const parts[] = {"disk", "nic", "video", "sound", NULL};
    g_autofree char *macos = dkvm_macos_text(run->macos);
    if (!run->patched->was_patched || g_strcmp0(run->marker->macos, macos) != 0 ||
        !g_strv_contains(parts, change->part) || dkvm_run_is_forced(change, run) ||
        has_old_unit(run, change)) {
        return FALSE;
    }
    for (guint i = 0; i < run->fresh->list->len; i++) {
        const DkvmChange *other = g_ptr_array_index(run->fresh->list, i);
        if (g_str_equal(other->unit, change->unit) && is_kind(other)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Whether CHANGE is about something that the user changed. */
gboolean dkvm_run_has_pinned_unit(const DkvmRun *run, const DkvmChange *change)
{
    if (dkvm_run_is_chosen_since(run, change)) {
        return TRUE;
    }
    for (guint i = 0; i < run->marker->changes->list->len; i++) {
        const DkvmChange *old = g_ptr_array_index(run->marker->changes->list, i);
        if (dkvm_run_is_pinned(old, run) && is_same_unit(run, old, change)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Whether what was done last time is what would be done now. */
static gboolean is_up_to_date(const DkvmRun *run)
{
    const DkvmChanges *old = run->marker->changes;
    for (guint i = 0; i < old->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(old->list, i);
        if (dkvm_run_is_taken_back(change, (gpointer)run) &&
            dkvm_changes_find(run->fresh, change) == NULL) {
            return FALSE;
        }
    }
    for (guint i = 0; i < run->fresh->list->len; i++) {
        const DkvmChange *fresh = g_ptr_array_index(run->fresh->list, i);
        if (dkvm_changes_find(old, fresh) == NULL && !dkvm_run_has_pinned_unit(run, fresh)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean is_same_state(const DkvmDomainState *a, const DkvmDomainState *b)
{
    return a->from_file == b->from_file && a->disks_empty == b->disks_empty &&
           a->own_emulator == b->own_emulator;
}

/* The stylesheets work with what is likely of a new domain while the question is on its way; what
 * counts is the answer. */
static gboolean first_pass(DkvmRun *run, GError **error)
{
    const DkvmDomainState *likely = run->calls->likely;
    if (run->state != NULL || likely == NULL || run->marker->present) {
        return pass(run, error);
    }
    g_autoptr(GError) inner = NULL;
    run->state = likely;
    gboolean good = pass(run, &inner);
    run->state = NULL;
    if (!is_same_state(likely, dkvm_run_state(run))) {
        return pass(run, error);
    }
    if (!good) {
        g_propagate_error(error, g_steal_pointer(&inner));
    }
    return good;
}

/* From the original first: the same input gives the same changes.  Where it does not (another
 * version of the rules, disks that are not empty any more, what libvirt has added to its own
 * machine), all that is settled stays as it is now as long as that works; what does not work is
 * decided from the original. */
gboolean dkvm_run_passes(DkvmRun *run, GError **error)
{
    g_autoptr(GError) inner = NULL;
    gboolean good = first_pass(run, &inner);
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
