/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Everything that would make the hand-over fail, found while the desktop is still there.  All
 * reasons at once, in words, with what to do. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/paths.h"
#include "qemu-hook/bus.h"
#include "qemu-hook/crash.h"
#include "qemu-hook/memory.h"
#include "qemu-hook/services.h"
#include "qemu-hook/sleep.h"
#include "qemu-hook/step.h"
#include "qemu-hook/users.h"
#include "udev/host-private.h"
#include "udev/verdict.h"

#define HOOK "/etc/libvirt/hooks/qemu.d/50-dkvm" /* virhook.c, and the Makefile */

/* ---- devices and groups ----------------------------------------------------------------- */

static void take_reasons(DkvmPlan *plan, const DkvmDevice *device, const GPtrArray *reasons)
{
    for (guint i = 0; i < reasons->len; i++) {
        const DkvmReason *reason = g_ptr_array_index(reasons, i);

        if (reason->weight == DKVM_ANSWER_NO)
            dkvm_plan_refuse(plan, reason->todo, "%s: %s", device->name, reason->text);
        else if (reason->weight == DKVM_ANSWER_COSTS)
            dkvm_plan_note(plan, "%s: %s", device->name, reason->text);
    }
}

static void check_verdicts(DkvmPlan *plan)
{
    if (plan->targets->len == 0)
        return;
    g_autoptr(DkvmVerdict) verdict = dkvm_verdict_together(plan->host, plan->targets);
    const DkvmDevice *last = g_ptr_array_index(plan->targets, plan->targets->len - 1);

    take_reasons(plan, last, verdict->kernel_reasons);
    take_reasons(plan, last, verdict->host_reasons);
}

/* What speaks against no hand-over, but decides what a guest makes of the card: the reset that some
 * AMD GPUs need (facts/handoff.md F35), a card without outputs (F43), a companion that stays. */
static void check_hints(DkvmPlan *plan)
{
    for (guint i = 0; i < plan->targets->len; i++) {
        DkvmDevice *device = g_ptr_array_index(plan->targets, i);

        if (!dkvm_device_is_gpu(device))
            continue;
        g_autoptr(DkvmVerdict) verdict = dkvm_verdict(plan->host, device);

        for (guint k = 0; k < verdict->host_reasons->len; k++) {
            const DkvmReason *reason = g_ptr_array_index(verdict->host_reasons, k);

            if (reason->weight == DKVM_ANSWER_YES)
                dkvm_plan_note(plan, "%s: %s%s%s", device->name, reason->text,
                               reason->todo ? " " : "", reason->todo ? reason->todo : "");
        }
    }
}

/* What a GPU that does not come back would cost, if dkvm.conf says so (facts/handoff.md D.6). */
static void check_rescue(DkvmPlan *plan)
{
    if (plan->config->suspend_rescue && !dkvm_sleep_is_possible())
        dkvm_plan_note(plan, "suspend = rescue has no effect: this host cannot suspend to memory "
                             "and wake itself up.");
    if (plan->config->reboot_rescue && !dkvm_bus_has_systemd())
        dkvm_plan_note(plan, "reboot = rescue has no effect: systemd does not run this host.");
    for (guint i = 0; i < plan->devices->len; i++) {
        const DkvmTaken *taken = g_ptr_array_index(plan->devices, i);

        if (taken->may_suspend || taken->may_reboot)
            dkvm_plan_note(plan, "%s: if it does not come back after the VM, the host is %s.",
                           taken->bdf,
                           !taken->may_reboot    ? "suspended for some seconds"
                           : !taken->may_suspend ? "started again"
                                                 : "suspended for some seconds, and started again "
                                                   "if that does not help");
    }
}

/* A function or disk that libvirt takes by itself cannot share a group with what would have to be
 * moved by us, or by nobody. */
static void check_left(DkvmPlan *plan)
{
    for (guint i = 0; i < plan->wants->devices->len; i++) {
        const DkvmWanted *one = &g_array_index(plan->wants->devices, DkvmWanted, i);
        const DkvmDevice *device = dkvm_host_device(plan->host, &one->bdf);

        for (guint k = 0; one->left && device && device->group && k < device->group->devices->len;
             k++) {
            const DkvmDevice *sibling = g_ptr_array_index(device->group->devices, k);

            if (dkvm_device_is_bridge(sibling) || dkvm_plan_leaves_device(plan, sibling) ||
                dkvm_driver_lets_go(sibling->driver))
                continue;
            dkvm_plan_refuse(plan,
                             "Take one of them out of the VM, or put the card into another slot.",
                             "%s, a network function or NVMe disk of the VM, shares group %d with "
                             "%s, which would have to leave its driver %s.",
                             device->name, device->group->number, sibling->name, sibling->driver);
        }
    }
}

