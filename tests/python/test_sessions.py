import gc
import threading

import klens
import numpy as np
import pytest

IDS = [37 * i % 4001 for i in range(200)]


def logits_after(model, ids):
    session = klens.Session(model)
    session.eval(ids)
    return session.logits.copy()


def test_logits_are_a_view_that_keeps_the_session(model):
    session = klens.Session(model)
    with pytest.raises(klens.BadArgument, match="no logits"):
        session.logits
    session.eval(IDS[:3])
    view = session.logits
    assert view.shape == (model.vocab,) and view.dtype == np.float32 and not view.flags.writeable
    assert not view.flags.owndata and np.isfinite(view).all()
    again = session.logits
    assert view.ctypes.data == again.ctypes.data
    before = view.copy()
    session.eval(IDS[3:5])
    assert not np.array_equal(view, before) and np.array_equal(view, logits_after(model, IDS[:5]))
    wanted = view.copy()
    del session, again
    gc.collect()
    junk = [np.full(model.vocab, 1e9, np.float32) for _ in range(64)]
    assert np.array_equal(view, wanted) and len(junk) == 64


def test_the_view_stays_where_it_is(model, tmp_path):
    session = klens.Session(model)
    session.eval(IDS[:4])
    view = session.logits
    path = str(tmp_path / "session")
    session.save(path)
    wanted = view.copy()
    session.checkpoint()
    session.eval(IDS[4:9])
    other = klens.PrefixCache(model)
    other.prompt(session, IDS[50:90])
    session.reset()
    session.load(path)
    assert view.ctypes.data == session.logits.ctypes.data
    assert np.array_equal(view, wanted)


def test_ids_may_be_lists_tuples_or_arrays(model):
    wanted = logits_after(model, IDS[:4])
    for ids in (tuple(IDS[:4]), np.array(IDS[:4], np.int32), np.array(IDS[:8:2] + [9], np.int32)[:4]):
        got = logits_after(model, ids)
        assert np.array_equal(got, wanted) or list(ids) != IDS[:4]
    assert np.array_equal(logits_after(model, np.array(IDS[:4], np.int64)), wanted)


def test_eval_all_gives_every_row(model, session):
    rows = session.eval_all(IDS[:5])
    assert rows.shape == (5, model.vocab) and rows.dtype == np.float32 and rows.flags.writeable
    assert np.array_equal(rows[4], session.logits)
    del session
    gc.collect()
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("ids", [[], [-1], [4096], np.array([], np.int32)])
def test_ids_that_cannot_be_fed(model, session, ids):
    session.eval(IDS[:2])
    for call in (session.eval, session.prompt):
        with pytest.raises(klens.BadArgument, match="no token|outside the vocabulary"):
            call(ids)
    with pytest.raises(klens.BadArgument):
        session.eval_all(ids)
    assert session.position == 2 and session.ids == IDS[:2]


def test_fork_save_load_and_going_back(model, session, tmp_path):
    session.eval(IDS[:10])
    fork = session.fork()
    session.checkpoint()
    session.eval(IDS[10:20])
    assert (fork.position, session.position, session.ids) == (10, 20, IDS[:20])
    assert session.reachable(15) == 10 and session.rewind(15) == 10
    assert np.array_equal(session.logits, fork.logits)
    session.save(str(tmp_path / "s"))
    loaded = klens.Session(model, batch=64, checkpoints=2)
    loaded.load(str(tmp_path / "s"))
    assert np.array_equal(loaded.logits, fork.logits) and loaded.bytes > 0 and loaded.wide_caches == 0
    with pytest.raises(klens.IoError):
        loaded.load(str(tmp_path / "absent"))
    (tmp_path / "s").write_bytes((tmp_path / "s").read_bytes()[:-1])
    with pytest.raises(klens.BadFile):
        loaded.load(str(tmp_path / "s"))
    assert loaded.position == 10
    loaded.reset()
    assert loaded.position == 0
    assert loaded.model.vocab == model.vocab


def test_prompts_are_not_read_twice(model, session):
    assert session.prompt(IDS) == 0
    assert session.prompt(IDS) == 200
    cache, other, third = klens.PrefixCache(model), klens.Session(model), klens.Session(model)
    assert cache.prompt(other, IDS) == 0 and cache.bytes > 0
    assert cache.prompt(third, np.array(IDS, np.int32)) == 200
    assert np.array_equal(third.logits, session.logits)


def test_prompts_are_taken_and_kept_in_parts(model, session):
    cache, first, second = klens.PrefixCache(model), klens.Session(model), klens.Session(model)
    first.eval(IDS[:3])
    assert cache.take(first, IDS) == (0, 0) and first.position == 0 and cache.bytes == 0
    first.eval(IDS[:128])
    first.checkpoint()
    first.eval(IDS[128:192])
    cache.keep(first)
    kept = cache.bytes
    assert kept > 0
    other = IDS[:150] + IDS[:20]  # parts from what is kept after 150 tokens, and the checkpoint is at 128
    assert cache.take(second, np.array(other, np.int32)) == (128, 150)
    assert second.position == 128 and second.ids == IDS[:128] and first.position == 192
    second.eval(other[128:])
    session.eval(other)
    assert np.array_equal(second.logits, session.logits)
    assert cache.take(second, IDS) == (192, 192) and cache.bytes == kept

    with pytest.raises(klens.BadArgument, match="no token"):
        cache.take(second, [])
    with pytest.raises(TypeError):
        cache.keep(None)
    small = klens.Session(model, batch=64)
    for call in (lambda p: cache.take(small, IDS), lambda p: cache.keep(small)):
        small.reset()
        with pytest.raises(klens.BadArgument, match="in use"):
            small.eval(IDS, progress=call)


