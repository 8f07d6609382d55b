/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "udev/reservation.h"

#include <stdio.h>
#include <string.h>

#include "udev/sysfs.h"

/* "10de:2484" */
static bool parse_pair(const char *text, uint16_t *a, uint16_t *b)
{
    char half[5] = {0};
    uint64_t first, second;

    if (strlen(text) != 9 || text[4] != ':' || text[1] == 'x' || text[6] == 'x')
        return false;
    (void)memcpy(half, text, 4);
    if (!dkvm_parse_hex(half, 0xffff, &first) || !dkvm_parse_hex(text + 5, 0xffff, &second))
        return false;
    *a = (uint16_t)first;
    *b = (uint16_t)second;
    return true;
}

/* Names as Documentation/ABI/testing/sysfs-bus-pci has them for reset_method: "flr,bus". */
static bool is_reset(const char *text)
{
    size_t length = strlen(text);

    return length > 0 && length < DKVM_RESET_SIZE &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz_,") == length;
}

static bool parse_option(const char *word, DkvmReservation *entry)
{
    if (strncmp(word, "for=", 4) == 0)
        return dkvm_bdf_parse(word + 4, &entry->with);
    if (strncmp(word, "serial=", 7) == 0) {
        entry->id.has_serial = dkvm_parse_hex(word + 7, UINT64_MAX, &entry->id.serial);
        return entry->id.has_serial;
    }
    if (strncmp(word, "reset=", 6) == 0 && is_reset(word + 6)) {
        (void)snprintf(entry->reset, sizeof entry->reset, "%s", word + 6);
        return true;
    }
    return false;
}

static const char *parse_words(char *line, DkvmReservation *entry)
{
    char *rest = NULL;
    const char *word = strtok_r(line, " \t", &rest);

    if (!word || !dkvm_bdf_parse(word, &entry->id.bdf))
        return "it does not begin with an address such as 0000:01:00.0";
    entry->with = entry->id.bdf;
    word = strtok_r(NULL, " \t", &rest);
    if (!word || !parse_pair(word, &entry->id.vendor, &entry->id.device))
        return "the address is not followed by ids such as 10de:2484";
    word = strtok_r(NULL, " \t", &rest);
    if (!word || !parse_pair(word, &entry->id.subvendor, &entry->id.subdevice))
        return "the ids are not followed by subsystem ids such as 1462:3909";
    word = strtok_r(NULL, " \t", &rest);
    if (!word || !dkvm_slot_path_is_valid(word))
        return "the ids are not followed by a slot path such as 0000:00/01.0/00.0";
    (void)snprintf(entry->id.path, sizeof entry->id.path, "%s", word);
    while ((word = strtok_r(NULL, " \t", &rest)) != NULL) {
        if (!parse_option(word, entry))
            return "there is a word that is not for=, serial= or reset=";
    }
    return NULL;
}

int dkvm_reservation_parse(const char *line, size_t length, DkvmReservation *entry,
                           const char **why)
{
    char copy[DKVM_RESERVATION_MAX_LINE];
    DkvmReservation new = {0};

    while (length > 0 && (line[length - 1] == ' ' || line[length - 1] == '\t'))
        length--;
    while (length > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        length--;
    }
    if (length == 0 || *line == '#')
        return 0;
    *why = "it is too long";
    if (length >= sizeof copy)
        return -1;
    *why = "it is not text";
    if (memchr(line, '\0', length))
        return -1;
    (void)memcpy(copy, line, length);
    copy[length] = '\0';
    *why = parse_words(copy, &new);
    if (*why)
        return -1;
    *entry = new;
    return 1;
}

void dkvm_reservation_format(const DkvmReservation *entry, char *line)
{
    char bdf[DKVM_BDF_SIZE], with[DKVM_BDF_SIZE], serial[32] = "", reset[DKVM_RESET_SIZE + 8] = "";
    const DkvmIdentity *id = &entry->id;

    dkvm_bdf_format(&id->bdf, bdf);
    dkvm_bdf_format(&entry->with, with);
    if (id->has_serial)
        (void)snprintf(serial, sizeof serial, " serial=%llx", (unsigned long long)id->serial);
    if (entry->reset[0])
        (void)snprintf(reset, sizeof reset, " reset=%s", entry->reset);
    (void)snprintf(line, DKVM_RESERVATION_MAX_LINE, "%s %04x:%04x %04x:%04x %s for=%s%s%s", bdf,
                   id->vendor, id->device, id->subvendor, id->subdevice, id->path, with, serial,
                   reset);
}

size_t dkvm_reservation_parse_all(const char *text, size_t length, DkvmReservation *entries,
                                  void (*line_bad)(unsigned line, const char *why, void *data),
                                  void *data)
{
    const char *end = text + length;
    size_t count = 0;
    unsigned number = 0;

    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        const char *why = NULL;
        DkvmReservation entry;
        int found;

        stop = stop ? stop : end;
        number++;
        found = dkvm_reservation_parse(text, (size_t)(stop - text), &entry, &why);
        if (found > 0 && count == DKVM_RESERVATION_MAX) {
            found = -1;
            why = "there are too many devices";
        }
        if (found > 0)
            entries[count++] = entry;
        else if (found < 0 && line_bad)
            line_bad(number, why, data);
        text = stop + 1;
    }
    return count;
}
