"""Writes rtn_fixture.h: weights with ties, zeros, subnormal scales and outliers, and what the rule
q = clip(rint((w - min) / s), lowest, highest) of quant/quantizers/rtn.h makes of them in numpy's float32
arithmetic.

usage: make_rtn_fixture.py > rtn_fixture.h
"""
import textwrap

import numpy as np

ROWS, COLS = 5, 136
rng = np.random.default_rng(7)
w = np.zeros((ROWS, COLS), np.float32)
w[0] = rng.normal(0, 0.02, COLS)
# Exact ties for INT4, as w / s sees them; w * (1 / s) does not.
s = np.float32(np.float16(0.0123))
w[1] = rng.integers(-14, 15, COLS) * np.float32(0.5) * s
w[1, ::32] = 7 * s
w[2, 32:64] = rng.normal(0, 1e-9, 32)             # under the scale floor
w[2, 64:96] = rng.normal(0, 3e-7, 32)             # subnormal FP16 scales
w[2, 96:] = rng.normal(0, 1, 40) * 10.0 ** rng.integers(-6, 5, 40)
w[3] = rng.integers(-254, 255, COLS) * np.float32(0.5) * s  # and for INT8
w[3, 0] = 127 * s
w[4] = rng.standard_t(2, COLS) * 0.01


def grid(x, lowest, highest, minimum):
    least, most = x.min(), x.max()
    if lowest == -highest:
        return max(most, -least) / np.float32(highest), np.float32(0)
    if minimum:
        return most / np.float32(highest) - least / np.float32(highest), least
    return (least if -least >= most else most) / np.float32(lowest), np.float32(0)


def quantise(lowest, highest, group, minimum):
    q = np.zeros((ROWS, COLS), np.int8)
    scales, minima = [], []
    for row in range(ROWS):
        for begin in range(0, COLS, group):
            x = w[row, begin:begin + group]
            s, m = grid(x, lowest, highest, minimum)
            s, m = np.float16(s), np.float16(m)
            if s == 0:
                s = np.float16(-2.0**-24) if grid(x, lowest, highest, minimum)[0] < 0 else np.float16(2.0**-24)
            q[row, begin:begin + group] = np.clip(np.rint((x - np.float32(m)) / np.float32(s)), lowest, highest)
            scales.append(s)
            minima.append(m)
    return q, np.array(scales, np.float16), np.array(minima, np.float16)


def array(kind, name, values):
    text = textwrap.fill(", ".join(str(v) for v in values), 118)
    print(f"inline constexpr {kind} {name}[] = {{\n{text}}};")


print("// Made by make_rtn_fixture.py.\n#pragma once\n#include <cstdint>\n")
print("// clang-format off\nnamespace klens::rtn_fixture {\n")
print(f"inline constexpr int64_t kRows = {ROWS}, kCols = {COLS};")
array("uint32_t", "kWeightBits", (hex(v) for v in w.view(np.uint32).ravel()))
for name, lowest, highest, group, minimum in (
        ("Int8", -127, 127, COLS, False), ("Int8g32", -127, 127, 32, False), ("Int6g16", -32, 31, 16, False),
        ("Int6g32", -32, 31, 32, False), ("Int5ag32", 0, 31, 32, True), ("Int5g32", -16, 15, 32, False), ("Int4ag32", 0, 15, 32, True),
        ("Int4g32", -8, 7, 32, False), ("Int4g64", -8, 7, 64, False), ("Int4g128", -8, 7, 128, False),
        ("Int3g16", -4, 3, 16, False), ("Int2ag16", 0, 3, 16, True), ("Int3g32", -4, 3, 32, False),
        ("Int2g32", -2, 1, 32, False)):
    q, s, m = quantise(lowest, highest, group, minimum)
    array("int8_t", f"k{name}", q.ravel())
    array("uint16_t", f"k{name}Scales", (hex(v) for v in s.view(np.uint16)))
    if minimum:
        array("uint16_t", f"k{name}Minima", (hex(v) for v in m.view(np.uint16)))
array("uint16_t", "kFp16", (hex(v) for v in np.clip(w, -65504, 65504).astype(np.float16).view(np.uint16).ravel()))
print("\n}  // namespace klens::rtn_fixture")
