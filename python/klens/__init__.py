"""klens runs Mamba, Mamba-2, delta-rule, hybrid and attention language models on the CPU, and makes them smaller.

    import klens

    model = klens.Model("model.klens")
    for text in klens.generate(klens.Session(model), "The river", max_tokens=50):
        print(text, end="", flush=True)

What the functions do is said in full by klens.h, whose names these are. Calls that take long release the GIL and can
be ended by Ctrl-C. Failures are raised as klens.Error, by status: klens.BadFile, klens.Unsupported, ...
"""

from ._klens import (
    Decoder,
    Grammar,
    GrammarState,
    Model,
    PrefixCache,
    Progress,
    Sampler,
    Session,
    Tokenizer,
    bench,
    compare,
    device_notes,
    devices,
    export_logits,
    formats,
    inspect,
    isa,
    metrics,
    outliers,
    perplexity,
    plan,
    plan_methods,
    profile,
    quantize,
    quantizers,
    rank_agreement,
    sessions_eval,
    sessions_round,
    sweep,
    version,
)
from .embedding import embed
from .errors import (
    BadArgument,
    BadFile,
    Error,
    Interrupted,
    InternalError,
    IoError,
    NoMemory,
    Unsupported,
)
from .generation import Generation, generate

__version__ = version()

__all__ = [
    "BadArgument",
    "BadFile",
    "Decoder",
    "Error",
    "Generation",
    "Grammar",
    "GrammarState",
    "InternalError",
    "Interrupted",
    "IoError",
    "Model",
    "NoMemory",
    "PrefixCache",
    "Progress",
    "Sampler",
    "Session",
    "Tokenizer",
    "Unsupported",
    "bench",
    "compare",
    "device_notes",
    "devices",
    "embed",
    "export_logits",
    "formats",
    "generate",
    "inspect",
    "isa",
    "metrics",
    "outliers",
    "perplexity",
    "plan",
    "plan_methods",
    "profile",
    "quantize",
    "quantizers",
    "rank_agreement",
    "sessions_eval",
    "sessions_round",
    "sweep",
    "version",
]
