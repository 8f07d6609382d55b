/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lib/config.c, below a DKVM_ROOT of its own. */
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/config.h"
#include "lib/error.h"
#include "lib/paths.h"

#define OSK "0123456789abcdef0123456789ABCDEF0123456789abcdef01234567 9!\"#$\\="
#define SHIPPED_OSK "ourhardworkbythesewordsguardedpleasedontsteal(c)AppleComputerInc"

static const char *const files[] = {
    "dkvm.conf.d/10-a.conf", "dkvm.conf.d/9-b.conf", "dkvm.conf.d/B.conf",
    "dkvm.conf.d/notes.txt", "dkvm.conf.d/.c.conf",  "dkvm.conf.d/d.conf/x",
    "dkvm.conf.d/d.conf",    "dkvm.conf.d",          "dkvm.conf"};

static char *host_path(const char *name)
{
    g_autofree char *path = g_strconcat("/etc/dkvm/", name, NULL);

    return dkvm_path(path);
}

static void put_bytes(const char *name, const char *text, gssize length)
{
    g_autofree char *path = host_path(name);
    g_autofree char *directory = g_path_get_dirname(path);

    g_assert_cmpint(g_mkdir_with_parents(directory, 0755), ==, 0);
    g_assert_true(g_file_set_contents(path, text, length, NULL));
}

static void put(const char *name, const char *text)
{
    put_bytes(name, text, -1);
}

static void clear(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = host_path(files[i]);

        (void)g_remove(path);
    }
}

static DkvmConfig *load(void)
{
    g_autoptr(GError) error = NULL;
    DkvmConfig *config = dkvm_config_load(&error);

    g_assert_no_error(error);
    g_assert_nonnull(config);
    return config;
}

static DkvmConfig *load_text(const char *text)
{
    clear();
    put("dkvm.conf", text);
    return load();
}

/* NULL ends the words that the message must contain. */
static void expect_error(int code, ...)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DkvmConfig) config = dkvm_config_load(&error);
    const char *word;
    va_list words;

    g_assert_null(config);
    g_assert_error(error, DKVM_ERROR, code);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, dkvm_paths_root()));
    g_assert_null(strstr(error->message, OSK));
    g_assert_null(strstr(error->message, "abcdef"));
    va_start(words, code);
    while ((word = va_arg(words, const char *)))
        g_assert_nonnull(strstr(error->message, word));
    va_end(words);
}

static void expect_bad(const char *text, const char *first, const char *second)
{
    clear();
    put("dkvm.conf", text);
    expect_error(DKVM_ERROR_INPUT, "dkvm.conf", first, second, NULL);
}

static void assert_defaults(const DkvmConfig *config)
{
    g_assert_cmpint(config->match, ==, DKVM_MATCH_MACOS);
    g_assert_cmpuint(g_strv_length(config->names), ==, 0);
    g_assert_true(config->first_boot_restart);
    g_assert_null(config->model);
    g_assert_cmpfloat(config->settle_seconds, ==, 1.5);
    g_assert_cmpuint(g_strv_length(config->handoff_services), ==, 0);
    g_assert_null(config->governor);
    g_assert_null(config->host_cpus);
    g_assert_false(config->irqs_move);
    g_assert_false(config->suspend_rescue);
    g_assert_false(config->reboot_rescue);
}

static void test_missing(void)
{
    g_autoptr(DkvmConfig) config = NULL;

    clear();
    config = load();
    assert_defaults(config);
    g_assert_cmpuint(strlen(config->osk), ==, 64);
    dkvm_config_free(NULL);
}

static void test_empty(void)
{
    g_autoptr(DkvmConfig) config = load_text("");
    g_autoptr(DkvmConfig) values = load_text("\n # x\n[define]\r\nnames=\nmodel = \n[smc]");

    assert_defaults(config);
    assert_defaults(values);
}

static void test_all(void)
{
    g_autoptr(DkvmConfig) config =
        load_text("[define]\nmatch = all \nnames = mac-* ; osx?;\xc3\xa4\nfirst-boot=leave\n"
                  "model=MacPro5,1\nsettle-seconds=0.25\n[smc]\nosk=" OSK "\n");
    g_autoptr(DkvmConfig) marked = load_text("[define]\nmatch=marked\nfirst-boot=restart\n");

    g_assert_cmpint(config->match, ==, DKVM_MATCH_ALL);
    g_assert_cmpuint(g_strv_length(config->names), ==, 3);
    g_assert_cmpstr(config->names[0], ==, "mac-*");
    g_assert_cmpstr(config->names[1], ==, "osx?");
    g_assert_cmpstr(config->names[2], ==, "\xc3\xa4");
    g_assert_false(config->first_boot_restart);
    g_assert_cmpstr(config->model, ==, "MacPro5,1");
    g_assert_cmpfloat(config->settle_seconds, ==, 0.25);
    g_assert_cmpuint(strlen(OSK), ==, 64);
    g_assert_cmpstr(config->osk, ==, OSK);
    g_assert_cmpint(marked->match, ==, DKVM_MATCH_MARKED);
    g_assert_true(marked->first_boot_restart);
}

