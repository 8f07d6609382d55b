#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looks at a picture of dkvm-iommu: picture.py SVG LIGHT.png DARK.png.

The PNGs have the size that the SVG says, the light one a light and the dark one a dark background, text contrasts
with it in both, and the columns' gaps are empty, so that no text leaves its box.  Exit 1 with what is wrong."""
import re
import struct
import sys
import zlib


def pixels(path):
    """Width, height and a function (x, y) -> (r, g, b) of a PNG of 8 bits a channel without interlacing."""
    with open(path, "rb") as file:
        data = file.read()
    width, height, depth, kind, _, _, lace = struct.unpack(">IIBBBBB", data[16:29])
    assert depth == 8 and lace == 0 and kind in (2, 6), f"{path}: a kind of PNG that this does not read"
    at, packed = 8, b""
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at:at + 8])
        if name == b"IDAT":
            packed += data[at + 8:at + 8 + length]
        at += 12 + length
    raw, size = zlib.decompress(packed), 3 if kind == 2 else 4
    stride, rows, before = width * size, [], bytearray(width * size)
    for y in range(height):
        line = raw[y * (stride + 1):(y + 1) * (stride + 1)]
        row, how = bytearray(line[1:]), line[0]
        if how == 1:
            for i in range(size, stride):
                row[i] = (row[i] + row[i - size]) & 255
        elif how == 2:
            row = bytearray((a + b) & 255 for a, b in zip(row, before))
        elif how == 3:
            for i in range(stride):
                row[i] = (row[i] + ((row[i - size] if i >= size else 0) + before[i]) // 2) & 255
        elif how == 4:
            for i in range(stride):
                a, b, c = (row[i - size] if i >= size else 0), before[i], (before[i - size] if i >= size else 0)
                p = a + b - c
                pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
                row[i] = (row[i] + (a if pa <= pb and pa <= pc else b if pb <= pc else c)) & 255
        rows.append(row)
        before = row
    return width, height, lambda x, y: tuple(rows[y][x * size:x * size + 3])


def luminance(colour):
    parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def main():
    svg = open(sys.argv[1], encoding="utf-8").read()
    wanted = tuple(int(n) for n in re.search(r'width="(\d+)" height="(\d+)" viewBox', svg).groups())
    cards = [tuple(float(n) for n in c) for c in
             re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="(\d+)" height="(\d+)" rx="10" class="card"/>', svg)]
    wrong = [] if cards else ["there are no boxes"]
    for path, dark in ((sys.argv[2], False), (sys.argv[3], True)):
        width, height, at = pixels(path)
        if (width, height) != wanted:
            wrong.append(f"{path} is {width}x{height}, not {wanted[0]}x{wanted[1]}")
            continue
        back = at(2, 2)
        if (luminance(back) > 0.5) == dark:
            wrong.append(f"{path}: the background {back} is of the other scheme")
        # The strongest contrast in the title's line: its letters.
        best = max(contrast(at(x, y), back) for y in range(32, 52) for x in range(28, 200))
        if best < 7:
            wrong.append(f"{path}: the title has a contrast of {best:.1f}")
        # Just outside each box, left and right, nothing is drawn.
        for x, y, w, h in cards:
            for outside in (int(x) - 4, int(x + w) + 4):
                for row in range(int(y) + 2, min(int(y + h) - 2, height)):
                    if at(outside, row) != back:
                        wrong.append(f"{path}: something leaves the box at {x},{y} near {outside},{row}")
                        break
    print("\n".join(wrong[:10]), end="\n" if wrong else "")
    return 1 if wrong else 0


sys.exit(main())