def test_a_cache_serves_its_model_alone(model, chat_model, session):
    session.eval(IDS[:64])
    cache = klens.PrefixCache(chat_model)
    for call in (lambda: cache.take(session, IDS), lambda: cache.keep(session)):
        with pytest.raises(klens.BadArgument, match="another model"):
            call()
    assert session.position == 64 and cache.bytes == 0


def test_a_prompt_is_stopped_and_gone_on_with(model):
    session = klens.Session(model, batch=64)
    seen = []

    def stop(progress):
        seen.append((progress.stage, progress.fraction))
        return True

    with pytest.raises(klens.Interrupted):
        session.eval(IDS, progress=stop)
    assert seen == [("prompt", 0.32)] and session.position == 64
    session.eval(IDS[64:], lambda progress: None)
    assert np.array_equal(session.logits, logits_after(model, IDS))


def test_what_a_progress_raises_comes_out(model):
    session = klens.Session(model, batch=64)
    with pytest.raises(ZeroDivisionError):
        session.prompt(IDS, progress=lambda progress: 1 / 0)
    with pytest.raises(klens.BadArgument, match="in use"):
        session.eval(IDS, progress=lambda progress: session.reset())
    assert session.position == 128
    with pytest.raises(TypeError):
        session.eval(IDS, progress=3)


def test_sessions_together(model):
    a, b = klens.Session(model), klens.Session(model)
    klens.sessions_eval([(a, IDS[:20]), (b, IDS[5:6])])
    assert np.array_equal(a.logits, logits_after(model, IDS[:20]))
    assert np.array_equal(b.logits, logits_after(model, IDS[5:6]))
    c, d, e = klens.Session(model), klens.Session(model), klens.Session(model)  # ids in arrays and lists, by turns
    klens.sessions_eval([(c, np.array(IDS[:20], np.int32)), (d, IDS[5:6]), (e, IDS[:3])])
    assert (c.ids, d.ids, e.ids) == (IDS[:20], IDS[5:6], IDS[:3])
    long = IDS * 4
    fed = klens.sessions_round([(a, long), (b, IDS[:1]), (klens.Session(model), [])])
    assert fed[1] == (1, None) and fed[2] == (0, None) and 0 < fed[0][0] < 800
    assert b.position == 2 and a.position == 20 + fed[0][0]
    for feeds, says in (([(a, [1]), (a, [1])], "twice"), ([(a, [1]), (b, [])], "no token"),
                        ([(a, [1]), (None, [1])], "None|incompatible")):
        with pytest.raises((klens.BadArgument, TypeError), match=says):
            klens.sessions_eval(feeds)
    a.eval([1])  # is free again
    klens.sessions_eval([])


def test_sessions_of_two_models(model, folder):
    other = klens.Session(klens.Model(folder, threads=1))
    with pytest.raises(klens.BadArgument, match="different models"):
        klens.sessions_eval([(klens.Session(model), [1]), (other, [1])])


def test_a_sampler_chooses(model, session):
    with pytest.raises(klens.BadArgument, match="nothing to sample"):
        klens.Sampler().sample(session)
    session.eval(IDS[:3])
    assert klens.Sampler().sample(session) == int(np.argmax(session.logits))
    first, second = (klens.Sampler(temperature=0.9, seed=5, tokenizer=model.tokenizer) for _ in range(2))
    assert [first.sample(session) for _ in range(8)] == [second.sample(session) for _ in range(8)]
    penal = klens.Sampler(repeat_penalty=1e9)
    penal.accept(int(np.argmax(session.logits)))
    assert penal.sample(session) != int(np.argmax(session.logits))
    with pytest.raises(klens.BadArgument, match="top-p"):
        klens.Sampler(top_p=2)


def test_threads_run_at_once(model):
    """The GIL is released: another thread counts while one reads a prompt; and answers do not mix."""
    session = klens.Session(model, batch=64)
    done = threading.Event()
    counted = 0

    def read():
        session.eval(IDS * 40)
        done.set()

    thread = threading.Thread(target=read)
    thread.start()
    refused = 0
    while not done.is_set():
        counted += 1
        try:
            session.position
        except klens.BadArgument:
            refused += 1
    thread.join()
    assert counted > 1000 and refused > 1000 and session.position == 8000

    wanted = logits_after(model, IDS)
    results = []
    threads = [threading.Thread(target=lambda: results.append(logits_after(model, IDS))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and all(np.array_equal(one, wanted) for one in results)
