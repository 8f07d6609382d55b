/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as one of the files that a host is read from: the report is made, in every form, and
 * its JSON and SVG are still that.  The first byte says which file. */
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "udev/report.h"

#define GPU "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"
static char *root;

/* What is there, and what it is when it is not the one that is fed. */
static const struct {
    const char *path, *text;
} files[] = {
    {GPU "/class", "0x030000\n"},
    {GPU "/vendor", "0x10de\n"},
    {GPU "/device", "0x2484\n"},
    {GPU "/config", "\xde\x10\x84\x24"},
    {GPU "/resource", "0x00000000e0000000 0x00000000e0ffffff 0x0000000000040200\n"},
    {GPU "/modalias", "pci:v000010DEd00002484sv00001462sd00003909bc03sc00i00\n"},
    {GPU "/boot_vga", "1\n"},
    {GPU "/reset_method", "flr bus\n"},
    {GPU "/driver_override", "(null)\n"},
    {GPU "/resource0_resize", "0000000000003f00\n"},
    {"/sys/kernel/iommu_groups/1/type", "DMA\n"},
    {"/sys/kernel/iommu_groups/1/reserved_regions", "0x00000000fee00000 0x00000000feefffff msi\n"},
    {"/run/udev/data/+pci:0000:01:00.0", "E:ID_MODEL_FROM_DATABASE=GA104\n"},
    {"/proc/self/mountinfo", "30 1 8:1 / / rw - ext4 /dev/sda1 rw\n"},
    {"/proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n"},
    {"/proc/net/route", "Iface Destination\neth0 00000000 0 0003 0 0 0 00000000 0 0 0\n"},
    {"/proc/net/ipv6_route", "00000000000000000000000000000000 00 0 00 fe80 0 0 0 0 eth0\n"},
    {"/proc/cmdline", "root=/dev/sda1 pcie_acs_override=downstream\n"},
    {"/proc/cpuinfo", "vendor_id : GenuineIntel\nflags : vmx\n\n"},
    {"/proc/sys/kernel/osrelease", "6.1.0\n"},
    {GPU "/input/input0/capabilities/key",
     "1000000000007 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe\n"},
    {GPU "/input/input0/name", "Keyboard\n"},
};

static void put(const char *path, const void *text, gsize length)
{
    g_autofree char *full = g_strconcat(root, path, NULL);
    g_autofree char *folder = g_path_get_dirname(full);
    int fd;

    (void)g_mkdir_with_parents(folder, 0755);
    fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    HOLDS(fd >= 0 && write(fd, text, length) == (ssize_t)length);
    (void)close(fd);
}

static void link_to(const char *target, const char *path)
{
    g_autofree char *full = g_strconcat(root, path, NULL);
    g_autofree char *folder = g_path_get_dirname(full);

    (void)g_mkdir_with_parents(folder, 0755);
    HOLDS(symlink(target, full) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    root = fuzz_root("sys/bus/pci/devices");
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++)
        put(files[i].path, files[i].text, strlen(files[i].text));
    put(GPU "/net/eth0/carrier", "1\n", 2);
    put(GPU "/block/sda/sda1/partition", "1\n", 2);
    link_to("../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0",
            "/sys/bus/pci/devices/0000:01:00.0");
    link_to("../../../../../kernel/iommu_groups/1", GPU "/iommu_group");
    link_to("../../devices/pci0000:00/0000:00:01.0/0000:01:00.0/net/eth0", "/sys/class/net/eth0");
    link_to("../../devices/pci0000:00/0000:00:01.0/0000:01:00.0/block/sda/sda1",
            "/sys/class/block/sda1");
    link_to("../../devices/pci0000:00/0000:00:01.0/0000:01:00.0/block/sda/sda1",
            "/sys/dev/block/8:1");
    link_to("../../devices/pci0000:00/0000:00:01.0/0000:01:00.0/input/input0",
            "/sys/class/input/input0");
    return 0;
}

static void make_report(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DkvmHost) host = dkvm_host_read(&error);

    HOLDS(host != NULL && error == NULL);
    g_autoptr(DkvmReport) report = dkvm_report_new(host, NULL);
    g_autofree char *text = dkvm_report_text(report, TRUE);
    g_autofree char *json = dkvm_report_json(report, NULL);
    g_autofree char *dot = dkvm_report_dot(report);
    g_autofree char *svg = dkvm_report_svg(report);
    g_autofree char *advice = dkvm_iommu_advice(host);
    g_autoptr(JsonParser) parser = json_parser_new();

    HOLDS(json_parser_load_from_data(parser, json, -1, NULL));
    HOLDS(g_utf8_validate(svg, -1, NULL) && g_utf8_validate(text, -1, NULL));
    HOLDS(*dot && *advice && g_str_has_suffix(svg, "</svg>\n"));
    for (guint i = 0; i < host->devices->len; i++) {
        g_autofree char *xml =
            dkvm_hostdev_xml(report, g_ptr_array_index(host->devices, i), DKVM_GUEST_BUS);

        HOLDS(g_str_has_suffix(xml, "</hostdev>\n"));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gsize which = size > 0 ? data[0] % G_N_ELEMENTS(files) : 0;

    if (size == 0)
        return 0;
    put(files[which].path, data + 1, size - 1);
    make_report();
    put(files[which].path, files[which].text, strlen(files[which].text));
    return 0;
}
