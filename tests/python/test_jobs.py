import json

import klens
import numpy as np
import pytest

TEXT = (
    "The river runs past the town and on to the sea. In the spring the boats go out before the sun is up, and the men "
    "come back in the evening with their nets full."
)
MEASURING = {"text": TEXT, "ctx": 12, "windows": 1, "formats": "int8,int4g32", "quantizer": "rtn"}


@pytest.fixture(scope="module")
def profile(model):
    stages = []
    report = klens.profile(model, progress=lambda progress: stages.append(progress.stage), **MEASURING)
    assert stages
    return report


def test_perplexity_and_compare(model):
    seen = []
    report = klens.perplexity(model, TEXT, ctx=16, windows=2, progress=lambda p: seen.append(p.fraction))
    assert report["windows"] == 2 and report["ppl"] > 1 and seen and 0 <= min(seen) <= max(seen) <= 1
    assert klens.compare(model, model, TEXT, ctx=16)["kl"] == pytest.approx(0, abs=1e-9)
    with pytest.raises(klens.Interrupted):
        klens.perplexity(model, TEXT, ctx=16, progress=lambda p: True)
    with pytest.raises(ZeroDivisionError):
        klens.compare(model, model, TEXT, ctx=16, progress=lambda p: 1 / 0)
    with pytest.raises(klens.BadArgument):
        klens.perplexity(model, TEXT, ctx=-1)


def test_profile_plan_quantize(model, profile, tmp_path):
    assert profile["klens_profile"] == 1
    plan = klens.plan(profile, bpw=6)
    assert plan == klens.plan(json.dumps(profile), bpw=6)
    path = str(tmp_path / "small.klens")
    report = klens.quantize(model, path, plan, **{**MEASURING, "formats": None})
    assert report["bpw"] <= 6 and report["kl"] >= 0
    small = klens.Model(path)
    assert small.quantised
    assert klens.compare(model, small, TEXT, ctx=16)["kl"] > 0
    direct = klens.quantize(model, str(tmp_path / "direct.klens"), uniform_format="int8", method="uniform",
                            measure=False, quantizer="rtn")
    assert "kl" not in direct and direct["bytes"] > 0
    assert klens.rank_agreement(profile)["metrics"]
    with pytest.raises(klens.BadArgument):
        klens.plan(profile)
    with pytest.raises(klens.Error):
        klens.plan({}, bpw=6)
    with pytest.raises(klens.Interrupted):
        klens.quantize(model, str(tmp_path / "never.klens"), plan, progress=lambda p: True)
    assert not (tmp_path / "never.klens").exists()


def test_sweep(model, profile):
    report = klens.sweep(model, profile, bpw=[5, 7], test=TEXT,
                         test_name="a text", test_windows=1, generate=0, text=TEXT)
    assert report["klens_sweep"] == 1 and report["evaluation"]["text"] == "a text"
    assert len(report["points"]) == 2 * len(report["methods"]) and "profile" not in report
    assert len({json.dumps(point["budget"]) for point in report["points"]}) == 2
    assert any(point["kl"] >= 0 for point in report["points"] if "kl" in point)
    seen = []
    measured = klens.sweep(model, methods=report["methods"][0], points=2, generate=0, test_windows=1, refine=False,
                           progress=lambda p: seen.append(p.stage), **{**MEASURING, "windows": 1})
    assert len(measured["points"]) == 2 and measured["profile"]["klens_profile"] == 1 and seen
    with pytest.raises(klens.Error, match="abacus"):
        klens.sweep(model, profile, methods="abacus", text=TEXT)
    with pytest.raises(klens.Interrupted):
        klens.sweep(model, profile, bpw=[5], test=TEXT, text=TEXT, progress=lambda p: True)


def test_outliers(model, profile):
    report = klens.outliers(profile)
    assert report["method"] and report["modules"]
    assert all(len(module["layers"]) <= 1 for module in klens.outliers(profile, most=1)["modules"])
    with pytest.raises(klens.BadArgument):
        klens.outliers(profile, method="uniform")


def test_logits_in_a_file(model, tmp_path):
    path = tmp_path / "logits.safetensors"
    klens.export_logits(model, [1, 2, 3], str(path))
    bytes_ = path.read_bytes()
    header = int.from_bytes(bytes_[:8], "little")
    begin, end = json.loads(bytes_[8 : 8 + header])["logits"]["data_offsets"]
    logits = np.frombuffer(bytes_[8 + header :][begin:end], np.float32).reshape(3, model.vocab)
    assert np.array_equal(logits, klens.Session(model).eval_all([1, 2, 3]))


def test_bench(model):
    report = klens.bench(model, prompt=8, generate=2, repetitions=1)
    assert [test["name"] for test in report["tests"]] == ["pp8", "tg2"]
