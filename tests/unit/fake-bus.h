/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A systemd and a logind of files in place of qemu-hook/bus.c, for the tests of single steps: a
 * file for each unit, with its state in it; a session is logind's own file.  What is asked of them
 * is in the file /log. */
#pragma once

#include "qemu-hook/bus.h"
#include "tests/unit/handover-run.h"

static gboolean has_systemd = TRUE, is_stopping, is_silent, cannot_start, stops_late;
static const char *blocker; /* who holds off a shutdown */

/* ---- systemd ---------------------------------------------------------------------------- */

/* All of bus.h: one that is missing makes the linker take bus.c, and then each is there twice. */

static char *unit_file(const char *unit)
{
    return g_strconcat(root, "/systemd/", unit, NULL);
}

static void note(const char *what, const char *unit)
{
    g_autofree char *path = at("/log"), *old = read_word(path);
    g_autofree char *text = g_strdup_printf("%s%s%s %s", old, *old ? "; " : "", what, unit);

    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

gboolean dkvm_bus_has_systemd(void)
{
    return has_systemd;
}

gboolean dkvm_bus_unit_exists(const char *unit)
{
    g_autofree char *path = unit_file(unit);

    return !is_silent && g_file_test(path, G_FILE_TEST_EXISTS);
}

char *dkvm_bus_unit_state(const char *unit)
{
    g_autofree char *path = unit_file(unit);

    if (is_silent)
        return NULL;
    return dkvm_bus_unit_exists(unit) ? read_word(path) : g_strdup("inactive");
}

/* The one process that a test puts there; no real one can have this number (proc(5), pid_max). */
#define HOLDER "/proc/4999977"

static void end_holder(void)
{
    g_autofree char *process = at(HOLDER);

    remove_tree(process);
}

static G_GNUC_UNUSED void put_holder(const char *name, const char *cgroup)
{
    put("/sys/devices/pci0000:00/0000:01:00.0/drm/card1/dev", "1:3\n");
    put(HOLDER "/comm", name);
    put(HOLDER "/cgroup", cgroup);
    put_link(HOLDER "/fd/5", "/dev/null");
}

/* With the unit its process goes. */
gboolean dkvm_bus_stop_unit(const char *unit, guint milliseconds, GError **error)
{
    g_autofree char *path = unit_file(unit);

    note("stop", unit);
    g_assert_true(g_file_set_contents(path, stops_late ? "deactivating" : "failed", -1, NULL));
    if (!stops_late)
        end_holder();
    if (stops_late)
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED, "cannot stop %s: late", unit);
    return !stops_late;
}

gboolean dkvm_bus_start_unit_and_wait(const char *unit, guint milliseconds, GError **error)
{
    g_autofree char *path = unit_file(unit);

    note("start", unit);
    if (cannot_start || is_silent) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED, "cannot start %s: test", unit);
        return FALSE;
    }
    return g_file_set_contents(path, "active", -1, NULL);
}

gboolean dkvm_bus_start_unit(const char *unit, guint milliseconds, GError **error)
{
    return FALSE;
}

gboolean dkvm_bus_is_stopping(void)
{
    return is_stopping;
}

int dkvm_bus_inhibit(const char *why, GError **error)
{
    return dup(STDIN_FILENO);
}

gboolean dkvm_bus_end_session(const char *session, guint milliseconds, GError **error)
{
    g_autofree char *file = g_strconcat(root, "/run/systemd/sessions/", session, NULL);

    note("end", session);
    if (stops_late) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED, "the session %s does not end", session);
        return FALSE;
    }
    end_holder();
    return g_unlink(file) == 0;
}

char *dkvm_bus_blocker(const char *what)
{
    return g_str_equal(what, "shutdown") ? g_strdup(blocker) : NULL;
}

char *dkvm_bus_allowed_cpus(const char *unit)
{
    return NULL;
}

gboolean dkvm_bus_set_allowed_cpus(const char *unit, const char *cpus, GError **error)
{
    return FALSE;
}

static G_GNUC_UNUSED void put_unit(const char *unit, const char *state)
{
    g_autofree char *path = g_strconcat("/systemd/", unit, NULL);

    put(path, state);
}

static G_GNUC_UNUSED void expect_log(const char *wanted)
{
    g_autofree char *path = at("/log"), *got = read_word(path);

    g_assert_cmpstr(got, ==, wanted);
    (void)g_unlink(path);
}

static G_GNUC_UNUSED void expect_state(const char *unit, const char *wanted)
{
    g_autofree char *path = unit_file(unit), *got = read_word(path);

    g_assert_cmpstr(got, ==, wanted);
}
