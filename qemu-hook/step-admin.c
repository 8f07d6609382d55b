/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pre.d, post.d: the admin's own programs, those of /etc/dkvm/pre.d before the first step that
 * touches the host, those of /etc/dkvm/post.d after the last of these is undone.  Each is an action
 * of its own.  Which of post.d are to be run is written down at the start; what came into the
 * folder since is of the next run, and what went or may not be run any more is reported and passed
 * over.  A guard that was killed while one of post.d ran is followed by one that runs it again. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/paths.h"
#include "qemu-hook/program.h"
#include "qemu-hook/step.h"
#include "qemu-hook/steplog.h"
#include "udev/host-private.h"

#define BASE DKVM_SYSCONFDIR "/dkvm"
#define MAX_PROGRAMS 16
#define RUN_MS 10000
#define RAN "ran"
#define DUE "due"

/* ---- folders ---------------------------------------------------------------------------- */

static char *path_of(const char *folder, const char *name)
{
    return g_strconcat(dkvm_paths_root(), BASE "/", folder, name ? "/" : NULL, name, NULL);
}

/* run-parts(8), without options. */
static gboolean is_name(const char *name)
{
    return g_regex_match_simple("\\A[A-Za-z0-9_-]+\\z", name, 0, 0);
}

/* NULL: only root can change it.  Below another root the owner is who made that. */
static const char *who_else(const struct stat *st)
{
    if (st->st_uid != 0 && (*dkvm_paths_root() == '\0' || st->st_uid != geteuid()))
        return "it does not belong to root";
    return st->st_mode & (S_IWGRP | S_IWOTH) ? "others than root may write it" : NULL;
}

/* NULL: its programs may be run.  THERE (may be NULL): FALSE if there is no such folder. */
static const char *why_not_folder(const char *path, gboolean *there)
{
    struct stat st;

    if (lstat(path, &st) != 0) {
        if (there)
            *there = errno != ENOENT;
        return g_strerror(errno);
    }
    return S_ISDIR(st.st_mode) ? who_else(&st) : "it is not a folder";
}

/* The same of one program.  A link is none: whoever may write where it leads is not known here. */
static const char *why_not(const char *path)
{
    struct stat st;

    if (lstat(path, &st) != 0)
        return g_strerror(errno);
    if (!S_ISREG(st.st_mode))
        return S_ISLNK(st.st_mode) ? "it is a symbolic link" : "it is not a file";
    return st.st_mode & S_IXUSR ? who_else(&st) : "it is not executable";
}

static int by_bytes(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static gboolean check_folder(DkvmPlan *plan, const char *folder)
{
    g_autofree char *path = path_of(folder, NULL), *base = dkvm_path(BASE);
    gboolean there = TRUE;
    const char *of_base = why_not_folder(base, NULL), *of_path = why_not_folder(path, &there);

    if (!there)
        return FALSE;
    if (!of_base && !of_path)
        return TRUE;
    dkvm_plan_refuse(plan, "Make it a folder of root that nobody else may write, or remove it.",
                     "The programs in %s cannot be trusted: %s: %s.", path, of_base ? base : path,
                     of_base ? of_base : of_path);
    return FALSE;
}

/* The programs of FOLDER in byte order. */
static GPtrArray *programs(DkvmPlan *plan, const char *folder)
{
    GPtrArray *found = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *relative = g_strconcat(BASE "/", folder, NULL);
    g_autoptr(GPtrArray) names =
        check_folder(plan, folder) ? dkvm_host_list(relative) : g_ptr_array_new();

    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autofree char *path = path_of(folder, name);
        const char *why = is_name(name) ? why_not(path) : NULL;

        if (why)
            dkvm_plan_refuse(plan,
                             "Make it an executable file of root (chown root, chmod 0755), or take "
                             "it out of the folder.",
                             "%s cannot be run: %s.", path, why);
        else if (is_name(name))
            g_ptr_array_add(found, g_strdup(name));
        else if (*name != '.')
            dkvm_plan_note(plan,
                           "%s is not run: its name has other characters than letters, digits, "
                           "_ and -.",
                           path);
    }
    g_ptr_array_sort(found, by_bytes);
    if (found->len > MAX_PROGRAMS)
        dkvm_plan_refuse(plan, "Let one of them run the others.", "%s has more than %d programs.",
                         relative, MAX_PROGRAMS);
    return found;
}

/* ---- running one ------------------------------------------------------------------------ */

