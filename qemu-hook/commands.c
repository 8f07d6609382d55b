/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/commands.h"

#include <errno.h>
#include <json-glib/json-glib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/file.h"
#include "lib/log.h"
#include "qemu-hook/client.h"
#include "qemu-hook/crash.h"
#include "qemu-hook/libvirt.h"
#include "qemu-hook/plan.h"
#include "qemu-hook/rundir.h"
#include "qemu-hook/shield.h"
#include "qemu-hook/step.h"

#define XML_MAX (4 * 1024 * 1024)
#define PREPARE_MS 54000 /* design: 60 s, of which dkvm-hook may have used 5 for reading */
#define START_MS 10000
#define SHORT_MS 900 /* release, started, reconnect: libvirt holds the domain meanwhile */
#define RESTORE_MS 60000
#define EXIT_REFUSED 1
#define EXIT_WEDGED 4

static int exit_of(const GError *error)
{
    switch (error->code) {
    case DKVM_ERROR_REFUSED:
        return EXIT_REFUSED;
    case DKVM_ERROR_HOST:
        return EXIT_WEDGED;
    default:
        return error->code;
    }
}

static int fail(const GError *error)
{
    dkvm_log_error("%s", error->message);
    return exit_of(error);
}

/* ---- plan ------------------------------------------------------------------------------- */

static int print_plan(const DkvmWants *wants, const DkvmConfig *config)
{
    g_autoptr(GError) error = NULL;

    if (wants->devices->len == 0) {
        (void)printf("VM %s has no PCI device of this host: nothing would be done.\n", wants->name);
        return 0;
    }
    if (!dkvm_wants_concerns(wants, config))
        (void)printf("VM %s is none that [handoff] domains in dkvm.conf means: at its start "
                     "nothing would be done. If it were:\n\n",
                     wants->name);
    g_autoptr(DkvmPlan) plan = dkvm_plan_new(wants, config, &error);

    if (!plan)
        return fail(error);
    g_autofree char *text = dkvm_plan_text(plan);
    (void)fputs(text, stdout);
    return plan->refusals->len ? EXIT_REFUSED : 0;
}

int dkvm_command_plan(const char *domain, const char *file)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DkvmConfig) config = dkvm_config_load(&error);
    g_autofree char *xml = !config ? NULL
                           : file  ? dkvm_file_read(file, XML_MAX, NULL, &error)
                                   : dkvm_libvirt_definition(domain, &error);
    g_autoptr(DkvmWants) wants = xml ? dkvm_wants_parse(xml, strlen(xml), config, &error) : NULL;

    return wants ? print_plan(wants, config) : fail(error);
}

/* ---- status ----------------------------------------------------------------------------- */

static const char *state_name(const DkvmAction *action)
{
    static const char *const names[] = {"begun", "done", "undone", "changed by another",
                                        "waits for the guest"};

    return action->failure ? "failed" : names[action->state];
}

static void print_one(const DkvmHandover *handover)
{
    (void)printf("VM %s (%s): %s%s\n", handover->name, handover->uuid,
                 dkvm_phase_name(handover->phase),
                 dkvm_handover_is_wedged(handover)
                     ? ", a device is stuck in the kernel until the host is started again"
                     : "");
    for (guint i = 0; i < handover->actions->len; i++) {
        const DkvmAction *action = g_ptr_array_index(handover->actions, i);
        g_autofree char *text = dkvm_action_text(action);

        if (action->number)
            (void)printf("  %s: %s%s%s\n", text,
                         dkvm_process_is(action->late, action->late_start) ? "stuck"
                                                                           : state_name(action),
                         action->failure ? ": " : "", action->failure ? action->failure : "");
    }
}

/* Given back, and libvirt does not know it yet. */
static void print_shields(void)
{
    g_autofree char *text = dkvm_shield_text();

    if (text)
        (void)printf("libvirt was not there when devices were given back. Until it says that their "
                     "VM has ended, no program can write to the registers of %s.\n",
                     text);
}

