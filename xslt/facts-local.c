/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <string.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/paths.h"
#include "xslt/facts-private.h"
#include "xslt/firmware.h"
#include "xslt/qmp-cache.h"

#define MAX_CPUINFO (16 * 1024 * 1024) /* 2 KiB a thread */
#define FEATURE_AUTOSELECT 7002000     /* <os firmware><firmware><feature>: libvirt 7.2.0, NEWS */

static char *read_line(const char *path)
{
    g_autofree char *real = dkvm_path(path);
    char *text = dkvm_file_read(real, 4096, NULL, NULL);

    return text ? g_strstrip(text) : NULL;
}

/* The value of NAME in the first CPU's block of /proc/cpuinfo; NULL if it is not there. */
static char *cpuinfo_value(const char *text, const char *name)
{
    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        const char *colon, *end;
        line += *line == '\n';
        if (!g_str_has_prefix(line, name) || !strchr("\t :", line[strlen(name)]))
            continue;
        colon = strchr(line, ':');
        end = strchr(line, '\n');
        if (!colon || (end && colon > end))
            return NULL;
        return g_strstrip(end ? g_strndup(colon + 1, (gsize)(end - colon - 1))
                              : g_strdup(colon + 1));
    }
    return NULL;
}

static guint count_threads(const char *text)
{
    guint count = g_str_has_prefix(text, "processor") ? 1 : 0;

    while ((text = strstr(text, "\nprocessor"))) {
        count++;
        text++;
    }
    return count;
}

static DkvmTristate smt(const char *cpuinfo)
{
    g_autofree char *active = read_line("/sys/devices/system/cpu/smt/active");
    g_autofree char *siblings = cpuinfo_value(cpuinfo, "siblings");
    g_autofree char *cores = cpuinfo_value(cpuinfo, "cpu cores");

    if (active)
        return g_str_equal(active, "1") ? DKVM_YES : DKVM_NO;
    if (!siblings || !cores)
        return DKVM_UNKNOWN;
    return g_ascii_strtoull(siblings, NULL, 10) > g_ascii_strtoull(cores, NULL, 10) ? DKVM_YES
                                                                                    : DKVM_NO;
}

static DkvmTristate flag(const char *const *flags, const char *name)
{
    return g_strv_contains(flags, name) ? DKVM_YES : DKVM_NO;
}

/* Linux shows CPUID 80000007H:EDX[8] as constant_tsc and nonstop_tsc; the second is that bit only
 * (arch/x86/kernel/cpu/intel.c, amd.c). */
static void read_flags(DkvmFacts *facts, const char *cpuinfo)
{
    g_autofree char *line = cpuinfo_value(cpuinfo, "flags");
    g_auto(GStrv) flags = line ? g_strsplit(line, " ", -1) : NULL;

    if (!flags)
        return;
    if (facts->sse42 == DKVM_UNKNOWN)
        facts->sse42 = flag((const char *const *)flags, "sse4_2");
    if (facts->avx2 == DKVM_UNKNOWN)
        facts->avx2 = flag((const char *const *)flags, "avx2");
    if (facts->invtsc == DKVM_UNKNOWN)
        facts->invtsc = flag((const char *const *)flags, "nonstop_tsc");
}

void dkvm_facts_read_cpu(DkvmFacts *facts)
{
    g_autofree char *path = dkvm_path("/proc/cpuinfo");
    g_autofree char *text = dkvm_file_read(path, MAX_CPUINFO, NULL, NULL);
    g_autofree char *clock =
        read_line("/sys/devices/system/clocksource/clocksource0/current_clocksource");

    if (clock && facts->tsc_stable == DKVM_UNKNOWN)
        facts->tsc_stable = g_str_equal(clock, "tsc") ? DKVM_YES : DKVM_NO;
    if (facts->smt == DKVM_UNKNOWN)
        facts->smt = smt(text ? text : "");
    if (!text)
        return;
    if (!facts->cpu_vendor)
        facts->cpu_vendor = cpuinfo_value(text, "vendor_id");
    if (facts->threads == 0)
        facts->threads = count_threads(text);
    read_flags(facts, text);
}

