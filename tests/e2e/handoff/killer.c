/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Follows the journal of a hand-over from outside, and kills a process when a record appears.
 *
 *   killer UUID
 *
 * prints each record, "NUMBER TYPE FIELDS... | PROCESS...", until the journal is gone.
 *
 *   killer UUID NUMBER PROCESS
 *
 * kills PROCESS when record NUMBER is there: hook, guard, worker (children of a dkvm-gpu), libvirtd
 * or qemu.  Prints "killed PROCESS PID SECONDS at NUMBER TYPE FIELDS..." (seconds of the monotonic
 * clock), or "none PROCESS at ..." if there was no such process then.  All of dkvm-gpu is stopped
 * first and continued last, so that the kill is as near to the record as one wakeup.
 *
 * A record is five 32-bit numbers (magic, length, number, type, checksum), then strings.  Prints
 * "late" and ends with 1 after 120 s without a change. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE = 120000, MAX_PROCESSES = 256 };

typedef struct {
    uint32_t magic, length, number, type, crc;
} Header;

typedef struct {
    pid_t pid, parent;
    char comm[32], first[32], second[32]; /* the name, and the arguments 1 and 2 */
} Process;

static const char *const types[] = {"?",         "BEGIN",   "DEVICE",  "CALLER",   "INTENT",
                                    "DONE",      "FAILED",  "SKIPPED", "PREPARED", "RUNNING",
                                    "RESTORING", "UNDO",    "UNDONE",  "FOREIGN",  "LATE",
                                    "CLOSED",    "PLANNED", "WORKER",  "REMOVED"};
static Process process[MAX_PROCESSES];
static int processes;
static char data[1 << 20];
static char folder[128], journal[160];

static size_t slurp(const char *path, char *to, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t length = 0;
    ssize_t got = 0;

    if (fd < 0)
        return 0;
    while (length < size && (got = read(fd, to + length, size - length)) > 0)
        length += (size_t)got;
    close(fd);
    return length;
}

static int interesting(const char *comm)
{
    return strncmp(comm, "dkvm-", 5) == 0 || strcmp(comm, "libvirtd") == 0 ||
           strncmp(comm, "qemu-system", 11) == 0;
}

static void look_at_processes(void)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;

    processes = 0;
    while (proc && (entry = readdir(proc)) && processes < MAX_PROCESSES) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        char path[64], text[1024] = "";
        Process *p = &process[processes];

        if (pid <= 0)
            continue;
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        text[slurp(path, text, sizeof text - 1)] = '\0';
        *p = (Process){.pid = pid};
        char *end = strrchr(text, ')');
        if (!end || sscanf(text, "%*d (%31[^)]", p->comm) != 1 || !interesting(p->comm))
            continue;
        p->parent = (pid_t)strtol(end + 4, NULL, 10);
        snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
        size_t length = slurp(path, text, sizeof text - 1);
        text[length] = '\0';
        char *argument = text + strlen(text) + 1;
        if (argument < text + length) {
            snprintf(p->first, sizeof p->first, "%s", argument);
            argument += strlen(argument) + 1;
            if (argument < text + length)
                snprintf(p->second, sizeof p->second, "%s", argument);
        }
        processes++;
    }
    if (proc)
        closedir(proc);
}

static const Process *of_pid(pid_t pid)
{
    for (int i = 0; i < processes; i++) {
        if (process[i].pid == pid)
            return &process[i];
    }
    return NULL;
}

static int is_gpu(const Process *p)
{
    return p && strncmp(p->comm, "dkvm-", 5) == 0;
}

