/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What reverting leaves behind, and what it does not touch. */
#include "tests/unit/helpers.h"

static DkvmPatched *revert(const char *text, gboolean leave_off)
{
    GError *error = NULL;
    DkvmPatched *patched = dkvm_revert(text, strlen(text), "test", leave_off, &error);
    g_assert_no_error(error);
    return patched;
}

static char *patched_text(const char *text, const DkvmDomainState *state)
{
    g_auto(Bench) bench = bench_new(&hosts[0]);
    return must_patch(&bench, text, state, NULL);
}

static void test_never_patched(void)
{
    g_autoptr(DkvmPatched) on = revert(plain_domain, TRUE), file = revert(plain_domain, FALSE);
    g_assert_cmpstr(on->xml, ==, plain_domain);
    g_assert_cmpstr(file->xml, ==, plain_domain);
    g_assert_false(on->changed || on->was_patched);
    g_assert_true(on->up_to_date);
    g_assert_cmpstr(on->name, ==, "mac");
}

static void test_state_off(void)
{
    g_autofree char *once = patched_text(plain_domain, &as_installed);
    g_autoptr(DkvmPatched) off = revert(once, TRUE);
    g_assert_true(off->changed && off->was_patched);
    assert_contains(off->xml, "<dkvm:darwin state='off' xmlns:dkvm='urn:dkvm:domain:1.0'/>");
    assert_lacks(off->xml, "isa-applesmc");
    g_autoptr(DkvmPatched) again = revert(off->xml, TRUE);
    g_assert_cmpstr(again->xml, ==, off->xml);
    g_assert_false(again->changed || again->was_patched);
    g_autoptr(DkvmPatched) forgotten = revert(off->xml, FALSE);
    g_assert_cmpstr(forgotten->xml, ==, plain_domain);
    g_autofree char *on_again = patched_text(off->xml, &as_installed);
    g_assert_cmpstr(on_again, ==, once);
}

static void test_reports(void)
{
    g_autofree char *once = patched_text(plain_domain, &as_installed);
    g_autofree char *edited =
        replaced(once, "<timer name='hpet' present='yes'/>", "<timer name='hpet' present='no'/>");
    g_autofree char *both = replaced(edited, "<timer name='pit' tickpolicy='delay'/>",
                                     "<timer name='pit' tickpolicy='discard'/>");
    g_autoptr(DkvmPatched) off = revert(both, FALSE);
    g_assert_cmpuint(off->kept->len, ==, 2);
    assert_contains(off->kept->pdata[0], "hpet: clock/timer[hpet]");
    g_assert_cmpuint(off->done->len, >=, 20);
    for (guint i = 0; i < off->done->len; i++) {
        assert_lacks(off->done->pdata[i], TEST_OSK);
    }
}

static void test_refused(void)
{
    static const char *const bad[] = {"", "<a/>", "<domain type='lxc'><name>a</name></domain>",
                                      "<domain type='kvm'><name>a</name></domain>",
                                      "<domain type='kvm'><name> </name></domain>"};
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(DkvmPatched) none = dkvm_revert(bad[i], strlen(bad[i]), "test", FALSE, &error);
        g_assert_null(none);
        g_assert_error(error, DKVM_ERROR, DKVM_ERROR_INPUT);
    }
}

/* ---- bridges ---- */

#define PORT(index, extra)                                                                         \
    "    <controller type='pci' index='" index "' model='pcie-root-port'" extra "\n"
#define ON_BUS(bus)                                                                                \
    "    <rng model='virtio'>\n      <address type='pci' domain='0x0000' bus='" bus                \
    "' slot='0x00' function='0x0'/>\n    </rng>\n"

#define PLACED_SOUND                                                                               \
    "\n    <sound model='ich9'>\n      <address type='pci' domain='0x0000' bus='0x02' "            \
    "slot='0x00' "                                                                                 \
    "function='0x0'/>\n    </sound>\n"

/* Root ports that libvirt added for our devices go, with the spare one that it left on the way,
 * unless something of the user's is on them; and those that the user added later stay. */
