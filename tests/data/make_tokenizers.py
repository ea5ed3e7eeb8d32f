"""Writes tokenizers/NAME.json, small tokenizers of our own that cover what tokenizer.json can say, and
tokenizers/NAME.vectors.json, what the `tokenizers` package makes of some texts with them.

    python3 make_tokenizers.py     (needs tokenizers; the vectors in the repository are of version 0.23.3)
"""
import json
import os
import random

from tokenizers import Tokenizer

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizers")
META = "\u2581"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}{1,3}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT4O = O200K.replace(r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}")
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
# The patterns of llama.cpp's pre-tokenizers of these names, one after the other.
HAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
DEEPSEEK_LLM = [r"[\r\n]", r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
                r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", HAN, r"\p{N}+"]
DEEPSEEK_CODER = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN, r"\p{N}"]
DEEPSEEK_V3 = [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
               r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
GGUF_DEFAULT = [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]
BYTE_LEVEL = [chr(c) for c in [*range(33, 127), *range(0xA1, 0xAD), *range(0xAE, 0x144)]]
BYTES = ["<0x%02X>" % b for b in range(256)]
TEXTS = [
    "", " ", "  ", "a", " a", "a ", "Hello world", "Hello, world! don't I'LL we've THEY'RE", "  leading and trailing  ",
    "tabs\tand\nlines\r\n\r\n\nend", "x" + " " * 40 + "y", "\n" * 9, "a\u0301e\u0301 \u00e9 \u1e9b\u0323 \u212b", "\ufb01ne \u2460 \u3392 \u00bd \u2167",
    "3.14159 1000000 12,345 \u0663\u0664 \u0967", "\u65e5\u672c\u8a9e \u4e2d\u6587 \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab", "\u0441\u043b\u043e\u0432\u043e \u05e9\u05dc\u05d5\u05dd \u0e44\u0e17\u0e22 \u0939\u093f\u0928\u094d\u0926\u0940",
    "\U0001f600\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea", "\x00\x01\x1f\x7f\x85\x9f", "\u00a0\u2003\u3000\u2028\u180e\u200b\ufeff", "\u017f \u0130 \u0131 \u00df \u1e9e \u03a3\u03c2 \u01c5", "<s>a</s> <mask>  b<mask>c",
    "a<sep>b <sep> c  <sep>  d", "the word words sword word", "(a)[b]{c}<d> a-b--c...?!", "if (x == 1) { return y[2]; } // end", META + META + "a" + META,
    "\u0120\u010a<0x41><unk>", "\U0001cd00\u1c89\U00031350\U00011bf0\u0897", "\ufffd\ufffe\U0010ffff\ue000", "\u2029\u2029 \u00b2\u00b3\u00bc _x_", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abcabcabc 123123 abcabc",
]
CORPUS = ("the word words sword hello world there other theory thesis return lorem ipsum dolor sit amet and the end of all "
          "that which was were where wherever 10 100 1000 2024 (x == 1) don't we've they're I'll").split()


def model(alphabet, spaces, seed, prefix=None, suffix=None, merges=220, unk=None, **options):
    """A BPE model trained by hand on CORPUS: the most frequent pair is merged, again and again."""
    rng = random.Random(seed)
    vocab = list(dict.fromkeys(alphabet))
    words = []
    for word in CORPUS:
        parts = [c if i == 0 or not prefix else prefix + c for i, c in enumerate(spaces + word)]
        if suffix:
            parts[-1] += suffix
        words.append((parts, rng.randint(1, 9)))
    for parts, _ in words:
        vocab += [p for p in parts if p not in vocab]
    made = []
    cut = len(prefix or "")
    for _ in range(merges):
        pairs = {}
        for parts, count in words:
            for pair in zip(parts, parts[1:]):
                pairs[pair] = pairs.get(pair, 0) + count
        if not pairs:
            break
        a, b = max(pairs, key=lambda p: (pairs[p], p))
        whole = a + b[cut:]
        made.append((a, b))
        if whole not in vocab:
            vocab.append(whole)
        for parts, _ in words:
            i = 0
            while i + 1 < len(parts):
                if parts[i] == a and parts[i + 1] == b:
                    parts[i:i + 2] = [whole]
                i += 1
    if unk and unk not in vocab:
        vocab.append(unk)
    pairs = [[a, b] for a, b in made] if seed % 2 else [a + " " + b for a, b in made]
    return {"type": "BPE", "dropout": None, "unk_token": unk, "continuing_subword_prefix": prefix,
            "end_of_word_suffix": suffix, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, **options,
            "vocab": {t: i for i, t in enumerate(vocab)}, "merges": pairs}


def added(content, **options):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": False, **options}


def sequence(kind, key, *steps):
    return {"type": "Sequence", key: list(steps)}


def byte_level(space=False, regex=True):
    return {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": True, "use_regex": regex}


def split(pattern, behavior, invert=False, literal=False):
    return {"type": "Split", "pattern": {"String" if literal else "Regex": pattern}, "behavior": behavior, "invert": invert}


def metaspace(scheme="always", do_split=True):
    return {"type": "Metaspace", "replacement": META, "prepend_scheme": scheme, "split": do_split}


def replace(old, new, regex=False):
    return {"type": "Replace", "pattern": {"Regex" if regex else "String": old}, "content": new}


def template(begin, end, ids):
    piece = lambda t: {"SpecialToken": {"id": t, "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {"type": "TemplateProcessing", "single": [*map(piece, begin), text, *map(piece, end)],
            "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in begin + end}}


def tokenizer(bpe, tokens=(), normalizer=None, pre=None, post=None, decoder=None):
    known, size = bpe["vocab"], len(bpe["vocab"])
    listed = []
    for t in tokens:
        listed.append({"id": known.get(t["content"], size), **t})
        size += t["content"] not in known
    ids = {t["content"]: t["id"] for t in listed}
    return {"version": "1.0", "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
            "padding": None, "added_tokens": listed, "normalizer": normalizer, "pre_tokenizer": pre,
            "post_processor": post(ids) if post else None, "decoder": decoder, "model": bpe}


SPM_DECODER = sequence("Sequence", "decoders", replace(META, " "), {"type": "ByteFallback"}, {"type": "Fuse"},
                       {"type": "Strip", "content": " ", "start": 1, "stop": 0})
MARKS = [added("<s>", special=True), added("</s>", special=True), added("<mask>", lstrip=True, special=True),
         added("<sep>", rstrip=True, lstrip=True), added("word", single_word=True)]
LETTERS = list("abcdefghijklmnopqrstuvwxyzHTIW0123456789.,'()=[]{}<>_-") + [META, "\u00e9", "\u0301", "\u65e5", "\n"]


def all_tokenizers():
    b = lambda seed, **o: model(BYTE_LEVEL, "\u0120", seed, merges=150, **o)
    s = lambda seed, **o: model(LETTERS, META, seed, merges=150, **o)
    begin = lambda ids: template(["<s>"], [], ids)
    both = lambda ids: template(["<s>"], ["</s>"], ids)
    yield "gpt2", tokenizer(b(1), [added("<|endoftext|>", special=True, normalized=True)], pre=byte_level(), decoder=byte_level(), post=lambda i: byte_level())
    yield "neox", tokenizer(b(2), MARKS + [added(" " * n, normalized=True) for n in range(8, 1, -1)], {"type": "NFC"}, byte_level(True), both, byte_level())
    yield "llama3", tokenizer(b(3, ignore_merges=True), MARKS, None, sequence("Sequence", "pretokenizers", split(LLAMA3, "Isolated"), byte_level(False, False)),
                              lambda i: sequence("Sequence", "processors", byte_level(), begin(i)), byte_level())
    yield "o200k", tokenizer(b(4), MARKS, {"type": "NFKC"}, sequence("Sequence", "pretokenizers", split(O200K, "Isolated"), byte_level(False, False)), None, byte_level())
    yield "falcon", tokenizer(b(5), MARKS, None, sequence("Sequence", "pretokenizers", {"type": "Punctuation", "behavior": "Contiguous"}, byte_level(), {"type": "Digits", "individual_digits": False}, split("[0-9][0-9][0-9]", "Isolated")), None, byte_level())
    yield "starcoder", tokenizer(b(6), MARKS, None, sequence("Sequence", "pretokenizers", {"type": "Digits", "individual_digits": True}, byte_level()), None, byte_level())
    yield "llama2", tokenizer(s(7, unk="<unk>", fuse_unk=True, byte_fallback=True) | {}, MARKS, sequence("Sequence", "normalizers", {"type": "Prepend", "prepend": META}, replace(" ", META)), None, begin, SPM_DECODER)
    bytes_model = model(LETTERS + BYTES, META, 8, merges=150, unk="<unk>", fuse_unk=True, byte_fallback=True)
    yield "mistral", tokenizer(bytes_model, MARKS, None, metaspace("first", False), begin, SPM_DECODER)
    yield "gemma", tokenizer(bytes_model, MARKS, replace(" ", META), split(" ", "MergedWithPrevious", literal=True), both, sequence("Sequence", "decoders", replace(META, " "), {"type": "ByteFallback"}, {"type": "Fuse"}))
    yield "metaspace_always", tokenizer(s(9, unk="<unk>"), MARKS, {"type": "NFKC"}, metaspace("always"), both, metaspace("always"))
    yield "metaspace_first", tokenizer(s(10, unk="<unk>", fuse_unk=True), MARKS, {"type": "NFKC"}, metaspace("first"), None, metaspace("first"))
    yield "metaspace_never", tokenizer(s(11), MARKS, {"type": "NFD"}, metaspace("never"), None, metaspace("never"))
    yield "byte_fallback_no_unk", tokenizer(model(LETTERS + BYTES[:200], META, 12, merges=100, byte_fallback=True), MARKS, {"type": "NFKD"}, metaspace("always", False), None, SPM_DECODER)
    yield "suffix", tokenizer(model(LETTERS, "", 13, suffix="</w>", merges=150, unk="<unk>"), MARKS, {"type": "Lowercase"}, {"type": "Whitespace"}, None, {"type": "BPEDecoder", "suffix": "</w>"})
    yield "prefix", tokenizer(model(LETTERS + ["##" + c for c in LETTERS], "", 14, prefix="##", merges=150, unk="<unk>"), MARKS, {"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "WhitespaceSplit"}, None, None)
    stripping = [added("word", lstrip=True, rstrip=True, normalized=True), added("the", single_word=True, rstrip=True, normalized=True), added("a", lstrip=True, special=True), added("\n\n"), added("  ", normalized=True), added("caf\u00e9", normalized=True)]
    yield "stripping", tokenizer(s(15, unk="<unk>"), stripping, sequence("Sequence", "normalizers", {"type": "NFC"}, replace(r"\s{3,}", "  ", True)), metaspace("first"), None, SPM_DECODER)
    splits = lambda patterns: sequence("Sequence", "pretokenizers", *[split(p, "Isolated") for p in patterns], byte_level(False, False))
    for i, (name, patterns, normalizer) in enumerate([
            ("gpt4o", [GPT4O], None), ("qwen35", [QWEN35], {"type": "NFC"}), ("deepseek_llm", DEEPSEEK_LLM, None),
            ("deepseek_coder", DEEPSEEK_CODER, None), ("deepseek_v3", DEEPSEEK_V3, None), ("gguf_default", GGUF_DEFAULT, None)]):
        yield name, tokenizer(b(40 + i), MARKS, normalizer, splits(patterns), None, byte_level())
    yield "command_r", tokenizer(b(50), MARKS, {"type": "NFC"}, sequence("Sequence", "pretokenizers", {"type": "Digits", "individual_digits": True}, byte_level()), None, byte_level())
    for i, behavior in enumerate(["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]):
        yield "punctuation_" + behavior.lower(), tokenizer(model(LETTERS, "", 20 + i, merges=40, unk="<unk>"), [], None, {"type": "Punctuation", "behavior": behavior}, None, {"type": "Fuse"})
        yield "split_" + behavior.lower(), tokenizer(model(LETTERS, "", 30 + i, merges=40, unk="<unk>"), [], None, split(r"\w+|[\s&&[^\n]]", behavior, i % 2 == 0), None, sequence("Sequence", "decoders", {"type": "Strip", "content": " ", "start": 2, "stop": 1}))


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for name in os.listdir(FOLDER):
        os.remove(os.path.join(FOLDER, name))
    total = 0
    for name, value in all_tokenizers():
        text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
        t = Tokenizer.from_str(text)
        t.no_truncation()
        rng = random.Random(name)
        size = max(t.get_vocab().values()) + 1
        vectors = []
        for s in TEXTS + [" ".join(rng.choices(TEXTS, k=3)) for _ in range(4)]:
            ids = t.encode(s, add_special_tokens=False).ids
            full = t.encode(s).ids
            some = [rng.randrange(size) for _ in range(6)]
            vectors.append([s, ids, full, t.decode(full, skip_special_tokens=False), t.decode(full, skip_special_tokens=True),
                            some, t.decode(some, skip_special_tokens=False)])
        for suffix, content in ((".json", text), (".vectors.json", json.dumps(vectors, separators=(",", ":")))):
            with open(os.path.join(FOLDER, name + suffix), "w", encoding="utf-8") as f:
                f.write(content + "\n")
            total += len(content) + 1
    print(total, "bytes")


if __name__ == "__main__":
    main()
