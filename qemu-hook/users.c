/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/users.h"

#include <string.h>
#include <unistd.h>

#include "lib/paths.h"
#include "qemu-hook/rundir.h"
#include "udev/holders.h"
#include "udev/host-private.h"

#define LOOKS 3
#define MAX_ALIASES 8
#define CGROUP_MAX 4096
#define SESSIONS "/run/systemd/sessions"

/* ---- the desktop ------------------------------------------------------------------------ */

/* The alias display-manager.service is a link to the unit that is one (systemd.special(7)). */
/* What the file of UNIT leads to: another name, or UNIT itself; NULL: there is none. */
static char *alias_of(const char *unit)
{
    static const char *const folders[] = {"/etc/systemd/system", "/run/systemd/system",
                                          "/usr/lib/systemd/system", "/lib/systemd/system"};

    for (gsize i = 0; i < G_N_ELEMENTS(folders); i++) {
        g_autofree char *path = g_strconcat(dkvm_paths_root(), folders[i], "/", unit, NULL);
        g_autofree char *target = g_file_read_link(path, NULL);

        if (target && !g_str_equal(target, "/dev/null"))
            return g_path_get_basename(target);
        if (g_file_test(path, G_FILE_TEST_EXISTS))
            return g_strdup(unit);
    }
    return NULL;
}

/* Debian's gdm3 has two links: display-manager.service, gdm3.service, gdm.service. */
char *dkvm_display_manager(void)
{
    char *unit = alias_of("display-manager.service");

    for (int i = 0; unit && i < MAX_ALIASES; i++) {
        char *next = alias_of(unit);

        if (!next || g_str_equal(next, unit)) {
            g_free(next);
            break;
        }
        g_free(unit);
        unit = next;
    }
    return unit;
}

/* As sd_session_get_type(3) reads it. */
char *dkvm_session_type(const char *session)
{
    g_autofree char *file = g_strconcat(SESSIONS "/", session, NULL);
    g_autofree char *text = dkvm_host_text(file, CGROUP_MAX);
    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);

    if (!text)
        return NULL;
    for (char **line = lines; *line; line++) {
        if (g_str_has_prefix(*line, "TYPE="))
            return g_strdup(*line + strlen("TYPE="));
    }
    return g_strdup("unspecified");
}

gboolean dkvm_session_is_graphical(const char *session)
{
    g_autofree char *type = dkvm_session_type(session);

    return type &&
           (g_str_equal(type, "x11") || g_str_equal(type, "wayland") || g_str_equal(type, "mir"));
}

static gboolean user_has_desktop(const char *uid)
{
    g_autoptr(GPtrArray) names = dkvm_host_list(SESSIONS);
    g_autofree char *wanted = g_strdup_printf("\nUID=%s\n", uid);

    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autofree char *file = g_strconcat(SESSIONS "/", name, NULL);
        g_autofree char *text = dkvm_host_text(file, CGROUP_MAX);
        g_autofree char *whole = g_strconcat("\n", text ? text : "", "\n", NULL);

        if (strstr(whole, wanted) && dkvm_session_is_graphical(name))
            return TRUE;
    }
    return FALSE;
}

/* ---- processes -------------------------------------------------------------------------- */

/* The unit that a cgroup path belongs to: its last component that is a service or scope and not
 * inside a user's own manager. */
static char *unit_of(pid_t pid)
{
    g_autofree char *file = g_strdup_printf("/proc/%d/cgroup", (int)pid);
    g_autofree char *text = dkvm_host_text(file, CGROUP_MAX);
    const char *path = text ? strstr(text, "0::") : NULL;

    /* Without the unified hierarchy systemd has one of its own (cgroups(7)). */
    if (!path && text)
        path = strstr(text, ":name=systemd:");
    g_auto(GStrv) lines = g_strsplit(path ? path : "", "\n", 2);
    g_auto(GStrv) parts = g_strsplit(lines[0] ? lines[0] : "", "/", -1);

    for (char **part = parts; *part; part++) {
        (void)g_strchomp(*part);
        if (g_str_has_suffix(*part, ".service") || g_str_has_suffix(*part, ".scope"))
            return g_strdup(*part);
    }
    return g_strdup("");
}

static gboolean is_one_of(const char *command, const char *const *names)
{
    return g_strv_contains(names, command);
}

