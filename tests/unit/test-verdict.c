/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* udev/verdict.c and losses.c on hosts made up in memory: one fact changed at a time, so that each
 * rule is seen to matter. */
#include <glib.h>
#include <string.h>

#include "udev/verdict.h"

typedef struct {
    DkvmHost *host;
    DkvmGroup *group, *other;
    DkvmDevice *port, *gpu, *sound, *second;
} Made;

static DkvmDevice *device(Made *m, const char *bdf, guint32 class_code, guint16 vendor,
                          const char *driver, DkvmGroup *group)
{
    DkvmDevice *d = g_new0(DkvmDevice, 1);

    g_assert_true(dkvm_bdf_parse(bdf, &d->id.bdf));
    dkvm_bdf_format(&d->id.bdf, d->name);
    d->id.vendor = vendor;
    d->class_code = class_code;
    d->class_name = g_strdup("thing");
    d->header_type = class_code >> 8 == 0x0604;
    d->boot_vga = -1;
    d->driver = g_strdup(driver);
    d->reset_methods = g_strdup("flr");
    d->uses = g_ptr_array_new_with_free_func(g_free);
    d->group = group;
    g_ptr_array_add(group->devices, d);
    g_ptr_array_add(m->host->devices, d);
    return d;
}

static DkvmGroup *group(Made *m, int number)
{
    DkvmGroup *g = g_new0(DkvmGroup, 1);

    g->number = number;
    g->devices = g_ptr_array_new();
    g->others = g_ptr_array_new();
    g->driven = g_ptr_array_new();
    g_ptr_array_add(m->host->groups, g);
    return g;
}

/* A port, and behind it a card with sound, in one group; a second display in another. */
static Made make(void)
{
    static GPtrArray *hosts; /* found from here, so nothing is a leak */
    Made m = {.host = g_new0(DkvmHost, 1)};

    hosts = hosts ? hosts : g_ptr_array_new();
    g_ptr_array_add(hosts, m.host);
    m.host->devices = g_ptr_array_new();
    m.host->groups = g_ptr_array_new();
    m.host->version = 0x060100;
    m.host->dma_ownership = TRUE;
    m.host->keyboards = m.host->mice = m.host->nics = 2;
    m.group = group(&m, 1);
    m.other = group(&m, 2);
    m.second = device(&m, "00:02.0", 0x030000, 0x8086, "i915", m.other);
    m.second->has_card = TRUE;
    m.port = device(&m, "00:01.0", 0x060400, 0x8086, "pcieport", m.group);
    m.gpu = device(&m, "01:00.0", 0x030000, 0x10de, "nvidia", m.group);
    m.gpu->has_card = TRUE;
    m.sound = device(&m, "01:00.1", 0x040300, 0x10de, "snd_hda_intel", m.group);
    m.gpu->parent = m.sound->parent = m.port;
    return m;
}

static void use(DkvmDevice *d, DkvmUseKind kind)
{
    DkvmUse *u = g_new0(DkvmUse, 1);

    u->kind = kind;
    u->what = (char *)"x";
    g_ptr_array_add(d->uses, u);
}

/* CODE NULL: no reason that weighs anything. */
static void expect(const Made *m, DkvmDevice *d, DkvmAnswer kernel, DkvmAnswer host,
                   const char *code)
{
    g_autoptr(DkvmVerdict) v = dkvm_verdict(m->host, d);
    const GPtrArray *both[] = {v->kernel_reasons, v->host_reasons};
    gboolean found = FALSE;

    g_assert_cmpint(v->kernel, ==, kernel);
    g_assert_cmpint(v->host, ==, host);
    g_assert_cmpint(v->answer, ==, MAX(kernel, host));
    for (gsize i = 0; i < G_N_ELEMENTS(both); i++) {
        for (guint k = 0; k < both[i]->len; k++) {
            const DkvmReason *reason = g_ptr_array_index(both[i], k);

            g_assert_true(code != NULL || reason->weight == DKVM_ANSWER_YES);
            found = found || g_strcmp0(reason->code, code) == 0;
        }
    }
    g_assert_true(found || code == NULL);
}

#define YES DKVM_ANSWER_YES
#define COSTS DKVM_ANSWER_COSTS
#define NO DKVM_ANSWER_NO