/* ---- who has them open ------------------------------------------------------------------ */

typedef struct {
    GString *desktop, *others, *guarded;
} Users;

static void note_user(GString *text, const char *bdf, const DkvmUser *user)
{
    g_autofree char *one = dkvm_user_text(user);

    if (!strstr(text->str, one))
        g_string_append_printf(text, "%s%s of %s", text->len ? "; " : "", one, bdf);
}

static void sort_user(DkvmPlan *plan, Users *users, const char *bdf, const DkvmUser *user)
{
    switch (user->kind) {
    case DKVM_USER_GUEST:
        dkvm_plan_refuse(plan, "Shut that VM down first.",
                         "%s is in use by another guest: %s (%d) has %s open.", bdf, user->command,
                         (int)user->pid, user->node);
        break;
    case DKVM_USER_MANAGER:
    case DKVM_USER_SESSION:
    case DKVM_USER_KEEPER:
        note_user(users->desktop, bdf, user);
        break;
    case DKVM_USER_PROTECTED:
        note_user(users->guarded, bdf, user);
        break;
    case DKVM_USER_OTHER:
        if (!dkvm_services_stop(plan, user->unit))
            note_user(users->others, bdf, user);
        break;
    case DKVM_USER_UNSEEN:
        dkvm_plan_refuse(plan, "Start the VM again; if that does not help, end programs.",
                         "%s may be in use: not all processes can be looked into.", bdf);
        break;
    }
}

static void judge_users(DkvmPlan *plan, const Users *users)
{
    if (users->guarded->len > 0)
        dkvm_plan_refuse(plan, "It is never ended by dkvm; find out why it needs the device.",
                         "The host itself uses a device: %s.", users->guarded->str);
    if (users->desktop->len > 0 && !plan->config->desktop_stop)
        dkvm_plan_refuse(plan,
                         "Log out there, or let the desktop be ended at each start of such a VM: "
                         "write \"desktop = stop\" below [handoff] in /etc/dkvm/dkvm.conf.",
                         "The desktop of this host uses it: %s.", users->desktop->str);
    if (users->others->len > 0 && !plan->config->holders_terminate)
        dkvm_plan_refuse(plan,
                         "End them, or let them be ended: write \"holders = terminate\" below "
                         "[handoff] in /etc/dkvm/dkvm.conf.",
                         "Programs use it: %s.", users->others->str);
}

/* "VM x is still being created": virt-manager starts a VM before its definition is stored, and what
 * it would end for that would be ended for nothing. */
static void check_created(DkvmPlan *plan, const Users *users)
{
    gboolean ends = (users->desktop->len > 0 && plan->config->desktop_stop) ||
                    (users->others->len > 0 && plan->config->holders_terminate);

    if (ends && (plan->wants->patchable || !dkvm_is_defined(plan->wants)))
        dkvm_plan_refuse(plan,
                         dkvm_is_defined(plan->wants)
                             ? "Finish creating it without the GPU, then add the GPU and start it. "
                               "If it is finished, patch it first: dkvm-patch."
                             : "Finish creating it without the GPU, then add the GPU and start it.",
                         "VM %s is still being created.", plan->wants->name);
}

static void check_blocker(DkvmPlan *plan, const Users *users)
{
    gboolean ends = (users->desktop->len > 0 && plan->config->desktop_stop) ||
                    (users->others->len > 0 && plan->config->holders_terminate);
    g_autofree char *blocker = ends ? dkvm_bus_blocker("shutdown") : NULL;

    if (blocker)
        dkvm_plan_refuse(plan, "Let it finish first.",
                         "Something on this host must not be interrupted: %s.", blocker);
}

static void check_holders(DkvmPlan *plan)
{
    g_autoptr(GString) desktop = g_string_new(NULL), others = g_string_new(NULL);
    g_autoptr(GString) guarded = g_string_new(NULL);
    Users sorted = {desktop, others, guarded};

#ifdef DKVM_FAILPOINTS
    if (g_getenv("DKVM_FORCE_UNBIND"))
        return;
#endif
    for (guint i = 0; i < plan->targets->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);
        g_autoptr(GPtrArray) users = dkvm_users(device, plan->mappings);

        for (guint k = 0; k < users->len; k++)
            sort_user(plan, &sorted, device->name, g_ptr_array_index(users, k));
    }
    if (plan->mappings->stuck > 0)
        dkvm_plan_refuse(plan, "End it, or start the host again if it does not end.",
                         "Process %d hangs in the kernel: what it and others have in their memory "
                         "cannot be seen.",
                         (int)plan->mappings->stuck);
    judge_users(plan, &sorted);
    check_created(plan, &sorted);
    check_blocker(plan, &sorted);
}

