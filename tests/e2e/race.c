/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lets another client come in between: preloaded into dkvm-patch or dkvm-watchd, it runs a command
 * before the N-th call of a function of libvirt.  RACE: lines "read N COMMAND"
 * (virDomainGetXMLDesc) or "define N COMMAND" (virDomainDefineXMLFlags); N = 0: before every call.
 * The command runs without this library.  A line "strip 0 :" takes dkvm's marker out of whatever is
 * defined, "stats 0 :" makes virDomainBlockStats fail.  "destroy N" and "start N" run before
 * virDomainDestroyFlags and virDomainCreate, "destroyed N" and "started N" after them. */
#include <dlfcn.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void run(const char *command)
{
    char *line = NULL;
    if (asprintf(&line, "unset LD_PRELOAD RACE; { %s; } >/dev/null 2>&1", command) < 0 ||
        system(line) != 0) {
        fprintf(stderr, "race: failed: %s\n", command);
    }
    free(line);
}

static void before(const char *what, unsigned int count)
{
    const char *rules = getenv("RACE");
    char *copy = rules ? strdup(rules) : NULL, *rest = copy;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        char name[16];
        unsigned int number;
        int used = 0;
        if (sscanf(line, "%15s %u %n", name, &number, &used) == 2 && used > 0 &&
            strcmp(name, what) == 0 && (number == 0 || number == count)) {
            run(line + used);
        }
    }
    free(copy);
}

static int has_rule(const char *what)
{
    const char *rules = getenv("RACE");
    return rules != NULL && strstr(rules, what) != NULL;
}

static char *without_marker(const char *xml)
{
    char *copy = strdup(xml), *start = copy ? strstr(copy, "<dkvm:darwin") : NULL;
    char *close = start ? strchr(start, '>') : NULL;
    if (close != NULL && close[-1] != '/') {
        close = strstr(close, "</dkvm:darwin>");
        close = close ? strchr(close, '>') : NULL;
    }
    if (close != NULL) {
        memmove(start, close + 1, strlen(close + 1) + 1);
    }
    return copy;
}

static char *with_hostdev(char *xml)
{
    static const char hostdev[] = "<hostdev mode='subsystem' type='pci' managed='yes'/>";
    char *end = xml ? strstr(xml, "</devices>") : NULL, *more = NULL;
    if (end != NULL && asprintf(&more, "%.*s%s%s", (int)(end - xml), xml, hostdev, end) >= 0) {
        free(xml);
        return more;
    }
    return xml;
}

char *virDomainGetXMLDesc(virDomainPtr domain, unsigned int flags)
{
    static unsigned int count;
    static char *(*real)(virDomainPtr, unsigned int);
    before("read", ++count);
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "virDomainGetXMLDesc");
    }
    char *xml = real(domain, flags);
    return has_rule("hostdev") && (flags & VIR_DOMAIN_XML_INACTIVE) == 0 ? with_hostdev(xml) : xml;
}

virDomainPtr virDomainDefineXMLFlags(virConnectPtr conn, const char *xml, unsigned int flags)
{
    static unsigned int count;
    static virDomainPtr (*real)(virConnectPtr, const char *, unsigned int);
    before("define", ++count);
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "virDomainDefineXMLFlags");
    }
    char *copy = has_rule("strip") ? without_marker(xml) : NULL;
    virDomainPtr domain = real(conn, copy ? copy : xml, flags);
    free(copy);
    return domain;
}

int virDomainBlockStats(virDomainPtr domain, const char *disk, virDomainBlockStatsPtr stats,
                        size_t size)
{
    static int (*real)(virDomainPtr, const char *, virDomainBlockStatsPtr, size_t);
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "virDomainBlockStats");
    }
    return has_rule("stats") ? -1 : real(domain, disk, stats, size);
}

int virDomainDestroyFlags(virDomainPtr domain, unsigned int flags)
{
    static unsigned int count;
    static int (*real)(virDomainPtr, unsigned int);
    before("destroy", ++count);
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "virDomainDestroyFlags");
    }
    int result = real(domain, flags);
    before("destroyed", count);
    return result;
}

int virDomainCreate(virDomainPtr domain)
{
    static unsigned int count;
    static int (*real)(virDomainPtr);
    before("start", ++count);
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "virDomainCreate");
    }
    int result = real(domain);
    before("started", count);
    return result;
}
