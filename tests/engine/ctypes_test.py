"""The C API from Python through ctypes, with nothing but the installed library. usage: ctypes_test.py LIBRARY MODEL"""

import ctypes
import sys
import threading
from ctypes import POINTER, byref, c_char, c_char_p, c_float, c_int, c_int32, c_size_t, c_uint64, c_void_p, sizeof

library, folder = sys.argv[1:]
klens = ctypes.CDLL(library)


class Error(ctypes.Structure):
    _fields_ = [("status", c_int), ("message", c_char * 1020)]


class SamplerOptions(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("temperature", c_float), ("top_k", c_int32), ("top_p", c_float),
                ("min_p", c_float), ("repeat_penalty", c_float), ("repeat_last_n", c_int32), ("seed", c_uint64)]


class Failure(Exception):
    pass


def call(name, *arguments):
    """A function that gives a klens_status; what it says is raised."""
    error = Error()
    if getattr(klens, name)(*arguments, byref(error)) != 0:
        raise Failure(f"{error.status}: {error.message.decode()}")


klens.klens_version.restype = c_char_p
klens.klens_model_tokenizer.restype = c_void_p
klens.klens_model_tokenizer.argtypes = [c_void_p]
klens.klens_session_logits.restype = POINTER(c_float)
for name in ("model", "session", "sampler", "decoder"):
    getattr(klens, f"klens_{name}_free").argtypes = [c_void_p]
    getattr(klens, f"klens_{name}_free").restype = None
klens.klens_ids_free.argtypes = [c_void_p]


def generate(model, prompt, count):
    tokenizer = c_void_p(klens.klens_model_tokenizer(model))
    session, sampler, decoder = c_void_p(), c_void_p(), c_void_p()
    ids, length = POINTER(c_int32)(), c_size_t()
    text = prompt.encode()
    call("klens_tokenize", tokenizer, text, c_size_t(len(text)), 1, byref(ids), byref(length))
    call("klens_session_new", model, None, byref(session))
    call("klens_session_eval", session, ids, length)
    klens.klens_ids_free(ids)
    call("klens_sampler_new", byref(SamplerOptions(size=sizeof(SamplerOptions), temperature=0)), byref(sampler))
    call("klens_decoder_new", tokenizer, 1, byref(decoder))
    result = b""
    for _ in range(count):
        token, piece = c_int32(), c_char_p()
        call("klens_sampler_sample", sampler, session, byref(token))
        logits = klens.klens_session_logits(session)
        assert all(logits[token.value] >= logits[i] for i in range(klens.klens_model_vocab(model)))
        call("klens_decoder_push", decoder, token, byref(piece))
        result += piece.value
        call("klens_session_eval", session, byref(token), c_size_t(1))
    for name, handle in (("session", session), ("sampler", sampler), ("decoder", decoder)):
        getattr(klens, f"klens_{name}_free")(handle)
    return result.decode()


try:
    call("klens_model_open", b"/no/such/model", None, byref(c_void_p()))
    sys.exit("a model that is not there was opened")
except Failure as failure:
    assert str(failure).startswith("2: ") and "/no/such/model" in str(failure), failure

models = [c_void_p(), c_void_p()]
for model in models:
    call("klens_model_open", folder.encode(), None, byref(model))
text = generate(models[0], "The river", 12)
texts = [None, None]
threads = [threading.Thread(target=lambda i=i: texts.__setitem__(i, generate(models[i], "The river", 12)))
           for i in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert texts == [text, text], (text, texts)
for model in models:
    klens.klens_model_free(model)
print(f"ctypes, klens {klens.klens_version().decode()}: The river{text}")