/* What will be written is opened for it, and nothing written: a policy of SELinux, or a /sys that
 * is mounted to be read only, says no here (selinux_file_open() asks for the permission to write),
 * and not after the desktop was ended. */
static void check_writable(DkvmPlan *plan)
{
    for (guint i = 0; geteuid() == 0 && i < plan->targets->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);
        g_autofree char *file =
            g_strconcat("/sys/bus/pci/devices/", device->name, "/driver_override", NULL);
        g_autofree char *path = dkvm_path(file);
        int fd = open(path, O_WRONLY | O_CLOEXEC);

        if (fd >= 0)
            (void)close(fd);
        else if (errno == EACCES || errno == EPERM || errno == EROFS)
            dkvm_plan_refuse(
                plan,
                "Let dkvm-gpu write there: with SELinux, 'ausearch -m avc -c dkvm-gpu' "
                "shows what is denied and audit2allow(1) makes a module of it; else "
                "see how /sys is mounted.",
                "%s cannot be moved: %s: %s.", device->name, file, g_strerror(errno));
    }
}

/* ---- the kernel ------------------------------------------------------------------------- */

static gboolean module_exists(const char *release)
{
    g_autofree char *dep =
        g_strconcat(dkvm_paths_root(), "/lib/modules/", release, "/modules.dep", NULL);
    g_autofree char *text = NULL;

    return g_file_get_contents(dep, &text, NULL, NULL) && strstr(text, "/vfio-pci.ko") != NULL;
}

static void check_modules(DkvmPlan *plan)
{
    g_autofree char *driver = dkvm_path("/sys/bus/pci/drivers/vfio-pci");
    const char *release = plan->host->kernel ? plan->host->kernel : "";

    /* A kernel that was updated without a boot has lost its modules. */
    if (!g_file_test(driver, G_FILE_TEST_IS_DIR) && !module_exists(release))
        dkvm_plan_refuse(plan,
                         "Start the host again if its kernel was updated; else install a kernel "
                         "with vfio-pci.",
                         "The module vfio-pci of the running kernel %s cannot be found.", release);
}

/* TAINT_DIE and TAINT_WARN of Documentation/admin-guide/tainted-kernels.rst: bits 7 and 9. */
static void check_taint(DkvmPlan *plan)
{
    g_autofree char *text = dkvm_host_text("/proc/sys/kernel/tainted", 32);
    guint64 taint = text ? g_ascii_strtoull(text, NULL, 10) : 0;

    if (taint & 1 << 7)
        dkvm_plan_refuse(plan, "Start the host again first; dmesg shows what happened.",
                         "The kernel has crashed in a driver since the host was started (oops).");
    else if (taint & 1 << 9)
        dkvm_plan_note(plan, "The kernel has warned about itself since the host was started; dmesg "
                             "shows it.");
}

static void check_crashes(DkvmPlan *plan)
{
    for (guint i = 0; i < plan->targets->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(plan->targets, i);
        g_autofree char *todo = NULL;
        g_autofree char *suspect = dkvm_crash_suspect(plan->host, device, &todo);

        if (suspect)
            dkvm_plan_refuse(plan, todo, "%s: %s", device->name, suspect);
    }
}

/* ---- libvirt ---------------------------------------------------------------------------- */

/* A link that leads nowhere is passed over by libvirt, as one that is not there. */
static gboolean has_hook(void)
{
    g_autofree char *path = dkvm_path(HOOK);
    g_autofree char *target = g_file_read_link(path, NULL);
    g_autofree char *program =
        target && g_path_is_absolute(target) ? dkvm_path(target) : g_strdup(path);

    return access(program, X_OK) == 0;
}

/* Without the hook nothing at all of this is done: libvirt starts the VM, and with managed='yes' it
 * takes the devices from under the desktop itself, where nothing bounds it (facts/handoff.md F01,
 * F24). */
static void check_hook(DkvmPlan *plan)
{
    if (!has_hook())
        dkvm_plan_note(plan, "libvirt will not run dkvm when the VM starts: " HOOK
                             " is not there, or leads nowhere. Install dkvm again, and have "
                             "libvirt look for it: systemctl reload libvirtd (or virtqemud).");
}

void dkvm_preflight(DkvmPlan *plan)
{
    check_verdicts(plan);
    check_hints(plan);
    check_rescue(plan);
    check_left(plan);
    check_holders(plan);
    check_writable(plan);
    dkvm_memory_check(plan);
    check_modules(plan);
    check_taint(plan);
    check_crashes(plan);
    check_hook(plan);
}