static void test_plain(void)
{
    Made m = make();
    g_autoptr(DkvmVerdict) v = dkvm_verdict(m.host, m.gpu);
    const DkvmWith *with;

    expect(&m, m.gpu, YES, YES, NULL);
    g_assert_cmpuint(v->with->len, ==, 1);
    with = g_ptr_array_index(v->with, 0);
    g_assert_true(with->device == m.sound && with->why == DKVM_WITH_CARD);
    expect(&m, m.port, NO, YES, "bridge");
}

/* The same host under both rules: only a bridge's driver makes the difference. */
static void test_rule(void)
{
    static const struct {
        const char *driver;
        DkvmAnswer before, since;
    } cases[] = {{"pcieport", YES, YES}, {NULL, YES, YES},    {"pci-stub", YES, YES},
                 {"vfio-pci", YES, YES}, {"shpchp", YES, NO}, {"some_driver", YES, NO}};

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Made m = make();

        g_free(m.port->driver);
        m.port->driver = g_strdup(cases[i].driver);
        m.host->dma_ownership = FALSE;
        expect(&m, m.gpu, cases[i].before, YES, NULL);
        m.host->dma_ownership = TRUE;
        expect(&m, m.gpu, cases[i].since, YES, cases[i].since == NO ? "bridge-driver" : NULL);
    }
}

static void test_kernel_no(void)
{
    Made m = make();

    m.gpu->group = NULL;
    expect(&m, m.gpu, NO, YES, "no-group");
    m = make();
    m.gpu->gone = TRUE;
    expect(&m, m.gpu, NO, YES, "no-answer");
    m = make();
    m.group->direct = TRUE;
    expect(&m, m.gpu, NO, YES, "direct");
    m = make();
    m.sound->virtuals = 2;
    expect(&m, m.gpu, NO, YES, "has-virtual");
    m = make();
    g_ptr_array_add(m.group->others, (char *)"AMDI0010:00");
    expect(&m, m.gpu, YES, YES, NULL);
    g_ptr_array_add(m.group->driven, (char *)"AMDI0010:00");
    expect(&m, m.gpu, NO, YES, "not-pci");
    m = make();
    m.sound->id.vendor = 0x8086;
    m.sound->id.device = 0x37c8;
    expect(&m, m.gpu, NO, YES, "denied");
    m.host->version = 0x050800;
    expect(&m, m.gpu, YES, YES, NULL);
}

/* What a sibling needs keeps the card too; a sibling without a driver does not go along. */
static void test_losses(void)
{
    static const struct {
        DkvmUseKind kind;
        const char *code;
    } cases[] = {{DKVM_USE_MOUNT, "file-system"},
                 {DKVM_USE_SWAP, "swap"},
                 {DKVM_USE_STACK, "volume"},
                 {DKVM_USE_ROUTE, "default-route"}};

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Made m = make();

        use(m.gpu, cases[i].kind);
        expect(&m, m.gpu, YES, NO, cases[i].code);
        m = make();
        DkvmDevice *sibling = device(&m, "02:00.0", 0x010802, 0x144d, "nvme", m.group);
        use(sibling, cases[i].kind);
        expect(&m, m.gpu, YES, NO, cases[i].code);
        g_clear_pointer(&sibling->driver, g_free);
        expect(&m, m.gpu, YES, YES, NULL);
        m = make();
        use(m.second, cases[i].kind);
        expect(&m, m.gpu, YES, YES, NULL);
    }
}

static void test_last_of_its_kind(void)
{
    Made m = make();

    m.sound->nics = 2;
    expect(&m, m.gpu, YES, NO, "last-nic");
    m.host->nics = 3;
    expect(&m, m.gpu, YES, YES, NULL);
    m.sound->keyboards = 2;
    expect(&m, m.gpu, YES, NO, "only-keyboard");
    m.host->keyboards = 3;
    m.sound->mice = 2;
    expect(&m, m.gpu, YES, COSTS, "only-mouse");
}