static DkvmUserKind kind_of(const DkvmUser *user)
{
    static const char *const keepers[] = {"systemd-logind", "elogind-daemon", "elogind", "seatd",
                                          NULL};
    static const char *const guarded[] = {
        "dbus-daemon",  "dbus-broker", "dbus-broker-lau", "libvirtd", "virtqemud",
        "virtnodedevd", "sshd",        "sshd-session",    "dkvm-gpu", NULL};
    g_autofree char *manager = dkvm_display_manager();

    if (strstr(user->node, "/vfio/"))
        return DKVM_USER_GUEST;
    if (user->pid == 1 || is_one_of(user->command, keepers))
        return DKVM_USER_KEEPER;
    if (user->pid == getpid() || is_one_of(user->command, guarded))
        return DKVM_USER_PROTECTED;
    if (manager && g_str_equal(user->unit, manager))
        return DKVM_USER_MANAGER;
    if (g_str_has_prefix(user->unit, "session-")) {
        const char *begin = user->unit + strlen("session-");
        g_autofree char *id = g_strndup(begin, strcspn(begin, "."));

        return dkvm_session_is_graphical(id) ? DKVM_USER_SESSION : DKVM_USER_OTHER;
    }
    if (g_str_has_prefix(user->unit, "user@")) {
        const char *begin = user->unit + strlen("user@");
        g_autofree char *uid = g_strndup(begin, strcspn(begin, "."));

        return user_has_desktop(uid) ? DKVM_USER_SESSION : DKVM_USER_OTHER;
    }
    return DKVM_USER_OTHER;
}

static void user_free(DkvmUser *user)
{
    g_free(user->command);
    g_free(user->node);
    g_free(user->unit);
    g_free(user);
}

/* What may be in use is not taken: see F01 and F08 of facts/handoff.md. */
static void add_unseen(GPtrArray *users)
{
    DkvmUser *user = g_new0(DkvmUser, 1);

    user->kind = DKVM_USER_UNSEEN;
    user->command = g_strdup("");
    user->node = g_strdup("");
    user->unit = g_strdup("");
    g_ptr_array_add(users, user);
}

/* FALSE in *COMPLETE: not everything could be seen; *STUCK: nor will it be, a process hangs. */
static GPtrArray *look_once(const DkvmDevice *device, const DkvmMappings *mappings,
                            gboolean *complete, gboolean *stuck)
{
    GPtrArray *users = g_ptr_array_new_with_free_func((GDestroyNotify)user_free);
    g_autoptr(DkvmMappings) now = mappings ? NULL : dkvm_mappings_read();
    const DkvmMappings *mapped = mappings ? mappings : now;
    g_autoptr(GPtrArray) holders = dkvm_holders_with(device, mapped, complete);

    *complete = *complete && mapped->complete;
    *stuck = mapped->stuck > 0;

    for (guint i = 0; i < holders->len; i++) {
        const DkvmHolder *holder = g_ptr_array_index(holders, i);

        if (holder->hangs_up)
            continue;
        DkvmUser *user = g_new0(DkvmUser, 1);

        user->pid = holder->pid;
        user->start = dkvm_process_start(holder->pid);
        user->command = g_strdup(holder->command);
        user->node = g_strdup(holder->node);
        user->mapped = holder->mapped;
        user->unit = unit_of(holder->pid);
        user->kind = kind_of(user);
        g_ptr_array_add(users, user);
    }
    return users;
}

GPtrArray *dkvm_users(const DkvmDevice *device, const DkvmMappings *mappings)
{
    GPtrArray *users = NULL;
    gboolean complete = FALSE, stuck = FALSE;

    /* A process that comes or goes at this moment is seen, or gone, the next time. */
    for (int i = 0; i < LOOKS && !complete && !stuck; i++) {
        if (users)
            g_ptr_array_unref(users);
        complete = TRUE;
        users = look_once(device, i == 0 ? mappings : NULL, &complete, &stuck);
        /* An ordinary user sees only their own, and may only look at a plan. */
        complete = complete || geteuid() != 0;
    }
    if (!complete)
        add_unseen(users);
    return users;
}

char *dkvm_user_text(const DkvmUser *user)
{
    if (user->kind == DKVM_USER_UNSEEN)
        return g_strdup("it cannot be seen which processes have it open");
    return g_strdup_printf("%s (%d%s%s) has %s %s", user->command, (int)user->pid,
                           *user->unit ? ", " : "", user->unit, user->node,
                           user->mapped ? "mapped" : "open");
}

char *dkvm_users_text(const DkvmDevice *device)
{
    g_autoptr(GPtrArray) users = dkvm_users(device, NULL);
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < users->len; i++) {
        g_autofree char *one = dkvm_user_text(g_ptr_array_index(users, i));

        g_string_append_printf(text, "%s%s", i > 0 ? "; " : "", one);
    }
    return g_string_free(text, FALSE);
}
