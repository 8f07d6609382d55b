/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files in a directory of the test's own. */
#pragma once

#include <glib.h>
#include <stdio.h>

#include "lib/file.h"

static char *top; /* a directory of this process */

static char *at(const char *name)
{
    return g_build_filename(top, name, NULL);
}

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    g_assert_nonnull(file);
    g_assert_cmpint(fputs(text, file), >=, 0);
    g_assert_cmpint(fclose(file), ==, 0);
}

static void assert_content(const char *path, const char *expected)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = dkvm_file_read(path, 1000, NULL, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(text, ==, expected);
}
