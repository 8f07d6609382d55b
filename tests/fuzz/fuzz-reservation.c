/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as the reservation file: what is taken is written back as a line that gives the same.
 */
#include "tests/fuzz/fuzz.h"
#include "udev/reservation.h"

#include <string.h>

static void bad(unsigned line, const char *why, void *data)
{
    HOLDS(line > 0 && why != NULL && *why != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static DkvmReservation entries[DKVM_RESERVATION_MAX];
    size_t count = dkvm_reservation_parse_all((const char *)data, size, entries, bad, NULL);

    HOLDS(count <= DKVM_RESERVATION_MAX);
    for (size_t i = 0; i < count; i++) {
        char line[DKVM_RESERVATION_MAX_LINE];
        DkvmReservation again;
        const char *why = NULL;

        dkvm_reservation_format(&entries[i], line);
        HOLDS(dkvm_reservation_parse(line, strlen(line), &again, &why) == 1);
        HOLDS(dkvm_identity_difference(&entries[i].id, &again.id) == NULL);
        HOLDS(strcmp(entries[i].reset, again.reset) == 0);
        HOLDS(dkvm_bdf_compare(&entries[i].with, &again.with) == 0);
    }
    return 0;
}