static int matches(const Process *p, const char *what)
{
    int child = is_gpu(p) && is_gpu(of_pid(p->parent));

    if (strcmp(what, "worker") == 0)
        return child;
    if (strcmp(what, "guard") == 0)
        return is_gpu(p) && !child && strcmp(p->first, "guard") == 0;
    if (strcmp(what, "hook") == 0)
        return is_gpu(p) && !child && strcmp(p->first, "guard") != 0;
    /* Not one that libvirtd asks for what it can do. */
    if (strcmp(what, "qemu") == 0)
        return strncmp(p->comm, what, strlen(what)) == 0 && strncmp(p->second, "guest=", 6) == 0;
    return strcmp(p->comm, what) == 0;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* A process may have come since the last look: look again until nobody new is there. */
static void stop_all(void)
{
    for (int before = -1; before != processes;) {
        before = processes;
        for (int i = 0; i < processes; i++) {
            if (is_gpu(&process[i]))
                kill(process[i].pid, SIGSTOP);
        }
        look_at_processes();
    }
}

static int kill_at(const char *what, const char *record)
{
    int killed = 0;

    for (int i = 0; i < processes; i++) {
        if (is_gpu(&process[i]))
            kill(process[i].pid, SIGSTOP);
    }
    look_at_processes();
    stop_all();
    for (int i = 0; i < processes; i++) {
        if (matches(&process[i], what) && kill(process[i].pid, SIGKILL) == 0) {
            printf("killed %s %d %.3f at %s\n", what, process[i].pid, now(), record);
            killed++;
        }
    }
    if (!killed)
        printf("none %s at %s\n", what, record);
    for (int i = 0; i < processes; i++) {
        if (is_gpu(&process[i]))
            kill(process[i].pid, SIGCONT);
    }
    return 0;
}

/* " hook guard ...": who could be killed now. */
static const char *alive(void)
{
    static const char *const who[] = {"hook", "guard", "worker", "libvirtd", "qemu"};
    static char text[64];

    text[0] = '\0';
    for (size_t w = 0; w < sizeof who / sizeof *who; w++) {
        for (int i = 0; i < processes; i++) {
            if (matches(&process[i], who[w])) {
                strcat(strcat(text, " "), who[w]);
                break;
            }
        }
    }
    return text;
}

/* "NUMBER TYPE FIELDS..." */
static void describe(char *to, size_t size, const Header *header, const char *payload)
{
    int used = snprintf(to, size, "%u %s", header->number,
                        header->type < sizeof types / sizeof *types ? types[header->type] : "?");

    for (uint32_t at = 0; at < header->length && used > 0 && (size_t)used < size;) {
        size_t length = strnlen(payload + at, header->length - at);
        used += snprintf(to + used, size - (size_t)used, " %.*s", (int)length, payload + at);
        at += (uint32_t)length + 1;
    }
}

/* The newest journal, which is kept open: its last records are there when its name is gone, and
 * when the guard has begun another, empty one. */
static size_t whole_journal(void)
{
    static int fd = -1;
    int now = open(journal, O_RDONLY | O_CLOEXEC);
    struct stat status;

    if (now >= 0 && (fd < 0 || (fstat(now, &status) == 0 && status.st_size > 0))) {
        close(fd);
        fd = now;
    } else if (now >= 0) {
        close(now);
    }
    ssize_t length = fd < 0 ? 0 : pread(fd, data, sizeof data, 0);

    return length > 0 ? (size_t)length : 0;
}

/* Each whole record after SEEN; returns the number of the last, and its text in RECORD. */
static uint32_t read_journal(uint32_t seen, uint32_t until, char *record, size_t size, int print)
{
    size_t length = whole_journal();

    for (size_t at = 0; at + sizeof(Header) <= length;) {
        Header header;
        memcpy(&header, data + at, sizeof header);
        at += sizeof header;
        if (header.length > length - at)
            break;
        if (header.number > seen && seen < until) {
            seen = header.number;
            describe(record, size, &header, data + at);
            if (print) {
                look_at_processes();
                printf("%s |%s\n", record, alive());
                fflush(stdout);
            }
        }
        at += header.length;
    }
    return seen;
}

int main(int argc, char **argv)
{
    char record[2048] = "", events[4096];
    uint32_t number = argc == 4 ? (uint32_t)strtoul(argv[2], NULL, 10) : UINT32_MAX, seen = 0;
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), was_there = 0;

    if (argc != 2 && argc != 4)
        return 2;
    snprintf(folder, sizeof folder, "/run/dkvm/%.36s", argv[1]);
    snprintf(journal, sizeof journal, "%s/journal", folder);
    inotify_add_watch(fd, "/run", IN_CREATE | IN_MOVED_TO);
    puts("ready");
    fflush(stdout);
    for (;;) {
        inotify_add_watch(fd, "/run/dkvm", IN_CREATE | IN_DELETE | IN_MOVED_TO);
        inotify_add_watch(fd, folder, IN_CREATE | IN_MODIFY | IN_DELETE | IN_MOVED_TO);
        int is_gone = was_there && access(journal, F_OK) != 0;

        seen = read_journal(seen, number, record, sizeof record, argc == 2);
        if (argc == 4 && seen >= number)
            return kill_at(argv[3], record);
        if (argc == 4)
            look_at_processes();
        if (is_gone)
            return argc == 2 ? 0 : (printf("none %s at the end after %u\n", argv[3], seen), 0);
        was_there = was_there || seen > 0;
        struct pollfd wait = {fd, POLLIN, 0};
        if (poll(&wait, 1, PATIENCE) <= 0)
            return printf("late after %u\n", seen), 1;
        while (read(fd, events, sizeof events) > 0)
            continue;
    }
}
