"""A vector for each text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Union

import numpy as np
from numpy.typing import NDArray

from ._klens import Model, Progress, embed_ids
from .errors import BadArgument

Ids = Union[Sequence[int], "NDArray[np.int32]"]


def embed(
    model: Model,
    texts: Sequence[str | Ids],
    *,
    pooling: Literal["last", "mean"] = "last",
    normalise: bool = False,
    batch: int = 0,
    progress: Callable[[Progress], object] | None = None,
) -> NDArray[np.float32]:
    """Vectors [texts, model.hidden_size]: hidden states behind the last block and the final norm.

    texts: each a text, which is tokenized with the special tokens that the tokenizer adds, or token ids, at least one.
    pooling: the hidden state of a text's last token, or the mean of those of all.
    normalise: each vector is divided by its L2 norm, so that products of vectors are cosines.
    batch: tokens that one pass has room for; 0 is 512.
    Texts are read together, and each gets the bits that it would get alone. Whether near vectors mean alike texts
    depends on what the model was trained for.
    """
    if isinstance(texts, str):
        raise BadArgument("texts must be a list: one text is [text]")
    tokenizer = model.tokenizer
    ids: list[Ids] = []
    for text in texts:
        if not isinstance(text, str):
            ids.append(text)
        elif tokenizer is None:
            raise BadArgument(model.tokenizer_error or "the model has no tokenizer: give token ids")
        else:
            ids.append(tokenizer.tokenize(text))
    return embed_ids(model, ids, pooling, normalise, batch, progress).reshape(len(ids), model.hidden_size)
