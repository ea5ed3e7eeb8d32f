"""Writes rtn_fixture.h: weights with ties, zeros, subnormal scales and outliers, and what the rule
s = half(amax / qmax), at least 2^-24; q = clip(rint(w / s), -qmax, qmax)
makes of them in numpy's float32 arithmetic.

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


def quantise(qmax, group):
    x = np.pad(w, ((0, 0), (0, -COLS % group))).reshape(ROWS, -1, group)
    s = (np.abs(x).max(2, keepdims=True) / np.float32(qmax)).astype(np.float16)
    s = np.maximum(s, np.float16(2.0**-24))
    q = np.clip(np.rint(x / s.astype(np.float32)), -qmax, qmax).astype(np.int8)
    return q.reshape(ROWS, -1)[:, :COLS], s[:, :, 0]


def array(kind, name, values):
    text = textwrap.fill(", ".join(str(v) for v in values), 118)
    print(f"inline constexpr {kind} {name}[] = {{\n{text}}};")


print("// Made by make_rtn_fixture.py.\n#pragma once\n#include <cstdint>\n")
print("// clang-format off\nnamespace klens::rtn_fixture {\n")
print(f"inline constexpr int64_t kRows = {ROWS}, kCols = {COLS};")
array("uint32_t", "kWeightBits", (hex(v) for v in w.view(np.uint32).ravel()))
for name, qmax, group in (("Int8", 127, COLS), ("Int4g32", 7, 32), ("Int4g64", 7, 64), ("Int4g128", 7, 128)):
    q, s = quantise(qmax, group)
    array("int8_t", f"k{name}", q.ravel())
    array("uint16_t", f"k{name}Scales", (hex(v) for v in np.ascontiguousarray(s).view(np.uint16).ravel()))
array("uint16_t", "kFp16", (hex(v) for v in np.clip(w, -65504, 65504).astype(np.float16).view(np.uint16).ravel()))
print("\n}  // namespace klens::rtn_fixture")
