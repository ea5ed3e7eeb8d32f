"""Writes pytorch/*.bin, small checkpoints as torch.save writes them, and pytorch/*.safetensors, the same tensors.

    python3 make_pytorch.py     (needs torch, safetensors; the files in the repository are of torch 2.15.0)
    python3 make_pytorch.py convert SHARDS FOLDER...
                                (turns each FOLDER/saved.safetensors into a pytorch_model.bin, or an index and shards)
"""
import collections
import json
import os
import pickle
import sys

import torch
from safetensors.torch import load_file, save_file

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pytorch")


def save(name, value, expected=None, **options):
    """The file, and what it is expected to hold: every tensor of `value`, contiguous and apart."""
    torch.save(value, os.path.join(FOLDER, name + ".bin"), **options)
    tensors = value if expected is None else expected
    tensors = {k: v.detach().contiguous().clone() for k, v in tensors.items() if isinstance(v, torch.Tensor)}
    save_file(tensors, os.path.join(FOLDER, name + ".safetensors"))


def views():
    """Storages that are shared, offset, transposed, expanded; shapes without extents or elements."""
    base = torch.arange(60, dtype=torch.float32) / 7
    matrix = base[:24].view(4, 6)
    halves = torch.arange(24).view(2, 3, 4).half()
    return {
        "whole": base, "rows": matrix, "transposed": matrix.t(), "part": matrix[1:3], "columns": matrix[:, 2:5],
        "every_other": base[1::2], "permuted": halves.permute(2, 0, 1), "offset": halves[1], "one_column": matrix[:, 3:4],
        "expanded": base[3:6].view(3, 1).expand(3, 5), "constant": torch.tensor(1.5).expand(2, 3), "scalar": base[17],
        "empty": torch.zeros(0, 3), "one": base[9:10].view(1, 1, 1), "odd_strides": base[5:6].as_strided((1, 1), (77, 13)),
        "overlapping": base.as_strided((4, 3), (2, 1), 5), "tied": base, "bytes_transposed": torch.arange(6, dtype=torch.uint8).view(2, 3).t(),
        "doubles_transposed": torch.arange(6, dtype=torch.float64).view(2, 3).t(),
    }


def dtypes():
    tensors = {}
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
                  torch.int8, torch.uint8, torch.bool):
        tensors[str(dtype)] = (torch.arange(7) - (0 if dtype in (torch.uint8, torch.bool) else 3)).to(dtype)
    return tensors


def module():
    """A state_dict as nn.Module makes it: an OrderedDict with _metadata, counters, parameters with keep_vars."""
    torch.manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 5, bias=False)).to(torch.bfloat16)
    net[2].weight.marked = True  # a parameter with an attribute
    state = net.state_dict(keep_vars=True)
    state["steps"], state["nothing"], state["shape"], state["dtype"] = 7, None, torch.Size([3, 5]), torch.float16
    state["list"] = [1, -2, 300, 70000, 1 << 40, 1 << 70, 1.5, True, "text", (1, 2, 3, 4)]
    return state