static void test_bridges(void)
{
    g_autofree char *text =
        replaced(plain_domain,
                 "<sound model='ich6'>\n      <address type='pci' domain='0x0000' bus='0x00' "
                 "slot='0x04' function='0x0'/>\n    </sound>",
                 "<sound model='sb16'/>");
    g_autofree char *once = patched_text(text, &as_installed);
    g_autofree char *with =
        replaced(once, "  </devices>",
                 PORT("1", "/>") PORT("2", "/>") PORT("3", "/>") PORT("16", "/>") PORT("17", "/>")
                     ON_BUS("0x10") "  </devices>");
    g_autofree char *placed = replaced(with, "\n    <sound model='ich9'/>\n", PLACED_SOUND);
    g_autoptr(DkvmPatched) off = revert(placed, FALSE);
    assert_lacks(off->xml, "index='1' model='pcie");
    assert_lacks(off->xml, "index='2' model='pcie");
    assert_contains(off->xml, "index='3' model='pcie");
    assert_contains(off->xml, "index='16' model='pcie");
    assert_contains(off->xml, "index='17' model='pcie");
    assert_contains(off->xml, "index='0' model='pcie-root'");
}

/* What was there before stays although nothing is on it. */
static void test_own_bridges(void)
{
    g_autofree char *own = replaced(plain_domain, "  </devices>", PORT("1", "/>") "  </devices>");
    g_autofree char *once = patched_text(own, &as_installed);
    g_autoptr(DkvmPatched) off = revert(once, FALSE);
    g_assert_cmpstr(off->xml, ==, own);
}

/* An empty domain's own unused port was let go and comes back. */
static void test_unused_bridges(void)
{
    g_autofree char *own = replaced(plain_domain, "  </devices>", PORT("1", "/>") "  </devices>");
    g_autofree char *once = patched_text(own, &as_empty);
    assert_lacks(strstr(once, "</metadata>"), "pcie-root-port");
    g_autofree char *reverted = must_revert(once);
    g_autofree char *is = without_order(reverted), *was = without_order(own);
    g_assert_cmpstr(is, ==, was);
}

/* ---- the namespace ---- */

#define NS "http://libvirt.org/schemas/domain/qemu/1.0"

static char *with_commandline(const char *prefix)
{
    g_autofree char *root = g_strdup_printf("<domain type='kvm' xmlns:%s='" NS "'>", prefix);
    g_autofree char *end = g_strdup_printf(
        "  <%s:commandline>\n    <%s:arg value='-S'/>\n    <%s:env name='A' value='b'/>\n"
        "  </%s:commandline>\n</domain>",
        prefix, prefix, prefix, prefix);
    g_autoptr(GString) text = g_string_new(plain_domain);
    g_string_replace(text, "<domain type='kvm'>", root, 1);
    g_string_replace(text, "</domain>", end, 1);
    return g_strdup(text->str);
}

static void test_prefixes(void)
{
    static const char *const prefixes[] = {"qemu", "q", "ns0"};
    for (gsize i = 0; i < G_N_ELEMENTS(prefixes); i++) {
        g_autofree char *text = with_commandline(prefixes[i]);
        g_autofree char *once = patched_text(text, &as_installed);
        g_autofree char *arg = g_strdup_printf("<%s:arg value='-cpu'/>", prefixes[i]);
        assert_contains(once, arg);
        g_autofree char *off = must_revert(once);
        g_assert_cmpstr(off, ==, text);
    }
}

/* The prefix that we would use means something else here. */
static void test_prefix_taken(void)
{
    g_autoptr(GString) text = g_string_new(plain_domain);
    g_string_replace(text, "<domain type='kvm'>", "<domain type='kvm' xmlns:qemu='urn:other'>", 1);
    g_autofree char *once = patched_text(text->str, &as_installed);
    assert_contains(once, "<dkvm-qemu:commandline>");
    assert_contains(once, "xmlns:dkvm-qemu='" NS "'");
    g_autofree char *off = must_revert(once);
    g_assert_cmpstr(off, ==, text->str);
}

/* Our block went, the user's own words in it stay, and so does the declaration. */
static void test_words_of_the_user_stay(void)
{
    g_autofree char *once = patched_text(plain_domain, &as_installed);
    g_autofree char *more = replaced(once, "  </qemu:commandline>",
                                     "    <qemu:arg value='-S'/>\n  </qemu:commandline>");
    g_autofree char *off = must_revert(more);
    assert_contains(off, "<qemu:arg value='-S'/>");
    assert_contains(off, "xmlns:qemu='" NS "'");
    assert_lacks(off, "isa-applesmc");
    assert_lacks(off, "<option");
}

