/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as a domain: what it wants, and the plan for it on a recorded host. */
#include <string.h>

#include "lib/error.h"
#include "qemu-hook/plan.h"
#include "qemu-hook/rundir.h"
#include "tests/fuzz/fuzz.h"

static DkvmConfig *config;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    g_autofree char *root = fuzz_root("etc/dkvm");
    const char *arguments[] = {"tests/data/hosts/make-root",
                               "tests/data/hosts/intel-comet-lake-rx6600.host", root, NULL};
    int status = 1;

    HOLDS(g_spawn_sync(NULL, (char **)arguments, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL, NULL,
                       &status, NULL) &&
          status == 0);
    HOLDS(g_setenv("DKVM_ROOT", root, TRUE));
    config = dkvm_config_load(NULL);
    HOLDS(config != NULL);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    GError *error = NULL;
    g_autoptr(DkvmWants) wants = dkvm_wants_parse((const char *)data, size, config, &error);

    HOLDS((wants != NULL) == (error == NULL));
    if (!wants) {
        HOLDS(error->code == DKVM_ERROR_INPUT);
        g_error_free(error);
        return 0;
    }
    HOLDS(dkvm_uuid_is_valid(wants->uuid) && *wants->name);
    HOLDS(wants->devices->len <= DKVM_MAX_HOSTDEVS);
    if (wants->devices->len == 0)
        return 0;
    g_autoptr(DkvmPlan) plan = dkvm_plan_new(wants, config, NULL);
    HOLDS(plan != NULL);
    HOLDS(plan->devices->len == plan->targets->len);
    g_autofree char *text = dkvm_plan_text(plan), *reasons = dkvm_plan_reasons(plan);
    HOLDS(text != NULL && reasons != NULL);
    return 0;
}