/* Asks, or takes the cache's word for it. */
static DkvmQmpAnswer *answer(const char *emulator, const char *accel, GError **error)
{
    g_autofree char *key = dkvm_qmp_cache_key(emulator, accel);
    DkvmQmpAnswer *known = key ? dkvm_qmp_cache_load(key) : NULL;

    if (known)
        return known;
    known = dkvm_qmp_ask(emulator, accel, DKVM_QMP_DEADLINE, error);
    if (known && key)
        dkvm_qmp_cache_store(key, known);
    return known;
}

/* Can this process open /dev/kvm?  No permission says nothing about libvirt's QEMU. */
static DkvmTristate kvm_device(void)
{
    g_autofree char *path = dkvm_path("/dev/kvm");
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return errno == ENOENT || errno == ENXIO || errno == ENODEV ? DKVM_NO : DKVM_UNKNOWN;
    close(fd);
    return DKVM_YES;
}

static void ask_kvm(DkvmFacts *facts, const char *emulator)
{
    g_autoptr(DkvmQmpAnswer) kvm = NULL;
    g_autoptr(GError) error = NULL;
    DkvmTristate device = kvm_device();

    if (facts->kvm == DKVM_NO)
        return;
    if (device != DKVM_YES) {
        if (facts->kvm == DKVM_UNKNOWN)
            facts->kvm = device;
        return;
    }
    kvm = answer(emulator, "kvm", &error);
    if (!kvm) {
        dkvm_log_note("what KVM lacks here stays unknown: %s", error->message);
        return;
    }
    facts->kvm = DKVM_YES;
    dkvm_facts_merge_missing(facts->missing_kvm, kvm->missing);
}

gboolean dkvm_facts_ask_emulator(DkvmFacts *facts, const char *emulator, GError **error)
{
    g_autoptr(DkvmQmpAnswer) tcg = answer(emulator, "tcg", error);

    if (!tcg)
        return FALSE;
    if (facts->qemu_version == 0)
        facts->qemu_version = tcg->version;
    if (facts->applesmc == DKVM_UNKNOWN)
        facts->applesmc = tcg->applesmc;
    if (facts->hotplug_off == DKVM_UNKNOWN)
        facts->hotplug_off = tcg->hotplug_off;
    dkvm_facts_merge_missing(facts->missing_tcg, tcg->missing);
    ask_kvm(facts, emulator);
    return TRUE;
}

static void read_libvirt(DkvmFacts *facts)
{
    if (virGetVersion(&facts->libvirt_version, NULL, NULL) < 0)
        facts->libvirt_version = 0;
    facts->libvirt_source = g_strdup("this machine's libvirt library");
}

/* libvirt selects among descriptors only: images that merely lie at a known path are nothing to it.
 */
static DkvmTristate autoselect(const DkvmFacts *facts)
{
    if (facts->libvirt_version < FEATURE_AUTOSELECT)
        return DKVM_NO;
    for (guint i = 0; i < facts->firmware->len; i++) {
        const DkvmFirmwarePair *pair = facts->firmware->pdata[i];
        if (!g_str_equal(pair->source, DKVM_FIRMWARE_KNOWN_PATH))
            return DKVM_YES;
    }
    return DKVM_NO;
}

DkvmFacts *dkvm_facts_local(GError **error)
{
    g_autoptr(DkvmFacts) facts = dkvm_facts_new();
    const char *emulator = dkvm_qmp_emulator();
    const char *config_home = geteuid() == 0 ? NULL : g_get_user_config_dir();

    if (!emulator) {
        g_set_error(
            error, DKVM_ERROR, DKVM_ERROR_HOST,
            "asking this host's QEMU failed: there is none at a distribution's path; install "
            "qemu-system-x86, or name recorded facts with --facts FILE");
        return NULL;
    }
    if (!dkvm_facts_ask_emulator(facts, emulator, error))
        return NULL;
    facts->emulator = g_strdup(emulator);
    facts->emulator_source = g_strdup_printf("QMP of %s", emulator);
    facts->missing_source = g_strdup(facts->emulator_source);
    dkvm_facts_read_cpu(facts);
    facts->host_source = g_strdup("/proc/cpuinfo and /sys of this machine");
    read_libvirt(facts);
    dkvm_firmware_find(facts->firmware, config_home);
    facts->firmware_source = g_strdup("firmware descriptors and known paths of this machine");
    facts->autoselect = autoselect(facts);
    facts->nvram_dir = config_home ? g_build_filename(config_home, "libvirt/qemu/nvram", NULL)
                                   : g_strdup("/var/lib/libvirt/qemu/nvram");
    return g_steal_pointer(&facts);
}
