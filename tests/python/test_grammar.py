import json
import math
import re

import klens
import numpy as np
import pytest

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
COLOUR = 'root ::= "red" | "green" | "greenish"'


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("draft", [None, "ngram"])
def test_a_text_keeps_to_its_schema(model, session, seed, draft):
    sampler = klens.Sampler(temperature=1.5, seed=seed, tokenizer=model.tokenizer)
    grammar = klens.Grammar.json_schema(model, PERSON)
    pieces = klens.generate(session, "A person:", max_tokens=200, sampler=sampler, grammar=grammar, draft=draft)
    person = json.loads("".join(pieces))
    assert pieces.finish_reason == "stop" and set(person) == {"name", "age"}
    assert len(person["name"]) <= 8 and 0 <= person["age"] <= 99


def test_a_schema_may_be_a_text(model, session):
    for schema in (json.dumps({"const": "x"}), {"const": "x"}):
        text = "".join(klens.generate(session, "x", grammar=klens.Grammar.json_schema(model, schema)))
        assert json.loads(text) == "x"
    allowed = klens.GrammarState(klens.Grammar.json_schema(model, True)).mask()
    assert allowed.any() and not allowed.all()


def test_gbnf_and_any_object(model, session):
    digits = klens.Grammar.gbnf(model, "root ::= [0-9]{5}")
    assert re.fullmatch("[0-9]{5}", "".join(klens.generate(session, "Number", grammar=digits)))
    anything = klens.Grammar.json_object(model)
    pieces = klens.generate(session, "{", grammar=anything, max_tokens=30, sampler=klens.Sampler(temperature=1, seed=3))
    assert "".join(pieces).startswith("{")


def test_a_sampler_keeps_its_grammar_until_told(model, session):
    session.prompt(model.tokenizer.tokenize("The colour is "))
    sampler = klens.Sampler(temperature=2, seed=1, grammar=klens.Grammar.gbnf(model, COLOUR))
    assert sampler.grammar_progress == "open"
    ids = []
    while sampler.grammar_progress != "finished":
        ids.append(sampler.sample(session))
        if model.is_eos(ids[-1]):
            break
        session.eval(ids[-1:])
    assert model.tokenizer.detokenize(ids, skip_special=True) in ("red", "green", "greenish")
    sampler.use_grammar(None)
    assert sampler.grammar_progress == "open"
    best = klens.Sampler()
    assert best.sample(session) == best.sample_logits(session.logits) == int(session.logits.argmax())


def test_a_state_says_which_tokens_may_follow(model):
    tokenizer = model.tokenizer
    state = klens.GrammarState(klens.Grammar.gbnf(model, COLOUR))
    mask = state.mask()
    assert mask.shape == (model.vocab,) and mask.dtype == np.bool_
    begins = [i for i in range(model.vocab) if mask[i]]
    assert begins and all(
        any(word.startswith(tokenizer.detokenize([i])) for word in ("red", "greenish")) for i in begins
    )
    other = state.fork()
    for token in tokenizer.tokenize("green", add_special=False):
        if not state.mask()[token]:  # as where a tokenizer puts a space before a text
            pytest.skip("the tokens of a word are not those within a text")
        state.accept(token)
    assert state.progress == "complete" and any(model.is_eos(int(i)) for i in np.flatnonzero(state.mask()))
    assert other.progress == "open" and np.array_equal(other.mask(), mask)
    with pytest.raises(klens.BadArgument):
        state.accept(tokenizer.tokenize("q", add_special=False)[0])
    assert state.progress == "complete"
    state.reset()
    assert np.array_equal(state.mask(), mask)


def test_masked_logits_choose_what_the_sampler_does(model, session):
    grammar = klens.Grammar.json_schema(model, PERSON)
    state, sampler = klens.GrammarState(grammar), klens.Sampler(grammar=grammar)
    session.prompt(model.tokenizer.tokenize("A person:"))
    for _ in range(30):
        logits = session.logits.copy()
        logits[~state.mask()] = -math.inf
        token = sampler.sample(session)
        assert token == int(logits.argmax())
        state.accept(token)
        assert state.progress == sampler.grammar_progress
        if state.progress == "finished":
            break
        session.eval([token])


def test_a_grammar_outlives_its_model_and_is_outlived(folder):
    model = klens.Model(folder)
    state = klens.GrammarState(klens.Grammar.gbnf(model, COLOUR))
    del model
    assert state.mask().any()


def test_what_is_wrong_with_a_grammar_is_named(model, session):
    with pytest.raises(klens.Error, match="colours.gbnf"):
        klens.Grammar.gbnf(model, "root ::= (", name="colours.gbnf")
    with pytest.raises(klens.Error, match="schema"):
        klens.Grammar.json_schema(model, {"type": "abacus"})
    with pytest.raises(klens.Error):
        klens.Grammar.json_schema(model, "{")
    for wrong in (lambda: klens.Grammar(), lambda: klens.Grammar.gbnf(None, COLOUR),
                  lambda: klens.Sampler().sample_logits(np.zeros((2, 2), np.float32))):
        with pytest.raises(TypeError):
            wrong()