/* PAIRS of a key of [handoff] and a value. */
static void expect_bad_values(const char *const (*pairs)[2], gsize count)
{
    for (gsize i = 0; i < count; i++) {
        g_autofree char *text = g_strdup_printf("[handoff]\n%s = %s\n", pairs[i][0], pairs[i][1]);
        g_autofree char *key = g_strdup_printf("'%s'", pairs[i][0]);

        expect_bad(text, key, "[handoff]");
    }
}

static void test_rescue(void)
{
    static const char *const bad[][2] = {
        {"suspend", "always"}, {"suspend", ""}, {"reboot", "yes"}, {"reboot", "Rescue"}};
    g_autoptr(DkvmConfig) config = load_text("[handoff]\nsuspend = rescue\nreboot=rescue\n");

    g_assert_true(config->suspend_rescue);
    g_assert_true(config->reboot_rescue);
    put("dkvm.conf.d/10-a.conf", "[handoff]\nsuspend=never\nreboot=never\n");
    g_autoptr(DkvmConfig) cleared = load();
    assert_defaults(cleared);
    expect_bad_values(bad, G_N_ELEMENTS(bad));
}

static void test_tuning(void)
{
    static const char *const bad[][2] = {{"governor", ""},          {"governor", "Performance"},
                                         {"governor", "userspace"}, {"host-cpus", "0-"},
                                         {"host-cpus", "all"},      {"host-cpus", "0,^0"},
                                         {"host-cpus", "3-1"},      {"host-cpus", "\\q"},
                                         {"irqs", "yes"},           {"irqs", ""}};
    g_autoptr(DkvmConfig) config =
        load_text("[handoff]\ngovernor = performance\nhost-cpus = 8-9,0-1 \nirqs=move\n");
    g_autofree char *cpus = dkvm_numbers_text(config->host_cpus);

    g_assert_cmpstr(config->governor, ==, "performance");
    g_assert_cmpstr(cpus, ==, "0-1,8-9");
    g_assert_true(config->irqs_move);
    put("dkvm.conf.d/10-a.conf", "[handoff]\ngovernor=keep\nhost-cpus=\nirqs=leave\n");
    g_autoptr(DkvmConfig) cleared = load();
    assert_defaults(cleared);
    expect_bad_values(bad, G_N_ELEMENTS(bad));
}

static void test_order(void)
{
    g_autoptr(DkvmConfig) config = NULL;

    clear();
    put("dkvm.conf", "[define]\nmatch=all\nmodel=MacPro2,1\nnames=a;b\nsettle-seconds=3\n"
                     "[smc]\nosk=" OSK "\n");
    put("dkvm.conf.d/10-a.conf", "[define]\nmodel=MacPro3,1\nfirst-boot=leave\n");
    put("dkvm.conf.d/9-b.conf", "[define]\nmodel=MacPro4,1\nnames=c\n");
    put("dkvm.conf.d/B.conf", "[define]\nmodel=MacPro5,1\n[smc]\nosk=" SHIPPED_OSK "\n");
    put("dkvm.conf.d/notes.txt", "not read");
    put("dkvm.conf.d/.c.conf", "not read");
    put("dkvm.conf.d/d.conf/x", "a directory is not read");
    config = load();
    g_assert_cmpstr(config->model, ==, "MacPro5,1");
    g_assert_cmpint(config->match, ==, DKVM_MATCH_ALL);
    g_assert_cmpuint(g_strv_length(config->names), ==, 1);
    g_assert_cmpstr(config->names[0], ==, "c");
    g_assert_false(config->first_boot_restart);
    g_assert_cmpfloat(config->settle_seconds, ==, 3);
    g_assert_cmpstr(config->osk, ==, SHIPPED_OSK);
}

static void test_cleared(void)
{
    g_autoptr(DkvmConfig) config = NULL;

    clear();
    put("dkvm.conf", "[define]\nmodel=MacPro2,1\nnames=a;b\n");
    put("dkvm.conf.d/10-a.conf", "[define]\nmodel=\nnames=\n");
    config = load();
    assert_defaults(config);
}

