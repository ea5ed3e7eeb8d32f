import os
import signal
import threading
import time

import klens
import pytest


def test_text_streams(model, session):
    pieces = klens.generate(session, "The river", max_tokens=20)
    assert pieces.finish_reason is None and pieces.ids == []
    first = next(pieces)
    assert first and len(pieces.ids) < 20
    text = first + "".join(pieces)
    assert model.tokenizer.detokenize(pieces.ids, skip_special=True) == text
    assert pieces.finish_reason in ("length", "stop") and len(pieces.ids) <= 20
    assert next(pieces, None) is None
    prompt = model.tokenizer.tokenize("The river")
    again = klens.generate(session, prompt, max_tokens=20)
    assert "".join(again) == text
    assert session.ids == prompt + pieces.ids[:-1]


def test_the_same_seed_gives_the_same_text(model, session):
    texts = [
        "".join(klens.generate(session, "In the", max_tokens=16, sampler=klens.Sampler(temperature=0.9, seed=seed)))
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_stop_strings_end_the_text_and_are_no_part_of_it(model, session):
    whole = "".join(klens.generate(session, "The river", max_tokens=40))
    for begin in range(3, 20):
        stop = whole[begin : begin + 3]
        got = klens.generate(session, "The river", max_tokens=40, stop=[stop, "no such text"])
        assert "".join(got) == whole[: whole.index(stop)] and got.finish_reason == "stop"
    # What only begins as one is given all the same.
    got = klens.generate(session, "The river", max_tokens=40, stop=[whole[-1] + "never"])
    assert "".join(got) == whole


def test_a_turn_ends_at_the_models_own_stop(model, session):
    class Ends:
        def sample(self, of):
            return 0

    got = klens.generate(session, "The river", sampler=Ends())
    assert "".join(got) == "" and got.finish_reason == "stop" and got.ids == [0]


def test_odd_arguments(model, session):
    assert "".join(klens.generate(session, "x", max_tokens=0)) == ""
    for arguments in ({"max_tokens": -1}, {"stop": "text"}, {"stop": [""]}):
        with pytest.raises(klens.BadArgument):
            klens.generate(session, "x", **arguments)
    with pytest.raises(klens.BadArgument):
        klens.generate(session, [])


def test_ctrl_c_ends_a_long_prompt(model):
    session = klens.Session(model, batch=64)
    ids = [37 * i % 4001 for i in range(400_000)]
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        session.eval(ids)
    assert time.monotonic() - begin < 20 and 0 < session.position < len(ids)
    session.eval([1])
