/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of elements that survive reordering, and texts that are none. */
#include "tests/unit/helpers.h"
#include "xslt/locator.h"

#define QEMU "xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'"

static const char tree[] =
    "<domain " QEMU ">"
    "<os><boot dev='hd'/><boot dev='cdrom'/><boot dev='hd'/></os>"
    "<clock><timer name='rtc'/></clock>"
    "<cputune><vcpupin vcpu='3'/></cputune>"
    "<devices>"
    "<disk id='d0'><target dev='sda'/></disk>"
    "<disk id='d1'/>"
    "<disk id='d2'><target/></disk>"
    "<disk id='d3'><target dev='../x y'/></disk>"
    "<controller id='c0' type='usb' model='ich9-ehci1'/>"
    "<controller id='c1' type='usb' index='0' model='ich9-uhci1'/>"
    "<controller id='c2' type='pci' model='pcie-root'/>"
    "<controller id='c3' type='pci' index='1' model='pcie-root-port'/>"
    "<controller id='c4'/>"
    "<interface id='i0'><mac address='52:54:00:00:00:01'/></interface>"
    "<interface id='i1'><mac address='52:54:00:00:00:01'/></interface>"
    "<input id='p0' type='tablet' bus='usb'/>"
    "<input id='p1' type='tablet'/>"
    "<graphics id='g0' type='vnc'/>"
    "<video id='v0'/><video id='v1'/>"
    "<y:disk xmlns:y='urn:y' id='y0'/>"
    "</devices>"
    "<q:commandline id='q0'><option id='o0' name='-cpu' value='a,b'/>"
    "<option id='o1' name='-device' value='isa-applesmc,osk=x'/>"
    "<option id='o2' name='-device' value='{\"driver\":\"isa-applesmc\"}'/>"
    "<option id='o3' name='-global' value='a.b=c,d'/>"
    "<option id='o4' name='-smbios' value='type=1,a=b'/>"
    "<option id='o5' name='-usb'/><option id='o6' value='word'/><option id='o7'/>"
    "<q:env id='o8' name='A B'/></q:commandline></domain>";

static const struct {
    const char *id, *at;
} names[] = {
    {"d0", "devices/disk[sda]"},
    {"d1", "devices/disk"},
    {"d2", "devices/disk#1"},
    {"d3", "devices/disk[..%2Fx%20y]"},
    {"c0", "devices/controller[usb-0-ich9-ehci1]"},
    {"c1", "devices/controller[usb-0-ich9-uhci1]"},
    {"c2", "devices/controller[pci-0]"},
    {"c3", "devices/controller[pci-1]"},
    {"c4", "devices/controller[-0]"},
    {"i0", "devices/interface[52:54:00:00:00:01]"},
    {"i1", "devices/interface[52:54:00:00:00:01]#1"},
    {"p0", "devices/input[tablet-usb]"},
    {"p1", "devices/input[tablet]"},
    {"g0", "devices/graphics[vnc]"},
    {"v0", "devices/video"},
    {"v1", "devices/video#1"},
    {"y0", "devices/*:disk"},
    {"q0", "qemu:commandline"},
    {"o0", "qemu:commandline/option[-cpu]"},
    {"o1", "qemu:commandline/option[-device%20isa-applesmc]"},
    {"o2", "qemu:commandline/option[-device%20isa-applesmc]#1"},
    {"o3", "qemu:commandline/option[-global%20a.b]"},
    {"o4", "qemu:commandline/option[-smbios%20type=1]"},
    {"o5", "qemu:commandline/option[-usb]"},
    {"o6", "qemu:commandline/option[word]"},
    {"o7", "qemu:commandline/option"},
    {"o8", "qemu:commandline/qemu:env[A%20B]"},
};

