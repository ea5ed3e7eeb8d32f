import json
import logging
import pathlib
import re
import shutil

import klens
import numpy as np
import pytest


def test_versions_are_those_of_the_header():
    header = (pathlib.Path(__file__).parents[2] / "engine/include/klens/klens.h").read_text()
    parts = re.findall(r"#define KLENS_VERSION_\w+ (\d+)", header)
    assert klens.__version__ == klens.version() == ".".join(parts)


def test_what_there_is():
    assert [row["name"] for row in klens.formats()][0] in ("fp32", "f32", "fp16")
    assert {"rtn"} <= {row["name"] for row in klens.quantizers()}
    assert "kl" in [row["name"] for row in klens.metrics()]
    assert "uniform" in [row["name"] for row in klens.plan_methods()]
    assert klens.devices()[0]["backend"] == "cpu"
    assert klens.device_notes() == ""
    assert klens.isa() in ("scalar", "avx2", "avxvnni", "avx512", "amx")


def test_a_model_tells_what_it_is(model, folder):
    assert (model.vocab, model.bos, model.context_length) == (4096, 0, 0)
    assert model.threads >= 1 and model.device.startswith("cpu ")
    assert (model.quantised, model.left_out, model.tokenizer_error) == ("", "", "")
    assert model.is_eos(0) and not model.is_eos(5) and not model.is_eos(-1)
    assert model.hidden_size == klens.inspect(folder)["d_model"]
    assert not model.has_chat_template


def test_inspect(folder, tmp_path):
    assert klens.inspect(folder)["vocab"] == 4096
    assert klens.inspect(folder, verify=True)["units"]
    (tmp_path / "bad.klens").write_bytes(b"no model")
    with pytest.raises(klens.BadFile, match="bad.klens"):
        klens.inspect(str(tmp_path / "bad.klens"))


@pytest.mark.parametrize(
    ("error", "base", "arguments"),
    [
        (klens.IoError, OSError, {"path": "/no/such/model"}),
        (klens.BadArgument, ValueError, {"threads": -1}),
        (klens.BadArgument, ValueError, {"activations": "int4"}),
        (klens.BadArgument, ValueError, {"kv": ""}),
        (klens.BadArgument, ValueError, {"gpu_layers": 1}),
        (klens.Unsupported, klens.Error, {"backend": "abacus"}),
    ],
)
def test_failures_are_raised_by_status(folder, error, base, arguments):
    with pytest.raises(error) as raised:
        klens.Model(arguments.pop("path", folder), **arguments)
    assert isinstance(raised.value, base) and isinstance(raised.value, klens.Error)
    assert str(raised.value) and "\n" not in str(raised.value)


def test_a_damaged_checkpoint_is_a_bad_file(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text("{")
    with pytest.raises(klens.BadFile, match="config.json"):
        klens.Model(str(tmp_path / "model"))


def test_notices_are_logged(folder, tmp_path, caplog):
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    spec = json.loads((copy / "tokenizer.json").read_text())
    spec["model"]["type"] = "Abacus"
    (copy / "tokenizer.json").write_text(json.dumps(spec))
    with caplog.at_level(logging.WARNING, logger="klens"):
        model = klens.Model(str(copy))
    assert model.tokenizer is None and model.tokenizer_error
    assert [record.name for record in caplog.records] == ["klens"]
    assert model.tokenizer_error in caplog.text
    with pytest.raises(klens.BadArgument, match="tokenizer"):
        klens.generate(klens.Session(model), "x")


def test_text_goes_to_ids_and_back(model):
    tokenizer = model.tokenizer
    text = "The café is 🙂 open. Or not."
    ids = tokenizer.tokenize(text, add_special=False)
    assert all(isinstance(i, int) for i in ids) and len(ids) > 5
    assert tokenizer.detokenize(ids) == tokenizer.detokenize(np.array(ids, np.int32)) == text
    assert tokenizer.tokenize("", add_special=False) == []
    assert tokenizer.tokenize("a\0b", add_special=False) != tokenizer.tokenize("a", add_special=False)
    assert tokenizer.detokenize([]) == ""
    decoder = klens.Decoder(tokenizer)
    pieces = [decoder.push(i) for i in ids]
    assert "".join(pieces) + decoder.finish() == text


def test_a_tokenizer_and_a_decoder_outlive_their_model(folder):
    model = klens.Model(folder)
    tokenizer = model.tokenizer
    decoder = klens.Decoder(klens.Tokenizer(folder))
    del model
    ids = tokenizer.tokenize("town", add_special=False)
    assert "".join(map(decoder.push, ids)) + decoder.finish() == "town"


def test_chat_prompts(model, chat_model, folder):
    messages = [{"role": "user", "content": "Hé"}]
    assert chat_model.has_chat_template
    assert chat_model.chat_prompt(messages) == "<user>Hé<assistant>"
    assert chat_model.chat_prompt(messages, add_generation_prompt=False) == "<user>Hé"
    assert chat_model.chat_prompt(messages, who="klens") == "<user>Hé<klens>"
    other = klens.Model(folder, chat_template="{{ messages[0].content }}!")
    assert other.chat_prompt(messages) == "Hé!"
    with pytest.raises(klens.Unsupported, match="chat template"):
        model.chat_prompt(messages)
    with pytest.raises(klens.Error):
        chat_model.chat_prompt("no messages")
    with pytest.raises(TypeError):
        chat_model.chat_prompt([{"role": object()}])


def test_wrong_types_are_refused(model, session):
    for call in (lambda: klens.Model(3), lambda: session.eval("text"), lambda: session.eval([1.5]),
                 lambda: session.eval([2**40]), lambda: session.eval(None), lambda: klens.Session(None),
                 lambda: klens.Session(model, 64), lambda: session.eval(np.zeros((2, 2), np.int32))):
        with pytest.raises(TypeError):
            call()
