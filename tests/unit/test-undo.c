/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the user or libvirt does to a patched domain, and what patching again and reverting make of
 * it (undo.c, merge.c, parts.c through patch.c and revert.c). */
#include "tests/unit/helpers.h"

#define INTEL_9_0 0
#define INTEL_11_3 2

static char *patched_plain(guint host, const DkvmDomainState *state)
{
    g_auto(Bench) bench = bench_new(&hosts[host]);
    return must_patch(&bench, plain_domain, state, NULL);
}

static DkvmPatched *patch_again(guint host, const char *text)
{
    GError *error = NULL;
    g_auto(Bench) bench = bench_new(&hosts[host]);
    DkvmPatched *patched =
        dkvm_patch(bench.patcher, text, strlen(text), "test", &as_installed, NULL, &error);
    g_assert_no_error(error);
    return patched;
}

static void assert_same(const char *is, const char *should)
{
    if (!g_str_equal(is, should)) {
        g_test_message("is:\n%s\nshould be:\n%s", is, should);
        g_test_fail();
    }
}

static void assert_plain_again(const char *text)
{
    g_autofree char *reverted = must_revert(text);
    g_autofree char *is = without_order(reverted), *was = without_order(plain_domain);
    assert_same(is, was);
}

/* ---- the user's edits ---- */

#define SMC "isa-applesmc,osk=" TEST_OSK
#define TWO_ARGS(a, b) "    <qemu:arg value='" a "'/>\n    <qemu:arg value='" b "'/>\n"
#define CPU_VALUE                                                                                  \
    "Cascadelake-Server,vendor=GenuineIntel,kvm=on,vmware-cpuid-freq=on,+invtsc,-hle,-rtm"
#define LOADER "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>"

/* TO is in the domain after patching and after reverting; GONE in neither (beside the marker). */
static const struct {
    const char *name, *from, *to, *gone, *part;
} edits[] = {
    {"text", "  <currentMemory unit='KiB'>8388608<", "  <currentMemory unit='KiB'>2097152<",
     "'KiB'>8388608</currentMemory>", "memory"},
    {"attribute-changed", "<timer name='hpet' present='yes'/>\n    <timer name='pit'",
     "<timer name='hpet' present='no'/>\n    <timer name='pit'", "name='hpet' present='yes'",
     "hpet"},
    {"attribute-added", "  <cpu mode='host-passthrough' check='none' migratable='on'",
     "  <cpu mode='host-passthrough' check='none' migratable='off'", "migratable='on'", "cpu"},
    {"added-element-changed", "  <smm state='off'/>\n  </features>",
     "  <smm state='on'/>\n  </features>", "  <smm state='off'/>\n  </features>", "features"},
    {"added-element-removed", "    <input type='tablet' bus='usb'/>\n    <input type='k",
     "    <input type='k", "<input type='tablet'", "input"},
    {"added-element-gets-child", "    <input type='tablet' bus='usb'/>\n    <input",
     "    <input type='tablet' bus='usb'>\n      <driver iommu='on'/>\n    </input>\n    <input",
     NULL, "input"},
    {"added-element-gets-attribute", "    <input type='tablet' bus='usb'/>\n    <input",
     "    <input type='tablet' bus='usb' model='x'/>\n    <input", NULL, "input"},
    {"device-model", "      <model type='virtio'/>\n      <address",
     "      <model type='vmxnet3'/>\n      <address", "<model type='virtio'/>\n      <address",
     "nic"},
    {"firmware-image", "    " LOADER, "    <loader readonly='yes' type='pflash'>/home/u/C</loader>",
     "\n    " LOADER "\n    <nvram", "firmware"},
    {"firmware-variables",
     "S.fd'>/var/lib/libvirt/qemu/nvram/dkvm-4e013e70-48ce-5f56-8fd3-"
     "aaff52ec246e_VARS.fd</nvram>\n    <bootmenu",
     "S.fd'>/home/u/V</nvram>\n    <bootmenu", NULL, "firmware"},
    {"topology", "  <topology sockets='1' dies='1' cores='2' threads='2'/>\n    <cache",
     "  <topology sockets='1' dies='1' cores='4' threads='1'/>\n    <cache",
     "cores='2' threads='2'/>\n    <cache", "topology"},
    {"option-value", TWO_ARGS("-cpu", CPU_VALUE), TWO_ARGS("-cpu", "Penryn,vendor=GenuineIntel"),
     TWO_ARGS("-cpu", CPU_VALUE), "cpu-flags"},
    {"option-removed", TWO_ARGS("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"), "",
     "    <qemu:arg value='-global'/>", "hotplug"},
    {"container-emptied", "    <suspend-to-disk enabled='no'/>\n  </pm>", "  </pm>",
     "    <suspend-to-disk enabled='no'/>\n  </pm>", "power"},
    {"cache-removed", "    <cache mode='passthrough'/>\n  </cpu>", "  </cpu>",
     "    <cache mode='passthrough'/>\n  </cpu>", "cpu"},
};

