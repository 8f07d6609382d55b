/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ownership: /run/dkvm/own/BDF holds the UUID of the VM that a device was taken for.  Made with
 * link(2), so that of two guards one gets it, with its content. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/error.h"
#include "qemu-hook/rundir.h"
#include "qemu-hook/step.h"
#include "udev/sysfs.h"

/* "" if it has none, NULL if that cannot be read; g_free. */
static char *owner_of(const char *bdf)
{
    g_autofree char *path = dkvm_rundir_owner_path(bdf);
    char text[DKVM_UUID_LENGTH + 2];

    if (dkvm_sysfs_line(AT_FDCWD, path, text, sizeof text) >= 0)
        return g_strdup(text);
    return access(path, F_OK) != 0 && errno == ENOENT ? g_strdup("") : NULL;
}

/* A file that cannot be read is not none: what we made is taken away all the same. */
static char *look(DkvmHandover *handover, const DkvmAction *action)
{
    char *owner = owner_of(action->target);

    return owner ? owner : g_strdup(action->post);
}

static void plan(DkvmPlan *plan)
{
    for (guint i = 0; i < plan->devices->len; i++) {
        const DkvmTaken *taken = g_ptr_array_index(plan->devices, i);
        g_autofree char *owner = owner_of(taken->bdf);

        if (!owner) {
            g_autofree char *path = dkvm_rundir_owner_path(taken->bdf);

            dkvm_plan_refuse(plan, "Start the VM again; if that does not help, look at the file.",
                             "To which VM %s is handed over cannot be read from %s.", taken->bdf,
                             path);
            continue;
        }
        if (*owner && !g_str_equal(owner, plan->wants->uuid)) {
            g_autoptr(DkvmHandover) other =
                dkvm_uuid_is_valid(owner) ? dkvm_handover_peek(owner, NULL) : NULL;

            dkvm_plan_refuse(plan, "Shut that VM down first.",
                             "%s is handed over to VM %s%s already.", taken->bdf,
                             other ? other->name : owner,
                             other ? "" : ", whose hand-over cannot be read");
            continue;
        }
        dkvm_plan_add(plan, &dkvm_step_ownership, taken->bdf, "", plan->wants->uuid);
    }
}

static gboolean apply(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autofree char *path = dkvm_rundir_owner_path(action->target);
    g_autofree char *temporary = dkvm_rundir_path(handover->uuid, "own");
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    gboolean ok =
        fd >= 0 && write(fd, action->post, strlen(action->post)) == (ssize_t)strlen(action->post);

    if (fd >= 0 && close(fd) != 0)
        ok = FALSE;
    ok = ok && link(temporary, path) == 0;
    if (!ok)
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED, "cannot take ownership of %s in %s: %s",
                    action->target, path, g_strerror(errno));
    (void)unlink(temporary);
    return ok;
}

static gboolean undo(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autofree char *path = dkvm_rundir_owner_path(action->target);

    if (unlink(path) == 0 || errno == ENOENT)
        return TRUE;
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE, "cannot remove %s: %s", path,
                g_strerror(errno));
    return FALSE;
}

static char *text(const DkvmAction *action)
{
    return g_strdup_printf("note that %s belongs to this VM", action->target);
}

/* It goes last, and only when nothing else is left of this device. */
const DkvmStep dkvm_step_ownership = {
    .name = "ownership",
    .on_device = TRUE,
    .deadline = 1000,
    .plan = plan,
    .look = look,
    .apply = apply,
    .undo = undo,
    .text = text,
};
