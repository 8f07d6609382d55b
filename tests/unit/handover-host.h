/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A host of files for the tests of hand-overs: PCI devices with their drivers below a folder, and a
 * kernel that binds, unbinds, removes and rescans them when the worker writes where a real one
 * would. */
#pragma once

#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/error.h"
#include "qemu-hook/plan.h"
#include "qemu-hook/rundir.h"
#include "qemu-hook/step.h"

#define UUID "11111111-2222-3333-4444-555555555555"

static char *root;

/* ---- hand-overs ------------------------------------------------------------------------- */

static G_GNUC_UNUSED DkvmHandover *must_load_of(const char *uuid)
{
    GError *error = NULL;

    g_assert_true(dkvm_rundir_make(uuid, &error));
    g_assert_no_error(error);
    DkvmHandover *handover = dkvm_handover_load(uuid, &error);

    g_assert_no_error(error);
    return handover;
}

static G_GNUC_UNUSED DkvmHandover *must_load(void)
{
    return must_load_of(UUID);
}

/* What the guard does with the domain XML at "prepare"; reasons to refuse are an error. */
static G_GNUC_UNUSED gboolean hand_over(DkvmHandover *handover, const char *domain, GError **error)
{
    g_autoptr(DkvmConfig) config = dkvm_config_load(error);
    g_autoptr(DkvmWants) wants =
        config ? dkvm_wants_parse(domain, strlen(domain), config, error) : NULL;
    g_autoptr(DkvmPlan) plan = wants ? dkvm_plan_new(wants, config, error) : NULL;

    if (!plan)
        return FALSE;
    if (plan->refusals->len > 0) {
        g_autofree char *text = dkvm_plan_reasons(plan);

        g_set_error_literal(error, DKVM_ERROR, DKVM_ERROR_REFUSED, text);
        return FALSE;
    }
    return dkvm_handover_begin(handover, wants->name, g_steal_pointer(&plan->devices),
                               g_steal_pointer(&plan->actions), error) &&
           dkvm_handover_prepare(handover, error);
}

/* ---- a host of files -------------------------------------------------------------------- */

/* A folder in memory, since each step brings a note to disk; but programs must run in it. */
static G_GNUC_UNUSED char *make_folder(void)
{
    char shm[] = "/dev/shm/dkvm-handover-XXXXXX";
    struct statvfs st;

    if (statvfs("/dev/shm", &st) == 0 && !(st.f_flag & ST_NOEXEC) && g_mkdtemp(shm))
        return g_strdup(shm);
    return g_dir_make_tmp("dkvm-handover-XXXXXX", NULL);
}

static char *at(const char *path)
{
    return g_strconcat(root, path, NULL);
}

static void put(const char *path, const char *text)
{
    g_autofree char *full = at(path), *folder = g_path_get_dirname(full);

    g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
    g_assert_true(g_file_set_contents(full, text, -1, NULL));
}

static void put_link(const char *path, const char *target)
{
    g_autofree char *full = at(path), *folder = g_path_get_dirname(full);

    g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
    (void)unlink(full);
    g_assert_cmpint(symlink(target, full), ==, 0);
}

static void put_device(const char *bdf, const char *class_code, const char *driver, int group)
{
    g_autofree char *folder = g_strconcat("/sys/devices/pci0000:00/", bdf, NULL);
    g_autofree char *link = g_strconcat("/sys/bus/pci/devices/", bdf, NULL);
    g_autofree char *target = g_strconcat("../../../devices/pci0000:00/", bdf, NULL);
    const struct {
        const char *name, *text;
    } files[] = {{"vendor", "0x1234\n"},
                 {"device", "0x1111\n"},
                 {"class", class_code},
                 {"subsystem_vendor", "0x1af4\n"},
                 {"subsystem_device", "0x1100\n"},
                 {"driver_override", "(null)\n"},
                 {"modalias", "pci:v1234\n"}};

    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_strconcat(folder, "/", files[i].name, NULL);

        put(path, files[i].text);
    }
    g_autofree char *home = g_strconcat(folder, "/home", NULL);
    g_autofree char *grouped = g_strconcat(folder, "/iommu_group", NULL);
    g_autofree char *where = g_strdup_printf("../../../kernel/iommu_groups/%d", group);
    g_autofree char *member = g_strdup_printf("/sys/kernel/iommu_groups/%d/devices/%s", group, bdf);
    g_autofree char *back = g_strconcat("../../../../devices/pci0000:00/", bdf, NULL);

    put(home, driver ? driver : "");
    put_link(link, target);
    put_link(grouped, where);
    put_link(member, back);
    if (driver) {
        g_autofree char *bound = g_strconcat(folder, "/driver", NULL);
        g_autofree char *path = g_strconcat("../../../bus/pci/drivers/", driver, NULL);

        put_link(bound, path);
    }
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) dir =
        g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *child = g_build_filename(path, name, NULL);

        remove_tree(child);
    }
    (void)g_remove(path);
}