static void test_display(void)
{
    Made m = make();

    /* The console there: costs. The only display: costs, and the keyboard may go with it. */
    use(m.gpu, DKVM_USE_CONSOLE);
    expect(&m, m.gpu, YES, COSTS, "console");
    m = make();
    m.second->has_card = FALSE;
    expect(&m, m.gpu, YES, COSTS, "only-display");
    m.sound->keyboards = 2;
    expect(&m, m.gpu, YES, COSTS, "only-keyboard");
    /* Its sound is the card; a stranger in its group would take the display away unasked. */
    expect(&m, m.sound, YES, COSTS, "only-display");
    m = make();
    m.second->has_card = FALSE;
    DkvmDevice *stranger = device(&m, "02:00.0", 0x0c0330, 0x1b21, "xhci_hcd", m.group);
    expect(&m, stranger, YES, NO, "takes-display");
}

static void test_chipset(void)
{
    Made m = make();
    DkvmDevice *smbus = device(&m, "00:1f.4", 0x0c0500, 0x8086, "i801_smbus", m.group);

    expect(&m, m.gpu, YES, NO, "chipset");
    g_clear_pointer(&smbus->driver, g_free);
    expect(&m, m.gpu, YES, YES, NULL);
    expect(&m, smbus, YES, NO, "chipset");
}

/* Sound in a group of its own: found; if that group has the boot disk, the card goes without it. */
static void test_companion_elsewhere(void)
{
    Made m = make();

    g_ptr_array_remove(m.group->devices, m.sound);
    m.sound->group = m.other;
    g_ptr_array_add(m.other->devices, m.sound);
    g_ptr_array_remove(m.other->devices, m.second);
    m.second->group = NULL;
    g_autoptr(DkvmVerdict) v = dkvm_verdict(m.host, m.gpu);
    g_assert_cmpuint(v->with->len, ==, 1);
    expect(&m, m.gpu, YES, YES, NULL);

    use(device(&m, "03:00.0", 0x010802, 0x144d, "nvme", m.other), DKVM_USE_MOUNT);
    g_autoptr(DkvmVerdict) without = dkvm_verdict(m.host, m.gpu);
    g_assert_cmpuint(without->with->len, ==, 0);
    expect(&m, m.gpu, YES, YES, NULL);
    expect(&m, m.sound, YES, NO, "file-system");
}

/* An APU's USB controllers share the slot of the GPU and are no part of it. */
static void test_apu(void)
{
    Made m = make();
    DkvmDevice *usb = device(&m, "01:00.3", 0x0c0330, 0x1022, NULL, m.other);

    m.gpu->id.vendor = m.sound->id.vendor = 0x1002;
    usb->parent = m.port;
    g_autoptr(GPtrArray) companions = dkvm_device_companions(m.host, m.gpu);
    g_assert_cmpuint(companions->len, ==, 1);
    g_assert_true(g_ptr_array_index(companions, 0) == m.sound);
}

/* Sound and GPU in one group: each of them has to answer, whichever is looked at first. */
static void test_together(void)
{
    for (int i = 0; i < 3; i++) {
        Made m = make();
        g_autoptr(GPtrArray) both = g_ptr_array_new();
        DkvmDevice *const gone[] = {NULL, m.sound, m.gpu};

        if (gone[i])
            gone[i]->gone = TRUE;
        g_ptr_array_add(both, m.sound);
        g_ptr_array_add(both, m.gpu);
        g_autoptr(DkvmVerdict) v = dkvm_verdict_together(m.host, both);

        g_assert_cmpint(v->kernel, ==, gone[i] ? NO : YES);
        g_assert_cmpuint(v->kernel_reasons->len, ==, gone[i] ? 1 : 0);
        if (!gone[i])
            continue;
        const DkvmReason *reason = g_ptr_array_index(v->kernel_reasons, 0);

        g_assert_cmpstr(reason->code, ==, "no-answer");
        g_assert_true(g_str_has_prefix(reason->text, i == 1 ? "01:00.1 does" : "It does"));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/verdict/plain", test_plain);
    g_test_add_func("/verdict/rule", test_rule);
    g_test_add_func("/verdict/kernel-no", test_kernel_no);
    g_test_add_func("/verdict/losses", test_losses);
    g_test_add_func("/verdict/last-of-its-kind", test_last_of_its_kind);
    g_test_add_func("/verdict/display", test_display);
    g_test_add_func("/verdict/chipset", test_chipset);
    g_test_add_func("/verdict/companion-elsewhere", test_companion_elsewhere);
    g_test_add_func("/verdict/apu", test_apu);
    g_test_add_func("/verdict/together", test_together);
    return g_test_run();
}
