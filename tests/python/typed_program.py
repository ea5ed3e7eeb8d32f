"""Not run: mypy reads it, strictly, with the wheel's type hints."""

from __future__ import annotations

import klens
import numpy as np


def use(path: str) -> str:
    model = klens.Model(path, threads=2, activations="f32")
    session = klens.Session(model, batch=64)

    def stop(progress: klens.Progress) -> bool:
        return progress.fraction > 0.5

    ids: list[int] = model.tokenizer.tokenize("text") if model.tokenizer is not None else [1]
    session.eval(ids, progress=stop)
    session.eval(np.array(ids, np.int32))
    best: int = int(np.argmax(session.logits))
    report: dict[str, object] = klens.perplexity(model, "text", ctx=16)
    klens.sessions_eval([(session, [best])])
    cache = klens.PrefixCache(model, max_bytes=1 << 20)
    cache.keep(session)
    reused, shared = cache.take(session, ids)
    session.eval(ids[min(reused, shared) :])
    text: str = "".join(klens.generate(session, "text", sampler=klens.Sampler(temperature=0.5)))
    grammar: klens.Grammar = klens.Grammar.json_schema(model, {"type": "integer"})
    number: klens.Generation = klens.generate(session, "text", grammar=grammar, draft="ngram", draft_tokens=2)
    state = klens.GrammarState(grammar)
    session.logits[~state.mask()].max()
    klens.Sampler(grammar=grammar).use_grammar(None)
    cosine: float = float(np.dot(*klens.embed(model, ["one", [2]], pooling="mean", normalise=True)))
    klens.sweep(model, bpw=[4.5], text=text)
    text += "".join(number) + state.progress + str(cosine)
    try:
        model.chat_prompt([{"role": "user", "content": text}], enable_thinking=False)
    except klens.Unsupported as error:
        return str(error)
    return text + str(report["ppl"])
