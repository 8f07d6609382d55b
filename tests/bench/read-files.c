/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads what a list names, and does nothing else: the least that a program which reads the same
 * could take. read-files LIST; a line is "f PATH" (open, read, close), "d PATH" (list) or "l PATH"
 * (readlink). */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void read_one(const char *path)
{
    static char buffer[65536];
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    while (fd >= 0 && read(fd, buffer, sizeof buffer) > 0)
        ;
    if (fd >= 0)
        (void)close(fd);
}

static void list_one(const char *path)
{
    DIR *dir = opendir(path);

    while (dir && readdir(dir))
        ;
    if (dir)
        (void)closedir(dir);
}

int main(int argc, char **argv)
{
    static char line[PATH_MAX + 4];
    char target[PATH_MAX];
    FILE *list = argc == 2 ? fopen(argv[1], "re") : NULL;

    while (list && fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == 'f')
            read_one(line + 2);
        else if (line[0] == 'd')
            list_one(line + 2);
        else
            (void)!readlink(line + 2, target, sizeof target);
    }
    return list ? 0 : 1;
}