/* QEMU takes the last -cpu: one that the user put after ours stays, on every way. */
static void test_second_cpu(void)
{
    static const char own[] = "    <qemu:arg value='-cpu'/>\n    <qemu:arg value='host'/>\n"
                              "  </qemu:commandline>";
    g_auto(Bench) bench = bench_new(&hosts[0]);
    g_autofree char *once = must_patch(&bench, plain_domain, &as_installed, NULL);
    g_autofree char *with = replaced(once, "  </qemu:commandline>", own);
    g_autofree char *again = must_patch(&bench, with, &as_installed, NULL);
    g_assert_cmpstr(again, ==, with);
    g_autoptr(DkvmPatched) off = revert(with, FALSE);
    assert_contains(off->xml, own);
    assert_lacks(off->xml, "Cascadelake");
    assert_lacks(off->xml, "isa-applesmc");
}

/* What libvirt would refuse to be without stays: ACPI for the user's own UEFI, a USB controller for
 * their USB device where the original had none. */
static void test_needed_by_own(void)
{
    static const char xhci[] =
        "model='qemu-xhci'>\n"
        "      <address type='pci' domain='0x0000' bus='0x00' slot='0x1d' function='0x0'/>\n"
        "    </controller>";
    g_autofree char *no_acpi = replaced(plain_domain, "    <acpi/>\n", "");
    g_autofree char *original = replaced(no_acpi, xhci, "model='none'/>");
    g_autofree char *once = patched_text(original, &as_installed);
    g_autofree char *uefi =
        replaced(once, "<boot dev='hd'/>",
                 "<loader readonly='yes' type='pflash'>/own.fd</loader><boot dev='hd'/>");
    g_autofree char *usb =
        replaced(uefi, "  </devices>", "    <redirdev bus='usb' type='spicevmc'/>\n  </devices>");
    g_autoptr(DkvmPatched) off = revert(usb, FALSE), plain = revert(once, FALSE);
    assert_contains(off->xml, "<acpi/>");
    assert_contains(off->xml, "<loader readonly='yes' type='pflash'>/own.fd</loader>");
    assert_contains(off->xml, "model='qemu-xhci'");
    assert_lacks(off->xml, "model='none'");
    assert_lacks(off->xml, "<input type='tablet'");
    g_assert_cmpstr(plain->xml, ==, original);
}

static void test_declared_before(void)
{
    g_autoptr(GString) text = g_string_new(plain_domain);
    g_string_replace(text, "<domain type='kvm'>", "<domain type='kvm' xmlns:qemu='" NS "'>", 1);
    g_autofree char *once = patched_text(text->str, &as_installed);
    g_autofree char *off = must_revert(once);
    g_assert_cmpstr(off, ==, text->str);
}

/* ---- text as it was ---- */

static void test_empty_metadata(void)
{
    g_autoptr(GString) text = g_string_new(plain_domain);
    char *start = strstr(text->str, "  <metadata>"), *end = strstr(text->str, "  <memory ");
    g_string_erase(text, start - text->str, end - start);
    g_string_replace(text, "  <memory ", "  <metadata/>\n  <memory ", 1);
    g_autofree char *once = patched_text(text->str, &as_installed);
    g_autofree char *off = must_revert(once);
    g_assert_cmpstr(off, ==, text->str);
}

/* An attribute that we took away returns to its place: reverting a file gives the same bytes. */

/* ---- what libvirt and the user did in between ---- */

#define DISK(dev)                                                                                  \
    "    <disk type='file' device='disk'>\n      <target dev='" dev "' bus='sata'/>\n    "         \
    "</disk>\n"
#define ADDRESS(slot)                                                                              \
    "      <address type='pci' domain='0x0000' bus='0x00' slot='" slot "' function='0x0'/>\n"

/* Which disk boots is decided by the order. */
static void test_order_of_disks(void)
{
    g_autofree char *text = replaced(plain_domain, "    <controller type='usb'",
                                     DISK("sdb") "    <controller type='usb'");
    g_autofree char *once = patched_text(text, &as_installed);
    g_autofree char *without = replaced(once, DISK("sdb"), "");
    g_autofree char *sorted =
        replaced(without, "    <disk type='file' device='disk'>\n      <driver",
                 DISK("sdb") "    <disk type='file' device='disk'>\n      <driver");
    g_autoptr(DkvmPatched) back = revert(sorted, FALSE);
    g_assert_cmpstr(back->xml, ==, text);
}