static G_GNUC_UNUSED void make_host(void)
{
    static const char *const drivers[] = {"vfio-pci", "bochs-drm", "snd_hda_intel", "xhci_hcd"};

    remove_tree(root);
    g_assert_cmpint(g_mkdir(root, 0755), ==, 0);
    for (gsize i = 0; i < G_N_ELEMENTS(drivers); i++) {
        g_autofree char *path = g_strconcat("/sys/bus/pci/drivers/", drivers[i], "/bind", NULL);

        put(path, "");
    }
    put("/sys/bus/pci/drivers_probe", "");
    put("/proc/sys/kernel/random/boot_id", "b007\n");
    put("/proc/sys/kernel/osrelease", "6.1.0-test\n");
    put("/sys/class/iommu/dmar0/x", "");
    put("/dev/vfio/11", "");
    put_device("0000:00:02.0", "0x030000\n", "bochs-drm", 1);
    put_device("0000:01:00.0", "0x030000\n", "bochs-drm", 11);
    put_device("0000:01:00.1", "0x040300\n", "snd_hda_intel", 11);
    put_device("0000:01:00.2", "0x0c0330\n", NULL, 11);
}

/* The firmware's frame buffer, whose region in /proc/iomem is LINE, beside a GPU with the window
 * fd000000-fdffffff. */
static G_GNUC_UNUSED void put_frame_buffer(const char *line)
{
    g_autofree char *iomem = g_strconcat("fd000000-fdffffff : 0000:01:00.0\n", line, "\n", NULL);

    put("/proc/iomem", iomem);
    put("/sys/devices/pci0000:00/0000:01:00.0/resource",
        "0x00000000fd000000 0x00000000fdffffff 0x0000000000042208\n");
    put("/sys/bus/platform/devices/efi-framebuffer.0/uevent", "");
    put_link("/sys/bus/platform/devices/efi-framebuffer.0/driver", "../../drivers/efi-framebuffer");
}

/* ---- pictures --------------------------------------------------------------------------- */

static char *read_word(const char *path)
{
    char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return g_strdup("");
    return g_strstrip(text);
}

static int by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

G_GNUC_UNUSED static void add_picture(GString *text, const char *path)
{
    g_autoptr(GDir) dir =
        g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    const char *name;

    if (!dir) {
        g_autofree char *link = g_file_read_link(path, NULL);
        g_autofree char *content = link ? NULL : read_word(path);

        g_string_append_printf(text, "%s %s\n", path, link ? link : content);
        return;
    }
    while ((name = g_dir_read_name(dir)))
        g_ptr_array_add(names, g_build_filename(path, name, NULL));
    g_ptr_array_sort(names, by_text);
    for (guint i = 0; i < names->len; i++)
        add_picture(text, g_ptr_array_index(names, i));
}

/* ---- its kernel: runs in the worker ------------------------------------------------------ */

/* The function BDF does not take a driver before HOW: it is reset ("reset"), found anew ("rescan"),
 * or has slept ("sleep"). */
static G_GNUC_UNUSED void put_stubborn(const char *bdf, const char *how)
{
    g_autofree char *path = g_strconcat("/sys/devices/pci0000:00/", bdf, "/stubborn", NULL);

    put(path, how);
}

static int fake_reset(const char *path)
{
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *stubborn = g_strconcat(folder, "/stubborn", NULL);
    g_autofree char *how = read_word(stubborn), *count = at("/resets");
    g_autofree char *before = read_word(count), *after = g_strconcat(before, "x", NULL);

    if (g_str_equal(how, "reset"))
        (void)unlink(stubborn);
    return g_file_set_contents(count, after, -1, NULL) ? 0 : EIO;
}