static void test_unknown(void)
{
    expect_bad("[defines]\nmatch=all\n", "[defines]", "[define], [handoff], [smc]");
    expect_bad("[define]\nmatsch=all\n", "'matsch'", "match, names, first-boot, model, settle");
    expect_bad("[define]\nosk=x\n", "[define]", "'osk'");
    expect_bad("[define]\nmatch[de]=all\n", "[define]", "not a name");
    expect_bad("[smc]\nmodel=x\n", "[smc] has no key 'model'", "one of: osk");
    clear();
    put("dkvm.conf.d/10-a.conf", "[smc]\nkey=x\n");
    expect_error(DKVM_ERROR_INPUT, "dkvm.conf.d/10-a.conf", "[smc]", "'key'", NULL);
}

static void test_services(void)
{
    static const char *const units[] = {"a",
                                        "a.timer",
                                        "a.service;;b.service",
                                        "a@.service",
                                        "-a.service",
                                        "../a.service",
                                        "a b.service",
                                        "a.service b.service",
                                        "a\\x2d.service",
                                        "systemd-logind.service",
                                        "dbus.socket",
                                        "dbus-broker.service",
                                        "libvirtd.service",
                                        "virtqemud.socket",
                                        "virtnodedevd.service",
                                        "ssh.service",
                                        "sshd.service",
                                        "dkvm-guard@x.service",
                                        "user@1000.service",
                                        "display-manager.service"};

    for (gsize i = 0; i < G_N_ELEMENTS(units); i++) {
        g_autofree char *text = g_strdup_printf("[handoff]\nservices = x.service;%s\n", units[i]);

        expect_bad(text, "'services'", "[handoff]");
    }
    g_autoptr(GString) many = g_string_new("[handoff]\nservices = ");

    for (int i = 0; i < 16; i++)
        g_string_append(many, "a.service;");
    dkvm_config_free(load_text(many->str));
    g_string_append(many, "a.service");
    expect_bad(many->str, "'services'", "at most 16");
    g_autoptr(DkvmConfig) good =
        load_text("[handoff]\nservices = a.service ; b-c_d@e.socket;virtiofsd.service\n");
    g_assert_cmpuint(g_strv_length(good->handoff_services), ==, 3);
    g_assert_cmpstr(good->handoff_services[0], ==, "a.service");
    g_assert_cmpstr(good->handoff_services[1], ==, "b-c_d@e.socket");
}

