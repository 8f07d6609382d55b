/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The C program that does nothing. */
int main(void)
{
    return 0;
}