static void test_edit(gconstpointer data)
{
    gsize i = GPOINTER_TO_SIZE(data);
    g_autofree char *once = patched_plain(INTEL_9_0, &as_installed);
    g_autofree char *edited = replaced(once, edits[i].from, edits[i].to);
    g_autoptr(DkvmPatched) twice = patch_again(INTEL_9_0, edited);
    g_assert_cmpuint(twice->kept->len, >=, 1);
    g_assert_true(twice->up_to_date);
    assert_same(twice->xml, edited); /* counted as up to date, so nothing is written */
    g_assert_true(g_str_has_prefix(twice->kept->pdata[0], edits[i].part));
    g_autofree char *reverted = must_revert(twice->xml);
    if (edits[i].gone != NULL) {
        assert_lacks(reverted, edits[i].gone);
    }
    if (!g_str_has_suffix(edits[i].from, edits[i].to)) { /* no removal */
        g_autofree char *core = g_strstrip(g_strdup(edits[i].to));
        core[strcspn(core, "\n")] = '\0';
        assert_contains(reverted, core);
    }
}

/* --set PART=auto gives the edit up. */
static void test_edit_forgotten(gconstpointer data)
{
    gsize i = GPOINTER_TO_SIZE(data);
    g_auto(Bench) bench = bench_new(&hosts[INTEL_9_0]);
    g_autofree char *once = patched_plain(INTEL_9_0, &as_installed);
    g_autofree char *edited = replaced(once, edits[i].from, edits[i].to);
    Options forget = {.key = (char *)edits[i].part, .value = (char *)"auto"};
    g_autofree char *after = must_patch(&bench, edited, &as_installed, &forget);
    g_autofree char *is = without_order(after), *should = without_order(once);
    assert_same(is, should);
    assert_plain_again(after);
}

