#!/usr/bin/env python3
"""OpenVINO as a peer of bench/compare.py: export by optimum-intel, timed through OpenVINO's own API.

usage: bench/openvino_peer.py MODEL.xml PROMPT GEN THREADS REPETITIONS      prints {"prefill": [tok/s], "decode": [tok/s]}
"""
import json
import os
import sys
import time

FORMATS = {"int4g64": ["--weight-format", "int4", "--sym", "--group-size", "64", "--ratio", "1.0", "--all-layers",
                       "--group-size-fallback", "ignore"],
           "int8": ["--weight-format", "int8"]}


class OpenVino:
    name = "OpenVINO"

    def __init__(self, python, work, run):
        self.python, self.work, self.run_program = python, work, run

    def folder_of(self, shape, fmt):
        return os.path.join(self.work, f"{shape}-openvino-{fmt}")

    def bytes_of(self, shape, fmt):
        return os.path.getsize(self.folder_of(shape, fmt) + "/openvino_model.bin")

    def type_of(self, fmt):
        return fmt

    def prepare(self, shape, checkpoint, formats):
        export = os.path.join(os.path.dirname(self.python), "optimum-cli")
        for fmt in formats:
            folder = self.folder_of(shape, fmt)
            if not os.path.exists(folder + "/openvino_model.bin"):
                self.run_program([export, "export", "openvino", "--model", checkpoint(), "--task", "text-generation-with-past",
                                  *FORMATS[fmt], folder])

    def measure(self, shape, fmt, prompt, gen, threads, repetitions):
        samples = {"prefill": {}, "decode": {}}
        for count in threads:
            out = self.run_program([self.python, os.path.abspath(__file__), self.folder_of(shape, fmt) + "/openvino_model.xml",
                                    *map(str, (prompt, gen, count, repetitions))])
            for phase, values in json.loads(out.decode().splitlines()[-1]).items():
                samples[phase][count] = values
        return samples


def only_last_logits(model):
    """The head for the last position alone, as every engine that generates does; an export computes all."""
    import openvino.opset13 as ops
    node = model.output("logits").get_node()
    while node.get_type_name() != "MatMul":
        node = node.input_value(0).get_node()
    last = ops.slice(node.input_value(0), [-1], [2**31 - 1], [1], [1])
    node.input(0).replace_source_output(last.output(0))
    model.validate_nodes_and_infer_types()


def main(path, prompt, gen, threads, repetitions):
    import numpy as np
    import openvino
    core = openvino.Core()
    model = core.read_model(path)
    only_last_logits(model)
    request = core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}) \
        .create_infer_request()
    names = {name for entry in model.inputs for name in entry.get_names()}
    rng = np.random.default_rng(1)

    def feed(ids, position):
        count = len(ids)
        given = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, position + count), np.int64),
                 "position_ids": np.arange(position, position + count, dtype=np.int64)[None], "beam_idx": np.zeros(1, np.int32)}
        if "cache_position" in names:  # a Mamba: four positions, its convolution's width, mean a prompt; no mask of the past
            given["cache_position"] = np.array([position], np.int64) if position else np.arange(4, dtype=np.int64)
            given["attention_mask"] = np.ones((1, count), np.int64)
        return request.infer({name: value for name, value in given.items() if name in names})

    result = {"prefill": [], "decode": []}
    for number in range(repetitions + 1):  # the first run warms up
        request.reset_state()
        begin = time.perf_counter()
        feed(rng.integers(3, 1000, prompt), 0)
        prefill = time.perf_counter() - begin
        request.reset_state()
        feed([1], 0)
        begin = time.perf_counter()
        for i in range(gen):
            feed([int(rng.integers(3, 1000))], 1 + i)
        decode = time.perf_counter() - begin
        if number > 0:
            result["prefill"].append(prompt / prefill)
            result["decode"].append(gen / decode)
    print(json.dumps(result))


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    main(sys.argv[1], *map(int, sys.argv[2:]))
