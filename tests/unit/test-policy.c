/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which domains are patched without being named. */
#include "lib/policy.h"
#include "tests/unit/helpers.h"

#define OSINFO(id)                                                                                 \
    "<o:libosinfo xmlns:o='http://libosinfo.org/xmlns/libvirt/domain/1.0'><o:os id='" id           \
    "'/></o:libosinfo>"
#define MARK(more) "<d:darwin xmlns:d='urn:dkvm:domain:1.0' " more "/>"
#define APPLE OSINFO("http://apple.com/macos/14")

static const struct {
    const char *name, *domain, *metadata, *arch;
    gboolean macos, marked, all;
} rows[] = {
    {"plain", "mac", "", "x86_64", FALSE, FALSE, TRUE},
    {"apple", "mac", APPLE, "x86_64", TRUE, FALSE, TRUE},
    {"apple-tls", "mac", OSINFO("https://apple.com/macos/14"), "x86_64", TRUE, FALSE, TRUE},
    {"apple-unknown", "mac", OSINFO("http://apple.com/macos/99"), "x86_64", TRUE, FALSE, TRUE},
    {"not-apple", "mac", OSINFO("http://apple.com.evil/macos/14"), "x86_64", FALSE, FALSE, TRUE},
    {"no-id", "mac", "<o:libosinfo xmlns:o='http://libosinfo.org/xmlns/libvirt/domain/1.0'/>",
     "x86_64", FALSE, FALSE, TRUE},
    {"marked", "mac", MARK(""), "x86_64", TRUE, TRUE, TRUE},
    {"off", "mac", MARK("state='off'") APPLE, "x86_64", FALSE, FALSE, FALSE},
    {"on", "mac", MARK("state='on'"), "x86_64", TRUE, TRUE, TRUE},
    {"ppc", "mac", APPLE, "ppc64", FALSE, FALSE, FALSE},
    {"arm", "mac", MARK(""), "aarch64", FALSE, FALSE, FALSE},
};

static DkvmDoc *domain_of(const char *name, const char *metadata, const char *arch)
{
    g_autofree char *text =
        g_strdup_printf("<domain type='kvm'><name>%s</name><metadata>%s</metadata><os><type "
                        "arch='%s'>hvm</type></os>"
                        "</domain>",
                        name, metadata, arch);
    return must_parse(text);
}

static gboolean matches(DkvmMatch match, char **names, DkvmDoc *doc)
{
    DkvmConfig config = {.match = match, .names = names};
    return dkvm_policy_matches(&config, xmlDocGetRootElement(doc));
}

static void test_match(gconstpointer data)
{
    gsize i = GPOINTER_TO_SIZE(data);
    g_autoptr(DkvmDoc) doc = domain_of(rows[i].domain, rows[i].metadata, rows[i].arch);
    g_assert_true(matches(DKVM_MATCH_MACOS, NULL, doc) == rows[i].macos);
    g_assert_true(matches(DKVM_MATCH_MARKED, NULL, doc) == rows[i].marked);
    g_assert_true(matches(DKVM_MATCH_ALL, NULL, doc) == rows[i].all);
}

static void test_names(void)
{
    static const char *none[] = {NULL}, *mac[] = {"mac*", NULL}, *two[] = {"win*", "?ac", NULL};
    static const char *other[] = {"win*", NULL}, *exact[] = {"ma", NULL};
    static const struct {
        const char **names;
        gboolean good;
    } globs[] = {{none, TRUE}, {mac, TRUE}, {two, TRUE}, {other, FALSE}, {exact, FALSE}};
    g_autoptr(DkvmDoc) doc = domain_of("mac", APPLE, "x86_64");
    for (gsize i = 0; i < G_N_ELEMENTS(globs); i++) {
        g_assert_true(matches(DKVM_MATCH_MACOS, (char **)globs[i].names, doc) == globs[i].good);
    }
}

static void test_not_a_domain(void)
{
    g_autoptr(DkvmDoc) doc = must_parse("<network><name>mac</name></network>");
    g_assert_false(matches(DKVM_MATCH_ALL, NULL, doc));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strdup_printf("/policy/%s", rows[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_match);
    }
    g_test_add_func("/policy/names", test_names);
    g_test_add_func("/policy/not-a-domain", test_not_a_domain);
    return g_test_run();
}
