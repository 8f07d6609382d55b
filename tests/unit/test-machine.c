/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the XML of a running machine says, and what is carried over from it. */
#include "hooks/machine.h"
#include "tests/unit/helpers.h"

#define DOMAIN(os, devices)                                                                        \
    "<domain type='kvm'><name>mac</name><os><type>hvm</type>" os "</os><devices>" devices          \
    "</devices></domain>"
#define DISK(bus, more)                                                                            \
    "<disk type='file' device='disk'><source file='/a.qcow2'/><target dev='" bus                   \
    "a' bus='x'/>" more "</disk>"
#define CD(source, more)                                                                           \
    "<disk type='file' device='cdrom'>" source "<target dev='sdc' bus='sata'/>" more "</disk>"
#define ISO "<source file='/install.iso' index='2'/>"

static void test_pci(void)
{
    static const struct {
        const char *devices;
        gboolean pci;
    } rows[] = {
        {"", FALSE},
        {"<hostdev mode='subsystem' type='usb'/>", FALSE},
        {"<hostdev mode='subsystem' type='pci'/>", TRUE},
        {"<hostdev mode='subsystem' type='usb'/><hostdev mode='subsystem' type='pci'/>", TRUE},
        {"<hostdev mode='subsystem' type='mdev'/>", TRUE},
        {"<interface type='network'/>", FALSE},
        {"<interface type='hostdev'/>", TRUE},
        {"<disk type='nvme' device='disk'/>", TRUE},
        {DISK("vd", ""), FALSE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *xml = g_strdup_printf(DOMAIN("", "%s"), rows[i].devices);
        DkvmMachine machine = dkvm_machine_read(xml);
        g_assert_true(machine.readable);
        g_assert_true(machine.pci == rows[i].pci);
        g_assert_false(machine.patched || machine.kernel);
    }
}

static void test_patched(void)
{
    static const char *const markers[] = {"<d:darwin xmlns:d='urn:dkvm:domain:1.0'/>",
                                          "<d:darwin xmlns:d='urn:dkvm:domain:1.0' state='off'/>",
                                          "<d:darwin xmlns:d='urn:other'/>"};
    for (gsize i = 0; i < G_N_ELEMENTS(markers); i++) {
        g_autofree char *xml =
            g_strdup_printf("<domain><metadata>%s</metadata></domain>", markers[i]);
        g_assert_true(dkvm_machine_read(xml).patched == (i == 0));
    }
}

static void test_kernel_and_rubbish(void)
{
    g_assert_true(dkvm_machine_read(DOMAIN("<kernel>/vmlinuz</kernel>", "")).kernel);
    g_assert_false(dkvm_machine_read(NULL).readable);
    g_assert_false(dkvm_machine_read("").readable);
    g_assert_false(dkvm_machine_read("<domain>").readable);
    g_assert_null(dkvm_machine_disks("<domain>"));
    g_assert_null(dkvm_machine_disks(NULL));
}

static void test_disks(void)
{
    g_autoptr(GPtrArray) disks = dkvm_machine_disks(
        DOMAIN("", DISK("vd", "") DISK("sd", "<readonly/>") CD(ISO, "<readonly/>")
                       CD("", "") "<disk type='file'><target dev='vdb'/></disk>"
                                  "<disk type='block' device='lun'><target dev='sdq'/></disk>"
                                  "<disk type='file' device='floppy'><target dev='fda'/></disk>"
                                  "<disk type='file' device='floppy'><source file='/f'/><target "
                                  "dev='fdb'/></disk>"
                                  "<disk type='vhostuser' device='disk'/>"));
    g_ptr_array_add(disks, NULL);
    g_autofree char *words = g_strjoinv(" ", (char **)disks->pdata);
    g_assert_cmpstr(words, ==, "vda vdb sdq fdb ");
}

/* CARRIED or NULL must come of it; attributes that libvirt sorts are compared as text. */
static void check(const char *definition, const char *running, const char *expected)
{
    g_autofree char *carried = dkvm_machine_carry(definition, running);
    g_autofree char *wanted = expected ? canonical(expected) : NULL;
    g_assert_cmpstr(carried, ==, wanted);
}

static void test_medium(void)
{
    check(DOMAIN("", CD("", "")), DOMAIN("", CD(ISO, "")),
          DOMAIN("", "<disk type='file' device='cdrom'><target dev='sdc' bus='sata'/>"
                     "<source file='/install.iso'/></disk>"));
    /* Nothing to carry. */
    check(DOMAIN("", CD(ISO, "")), DOMAIN("", CD(ISO, "")), NULL);
    check(DOMAIN("", CD("", "")), DOMAIN("", CD("", "")), NULL);
    check(DOMAIN("", ""), DOMAIN("", CD(ISO, "")), NULL);
    /* Another medium is the user's. */
    check(DOMAIN("", CD("<source file='/other.iso'/>", "")), DOMAIN("", CD(ISO, "")), NULL);
    /* A disk without a source is no drive. */
    check(DOMAIN("", "<disk type='file' device='disk'><target dev='vda'/></disk>"),
          DOMAIN("", DISK("vd", "")), NULL);
}

static void test_second_drive(void)
{
    static const char two[] = DOMAIN("", CD("<source file='/1'/>", "") CD("", ""));
    g_autofree char *carried =
        dkvm_machine_carry(two, DOMAIN("", CD("<source file='/1'/>", "") CD(ISO, "")));
    g_assert_nonnull(carried);
    g_assert_nonnull(strstr(carried ? carried : "", "/install.iso"));
    g_assert_nonnull(strstr(carried ? carried : "", "'/1'"));
}

static void test_block_medium(void)
{
    g_autofree char *carried = dkvm_machine_carry(
        DOMAIN("", CD("", "")),
        DOMAIN("", "<disk type='block' device='cdrom'><source dev='/dev/sr0'/></disk>"));
    g_assert_nonnull(carried);
    assert_contains(carried ? carried : "", "type='block'");
    assert_contains(carried ? carried : "", "/dev/sr0");
}

static void test_order_of_kinds(void)
{
    check(DOMAIN("<boot dev='hd'/>", ""), DOMAIN("<boot dev='cdrom'/><boot dev='hd'/>", ""),
          DOMAIN("<boot dev='cdrom'/><boot dev='hd'/>", ""));
    check(DOMAIN("<boot dev='hd'/>", ""), DOMAIN("<boot dev='hd'/>", ""), NULL);
    check(DOMAIN("<boot dev='hd'/>", ""), DOMAIN("", ""), NULL);
    /* Never both ways of saying it. */
    check(DOMAIN("", DISK("vd", "<boot order='1'/>")),
          DOMAIN("<boot dev='cdrom'/>", DISK("vd", "")),
          DOMAIN("<boot dev='cdrom'/>", DISK("vd", "")));
}

static void test_order_of_devices(void)
{
    check(DOMAIN("<boot dev='hd'/>", DISK("sd", "") CD("", "")),
          DOMAIN("", DISK("vd", "<boot order='2'/>") CD("", "<boot order='1'/>")),
          DOMAIN("", DISK("sd", "<boot order='2'/>") CD("", "<boot order='1'/>")));
    check(DOMAIN("", "<interface type='network'><mac address='52:54:00:00:00:01'/></interface>"),
          DOMAIN("", "<interface type='network'><mac address='52:54:00:00:00:01'/><boot "
                     "order='1'/></interface>"),
          DOMAIN("", "<interface type='network'><mac address='52:54:00:00:00:01'/><boot "
                     "order='1'/></interface>"));
    /* What is not there any more. */
    check(DOMAIN("", ""), DOMAIN("", DISK("vd", "<boot order='1'/>")), NULL);
}

static void test_unreadable(void)
{
    check("<domain>", DOMAIN("", CD(ISO, "")), NULL);
    check(DOMAIN("", CD("", "")), "<!DOCTYPE x []><domain/>", NULL);
    check(DOMAIN("", CD("", "")), NULL, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    g_test_add_func("/machine/pci", test_pci);
    g_test_add_func("/machine/patched", test_patched);
    g_test_add_func("/machine/kernel-and-rubbish", test_kernel_and_rubbish);
    g_test_add_func("/machine/disks", test_disks);
    g_test_add_func("/carry/medium", test_medium);
    g_test_add_func("/carry/second-drive", test_second_drive);
    g_test_add_func("/carry/block-medium", test_block_medium);
    g_test_add_func("/carry/order-of-kinds", test_order_of_kinds);
    g_test_add_func("/carry/order-of-devices", test_order_of_devices);
    g_test_add_func("/carry/unreadable", test_unreadable);
    return g_test_run();
}
