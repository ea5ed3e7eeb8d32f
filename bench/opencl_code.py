#!/usr/bin/env python3
"""What Intel's offline compiler makes of the OpenCL kernels, for GPUs that are not here: a table for RESULTS.md.

usage: bench/opencl_code.py    needs ocloc (Debian: intel-opencl-icd) and iga64 (libigc-tools)

Of each loop that multiplies: its instructions by kind, and the cycles that they take to issue, as if nothing were waited
for: 8 lanes a cycle on Xe-LP's and Xe-HPG's vector units, 16 on Xe2's; a matrix instruction takes 16 cycles of a unit of
its own. No clock has seen any of it.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

KERNELS = pathlib.Path(__file__).resolve().parent.parent / "kernels" / "opencl"
KINDS = {"dp4a": "dp4a", "dpas": "dpas", "mad": "float", "mul": "float", "send": "send", "math": "math", "load": "send",
         "mov": "move", "sel": "move", "csel": "move", "sync": "control", "if": "control", "else": "control",
         "endif": "control", "while": "control", "break": "control", "goto": "control", "jmpi": "control", "join": "control"}
ORDER = ["dp4a", "dpas", "float", "integer", "move", "send", "math", "control"]
# Bits of a weight with its scale, and its number in kernels/weights.h.
LAYOUTS = {"int8g32": (8.5, 4), "int4g32": (4.5, 5), "int4g128": (4.125, 5), "int6g32": (6.5, 7)}
XE_LP = {"units": 96, "hertz": 1.3e9, "bytes": 68e9}
XE2 = {"units": 64, "hertz": 2.05e9, "bytes": 136.5e9}  # of 8 cores
MATRIX_CYCLES = 16
TAIL = "if (32 * stop < min(cols, (g + 1) * x_group))"


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0 and command[0] == "ocloc":
        sys.exit(f"{' '.join(command)}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout


def assembly(family, kernel, options, device):
    with tempfile.TemporaryDirectory() as folder:
        source = (KERNELS / "common.h").read_text() + (KERNELS / f"{family}.cl").read_text()
        # Columns that are no whole piece come once in a row.
        assert source.count(TAIL) == (family == "linear")
        pathlib.Path(folder, "program.cl").write_text(source.replace(TAIL, "if (false)"))
        run("ocloc", "compile", "-file", "program.cl", "-device", device, "-output", "program", "-out_dir", "out",
            "-options", "-cl-std=CL3.0 " + options, cwd=folder)
        binary = next(pathlib.Path(folder, "out").glob("*.bin"))
        run("ocloc", "disasm", "-file", str(binary), "-device", device, "-dump", "dump", cwd=folder)
        platform = "XeHPG" if device.startswith("acm") else "XeLP"
        return run("iga64", "-d", f"-p={platform}", f"dump/{kernel}_KernelHeap.dat", cwd=folder).split("\n")


def instruction(line):
    """(name, lanes) or None."""
    found = re.match(r"\s*(?:\([^)]*\)\s+)?([a-z]\w*)(?:\.\S+)?\s+(?:\([^)]*\)\s*)?\((\d+)\|", line)
    if found:
        return found[1], int(found[2])
    found = re.match(r"\s*(?:\([^)]*\)\s+)?(jmpi|sync)\b", line)
    return (found[1], 1) if found else None


def loops(lines):
    """(first, last) line of each, by jumps backwards."""
    at = {m[1]: i for i, line in enumerate(lines) if (m := re.match(r"(L\d+):", line))}
    found = []
    for i, line in enumerate(lines):
        if re.search(r"\b(while|goto|jmpi)\b", line):
            starts = [at[label] for label in re.findall(r"L\d+", line) if at.get(label, i) < i]
            if starts:
                found.append((min(starts), i))
    return found


def count(lines, first, last, inner=None):
    kinds, cycles, matrices = dict.fromkeys(ORDER, 0), 0, 0
    for i in range(first, last + 1):
        if inner and inner[0] <= i <= inner[1]:
            continue
        if not (found := instruction(lines[i])):
            continue
        name, lanes = found
        kind = KINDS.get(name, "integer")
        if name in ("add", "mul") and ":f" in lines[i].split("{")[0]:
            kind = "float"
        elif name == "mul":
            kind = "integer"
        kinds[kind] += 1
        if kind == "dpas":
            matrices += 1
        elif kind != "control":
            cycles += 1 if kind == "send" else max(1, lanes // 8)
    return kinds, cycles, matrices


def products(lines):
    """The loops over a group's pieces and over groups, with what is in them: of one token, and of many."""
    multiply = [i for i, line in enumerate(lines) if re.search(r"\b(dp4a|dpas)", line)]
    found = []
    every = loops(lines)
    for first, last in every:
        if any(first < f and l < last for f, l in every):
            continue
        inside = sum(first <= i <= last for i in multiply)
        if inside:
            outer = min((o for o in every if o[0] <= first and last < o[1]), key=lambda o: o[1] - o[0], default=(first, last))
            found.append(((first, last), outer, inside))
    return found