/* The balloon had an address, which is another device's now: libvirt gives it another. */
static void test_address_taken(void)
{
    g_autofree char *once = patched_text(plain_domain, &as_installed);
    g_autofree char *taken =
        replaced(once, "    <memballoon",
                 "    <rng model='virtio'>\n" ADDRESS("0x05") "    </rng>\n    <memballoon");
    g_autoptr(DkvmPatched) back = revert(taken, FALSE);
    g_autofree char *expected = replaced(
        plain_domain, "    <memballoon model='virtio'>\n" ADDRESS("0x05") "    </memballoon>\n",
        "    <rng model='virtio'>\n" ADDRESS(
            "0x05") "    </rng>\n    <memballoon model='virtio'/>\n");
    g_assert_cmpstr(back->xml, ==, expected);
}

/* libvirt refuses an ISA card with a PCI address, which it gave to the card that we made of it. */
static void test_isa_sound(void)
{
    g_autofree char *text =
        replaced(plain_domain, "<sound model='ich6'>\n" ADDRESS("0x04") "    </sound>",
                 "<sound model='sb16'/>");
    g_autofree char *once = patched_text(text, &as_installed);
    assert_lacks(once, "\n    <sound model='sb16'");
    g_autofree char *placed =
        replaced(once, "\n    <sound model='ich9'/>",
                 "\n    <sound model='ich9'>\n" ADDRESS("0x1b") "    </sound>");
    g_autoptr(DkvmPatched) back = revert(placed, FALSE);
    g_assert_cmpstr(back->xml, ==, text);
}

/* A controller that libvirt put in the place of one that we took away makes room for it. */
static void test_controller_put_back(void)
{
    Options old = {.macos = (char *)"10.6"};
    g_auto(Bench) bench = bench_new(&hosts[0]);
    g_autofree char *once = must_patch(&bench, plain_domain, &as_installed, &old);
    assert_contains(once, "controller[usb-0-qemu-xhci]");
    g_autofree char *filled = replaced(
        once, "    <controller type='sata'",
        "    <controller type='usb' index='0' model='qemu-xhci'/>\n    <controller type='sata'");
    g_autoptr(DkvmPatched) back = revert(filled, FALSE);
    g_autofree char *is = without_order(back->xml), *was = without_order(plain_domain);
    g_assert_cmpstr(is, ==, was);
}

/* Two that nothing tells apart, both let go for another kind. */
static void test_equal_controllers(void)
{
    g_autofree char *ehci = replaced(plain_domain, "model='qemu-xhci'", "model='ich9-ehci1'");
    g_autofree char *text = replaced(ehci, "    <controller type='sata'",
                                     "    <controller type='usb' index='0' model='ich9-uhci1'/>\n"
                                     "    <controller type='usb' index='0' model='ich9-uhci1'/>\n"
                                     "    <controller type='sata'");
    g_autofree char *once = patched_text(text, &as_empty);
    assert_contains(once, "at='devices/controller[usb-0-ich9-uhci1]#1'");
    g_autoptr(DkvmPatched) back = revert(once, FALSE);
    g_autofree char *is = without_order(back->xml), *was = without_order(text);
    g_assert_cmpstr(is, ==, was);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    g_test_add_func("/revert/never-patched", test_never_patched);
    g_test_add_func("/revert/state-off", test_state_off);
    g_test_add_func("/revert/reports", test_reports);
    g_test_add_func("/revert/refused", test_refused);
    g_test_add_func("/revert/bridges", test_bridges);
    g_test_add_func("/revert/own-bridges", test_own_bridges);
    g_test_add_func("/revert/unused-bridges", test_unused_bridges);
    g_test_add_func("/revert/prefixes", test_prefixes);
    g_test_add_func("/revert/prefix-taken", test_prefix_taken);
    g_test_add_func("/revert/words-of-the-user", test_words_of_the_user_stay);
    g_test_add_func("/revert/second-cpu", test_second_cpu);
    g_test_add_func("/revert/needed-by-own", test_needed_by_own);
    g_test_add_func("/revert/declared-before", test_declared_before);
    g_test_add_func("/revert/empty-metadata", test_empty_metadata);
    g_test_add_func("/revert/order-of-disks", test_order_of_disks);
    g_test_add_func("/revert/address-taken", test_address_taken);
    g_test_add_func("/revert/isa-sound", test_isa_sound);
    g_test_add_func("/revert/equal-controllers", test_equal_controllers);
    g_test_add_func("/revert/controller-put-back", test_controller_put_back);
    return g_test_run();
}
