"""Writes gguf/checksums.json: for every quantised tensor of some GGUF files XXH3-64 of the FP16 values that the gguf
package makes of it, rounded to nearest, ties to even.

    python3 make_gguf_checksums.py FILE.gguf ...     (needs gguf and xxhash; made with gguf 0.19)
"""
import json
import os
import sys

import gguf
import numpy as np
import xxhash

sums = {}
for path in sys.argv[1:]:
    tensors = {}
    for tensor in gguf.GGUFReader(path).tensors:
        if tensor.tensor_type.name in ("F32", "F16", "BF16"):
            continue
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float16)
        tensors[tensor.name] = xxhash.xxh3_64_hexdigest(np.ascontiguousarray(values).tobytes())
    if tensors:
        sums[os.path.basename(path)] = tensors
folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gguf")
with open(os.path.join(folder, "checksums.json"), "w", encoding="ascii") as file:
    json.dump(sums, file, indent=0)
    file.write("\n")
