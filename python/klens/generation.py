"""Text that is generated piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ._klens import Decoder, Progress, Sampler, Session
from .errors import BadArgument


class Generation(Iterator[str]):
    """An iterator of pieces of text, each of whole characters and none empty.

    `ids` are the tokens generated so far. `finish_reason` is None until the end, then "stop" (the model ended its
    turn, or a stop string came) or "length" (max_tokens). The session is fed all of them but the last, so that it can
    be gone on with, or asked for another prompt that begins alike, at any time.
    """

    def __init__(self, session: Session, sampler: Sampler, decoder: Decoder, max_tokens: int, stop: Sequence[str]):
        self.ids: list[int] = []
        self.finish_reason: str | None = None
        self._session = session
        self._sampler = sampler
        self._decoder = decoder
        self._max_tokens = max_tokens
        self._stop = stop
        self._held = ""  # may be the beginning of a stop string

    def __next__(self) -> str:
        while self.finish_reason is None:
            piece = self._step()
            if piece:
                return piece
        raise StopIteration

    def _step(self) -> str:
        if len(self.ids) == self._max_tokens:
            return self._end("length", self._held + self._decoder.finish())
        if self.ids:
            self._session.eval(self.ids[-1:])
        token = self._sampler.sample(self._session)
        self.ids.append(token)
        if self._session.model.is_eos(token):
            return self._end("stop", self._held + self._decoder.finish())
        text = self._held + self._decoder.push(token)
        found = [text.index(stop) for stop in self._stop if stop in text]
        if found:
            return self._end("stop", text[: min(found)])
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
    add_special: bool = True,
    progress: Callable[[Progress], object] | None = None,
) -> Generation:
    """Text that follows a prompt, as an iterator that generates while it is asked.

    session: becomes one that was fed the prompt; what it was fed before that the prompt begins with is not read again.
    prompt: a text, or token ids. A text that Model.chat_prompt made has its special tokens: add_special=False.
    sampler: None takes the likeliest token each time. Its own tokens are counted for the repeat penalty, the prompt's
    are not: Sampler.accept does that.
    stop: strings that end the text where they come; they are not part of it.
    progress: called while the prompt is read, as Session.prompt does.
    """
    tokenizer = session.model.tokenizer
    if tokenizer is None:
        raise BadArgument(session.model.tokenizer_error or "the model has no tokenizer: use Session and Sampler")
    if max_tokens < 0:
        raise BadArgument("max_tokens must be from 0")
    if isinstance(stop, str) or "" in stop:
        raise BadArgument("stop must be a list of strings that are not empty")
    ids = tokenizer.tokenize(prompt, add_special) if isinstance(prompt, str) else list(prompt)
    session.prompt(ids, progress)
    return Generation(session, sampler or Sampler(tokenizer=tokenizer), Decoder(tokenizer), max_tokens, list(stop))