static void json_one(JsonBuilder *b, const DkvmHandover *handover)
{
    json_builder_begin_object(b);
    json_builder_set_member_name(b, "uuid");
    json_builder_add_string_value(b, handover->uuid);
    json_builder_set_member_name(b, "name");
    json_builder_add_string_value(b, handover->name);
    json_builder_set_member_name(b, "phase");
    json_builder_add_string_value(b, dkvm_phase_name(handover->phase));
    json_builder_set_member_name(b, "wedged");
    json_builder_add_boolean_value(b, dkvm_handover_is_wedged(handover));
    json_builder_set_member_name(b, "qemu");
    json_builder_add_int_value(b, handover->qemu);
    json_builder_set_member_name(b, "devices");
    json_builder_begin_array(b);
    for (guint i = 0; i < handover->devices->len; i++) {
        const DkvmTaken *taken = g_ptr_array_index(handover->devices, i);

        json_builder_add_string_value(b, taken->bdf);
    }
    json_builder_end_array(b);
    json_builder_set_member_name(b, "steps");
    json_builder_begin_array(b);
    for (guint i = 0; i < handover->actions->len; i++) {
        const DkvmAction *action = g_ptr_array_index(handover->actions, i);

        if (!action->number)
            continue;
        json_builder_begin_object(b);
        json_builder_set_member_name(b, "step");
        json_builder_add_string_value(b, action->step->name);
        json_builder_set_member_name(b, "target");
        json_builder_add_string_value(b, action->target);
        json_builder_set_member_name(b, "before");
        json_builder_add_string_value(b, action->pre);
        json_builder_set_member_name(b, "after");
        json_builder_add_string_value(b, action->post);
        json_builder_set_member_name(b, "state");
        json_builder_add_string_value(b, state_name(action));
        if (action->failure) {
            json_builder_set_member_name(b, "reason");
            json_builder_add_string_value(b, action->failure);
        }
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    json_builder_end_object(b);
}

int dkvm_command_status(gboolean json)
{
    g_auto(GStrv) uuids = dkvm_rundir_list();
    g_autoptr(JsonBuilder) b = json_builder_new();
    guint count = 0;

    json_builder_begin_array(b);
    for (char **uuid = uuids; *uuid; uuid++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(DkvmHandover) handover = dkvm_handover_peek(*uuid, &error);

        if (error)
            return fail(error);
        if (!handover)
            continue;
        count++;
        if (json)
            json_one(b, handover);
        else
            print_one(handover);
    }
    json_builder_end_array(b);
    if (json) {
        g_autoptr(JsonNode) root = json_builder_get_root(b);
        g_autofree char *text = json_to_string(root, TRUE);

        (void)puts(text);
    } else if (count == 0) {
        (void)puts("Nothing is handed over.");
    }
    if (!json)
        print_shields();
    return dkvm_host_is_wedged(NULL) ? EXIT_WEDGED : 0;
}

/* ---- restore, recover ------------------------------------------------------------------- */

static int need_root(void)
{
    if (geteuid() == 0)
        return 0;
    dkvm_log_error("this is for root; run it with sudo");
    return EXIT_REFUSED;
}

static int restore_one(const char *uuid)
{
    g_autofree char *text = NULL;

    switch (dkvm_client_ask(uuid, "restore", -1, TRUE, RESTORE_MS, &text)) {
    case DKVM_SAYS_OK:
        (void)printf("VM %s: given back.\n", uuid);
        return 0;
    case DKVM_SAYS_NO:
        dkvm_log_error("VM %s: %s", uuid, text);
        return EXIT_REFUSED;
    case DKVM_SAYS_WEDGED:
        dkvm_log_error("VM %s: %s", uuid, text);
        return EXIT_WEDGED;
    case DKVM_SAYS_NOTHING:
        break;
    }
    dkvm_log_error("VM %s: its guard does not answer; look at 'journalctl -t dkvm-gpu'", uuid);
    return EXIT_REFUSED;
}

int dkvm_command_restore(const char *uuid)
{
    g_auto(GStrv) uuids = dkvm_rundir_list();
    int code = need_root();

    if (code)
        return code;
    if (uuid && !dkvm_client_is_known(uuid)) {
        (void)printf("VM %s: nothing of it is handed over.\n", uuid);
        return 0;
    }
    if (uuid)
        return restore_one(uuid);
    for (char **one = uuids; *one; one++) {
        int result = restore_one(*one);

        code = MAX(code, result);
    }
    if (!*uuids)
        (void)puts("Nothing is handed over.");
    return code;
}

int dkvm_command_recover(void)
{
    g_auto(GStrv) uuids = dkvm_rundir_list();
    guint count = dkvm_crash_recover();
    int code = need_root();

    if (count > 0)
        dkvm_log_warning("the host died during a hand-over; it is not tried again with this "
                         "kernel and driver before a person allows it ('dkvm-gpu plan' says how)");
    /* Of this boot: their guard was killed.  Starting it is enough, it knows what to do. */
    for (char **uuid = uuids; *uuid && code == 0; uuid++) {
        g_autofree char *text = NULL;

        (void)dkvm_client_ask(*uuid, "look", -1, FALSE, START_MS, &text);
    }
    return code;
}

/* ---- hook ------------------------------------------------------------------------------- */

/* libvirt shows it to the person who pressed Start: one paragraph. */
static int refuse(const char *format, ...) G_GNUC_PRINTF(1, 2);

static int refuse(const char *format, ...)
{
    va_list arguments;
    g_autofree char *text = NULL;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    for (char *p = text; *p; p++) {
        if (g_ascii_iscntrl(*p))
            *p = ' ';
    }
    (void)fprintf(stderr, "dkvm: %s\n", text);
    return EXIT_REFUSED;
}

/* Also when no guard is left. */
static void lower_shields(const DkvmWants *wants)
{
    for (guint i = 0; i < wants->devices->len; i++) {
        const DkvmWanted *wanted = &g_array_index(wants->devices, DkvmWanted, i);
        char bdf[DKVM_BDF_SIZE];

        dkvm_bdf_format(&wanted->bdf, bdf);
        dkvm_shield_lower(bdf);
    }
}

static int tell(const DkvmWants *wants, const char *word)
{
    g_autofree char *text = NULL;
    gboolean known = dkvm_client_is_known(wants->uuid);
    gboolean released = g_str_equal(word, "release");

    if (known && released)
        dkvm_rundir_note_release(wants->uuid);
    if (released)
        lower_shields(wants);
    if (!known)
        return 0;
    (void)dkvm_client_ask(wants->uuid, word, -1, FALSE, SHORT_MS, &text);
    return 0;
}

static int on_prepare(const DkvmWants *wants, const DkvmConfig *config)
{
    g_autofree char *text = NULL;

    if (!dkvm_wants_concerns(wants, config))
        return 0;
    switch (dkvm_client_ask(wants->uuid, "prepare", STDIN_FILENO, TRUE, PREPARE_MS, &text)) {
    case DKVM_SAYS_OK:
        return 0;
    case DKVM_SAYS_NO:
    case DKVM_SAYS_WEDGED:
        return refuse("%s", text);
    case DKVM_SAYS_NOTHING:
        break;
    }
    /* It may have finished all the same, and only its answer was lost. */
    (void)tell(wants, "release");
    return refuse("VM %s is not started: its guard was killed or did not finish in time. What was "
                  "changed is being put back; 'dkvm-gpu status' shows it.",
                  wants->name);
}

static int on_start(const DkvmWants *wants)
{
    g_autofree char *text = NULL;

    if (!dkvm_client_is_known(wants->uuid))
        return 0;
    switch (dkvm_client_ask(wants->uuid, "start", -1, TRUE, START_MS, &text)) {
    case DKVM_SAYS_OK:
        return 0;
    case DKVM_SAYS_NO:
    case DKVM_SAYS_WEDGED:
        return refuse("VM %s is not started: %s", wants->name, text);
    case DKVM_SAYS_NOTHING:
        break;
    }
    return refuse("VM %s is not started: its guard does not answer. 'dkvm-gpu status' shows what "
                  "is handed over.",
                  wants->name);
}

static int answer_hook(const char *operation, const DkvmWants *wants, const DkvmConfig *config,
                       const GError *bad_config)
{
    if (g_str_equal(operation, "prepare")) {
        if (config)
            return on_prepare(wants, config);
        if (bad_config && wants->devices->len > 0)
            return refuse("VM %s is not started, nothing was touched: %s", wants->name,
                          bad_config->message);
        return 0;
    }
    if (g_str_equal(operation, "start"))
        return on_start(wants);
    return tell(wants, operation);
}

int dkvm_command_hook(const char *operation)
{
    static const char *const ours[] = {"prepare", "start", "started", "reconnect", "release", NULL};
    gboolean may_refuse = g_str_equal(operation, "prepare") || g_str_equal(operation, "start");
    g_autoptr(GError) error = NULL, bad_config = NULL;

    if (!g_strv_contains(ours, operation) || geteuid() != 0)
        return 0;
    g_autofree char *xml = dkvm_file_read("-", XML_MAX, NULL, &error);
    /* Only prepare reads the configuration: a mistake made since must not be in the way back. */
    g_autoptr(DkvmConfig) config =
        g_str_equal(operation, "prepare") ? dkvm_config_load(&bad_config) : NULL;
    g_autoptr(DkvmWants) wants = xml ? dkvm_wants_parse(xml, strlen(xml), config, &error) : NULL;

    if (wants)
        return answer_hook(operation, wants, config, bad_config);
    return may_refuse ? refuse("the VM is not started: %s", error->message) : 0;
}