static int fake_probe(const char *bdf)
{
    g_autofree char *folder = g_strconcat(root, "/sys/devices/pci0000:00/", bdf, NULL);
    g_autofree char *override_path = g_strconcat(folder, "/driver_override", NULL);
    g_autofree char *home = g_strconcat(folder, "/home", NULL);
    g_autofree char *link = g_strconcat(folder, "/driver", NULL);
    g_autofree char *wanted = read_word(override_path), *own = read_word(home);
    const char *driver = g_str_equal(wanted, "(null)") ? own : wanted;
    g_autofree char *stubborn = g_strconcat(folder, "/stubborn", NULL);

    if (*driver && access(stubborn, F_OK) != 0 && !g_file_test(link, G_FILE_TEST_IS_SYMLINK)) {
        g_autofree char *target = g_strconcat("../../../bus/pci/drivers/", driver, NULL);

        g_assert_cmpint(symlink(target, link), ==, 0);
    }
    return 0;
}

/* By name: that nothing was bound is an error (bind_store() of drivers/base/bus.c). */
static int fake_bind(const char *bdf)
{
    g_autofree char *link = g_strconcat(root, "/sys/devices/pci0000:00/", bdf, "/driver", NULL);
    int cause = fake_probe(bdf);

    return cause ? cause : g_file_test(link, G_FILE_TEST_IS_SYMLINK) ? 0 : ENODEV;
}

/* The registers of a function whose first window is at ADDRESS. */
static void put_config(const char *bdf, guint8 address)
{
    g_autofree char *folder = g_strconcat(root, "/sys/devices/pci0000:00/", bdf, NULL);
    g_autofree char *config = g_strconcat(folder, "/config", NULL);
    g_autofree char *resource = g_strconcat(folder, "/resource", NULL);
    char bytes[64] = {0x34, 0x12, 0x11, 0x11};

    bytes[0x10] = 8; /* prefetchable */
    bytes[0x13] = (char)address;
    g_assert_true(g_file_set_contents(config, bytes, sizeof bytes, NULL));
    g_assert_true(g_file_set_contents(
        resource, "0x00000000fc000000 0x00000000fcffffff 0x0000000000042208\n", -1, NULL));
}

/* Out of sight, where the other half finds it. */
static int fake_remove(const char *bdf)
{
    g_autofree char *folder = g_strconcat(root, "/sys/devices/pci0000:00/", bdf, NULL);
    g_autofree char *gone = g_strconcat(root, "/gone", NULL);
    g_autofree char *name = g_strconcat(root, "/gone-name", NULL);

    return rename(folder, gone) == 0 && g_file_set_contents(name, bdf, -1, NULL) ? 0 : EIO;
}

static int fake_rescan(void)
{
    g_autofree char *gone = g_strconcat(root, "/gone", NULL);
    g_autofree char *name = g_strconcat(root, "/gone-name", NULL);
    g_autofree char *bdf = read_word(name);
    g_autofree char *folder = g_strconcat(root, "/sys/devices/pci0000:00/", bdf, NULL);

    if (*bdf == '\0')
        return 0;
    if (rename(gone, folder) != 0 || unlink(name) != 0)
        return EIO;
    g_autofree char *stubborn = g_strconcat(folder, "/stubborn", NULL);
    g_autofree char *how = read_word(stubborn);

    if (!g_str_equal(how, "never") && !g_str_equal(how, "sleep"))
        (void)unlink(stubborn);
    put_config(bdf, 0xfc);
    return fake_probe(bdf);
}

static int platform_answer;

/* PATH: the driver's "bind". */
static int fake_platform_bind(const char *path, const char *name)
{
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *driver = g_path_get_basename(folder);
    g_autofree char *link = g_strconcat("/sys/bus/platform/devices/", name, "/driver", NULL);
    g_autofree char *target = g_strconcat("../../drivers/", driver, NULL);

    if (platform_answer)
        return platform_answer;
    put_link(link, target);
    return 0;
}

/* ---- its modules ------------------------------------------------------------------------ */

/* nvidia's four, each with what it stands on. */
static const char *fake_base(const char *module)
{
    return g_str_equal(module, "nvidia_drm") ? "nvidia_modeset"
           : g_str_equal(module, "nvidia")   ? NULL
                                             : "nvidia";
}

/* Those that are loaded count: refcnt is how many hold it. */
static int fake_load(const char *module)
{
    const char *base = fake_base(module);
    g_autofree char *counter = g_strconcat("/sys/module/", module, "/refcnt", NULL);
    g_autofree char *there = at(counter);

    if (g_file_test(there, G_FILE_TEST_EXISTS))
        return 0;
    if (base) {
        g_autofree char *holder = g_strconcat("/sys/module/", base, "/holders/", module, NULL);
        int cause = fake_load(base);

        if (cause)
            return cause;
        put(holder, "");
    }
    put(counter, "0\n");
    return 0;
}