static xmlNode *find_id(xmlNode *node, const char *id)
{
    if (g_strcmp0(dkvm_xml_get(node, "id"), id) == 0) {
        return node;
    }
    xmlNode *found = NULL;
    for (xmlNode *n = dkvm_xml_element(node->children); n != NULL && found == NULL;
         n = dkvm_xml_element(n->next)) {
        found = find_id(n, id);
    }
    return found;
}

static void test_names(void)
{
    g_autoptr(DkvmDoc) doc = must_parse(tree);
    xmlNode *domain = xmlDocGetRootElement(doc);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        xmlNode *node = find_id(domain, names[i].id);
        g_autofree char *at = dkvm_locator(domain, node);
        g_assert_cmpstr(at, ==, names[i].at);
        g_assert_true(dkvm_locator_is_valid(at));
    }
}

static void test_found_again(void)
{
    g_autoptr(DkvmDoc) doc = must_parse(tree);
    xmlNode *domain = xmlDocGetRootElement(doc);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_assert_true(dkvm_locator_find(domain, names[i].at) == find_id(domain, names[i].id));
    }
}

static void test_domain_itself(void)
{
    g_autoptr(DkvmDoc) doc = must_parse(tree);
    xmlNode *domain = xmlDocGetRootElement(doc);
    g_autofree char *at = dkvm_locator(domain, domain);
    g_assert_cmpstr(at, ==, "");
    g_assert_true(dkvm_locator_find(domain, "") == domain);
}

static void test_not_found(void)
{
    static const char *const absent[] = {
        "cpu",
        "devices/disk[sdb]",
        "devices/disk[sda]#1",
        "devices/video#2",
        "commandline",
        "devices/disk[sda]/target/x",
        "*:commandline",
        "devices/[sda]",
        "devices/qemu:disk",
        "os/boot[hd]#2",
        "#1",
    };
    g_autoptr(DkvmDoc) doc = must_parse(tree);
    for (gsize i = 0; i < G_N_ELEMENTS(absent); i++) {
        xmlNode *found = dkvm_locator_find(xmlDocGetRootElement(doc), absent[i]);
        if (found != NULL) {
            g_test_message("'%s' found <%s>", absent[i], (const char *)found->name);
            g_test_fail();
        }
    }
}

/* The same thing is found wherever it moved to. */
static void test_order_does_not_matter(void)
{
    g_autoptr(DkvmDoc) doc = must_parse(tree);
    xmlNode *domain = xmlDocGetRootElement(doc), *disk = find_id(domain, "d0");
    xmlAddChild(disk->parent, disk);
    g_assert_true(dkvm_locator_find(domain, "devices/disk[sda]") == disk);
}

static void test_invalid(void)
{
    static const char *const bad[] = {"/cpu", "os//boot", "os/",      "/",    "a b", "a'b",
                                      "a|b",  "a\"",      "\xc3\xa4", "a\nb", "$x",  "a<b"};
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_false(dkvm_locator_is_valid(bad[i]));
    }
    g_assert_false(dkvm_locator_is_valid(NULL));
    g_assert_true(dkvm_locator_is_valid(""));
}

static void test_bounds(void)
{
    g_autofree char *longest = g_strnfill(2048, 'a'), *too_long = g_strnfill(2049, 'a');
    g_assert_true(dkvm_locator_is_valid(longest));
    g_assert_false(dkvm_locator_is_valid(too_long));
    g_assert_true(dkvm_locator_is_valid("a/b/c/d/e/f/g/h/i/j/k/l/m/n/o"));
    g_assert_false(dkvm_locator_is_valid("a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    g_test_add_func("/locator/names", test_names);
    g_test_add_func("/locator/found-again", test_found_again);
    g_test_add_func("/locator/domain", test_domain_itself);
    g_test_add_func("/locator/not-found", test_not_found);
    g_test_add_func("/locator/order", test_order_does_not_matter);
    g_test_add_func("/locator/invalid", test_invalid);
    g_test_add_func("/locator/bounds", test_bounds);
    return g_test_run();
}
