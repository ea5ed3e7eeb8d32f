#!/usr/bin/env python3
"""llama.cpp as a peer of bench/compare.py: conversion of checkpoints without a tokenizer, quantization, llama-bench.

usage: bench/llama_cpp.py SOURCE CHECKPOINT OUT.gguf      converts to F16 with the converter of llama.cpp's SOURCE
"""
import json
import os
import subprocess
import sys

TYPES = {"int4g64": "Q4_0", "int8": "Q8_0"}


class LlamaCpp:
    name = "llama.cpp"

    def __init__(self, folder, work, run):
        self.bin = next((f for f in (os.path.join(folder, "bin"), folder) if os.path.exists(f + "/llama-bench")), None)
        if self.bin is None:
            raise FileNotFoundError(f"{folder}: no llama-bench in it or in its bin/")
        with open(os.path.join(folder, "CMakeCache.txt"), encoding="utf-8") as cache:
            self.source = next(line.split("=", 1)[1].strip() for line in cache if line.startswith("CMAKE_HOME_DIRECTORY"))
        self.work, self.run_program = work, run

    def file_of(self, shape, fmt):
        return os.path.join(self.work, f"{shape}-{TYPES[fmt]}.gguf")

    def bytes_of(self, shape, fmt):
        return os.path.getsize(self.file_of(shape, fmt))

    def type_of(self, fmt):
        return TYPES[fmt]

    def prepare(self, shape, checkpoint, formats):
        """Writes the missing files; the F16 one between is as large as the checkpoint and goes at once."""
        missing = [f for f in formats if not os.path.exists(self.file_of(shape, f))]
        if not missing:
            return
        half = os.path.join(self.work, shape + "-F16.gguf")
        try:
            self.run_program([sys.executable, os.path.abspath(__file__), self.source, checkpoint(), half])
            for fmt in missing:
                # --pure: every matrix in the format that the table names, the head too, as with --uniform.
                part = self.file_of(shape, fmt) + ".part"
                self.run_program([self.bin + "/llama-quantize", "--pure", half, part, TYPES[fmt]])
                os.rename(part, self.file_of(shape, fmt))
        finally:
            if os.path.exists(half):
                os.remove(half)

    def measure(self, shape, fmt, *how):
        return self.measure_file(self.file_of(shape, fmt), *how)

    def measure_file(self, path, prompt, gen, threads, repetitions):
        """{"prefill": {threads: [tok/s]}, "decode": ...}"""
        out = self.run_program([self.bin + "/llama-bench", "-m", path, "-p", str(prompt), "-n", str(gen),
                                "-t", ",".join(map(str, threads)), "-r", str(repetitions), "-o", "json"])
        samples = {"prefill": {}, "decode": {}}
        for test in json.loads(out):
            samples["prefill" if test["n_prompt"] else "decode"][test["n_threads"]] = test["samples_ts"]
        return samples


def convert(source, checkpoint, target):
    sys.path[:0] = [source, os.path.join(source, "gguf-py")]
    from pathlib import Path

    import conversion
    import gguf
    with open(os.path.join(checkpoint, "config.json"), encoding="utf-8") as file:
        config = json.load(file)

    def no_vocabulary(self):
        self.gguf_writer.add_tokenizer_model("none")
        self.gguf_writer.add_vocab_size(config["vocab_size"])

    model_class = conversion.get_model_class(config["architectures"][0])
    model_class.set_vocab = no_vocabulary
    model_class.no_mtp = True  # shapes have no heads of further tokens, which some classes ask for
    model_class(Path(checkpoint), gguf.LlamaFileType.MOSTLY_F16, Path(target)).write()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    convert(*sys.argv[1:])
