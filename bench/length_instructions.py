#!/usr/bin/env python3
"""Instructions that a token costs one thread after texts of several lengths: what length costs, without a clock's noise.

usage: bench/length_instructions.py MODEL.klens... [--lib build/release/engine/libklens.so] [--lengths 1024,8192,65536]
Needs valgrind. Each text is fed without it and its session saved; under callgrind the session is loaded and 1 or 33
tokens are decoded, so that 32 tokens are the difference. KLENS_ISA is avx2, as valgrind knows no AVX-512.
"""
import argparse
import ctypes
import os
import re
import subprocess
import sys
import tempfile

TOKENS = 32


class ModelOptions(ctypes.Structure):  # klens_model_options
    _fields_ = [("size", ctypes.c_size_t), ("threads", ctypes.c_int32), ("activations", ctypes.c_int),
                ("backend", ctypes.c_char_p), ("verify", ctypes.c_int32), ("kv", ctypes.c_int)]


class Session:
    def __init__(self, library, model_path):
        self.lib = ctypes.CDLL(library)
        self.error = ctypes.create_string_buffer(1024)  # klens_error
        self.handle = ctypes.c_void_p()
        model = ctypes.c_void_p()
        options = ModelOptions(size=ctypes.sizeof(ModelOptions), threads=1)
        self.call("klens_model_open", model_path.encode(), ctypes.byref(options), ctypes.byref(model))
        self.call("klens_session_new", model, None, ctypes.byref(self.handle))

    def call(self, name, *arguments):
        if getattr(self.lib, name)(*arguments, self.error) != 0:
            sys.exit(f"{name}: {self.error.raw[4:].split(bytes(1))[0].decode()}")

    def eval(self, ids):
        self.call("klens_session_eval", self.handle, (ctypes.c_int32 * len(ids))(*ids), ctypes.c_size_t(len(ids)))

    def save(self, path):
        self.call("klens_session_save", self.handle, path.encode())

    def load(self, path):
        self.call("klens_session_load", self.handle, path.encode())


def decode(library, model, saved, tokens):
    session = Session(library, model)
    session.load(saved)
    for i in range(tokens):
        session.eval([100 + i])


def counted(library, model, saved, tokens):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, __file__, model, "--lib", library,
               "--decode", saved, str(tokens)]
    run = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode != 0 or not found:
        sys.exit(run.stderr)
    return int(found.group(1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+")
    parser.add_argument("--lib", default="build/release/engine/libklens.so")
    parser.add_argument("--lengths", default="1024,8192,65536")
    parser.add_argument("--decode", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["KLENS_ISA"] = "avx2"
    os.environ["PYTHONHASHSEED"] = "0"
    if args.decode:
        return decode(args.lib, args.models[0], args.decode[0], int(args.decode[1]))
    for model in args.models:
        for length in map(int, args.lengths.split(",")):
            with tempfile.TemporaryDirectory() as folder:
                saved = os.path.join(folder, "session")
                session = Session(args.lib, model)
                session.eval([100 + i % 1000 for i in range(length)])
                session.save(saved)
                few, many = (counted(args.lib, model, saved, tokens) for tokens in (1, 1 + TOKENS))
                print(f"{os.path.basename(model)} after {length} tokens: {(many - few) // TOKENS:,} instructions a token", flush=True)


if __name__ == "__main__":
    main()