static void test_added_inside_container(void)
{
    static const char *const rows[][2] = {
        {"    <nosharepages/>\n", "    <hugepages/>\n"},
        {"    <suspend-to-disk enabled='no'/>\n  </pm>", "    <suspend-x enabled='no'/>\n"},
        {"  <qemu:commandline>\n", "    <qemu:arg value='-nodefaults'/>\n"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *once = patched_plain(INTEL_9_0, &as_installed);
        g_autofree char *with = i == 1 ? g_strconcat(rows[i][1], rows[i][0], NULL)
                                       : g_strconcat(rows[i][0], rows[i][1], NULL);
        char *at = g_strrstr(once, rows[i][0]);
        g_autofree char *edited =
            g_strdup_printf("%.*s%s%s", (int)(at - once), once, with, at + strlen(rows[i][0]));
        if (i == 1) { /* pm's own children must be settled by us, others stay */
            g_autoptr(DkvmPatched) twice = patch_again(INTEL_9_0, edited);
            assert_contains(twice->xml, "suspend-x");
        }
        g_autofree char *reverted = must_revert(edited);
        g_autofree char *core = g_strstrip(g_strdup(rows[i][1]));
        assert_contains(reverted, core);
        assert_lacks(reverted, "nosharepages");
        assert_lacks(reverted, "isa-applesmc");
    }
}

static void test_whole_container_removed(void)
{
    g_autofree char *once = patched_plain(INTEL_9_0, &as_installed);
    char *start = g_strrstr(once, "  <pm>\n"), *end = g_strrstr(once, "  </pm>\n");
    g_autofree char *edited =
        g_strdup_printf("%.*s%s", (int)(start - once), once, end + strlen("  </pm>\n"));
    g_autoptr(DkvmPatched) twice = patch_again(INTEL_9_0, edited);
    assert_same(twice->xml, edited);
    assert_plain_again(twice->xml);
}

static void test_device_removed(void)
{
    g_autofree char *once = patched_plain(INTEL_9_0, &as_installed);
    char *start = g_strrstr(once, "    <interface type='network'>\n");
    char *end = g_strrstr(once, "    </interface>\n") + strlen("    </interface>\n");
    g_autofree char *edited = g_strdup_printf("%.*s%s", (int)(start - once), once, end);
    g_autoptr(DkvmPatched) twice = patch_again(INTEL_9_0, edited);
    assert_same(twice->xml, edited);
    g_autofree char *reverted = must_revert(twice->xml);
    assert_lacks(reverted, "<interface");
    assert_contains(reverted, "<memballoon model='virtio'>");
}

static void test_device_added(void)
{
    static const char more[] =
        "    <rng model='virtio'>\n      <backend model='random'>/dev/urandom"
        "</backend>\n    </rng>\n  </devices>";
    g_autofree char *once = patched_plain(INTEL_9_0, &as_installed);
    g_autofree char *edited = replaced(once, "  </devices>", more);
    g_autoptr(DkvmPatched) twice = patch_again(INTEL_9_0, edited);
    assert_same(twice->xml, edited);
    g_autofree char *reverted = must_revert(twice->xml);
    assert_contains(reverted, "<rng model='virtio'>");
}

/* ---- in the place of what we took away ---- */

/* The user chose no sound, and later puts a card in by hand. */
static void test_own_device_in_place_of_removed(void)
{
    static const char card[] = "    <sound model='usb'/>\n  </devices>";
    g_auto(Bench) bench = bench_new(&hosts[INTEL_9_0]);
    Options silent = {.key = (char *)"sound", .value = (char *)"none"};
    g_autofree char *once = must_patch(&bench, plain_domain, &as_installed, &silent);
    g_autofree char *edited = replaced(once, "  </devices>", card);
    g_autofree char *twice = must_patch(&bench, edited, &as_installed, NULL);
    assert_contains(strstr(twice, "</metadata>"), "<sound model='usb'");
    g_autofree char *reverted = must_revert(edited);
    assert_contains(reverted, "<sound model='usb'");
}

/* The CPU was custom, we made it host-passthrough, the user makes it another custom one. */
static void test_own_cpu_model_in_place_of_removed(void)
{
    g_auto(Bench) bench = bench_new(&hosts[INTEL_9_0]);
    g_autofree char *own = replaced(plain_domain, "<cpu mode='host-model' check='partial'/>",
                                    "<cpu mode='custom'>\n    <model>Penryn</model>\n  </cpu>");
    g_autofree char *once = must_patch(&bench, own, &as_installed, NULL);
    g_autofree char *edited =
        replaced(once, "<cpu mode='host-passthrough' check='none' migratable='on'>",
                 "<cpu mode='custom' check='none'>\n    <model>Haswell</model>");
    g_autofree char *twice = must_patch(&bench, edited, &as_installed, NULL);
    assert_same(twice, edited);
    g_autofree char *reverted = must_revert(edited);
    assert_contains(reverted, "<model>Haswell</model>");
    assert_lacks(reverted, "<model>Penryn</model>");
}

/* Of three cards two are the user's edit-free own: what is taken out of the middle goes back there,
 * and its neighbours stay. */
static void test_removed_among_its_like(void)
{
    static const char smbios[] = "  <qemu:commandline>\n" TWO_ARGS("-smbios", "type=1,sku=a")
        TWO_ARGS("-smbios", "type=2,sku=b")
            TWO_ARGS("-smbios", "type=1,sku=c") "  </qemu:commandline>\n</domain>";
    g_auto(Bench) bench = bench_new(&hosts[INTEL_9_0]);
    Options set = {.key = (char *)"smbios", .value = (char *)"type=1,sku=d"};
    g_autofree char *root = replaced(plain_domain, "</domain>", smbios);
    g_autofree char *own =
        g_strconcat("<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>",
                    root + strlen("<domain type='kvm'>"), NULL);
    g_autofree char *once = must_patch(&bench, own, &as_installed, &set);
    assert_lacks(strstr(once, "</metadata>"), "sku=a");
    g_autofree char *reverted = must_revert(once);
    assert_same(reverted, own);
}

/* A new number of vCPUs gets a shape of its own, whoever wrote the one that is there. */
static void test_vcpus_changed(void)
{
    static const struct {
        const char *from, *to, *shape;
    } rows[] = {
        {"'static'>4<", "'static'>12<", "cores='6' threads='2'"},
        {"'static'>4<", "'static'>2<", "cores='1' threads='2'"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *once = patched_plain(INTEL_11_3, &as_installed);
        g_autofree char *edited = replaced(once, rows[i].from, rows[i].to);
        g_autoptr(DkvmPatched) twice = patch_again(INTEL_11_3, edited);
        assert_contains(twice->xml, rows[i].to);
        assert_contains(twice->xml, rows[i].shape);
        g_autofree char *reverted = must_revert(twice->xml);
        assert_contains(reverted, rows[i].to);
        assert_lacks(reverted, "<topology");
    }
}

/* An edit inside an element of ours, and an attribute put back that we took away. */
static void test_edit_inside(void)
{
    static const struct {
        const char *own, *as, *key, *value, *from, *to;
    } deep[] = {
        {"<vcpu", "<vcpu", "usb", "ich9-ehci1", "<master startport='4'/>",
         "<master startport='5'/>"},
        {"mode='host-model' check='partial'/>",
         "mode='custom' match='exact'>\n    <model>Penryn</model>\n  </cpu>", "hpet", "no",
         "migratable='on'>", "migratable='on' match='strict'>"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(deep); i++) {
        g_auto(Bench) bench = bench_new(&hosts[INTEL_9_0]);
        Options set = {.key = (char *)deep[i].key, .value = (char *)deep[i].value};
        g_autofree char *own = replaced(plain_domain, deep[i].own, deep[i].as);
        g_autofree char *once = must_patch(&bench, own, &as_installed, &set);
        g_autofree char *edited = replaced(once, deep[i].from, deep[i].to);
        g_autoptr(DkvmPatched) twice = patch_again(INTEL_9_0, edited);
        g_assert_cmpuint(twice->kept->len, ==, 1);
        assert_same(twice->xml, edited);
    }
}

/* ---- what libvirt does by itself ---- */

static const struct {
    const char *name;
    guint host;
    const char *from, *to;
} decorations[] = {
    {"clusters", INTEL_9_0, "dies='1' cores='2' threads='2'/>\n    <cache",
     "dies='1' clusters='1' cores='2' threads='2'/>\n    <cache"},
    {"address", INTEL_9_0, "    <input type='tablet' bus='usb'/>\n    <input",
     "    <input type='tablet' bus='usb'>\n      <alias name='input0'/>\n      <address type='usb' "
     "bus='0' port='1'/>\n    </input>\n    <input"},
    {"loader-format", INTEL_9_0, "    <loader readonly='yes' type='pflash'>",
     "    <loader readonly='yes' secure='no' stateless='no' type='pflash' format='raw'>"},
    {"nvram-format", INTEL_9_0, "    <nvram template='/usr/share/OVMF/OVMF_VARS.fd'>",
     "    <nvram template='/usr/share/OVMF/OVMF_VARS.fd' templateFormat='raw' format='raw'>"},
    {"selected-loader", INTEL_11_3, "    </firmware>\n    <nvram>",
     "    </firmware>\n    <loader readonly='yes' secure='no' type='pflash' format='raw'>"
     "/usr/share/OVMF/OVMF_CODE_4M.fd</loader>\n    <nvram template='/usr/share/OVMF/"
     "OVMF_VARS_4M.fd' templateFormat='raw' format='raw'>"},
    {"topology-attribute-order", INTEL_9_0, "<cache mode='passthrough'/>\n  </cpu>",
     "<cache mode='passthrough'/>\n  </cpu>"},
    {"reordered", INTEL_9_0,
     "    <input type='tablet' bus='usb'/>\n    <input type='keyboard' bus='usb'/>\n  </devices>",
     "    <input type='keyboard' bus='usb'/>\n    <input type='tablet' bus='usb'/>\n  </devices>"},
};

static void test_decoration(gconstpointer data)
{
    gsize i = GPOINTER_TO_SIZE(data);
    g_autofree char *once = patched_plain(decorations[i].host, &as_installed);
    g_autofree char *decorated = replaced(once, decorations[i].from, decorations[i].to);
    g_autoptr(DkvmPatched) twice = patch_again(decorations[i].host, decorated);
    g_assert_cmpuint(twice->kept->len, ==, 0);
    g_assert_true(twice->up_to_date);
    assert_same(twice->xml, decorated);
    assert_plain_again(twice->xml);
}

/* ---- a converted i440fx ---- */

static char *as_i440fx(void)
{
    g_autofree char *a = replaced(plain_domain, "pc-q35-7.2", "pc-i440fx-7.2");
    g_autofree char *b = replaced(a, "'pcie-root'", "'pci-root'");
    return replaced(b, "slot='0x1d'", "slot='0x06'");
}

static void test_i440fx_refused(void)
{
    g_autofree char *text = as_i440fx();
    const DkvmDomainState *const refused[] = {&as_file, &as_installed};
    g_auto(Bench) bench = bench_new(&hosts[INTEL_9_0]);
    for (gsize i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *xml = try_patch(&bench, text, refused[i], NULL, &error);
        g_assert_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED);
        g_assert_nonnull(strstr(error->message, "--set machine=q35"));
        g_assert_null(xml);
    }
}

/* What libvirt fills in for q35 goes again; the original's controllers and addresses return. */
static void test_i440fx_and_back(void)
{
    g_autofree char *text = as_i440fx();
    g_auto(Bench) bench = bench_new(&hosts[INTEL_9_0]);
    g_autofree char *once = must_patch(&bench, text, &as_empty, NULL);
    assert_contains(once, "machine='q35'>hvm");
    g_autofree char *a = replaced(once, "machine='q35'>hvm", "machine='pc-q35-9.1'>hvm");
    g_autofree char *b = replaced(
        a, "    <memballoon model='none'/>\n",
        "    <memballoon model='none'/>\n"
        "    <controller type='pci' index='0' model='pcie-root'/>\n"
        "    <controller type='pci' index='1' model='pcie-root-port'>\n"
        "      <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/>\n"
        "    </controller>\n");
    g_autofree char *decorated =
        replaced(b, "    <sound model='ich9'/>\n",
                 "    <sound model='ich9'>\n      <address type='pci' domain='0x0000' bus='0x00' "
                 "slot='0x1b' function='0x0'/>\n    </sound>\n");
    g_autofree char *twice = must_patch(&bench, decorated, &as_installed, NULL);
    assert_contains(twice, "pc-q35-9.1");
    assert_contains(twice, "slot='0x1b'");
    g_autofree char *reverted = must_revert(twice);
    g_autofree char *is = without_order(reverted), *was = without_order(text);
    assert_same(is, was);
}

/* ---- devices of an installed system ---- */

static void test_converted_devices_stay(void)
{
    g_auto(Bench) bench = bench_new(&hosts[INTEL_9_0]);
    g_autofree char *once = must_patch(&bench, plain_domain, &as_empty, NULL);
    assert_contains(once, "<target dev='vda' bus='virtio'/>");
    assert_contains(once, "    <sound model='ich9'");
    g_autofree char *installed = must_patch(&bench, once, &as_installed, NULL);
    assert_same(installed, once);
    g_autofree char *as_text = must_patch(&bench, once, &as_file, NULL);
    assert_same(as_text, once);
}

static void test_other_macos_decides_anew(void)
{
    g_auto(Bench) bench = bench_new(&hosts[INTEL_9_0]);
    Options old = {.macos = (char *)"10.6"};
    g_autofree char *once = must_patch(&bench, plain_domain, &as_empty, NULL);
    g_autofree char *after = must_patch(&bench, once, &as_empty, &old);
    assert_contains(after, "      <target dev='sda' bus='sata'/>\n");
    assert_contains(after, "\n      <model type='e1000'/>");
}

static void add(const char *group, const char *name, gsize i, GTestDataFunc test)
{
    g_autofree char *path = g_strdup_printf("/undo/%s/%s", group, name);
    g_test_add_data_func(path, GSIZE_TO_POINTER(i), test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (gsize i = 0; i < G_N_ELEMENTS(edits); i++) {
        add("edit", edits[i].name, i, test_edit);
        add("edit-forgotten", edits[i].name, i, test_edit_forgotten);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(decorations); i++) {
        add("decoration", decorations[i].name, i, test_decoration);
    }
    g_test_add_func("/undo/added-inside-container", test_added_inside_container);
    g_test_add_func("/undo/whole-container-removed", test_whole_container_removed);
    g_test_add_func("/undo/device-removed", test_device_removed);
    g_test_add_func("/undo/device-added", test_device_added);
    g_test_add_func("/undo/edit-inside", test_edit_inside);
    g_test_add_func("/undo/own-device-in-place", test_own_device_in_place_of_removed);
    g_test_add_func("/undo/own-cpu-model-in-place", test_own_cpu_model_in_place_of_removed);
    g_test_add_func("/undo/removed-among-its-like", test_removed_among_its_like);
    g_test_add_func("/undo/vcpus-changed", test_vcpus_changed);
    g_test_add_func("/undo/i440fx-refused", test_i440fx_refused);
    g_test_add_func("/undo/i440fx-and-back", test_i440fx_and_back);
    g_test_add_func("/undo/converted-devices-stay", test_converted_devices_stay);
    g_test_add_func("/undo/other-macos", test_other_macos_decides_anew);
    return g_test_run();
}
