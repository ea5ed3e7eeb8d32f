import klens
import numpy as np
import pytest

TEXTS = ["The river runs past the town.", "The town", "In the spring the boats go out before the sun is up."]


def test_texts_get_the_vectors_that_they_would_get_alone(model):
    together = klens.embed(model, TEXTS)
    assert together.shape == (3, model.hidden_size) and together.dtype == np.float32
    for text, vector in zip(TEXTS, together):
        assert np.array_equal(klens.embed(model, [text])[0], vector)
    ids = [model.tokenizer.tokenize(text) for text in TEXTS]
    assert np.array_equal(klens.embed(model, ids), together)
    assert np.array_equal(klens.embed(model, [np.array(ids[0], np.int32), TEXTS[1], ids[2]]), together)


def test_pooling_and_length(model):
    ids = model.tokenizer.tokenize(TEXTS[0])
    lasts = np.stack([klens.embed(model, [ids[: i + 1]])[0] for i in range(len(ids))])
    mean = klens.embed(model, [ids], pooling="mean")[0]
    assert np.allclose(mean, lasts.mean(axis=0), rtol=1e-3, atol=1e-3)
    assert not np.allclose(mean, lasts[-1], rtol=1e-2, atol=1e-2)
    for pooling in ("last", "mean"):
        plain = klens.embed(model, TEXTS, pooling=pooling)
        unit = klens.embed(model, TEXTS, pooling=pooling, normalise=True)
        assert np.allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-5)
        assert np.allclose(unit, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-5)


def test_odd_texts(model):
    assert klens.embed(model, []).shape == (0, model.hidden_size)
    for texts in ("one text", [[]], [[model.vocab]], [[-1]]):
        with pytest.raises(klens.BadArgument):
            klens.embed(model, texts)
    with pytest.raises(klens.BadArgument, match="last, mean"):
        klens.embed(model, TEXTS, pooling="max")
    with pytest.raises(klens.Interrupted):
        klens.embed(model, TEXTS, progress=lambda progress: True)
    with pytest.raises(TypeError):
        klens.embed(model, [None])