def registers(lines):
    return 1 + max(int(n) for line in lines for n in re.findall(r"\br(\d+)\.", line))


def row(fmt, device, options, tokens):
    bits, layout = LAYOUTS[fmt]
    group = 128 if "g128" in fmt else 32
    lines = assembly("linear", "linear_by_sub_groups", f"-DLAYOUT={layout} -DMINIMA=0 -DROUNDED=1 -DSUB_GROUPS {options}",
                     device)
    lanes = 8 if "MATRIX" in options else 16
    many = [p for p in products(lines)]
    # That of one token has eight products in a piece.
    inner, outer, _ = next(p for p in many if (p[2] == 8 and not any("dpas" in l for l in lines[p[0][0]:p[0][1]])) == (tokens == 1))
    kinds, in_piece, matrices = count(lines, *inner)
    _, in_group, _ = count(lines, *outer, inner=inner)
    pieces = group // 32
    vector = pieces * in_piece + in_group
    multiplied = group * lanes * tokens  # multiply-adds of a group by one sub-group
    bytes_each = bits / 8 / tokens
    mix = ", ".join(f"{kinds[k]} {k}" for k in ORDER if kinds[k])
    if tokens == 1:
        memory = bits / 8 * group * lanes / XE_LP["bytes"]
        issue = vector / (XE_LP["units"] * XE_LP["hertz"])
        share = f"{100 * min(1, memory / issue):.0f} % of 68 GB/s (issues in {100 * issue / memory:.0f} % of the time)"
    elif matrices == 0:
        share = f"{100 * kinds['dp4a'] * 2 * pieces / vector:.0f} % of dp4a's peak"
    else:
        # By Xe2 a sub-group has 16 lanes, for which a vector instruction is one cycle as that of 8 is here.
        matrix = MATRIX_CYCLES * matrices * pieces
        share = f"{100 * matrix / max(matrix, vector):.0f} % of the matrix units' peak"
    return (f"| {fmt}, {'one token' if tokens == 1 else f'{tokens} tokens'} | {device} | {registers(lines)} | {lanes} | {mix} | "
            f"{vector} | {bytes_each:.3f} | {share} |")


def main():
    with tempfile.TemporaryDirectory() as folder:
        version = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "libigc1"], capture_output=True, text=True).stdout
        print(f"libigc1 {version}, intel-opencl-icd "
              + subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "intel-opencl-icd"], capture_output=True,
                               text=True, cwd=folder).stdout + "\n")
    print("| linear | GPU | registers of 128 | lanes | loop over 32 columns | cycles a group | bytes a multiply-add | share |")
    print("|---|---|---|---|---|---|---|---|")
    for fmt in LAYOUTS:
        print(row(fmt, "tgllp", "", 1))
    for fmt, (_, layout) in LAYOUTS.items():
        print(row(fmt, "tgllp", "", 16 if layout <= 5 else 8))  # AT_ONCE of linear.cl
    for fmt in LAYOUTS:
        print(row(fmt, "acm-g10", "-DMATRIX=8", 8))


if __name__ == "__main__":
    main()