/* The VM's name is its user's: a value, and never part of a path or command. */
static char **environment_for(const DkvmHandover *handover)
{
    g_autoptr(GString) devices = g_string_new(NULL);
    char **environment = g_new0(char *, 1);

    for (guint i = 0; i < handover->devices->len; i++) {
        const DkvmTaken *taken = g_ptr_array_index(handover->devices, i);

        g_string_append_printf(devices, "%s%s", i > 0 ? " " : "", taken->bdf);
    }
    environment = g_environ_setenv(environment, "PATH", "/usr/sbin:/usr/bin:/sbin:/bin", TRUE);
    environment = g_environ_setenv(environment, "LC_ALL", "C.UTF-8", TRUE);
    environment = g_environ_setenv(environment, "DKVM_UUID", handover->uuid, TRUE);
    environment = g_environ_setenv(environment, "DKVM_NAME", handover->name, TRUE);
    environment = g_environ_setenv(environment, "DKVM_BDFS", devices->str, TRUE);
    return g_environ_setenv(environment, "DKVM_PROBLEMS", handover->problems->str, TRUE);
}

typedef struct {
    const DkvmHandover *handover;
    const DkvmAction *action;
} Speaker;

static void said(const char *line, gpointer data)
{
    const Speaker *speaker = data;

    dkvm_step_log(speaker->handover->uuid, speaker->action, FALSE, line);
}

/* Looked at once more: the folder may have been written since the plan was made. */
static gboolean run(const DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autofree char *folder = path_of(action->step->name, NULL), *base = dkvm_path(BASE);
    g_autofree char *path = path_of(action->step->name, action->target);
    g_auto(GStrv) environment = environment_for(handover);
    Speaker speaker = {handover, action};
    const char *why = why_not_folder(base, NULL);

    why = why ? why : why_not_folder(folder, NULL);
    why = why ? why : why_not(path);
    if (why) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED, "%s cannot be run: %s", path, why);
        return FALSE;
    }
    if (dkvm_program_run(path, environment, action->step->deadline, said, &speaker, error))
        return TRUE;
    g_prefix_error(error, "%s ", path);
    return FALSE;
}

/* ---- pre.d ------------------------------------------------------------------------------ */

static void plan_pre(DkvmPlan *plan)
{
    g_autoptr(GPtrArray) names = programs(plan, dkvm_step_pre.name);

    for (guint i = 0; i < names->len; i++)
        dkvm_plan_add(plan, &dkvm_step_pre, g_ptr_array_index(names, i), "", RAN);
}

/* What it did is undone by post.d. */
static char *look_pre(DkvmHandover *handover, const DkvmAction *action)
{
    return g_strdup(action->over ? RAN : "");
}

static gboolean apply_pre(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    ((DkvmAction *)action)->over = run(handover, action, error);
    return action->over;
}

static gboolean undo_pre(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    ((DkvmAction *)action)->over = FALSE;
    return TRUE;
}

static char *text_pre(const DkvmAction *action)
{
    return g_strdup_printf("run " BASE "/pre.d/%s", action->target);
}

const DkvmStep dkvm_step_pre = {
    .name = "pre.d",
    .deadline = RUN_MS,
    .plan = plan_pre,
    .look = look_pre,
    .apply = apply_pre,
    .undo = undo_pre,
    .text = text_pre,
};

/* ---- post.d ----------------------------------------------------------------------------- */

/* Backwards: undoing turns the order round. */
static void plan_post(DkvmPlan *plan)
{
    g_autoptr(GPtrArray) names = programs(plan, dkvm_step_post.name);

    for (guint i = names->len; i > 0; i--)
        dkvm_plan_add(plan, &dkvm_step_post, g_ptr_array_index(names, i - 1), "", DUE);
}

/* From its INTENT on it is due, whoever reads the journal. */
static char *look_post(DkvmHandover *handover, const DkvmAction *action)
{
    return g_strdup(action->number == 0 || action->over ? "" : DUE);
}

static gboolean apply_post(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    return TRUE;
}

/* One that fails is reported and holds nothing up. */
static gboolean undo_post(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autoptr(GError) cause = NULL;

    if (!run(handover, action, &cause))
        dkvm_step_problem(handover, action, "%s", cause->message);
    ((DkvmAction *)action)->over = TRUE;
    return TRUE;
}

static char *text_post(const DkvmAction *action)
{
    return g_strdup_printf("run " BASE "/post.d/%s when all is given back", action->target);
}

const DkvmStep dkvm_step_post = {
    .name = "post.d",
    .deadline = RUN_MS,
    .plan = plan_post,
    .look = look_post,
    .apply = apply_post,
    .undo = undo_post,
    .text = text_post,
};
