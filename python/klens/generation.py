"""Text that is generated piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from ._klens import Decoder, Grammar, Progress, Sampler, Session
from .errors import BadArgument

_MOST_DRAFTS = 63


class Generation(Iterator[str]):
    """An iterator of pieces of text, each of whole characters and none empty.

    `ids` are the tokens generated so far. `finish_reason` is None until the end, then "stop" (the model ended its
    turn, a stop string came, or the grammar allows no more) or "length" (max_tokens). The session is fed all of them
    but the last, so that it can be gone on with, or asked for another prompt that begins alike, at any time.
    `drafted` and `accepted` count the tokens that were fed as drafts, and those of them that were right.
    """

    def __init__(
        self,
        session: Session,
        sampler: Sampler,
        decoder: Decoder,
        max_tokens: int,
        stop: Sequence[str],
        drafts: int = 0,
    ):
        self.ids: list[int] = []
        self.finish_reason: str | None = None
        self.drafted = 0
        self.accepted = 0
        self._session = session
        self._sampler = sampler
        self._decoder = decoder
        self._max_tokens = max_tokens
        self._stop = stop
        self._drafts = drafts
        self._held = ""  # may be the beginning of a stop string

    def __next__(self) -> str:
        while self.finish_reason is None:
            piece = self._step()
            if piece:
                return piece
        raise StopIteration

    def _step(self) -> str:
        """One pass: the text of the token that it gives, and of drafts that it finds right."""
        if len(self.ids) == self._max_tokens:
            return self._end("length", self._held + self._decoder.finish())
        drafts = self._draft()
        if not drafts:
            if self.ids:
                self._session.eval(self.ids[-1:])
            return self._take(self._sampler.sample(self._session))
        logits = self._session.eval_drafts(self.ids[-1:] + drafts)
        self.drafted += len(drafts)
        text, kept = "", 0
        for row in logits:
            text += self._take(self._sampler.sample_logits(row))
            kept += 1
            if kept == len(logits) or self.ids[-1] != drafts[kept - 1]:
                break
            if self.finish_reason is not None:
                break
            self.accepted += 1
        if kept < len(logits):  # the session forgets the rest
            self._session.rewind(self._session.position - (len(logits) - kept))
        return text

    def _draft(self) -> list[int]:
        most = min(self._drafts, self._max_tokens - len(self.ids) - 1)
        return self._session.draft(self.ids[-1], most) if self.ids and most > 0 else []

    def _take(self, token: int) -> str:
        self.ids.append(token)
        if self._session.model.is_eos(token):
            return self._end("stop", self._held + self._decoder.finish())
        text = self._held + self._decoder.push(token)
        found = [text.index(stop) for stop in self._stop if stop in text]
        if found:
            return self._end("stop", text[: min(found)])
        if getattr(self._sampler, "grammar_progress", "open") == "finished":
            return self._end("stop", text + self._decoder.finish())
        kept = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def _end(self, reason: str, text: str) -> str:
        self.finish_reason = reason
        found = [text.index(stop) for stop in self._stop if stop in text]
        return text[: min(found)] if found else text


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of text are the beginning of stop."""
    return next((n for n in range(min(len(text), len(stop)), 0, -1) if text.endswith(stop[:n])), 0)


def generate(
    session: Session,
    prompt: str | Sequence[int],
    *,
    max_tokens: int = 256,
    sampler: Sampler | None = None,
    stop: Sequence[str] = (),
    grammar: Grammar | None = None,
    draft: Literal["ngram"] | None = None,
    draft_tokens: int = 7,
    add_special: bool = True,
    progress: Callable[[Progress], object] | None = None,
) -> Generation:
    """Text that follows a prompt, as an iterator that generates while it is asked.

    session: becomes one that was fed the prompt; what it was fed before that the prompt begins with is not read again.
    prompt: a text, or token ids. A text that Model.chat_prompt made has its special tokens: add_special=False.
    sampler: None takes the likeliest token each time. Its own tokens are counted for the repeat penalty, the prompt's
    are not: Sampler.accept does that.
    stop: strings that end the text where they come; they are not part of it.
    grammar: what the text must be, from its beginning. The sampler is told so (Sampler.use_grammar) and keeps it until
    it is told otherwise. A text that max_tokens cut short may not be whole.
    draft: "ngram" feeds with each token up to draft_tokens (1 to 63) that followed the same words before, more the
    longer those are, and keeps what is right: the text is the same, in fewer passes where it repeats itself. On the
    CPU alone.
    progress: called while the prompt is read, as Session.prompt does.
    """
    tokenizer = session.model.tokenizer
    if tokenizer is None:
        raise BadArgument(session.model.tokenizer_error or "the model has no tokenizer: use Session and Sampler")
    if max_tokens < 0:
        raise BadArgument("max_tokens must be from 0")
    if isinstance(stop, str) or "" in stop:
        raise BadArgument("stop must be a list of strings that are not empty")
    if draft not in (None, "ngram"):
        raise BadArgument('draft must be "ngram" or None')
    if not 1 <= draft_tokens <= _MOST_DRAFTS:
        raise BadArgument(f"draft_tokens must be from 1 to {_MOST_DRAFTS}")
    ids = tokenizer.tokenize(prompt, add_special) if isinstance(prompt, str) else list(prompt)
    chooses = sampler or Sampler(tokenizer=tokenizer)
    if grammar is not None:
        chooses.use_grammar(grammar)
    session.prompt(ids, progress)
    drafts = draft_tokens if draft == "ngram" else 0
    return Generation(session, chooses, Decoder(tokenizer), max_tokens, list(stop), drafts)