static int fake_unload(const char *module)
{
    const char *base = fake_base(module);
    g_autofree char *folder = g_strconcat(root, "/sys/module/", module, NULL);
    g_autofree char *holders = g_strconcat(folder, "/holders", NULL);
    g_autofree char *counter = g_strconcat(folder, "/refcnt", NULL), *count = read_word(counter);
    g_autofree char *holder = g_strconcat(root, "/sys/module/", base, "/holders/", module, NULL);
    g_autofree char *others = g_path_get_dirname(holder);

    if (!g_str_equal(count, "0") || (rmdir(holders) != 0 && errno != ENOENT))
        return EWOULDBLOCK;
    remove_tree(folder);
    (void)unlink(holder);
    (void)rmdir(others);
    return 0;
}

static char *beside(const char *path, const char *name)
{
    g_autofree char *folder = g_path_get_dirname(path);

    return g_build_filename(folder, name, NULL);
}

static guint64 count_in(const char *path, const char *name)
{
    g_autofree char *file = beside(path, name), *text = read_word(file);

    return g_ascii_strtoull(text, NULL, 10);
}

static void put_count(const char *path, const char *name, guint64 count)
{
    g_autofree char *file = beside(path, name);
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT "\n", count);

    g_assert_true(g_file_set_contents(file, text, -1, NULL));
}

/* How many a pool can have: memory is in pieces. */
static guint64 most_pages = G_MAXUINT64;

/* PATH: nr_hugepages.  Pages in use are not freed, they become surplus (set_max_huge_pages()). */
static int fake_pages(const char *path, const char *text)
{
    guint64 surplus = count_in(path, "surplus_hugepages"), all = count_in(path, "nr_hugepages");
    guint64 free_pages = count_in(path, "free_hugepages"), now = all - surplus;
    guint64 to = MIN(g_ascii_strtoull(text, NULL, 10), MAX(most_pages, now));

    if (to >= now) {
        all += to - now;
        free_pages += to - now;
    } else {
        guint64 freed = MIN(now - to, free_pages);

        all -= freed;
        free_pages -= freed;
        surplus += now - to - freed;
    }
    put_count(path, "nr_hugepages", all);
    put_count(path, "free_hugepages", free_pages);
    put_count(path, "surplus_hugepages", surplus);
    return 0;
}

static gboolean no_sleep, no_alarm, keeps_kind;

/* PATH: mem_sleep (mem_sleep_store() in kernel/power/main.c): the chosen one is in brackets. */
static int fake_kind(const char *path, const char *kind)
{
    g_autofree char *kinds = read_word(path);
    g_auto(GStrv) words = g_strsplit_set(kinds, " []", -1);
    GString *now = g_string_new(NULL);

    if (keeps_kind)
        return 0;
    if (!g_strv_contains((const char *const *)words, kind))
        return EINVAL;
    for (char **word = words; *word; word++) {
        if (**word)
            g_string_append_printf(now, g_str_equal(*word, kind) ? "[%s] " : "%s ", *word);
    }
    g_autofree char *text = g_string_free(now, FALSE);

    return g_file_set_contents(path, text, -1, NULL) ? 0 : EIO;
}

/* PATH: wakealarm (drivers/rtc/sysfs.c). */
static int fake_alarm(const char *path, const char *when)
{
    g_autofree char *set = read_word(path);
    g_autofree char *clock = beside(path, "since_epoch"), *seconds = read_word(clock);
    gint64 now = g_ascii_strtoll(seconds, NULL, 10);
    gint64 at = g_ascii_strtoll(when, NULL, 10) + (*when == '+' ? now : 0);
    g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT "\n", at);

    if (no_alarm && *when == '+')
        return 0;
    if (at > now && *set)
        return EBUSY;
    return g_file_set_contents(path, at > now ? text : "", -1, NULL) ? 0 : EIO;
}

/* PATH: power/state.  What was without power for a while; the alarm was the reason to wake up. */
static int fake_sleep(const char *path, const char *state)
{
    g_autofree char *stubborn = at("/sys/devices/pci0000:00/0000:01:00.0/stubborn");
    g_autofree char *alarm = at("/sys/class/rtc/rtc0/wakealarm");
    g_autofree char *how = read_word(stubborn), *set = read_word(alarm);

    if (no_sleep || *set == '\0')
        return EIO;
    if (g_str_equal(how, "sleep"))
        (void)unlink(stubborn);
    return g_file_set_contents(alarm, "", -1, NULL) && g_file_set_contents(path, state, -1, NULL)
               ? 0
               : EIO;
}

static gboolean no_room;