class Typed:
    """A tensor as newer versions write those whose dtype has no storage class: bytes and a dtype."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce__(self):
        t = self.tensor
        return torch._utils._rebuild_tensor_v3, (t.untyped_storage(), t.storage_offset(), tuple(t.size()), t.stride(), False,
                                                 collections.OrderedDict(), t.dtype)


def sharded():
    tensors = {f"layer.{i}.weight": torch.full((3, i + 1), i + 0.5) for i in range(5)}
    names = list(tensors)
    parts = {"pytorch_model-00001-of-00002.bin": names[:3], "pytorch_model-00002-of-00002.bin": names[3:]}
    for part, held in parts.items():
        torch.save({name: tensors[name] for name in held}, os.path.join(FOLDER, "sharded", part))
    index = {"metadata": {"total_size": 0}, "weight_map": {name: part for part, held in parts.items() for name in held}}
    with open(os.path.join(FOLDER, "sharded", "pytorch_model.bin.index.json"), "w") as out:
        json.dump(index, out, indent=1)
    save_file(tensors, os.path.join(FOLDER, "sharded", "expected.safetensors"))


def tiny_model():
    """A Mamba of one block in the original layout, its output tied to the embedding in one storage."""
    torch.manual_seed(5)
    d, inner, state, rank = 8, 16, 16, 1
    shapes = {"norm.weight": (d,), "mixer.A_log": (inner, state), "mixer.D": (inner,), "mixer.conv1d.weight": (inner, 1, 4),
              "mixer.conv1d.bias": (inner,), "mixer.in_proj.weight": (2 * inner, d), "mixer.x_proj.weight": (rank + 2 * state, inner),
              "mixer.dt_proj.weight": (inner, rank), "mixer.dt_proj.bias": (inner,), "mixer.out_proj.weight": (d, inner)}
    tensors = collections.OrderedDict()
    tensors["backbone.embedding.weight"] = torch.randn(16, d)
    for name, shape in shapes.items():
        tensors["backbone.layers.0." + name] = torch.rand(shape) - 0.5
    # Stored the other way round: what was trained elsewhere and transposed.
    tensors["backbone.layers.0.mixer.out_proj.weight"] = (torch.rand(inner, d) - 0.5).t()
    tensors["backbone.norm_f.weight"] = torch.rand(d)
    tensors["lm_head.weight"] = tensors["backbone.embedding.weight"]
    config = {"d_model": d, "n_layer": 1, "vocab_size": 16, "ssm_cfg": {}, "rms_norm": True, "residual_in_fp32": True,
              "fused_add_norm": True, "pad_vocab_size_multiple": 8}
    folder = os.path.join(FOLDER, "mamba")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as out:
        json.dump(config, out, indent=1)
    torch.save(tensors, os.path.join(folder, "pytorch_model.bin"))
    del tensors["lm_head.weight"]
    save_file({k: v.contiguous() for k, v in tensors.items()}, os.path.join(folder, "expected.safetensors"))


def convert(shards, folders):
    for folder in folders:
        source = os.path.join(folder, "saved.safetensors")
        tensors = load_file(source)
        if shards == 1:
            torch.save(collections.OrderedDict(tensors), os.path.join(folder, "pytorch_model.bin"))
        else:
            names, weight_map = sorted(tensors), {}
            for i in range(shards):
                part = f"pytorch_model-{i + 1:05}-of-{shards:05}.bin"
                weight_map.update({name: part for name in names[i::shards]})
                torch.save({name: tensors[name] for name in names[i::shards]}, os.path.join(folder, part))
            with open(os.path.join(folder, "pytorch_model.bin.index.json"), "w") as out:
                json.dump({"weight_map": weight_map}, out)
        os.remove(source)


def main():
    os.makedirs(os.path.join(FOLDER, "sharded"), exist_ok=True)
    save("views", views())
    save("dtypes", dtypes())
    for protocol in (2, 3, 4, 5):
        save(f"module_protocol{protocol}", module(), pickle_protocol=protocol)
    save("training", {"epoch": 3, "state_dict": dtypes(), "optimizer": {"lr": 0.1}}, dtypes())
    save("legacy", views(), _use_new_zipfile_serialization=False)
    typed = {"half": torch.arange(6).half().view(2, 3).t(), "bytes": torch.arange(5, dtype=torch.uint8)}
    save("typed", {name: Typed(tensor) for name, tensor in typed.items()}, typed)
    sharded()
    tiny_model()
    # Valid for torch, not for klens: the global is to be named.
    torch.save({"a": torch.ones(2, dtype=torch.complex64)}, os.path.join(FOLDER, "complex.bin"))
    torch.save({"a": torch.ones(2), "f": os.getcwd}, os.path.join(FOLDER, "evil.bin"))


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "convert":
        convert(int(sys.argv[2]), sys.argv[3:])
    else:
        main()
