/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stands in for dkvm-gpu: writes what it was started with into the file $DKVM_RECORD, one "key
 * value" a line, bytes as hexadecimal digits; says $DKVM_SAY on both outputs; exits with
 * $DKVM_EXIT, a number, or "crash" or "hang". */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

extern char **environ;

static void hex(FILE *out, const char *key, const char *text, size_t length)
{
    fprintf(out, "%s ", key);
    for (size_t i = 0; i < length; i++)
        fprintf(out, "%02x", (unsigned char)text[i]);
    fputc('\n', out);
}

/* What was open before this program opened anything: the record and the folder are left out. */
static void files(FILE *out)
{
    DIR *folder = opendir("/proc/self/fd");

    for (struct dirent *entry; (entry = readdir(folder));) {
        char path[64], target[512] = "";
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] == '.' || fd == dirfd(folder) || fd == fileno(out))
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (readlink(path, target, sizeof target - 1) < 0)
            strcpy(target, "?");
        fprintf(out, "fd%d %s\n", fd, target);
    }
    closedir(folder);
}

static void signals(FILE *out)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];

    while (fgets(line, sizeof line, status)) {
        if (strncmp(line, "SigBlk:", 7) == 0 || strncmp(line, "SigIgn:", 7) == 0)
            fprintf(out, "%.6s %s", line, line + 8);
    }
    fclose(status);
}

static void input(FILE *out)
{
    static char text[4 * 1024 * 1024 + 1];
    size_t length;

    fprintf(out, "seals %d\n", fcntl(0, F_GET_SEALS));
    fprintf(out, "offset %ld\n", (long)lseek(0, 0, SEEK_CUR));
    length = fread(text, 1, sizeof text, stdin);
    hex(out, "input", text, length);
}

int main(int argc, char **argv)
{
    const char *say = getenv("DKVM_SAY"), *code = getenv("DKVM_EXIT");
    FILE *out = fopen(getenv("DKVM_RECORD"), "we");
    struct itimerval timer;
    char folder[512];

    for (int i = 0; i < argc; i++)
        hex(out, "argument", argv[i], strlen(argv[i]));
    for (char **e = environ; *e; e++)
        fprintf(out, "environment %s\n", *e);
    getitimer(ITIMER_REAL, &timer);
    fprintf(out, "alarm %ld\npid %d\nfolder %s\n", (long)timer.it_value.tv_sec, getpid(),
            getcwd(folder, sizeof folder));
    files(out);
    signals(out);
    input(out);
    fclose(out);
    if (say) {
        fputs(say, stdout);
        fputs(say, stderr);
        fflush(stdout);
    }
    if (code && strcmp(code, "crash") == 0)
        abort();
    while (code && strcmp(code, "hang") == 0)
        pause();
    return code ? atoi(code) : 0;
}