/* PATH: resource0_resize (__resource_resize_store()). */
static int fake_resize(const char *path, const char *text)
{
    g_autofree char *driver = beside(path, "driver"), *resource = beside(path, "resource");
    g_autofree char *mask = read_word(path);
    guint64 bit = g_ascii_strtoull(text, NULL, 10), first = 0x4000000000;

    if (g_file_test(driver, G_FILE_TEST_IS_SYMLINK))
        return EBUSY;
    if ((g_ascii_strtoull(mask, NULL, 16) >> bit & 1) == 0)
        return EINVAL;
    if (no_room)
        return ENOSPC;
    g_autofree char *line = g_strdup_printf("0x%016" G_GINT64_MODIFIER "x 0x%016" G_GINT64_MODIFIER
                                            "x 0x000000000014220c\n",
                                            first, first + ((guint64)1 << (bit + 20)) - 1);

    return g_file_set_contents(resource, line, -1, NULL) ? 0 : EIO;
}

/* PATH: reset_method.  What the device can do is in a file beside it. */
static int fake_reset_method(const char *path, const char *text)
{
    g_autofree char *file = beside(path, "reset_known"), *known = read_word(file);
    g_auto(GStrv) all = g_strsplit(known, " ", -1), words = g_strsplit(text, " ", -1);

    if (g_str_equal(text, "default"))
        return g_file_set_contents(path, known, -1, NULL) ? 0 : EIO;
    for (char **word = words; *word; word++) {
        if (!g_strv_contains((const char *const *)all, *word))
            return EINVAL;
    }
    return g_file_set_contents(path, text, -1, NULL) ? 0 : EIO;
}

static int fail_number = -1, fail_cause, fail_count;
static gboolean fail_rescan;
static gboolean fail_silent;

static G_GNUC_UNUSED int fake_kernel(DkvmWorkKind kind, const char *a, const char *b, char **text)
{
    g_autofree char *path = kind == DKVM_WORK_WRITE ? at(a) : NULL;

    *text = NULL;
    if (fail_count++ == fail_number) {
        if (fail_cause < 0) { /* as in the kernel: not even SIGKILL ends it */
            pid_t pid = getpid();

            (void)kill(pid, SIGSTOP);
        }
        if (fail_silent)
            return 0;
        return fail_cause;
    }
    if (kind == DKVM_WORK_PROBE)
        return fake_probe(a);
    if (kind == DKVM_WORK_MODULE && g_str_has_prefix(a, "nvidia"))
        return fake_load(a);
    if (kind == DKVM_WORK_UNLOAD)
        return fake_unload(a);
    if (kind == DKVM_WORK_TAKE_PAGES || kind == DKVM_WORK_GIVE_PAGES)
        return dkvm_work(kind, a, b, text);
    if (kind != DKVM_WORK_WRITE)
        return 0;
    if (g_str_has_suffix(a, "/mem_sleep"))
        return fake_kind(path, b);
    if (g_str_has_suffix(a, "/wakealarm"))
        return fake_alarm(path, b);
    if (g_str_has_suffix(a, "/power/state"))
        return fake_sleep(path, b);
    if (g_str_has_suffix(a, "/nr_hugepages"))
        return fake_pages(path, b);
    if (g_str_has_suffix(a, "_resize"))
        return fake_resize(path, b);
    if (g_str_has_suffix(a, "/reset_method"))
        return fake_reset_method(path, b);
    if (g_str_has_suffix(a, "/driver/unbind")) {
        g_autofree char *link = g_path_get_dirname(path);

        return unlink(link) == 0 ? 0 : errno;
    }
    if (g_str_has_suffix(a, "drivers_probe"))
        return fake_probe(b);
    if (g_str_has_suffix(a, "/driver_override"))
        return g_file_set_contents(path, g_str_equal(b, "\n") ? "(null)" : b, -1, NULL) ? 0 : EIO;
    if (g_str_has_prefix(a, "/sys/bus/platform/drivers/"))
        return fake_platform_bind(a, b);
    if (g_str_has_suffix(a, "/bind"))
        return fake_bind(b);
    if (g_str_has_suffix(a, "/remove")) {
        g_autofree char *folder = g_path_get_dirname(a);
        g_autofree char *bdf = g_path_get_basename(folder);

        return fake_remove(bdf);
    }
    if (g_str_has_suffix(a, "/reset"))
        return fake_reset(path);
    if (g_str_has_suffix(a, "/rescan"))
        return fail_rescan ? EIO : fake_rescan();
    return g_file_set_contents(path, b, -1, NULL) ? 0 : EIO;
}