static void test_values(void)
{
    static const char *const bad[][2] = {
        {"match", "MACOS"},
        {"match", ""},
        {"match", "all;macos"},
        {"match", "\\q"},
        {"first-boot", "yes"},
        {"first-boot", ""},
        {"names", ";"},
        {"names", "a;;b"},
        {"names", "a; "},
        {"names", "a\\nb"},
        {"names", "\\q"},
        {"model", "MacPro 7"},
        {"model", "../x"},
        {"model", "MacPro7,1;"},
        {"model", "\\q"},
        {"model", "a23456789012345678901234567890123"},
        {"settle-seconds", ""},
        {"settle-seconds", "-1"},
        {"settle-seconds", "61"},
        {"settle-seconds", "60.001"},
        {"settle-seconds", "inf"},
        {"settle-seconds", "nan"},
        {"settle-seconds", "0x1"},
        {"settle-seconds", "1e1"},
        {"settle-seconds", "1,5"},
        {"settle-seconds", "1."},
        {"settle-seconds", "1.5s"},
        {"settle-seconds", "1.0000"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *text = g_strdup_printf("[define]\n%s = %s\n", bad[i][0], bad[i][1]);
        g_autofree char *key = g_strdup_printf("'%s'", bad[i][0]);

        g_test_message("%s", text);
        expect_bad(text, key, "[define]");
    }
    clear();
    put_bytes("dkvm.conf", "[define]\nmatch=m\0s\n", 20);
    expect_error(DKVM_ERROR_INPUT, "line 2", NULL);
}

static void test_handoff(void)
{
    static const char *const methods[] = {"device_specific", "acpi", "flr", "af_flr", "pm", "bus",
                                          "cxl_bus"};
    static const char *const bad[] = {"hugepages=yes",    "hugepages=",    "bar-size=8192",
                                      "bar-size=Largest", "reset-method=", "reset-method=flr bus"};
    g_autoptr(DkvmConfig) none = load_text("");
    g_autoptr(DkvmConfig) kept =
        load_text("[handoff]\nhugepages=refuse\nbar-size=keep\nreset-method=keep\n");
    g_autoptr(DkvmConfig) large = load_text("[handoff]\nhugepages=allocate\nbar-size=largest\n");
    g_autoptr(DkvmConfig) small = load_text("[handoff]\nbar-size=smallest\n");

    g_assert_false(none->hugepages_allocate || kept->hugepages_allocate);
    g_assert_true(large->hugepages_allocate);
    g_assert_cmpint(none->bar_size, ==, DKVM_BAR_KEEP);
    g_assert_cmpint(kept->bar_size, ==, DKVM_BAR_KEEP);
    g_assert_cmpint(large->bar_size, ==, DKVM_BAR_LARGEST);
    g_assert_cmpint(small->bar_size, ==, DKVM_BAR_SMALLEST);
    g_assert_null(none->reset_method);
    g_assert_null(kept->reset_method);
    for (gsize i = 0; i < G_N_ELEMENTS(methods); i++) {
        g_autofree char *text = g_strdup_printf("[handoff]\nreset-method=%s\n", methods[i]);
        g_autoptr(DkvmConfig) config = load_text(text);

        g_assert_cmpstr(config->reset_method, ==, methods[i]);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *text = g_strdup_printf("[handoff]\n%s\n", bad[i]);

        expect_bad(text, "[handoff]", "not valid");
    }
    /* A later file turns it off again. */
    clear();
    put("dkvm.conf", "[handoff]\nreset-method=flr\n");
    put("dkvm.conf.d/10-a.conf", "[handoff]\nreset-method=keep\n");
    g_autoptr(DkvmConfig) last = load();
    g_assert_null(last->reset_method);
}

static void test_limits(void)
{
    g_autofree char *name = g_strnfill(255, 'n');
    g_autofree char *fits = g_strdup_printf("[define]\nnames=%s\nsettle-seconds=60\n", name);
    g_autofree char *longer = g_strdup_printf("[define]\nnames=%sn\n", name);
    g_autofree char *line = g_strnfill(4097, '#');
    g_autofree char *large = g_strnfill(1024 * 1024 + 1, '\n');
    g_autoptr(DkvmConfig) config = load_text(fits);

    g_assert_cmpfloat(config->settle_seconds, ==, 60);
    expect_bad(longer, "'names'", "[define]");
    expect_bad(line, "line 1", "4096");
    expect_bad(large, "larger", "1048576");
    large[1024 * 1024] = '\0';
    dkvm_config_free(load_text(large));
}

static void test_osk(void)
{
    static const char *const bad[] = {
        "",
        "x",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde,",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\x01",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\xc3\xa4",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *text = g_strdup_printf("[smc]\nosk=%s\n", bad[i]);

        expect_bad(text, "'osk'", "exactly 64");
    }
}

/* Mistyped lines around an OSK: the message must not quote them (expect_error looks). */
static void test_osk_secret(void)
{
    expect_bad("[smc]\nosk:" SHIPPED_OSK "\n", "line 2", "key=value");
    expect_bad("[smc]\n" OSK "\n", "[smc]", "(not a name)");
    expect_bad("[smc]\nosk " OSK "=\n", "[smc]", "(not a name)");
    expect_bad("osk=" OSK "\n", "line 1", "group");
    expect_bad("[" SHIPPED_OSK "]\n", "[(not a name)]", "[smc]");
    expect_bad("[define]\nmodel=" OSK "\n", "'model'", "[define]");
}

static void test_syntax(void)
{
    expect_bad("[define]\n\nmatch\n", "line 3", "key=value");
    expect_bad("[define\n", "line 1", "key=value");
    expect_bad("[define]\n=all\n", "line 2", "key=value");
    expect_bad("match=all\n", "line 1", "before the first group");
    expect_bad("[define]\nmatch=\xff\n", "line 2", "UTF-8");
    expect_bad("[de]fine]\n", "characters", "compare");
}

static void test_unreadable(void)
{
    g_autofree char *main_file = host_path("dkvm.conf");
    g_autofree char *fragment = host_path("dkvm.conf.d/10-a.conf");

    clear();
    g_assert_cmpint(g_mkdir(main_file, 0755), ==, 0);
    expect_error(DKVM_ERROR_FILE, "dkvm.conf", "directory", NULL);

    clear();
    g_assert_cmpint(symlink("nowhere", main_file), ==, 0);
    expect_error(DKVM_ERROR_FILE, "dkvm.conf", "No such file", NULL);

    clear();
    put("dkvm.conf.d", "a file in the place of the directory");
    expect_error(DKVM_ERROR_FILE, "dkvm.conf.d", "Not a directory", NULL);

    clear();
    put("dkvm.conf.d/notes.txt", "");
    g_assert_cmpint(symlink("10-a.conf", fragment), ==, 0);
    expect_error(DKVM_ERROR_FILE, "10-a.conf", "symbolic link", NULL);
}

/* A link to a regular file is how an administrator enables a fragment, one to /dev/null how he
 * disables it. */
static void test_links(void)
{
    g_autofree char *enabled = host_path("dkvm.conf.d/10-a.conf");
    g_autofree char *disabled = host_path("dkvm.conf.d/9-b.conf");
    g_autoptr(DkvmConfig) config = NULL;

    clear();
    put("dkvm.conf.d/notes.txt", "[define]\nmodel=MacPro3,1\n");
    g_assert_cmpint(symlink("notes.txt", enabled), ==, 0);
    g_assert_cmpint(symlink("/dev/null", disabled), ==, 0);
    config = load();
    g_assert_cmpstr(config->model, ==, "MacPro3,1");
}

/* The file that is installed is valid, says the defaults, and its comments do as well. */
static void test_shipped(void)
{
    g_autofree char *text = NULL;
    g_autoptr(GRegex) settings = g_regex_new("^#([a-z-]+ =)", G_REGEX_MULTILINE, 0, NULL);
    g_autofree char *active = NULL;
    g_autoptr(DkvmConfig) config = NULL;
    g_autoptr(DkvmConfig) uncommented = NULL;

    if (!g_file_get_contents("packaging/dkvm.conf", &text, NULL, NULL)) {
        g_test_skip("not started in the top directory");
        return;
    }
    config = load_text(text);
    assert_defaults(config);
    g_assert_cmpstr(config->osk, ==, SHIPPED_OSK);
    active = g_regex_replace(settings, text, -1, 0, "\\1", 0, NULL);
    g_assert_nonnull(strstr(active, "\nmatch = macos\n"));
    g_assert_nonnull(strstr(active, "\nnames =\n"));
    g_assert_nonnull(strstr(active, "\nfirst-boot = restart\n"));
    g_assert_nonnull(strstr(active, "\nmodel =\n"));
    g_assert_nonnull(strstr(active, "\nservices =\n"));
    g_assert_nonnull(strstr(active, "\nsettle-seconds = 1.5\n"));
    g_assert_nonnull(strstr(active, "\ngovernor = keep\n"));
    g_assert_nonnull(strstr(active, "\nhost-cpus =\n"));
    g_assert_nonnull(strstr(active, "\nirqs = leave\n"));
    g_assert_nonnull(strstr(active, "\nsuspend = never\n"));
    g_assert_nonnull(strstr(active, "\nreboot = never\n"));
    uncommented = load_text(active);
    assert_defaults(uncommented);
}

int main(int argc, char **argv)
{
    g_autofree char *root = g_dir_make_tmp("dkvm-config-XXXXXX", NULL);
    g_autofree char *etc = g_strconcat(root, "/etc", NULL);
    g_autofree char *dkvm = g_strconcat(root, "/etc/dkvm", NULL);
    int result;

    g_test_init(&argc, &argv, NULL);
    g_setenv("DKVM_ROOT", root, TRUE);
    g_mkdir_with_parents(dkvm, 0755);
    g_test_add_func("/config/missing", test_missing);
    g_test_add_func("/config/empty", test_empty);
    g_test_add_func("/config/all", test_all);
    g_test_add_func("/config/rescue", test_rescue);
    g_test_add_func("/config/tuning", test_tuning);
    g_test_add_func("/config/order", test_order);
    g_test_add_func("/config/cleared", test_cleared);
    g_test_add_func("/config/unknown", test_unknown);
    g_test_add_func("/config/values", test_values);
    g_test_add_func("/config/services", test_services);
    g_test_add_func("/config/handoff", test_handoff);
    g_test_add_func("/config/limits", test_limits);
    g_test_add_func("/config/osk", test_osk);
    g_test_add_func("/config/osk-secret", test_osk_secret);
    g_test_add_func("/config/syntax", test_syntax);
    g_test_add_func("/config/unreadable", test_unreadable);
    g_test_add_func("/config/links", test_links);
    g_test_add_func("/config/shipped", test_shipped);
    result = g_test_run();
    clear();
    (void)g_rmdir(dkvm);
    (void)g_rmdir(etc);
    (void)g_rmdir(root);
    return result;
}
