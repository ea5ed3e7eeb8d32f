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


REPEATS = "one two three four five six seven eight nine ten. " * 4


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "seed": 5, "repeat_penalty": 1.1}])
@pytest.mark.parametrize("count", [1, 4, 63])
def test_drafts_do_not_show_in_the_text(model, session, options, count):
    plain = klens.generate(session, REPEATS, max_tokens=50, sampler=klens.Sampler(**options))
    wanted = "".join(plain)
    other = klens.Session(model)
    drafted = klens.generate(other, REPEATS, max_tokens=50, sampler=klens.Sampler(**options), draft="ngram",
                             draft_tokens=count)
    assert "".join(drafted) == wanted and drafted.ids == plain.ids
    assert drafted.finish_reason == plain.finish_reason
    assert 0 < drafted.drafted >= drafted.accepted >= 0 == plain.drafted
    assert other.ids == session.ids
    assert (other.logits == session.logits).all()
    # What comes after the text is the same too.
    ids = drafted.ids[-1:]
    session.eval(ids)
    other.eval(ids)
    assert (other.logits == session.logits).all()


def test_right_drafts_are_accepted_and_save_passes(model):
    class Repeats:  # chooses as if the model had the text by heart
        def __init__(self, ids):
            self.left = list(ids)

        def sample(self, of):
            return self.left.pop(0)

        def sample_logits(self, logits):
            return self.left.pop(0)

    line = model.tokenizer.tokenize("one two three four five six seven eight", add_special=False)
    session = klens.Session(model)
    pieces = list(klens.generate(session, line * 3, max_tokens=2 * len(line), sampler=Repeats(line * 2), draft="ngram"))
    drafts = klens.generate(klens.Session(model), line * 3, max_tokens=2 * len(line), sampler=Repeats(line * 2),
                            draft="ngram")
    assert "".join(drafts) == "".join(pieces) and drafts.accepted == drafts.drafted > len(line)
    assert len(pieces) < 2 * len(line)
    assert session.ids == (line * 5)[:-1]
    # A text that ends within a pass leaves nothing fed behind it.
    stopped = klens.Session(model)
    found = klens.generate(stopped, line * 3, max_tokens=2 * len(line), sampler=Repeats(line * 2), draft="ngram",
                           stop=["five"])
    "".join(found)
    assert found.finish_reason == "stop" and stopped.ids == line * 3 + found.ids[:-1]


def test_sessions_draft_and_verify(model):
    ids = model.tokenizer.tokenize("one two three four. one two three four. one two three", add_special=False)
    session = klens.Session(model)
    session.eval(ids[:-1])
    drafts = session.draft(ids[-1], 3)
    assert drafts and len(drafts) <= 3
    logits = session.eval_drafts(ids[-1:] + drafts)
    assert logits.shape == (1 + len(drafts), model.vocab)
    alone = klens.Session(model)
    alone.eval(ids[:-1])
    for row, token in zip(logits, ids[-1:] + drafts):
        alone.eval([token])
        assert (alone.logits == row).all()
    session.rewind(len(ids))
    assert session.ids == ids and (session.logits == logits[0]).all()
    assert klens.Session(model).draft(1) == []
    for wrong in (lambda: session.draft(1, 64), lambda: session.eval_drafts([]), lambda: session.eval_drafts([1] * 65)):
        with pytest.raises(klens.BadArgument):
            wrong()


def test_odd_arguments(model, session):
    assert "".join(klens.generate(session, "x", max_tokens=0)) == ""
    for arguments in ({"max_tokens": -1}, {"stop": "text"}, {"stop": [""]}, {"draft": "model"},
                      {"draft_tokens": 0}, {"draft_tokens": 64}):
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
