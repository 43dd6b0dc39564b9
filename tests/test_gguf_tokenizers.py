"""Tokenizers in GGUF files: llama.cpp cuts tricky texts as `tokenizers` does, at each cut and with SentencePiece's.

Each small tokenizer has the published steps of its family, and merges that those steps must hold back. Texts hold what
the expressions treat specially: digits in runs, runs of spaces and line ends, apostrophes in both cases, letters and
digits beyond ASCII, emoji, code.
"""

import json

import numpy as np
import pytest
import tiny
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, processors
from tokenizers import models as bpe
from tokenizers import pre_tokenizers as cut
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import generate_merges

from course_lib import models
from course_lib.artifacts.gguf import GGUFError, llama, parse, pre_tokenizers, read, sentencepiece
from course_lib.artifacts.gguf.load import load, tokenizer_of
from tests import gguf_toys
from tests.gguf_models import rewritten
from tests.llama_oracle import Llama

TEXTS = [
    "Hello, order olive-5426.", "", "a\n\n  b", "1234567 x 1 22 333 4444", "naïve – ☕ 東京タワー",
    "it's I'VE We'Ll don't '''", "def f(x):\n    return x**2  # why\n\n\n\ttab", "😀👩\u200d👧 emoji\u200d", "x" * 40,
    "-" * 37 + "=" * 12, "trailing   ", "\r\n\r\nwin\r\n", "a\u00a0b\u3000c", "Привет мир, नमस्ते दुनिया", "ⅷ½²٣ numerals",
    '{"a": [1, 2.5e-3, null]}', "'S 'ſ 'Re", "!?!?...;;", "\x07 bell", "a  b   c    d", "\t\n \t",
]  # fmt: skip
SPACE_FIRST = [" ", " leading", "  two", "  \n  \n"]
ADDED = ["ab<tool>cd <tool> e"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
# the expressions as the families' tokenizer.json write them, not as the course keeps them
LLAMA_3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")  # fmt: skip
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")


GPT_4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
          r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
          r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")  # fmt: skip
TEKKEN = GPT_4O.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "").replace("{1,3}", "")
MARKS = ["ÉCOLE", "नमस्ते"]  # an accented capital, vowel signs


def corpus():
    texts = [t[:1500] for domain in ("prose", "code") for t in models.texts.train(domain)[:40]]
    lines = [line for text in texts for line in text.splitlines(keepends=True)]
    mixed = "naïve café 東京 😀 it's I'VE we'll 1234567 22 333 4444 x"
    return lines + [mixed, "\n\n\n  \t\t  x", "!?!?...;;"] * 20 + MARKS * 400


def byte_level(steps, normalizer=None, whole=False):
    """A byte-level BPE with these steps, trained without them, so that merges reach over every place where they cut.

    whole=True also drops every tenth merge, so that whole pieces are told from merged ones.
    """
    tokenizer = Tokenizer(bpe.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = (
        cut.ByteLevel(add_prefix_space=False, use_regex=False),
        decoders.ByteLevel(),
    )
    tokenizer.train_from_iterator(corpus(), BpeTrainer(vocab_size=900, special_tokens=["<|end|>"], show_progress=False,
                                                       initial_alphabet=cut.ByteLevel.alphabet()))  # fmt: skip
    tokenizer.pre_tokenizer = steps[0] if len(steps) == 1 else cut.Sequence(steps)
    if normalizer:
        tokenizer.normalizer = normalizer
    described = json.loads(tokenizer.to_str())
    described["model"]["ignore_merges"] = whole
    if whole:
        del described["model"]["merges"][::10]
    tokenizer = Tokenizer.from_str(json.dumps(described))
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", clean_up_tokenization_spaces=False)


def split(pattern, behavior="isolated"):
    step = cut.Split(Regex(pattern), behavior, invert=behavior == "removed")
    return [step, cut.ByteLevel(add_prefix_space=False, use_regex=False)]


def swallowing(tokenizer):
    """With an added token that takes the white space beside it, as Phi-4's take theirs."""
    tokenizer.add_tokens([AddedToken("<sep>", lstrip=True, rstrip=True, normalized=False)])
    return tokenizer


RUNS = [what * n for what in ("▁", "\t", "\n") for n in range(2, 12)]


def pieces(prefix=True, metaspace=False, gemma=False):
    """A tokenizer as transformers leaves SentencePiece's: all merges among its tokens, ▁ for a space, bytes.

    gemma=True: also runs of spaces, tabs and line ends, whose merges are mixed, some of them added tokens; a cut where
    there is nothing to cut; a tab in the place of its byte.
    """
    special = ["<unk>", "<s>", "</s>", *BYTES]
    if gemma:
        special = [*special[:12], "\t", *special[13:], "\n", *RUNS]
    raw = Tokenizer(bpe.BPE())
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.pre_tokenizer = cut.Metaspace(prepend_scheme="never")
    raw.train_from_iterator(corpus(), BpeTrainer(vocab_size=1000, special_tokens=special, show_progress=False,
                                                 limit_alphabet=70))  # fmt: skip
    vocabulary = raw.get_vocab()
    scores = {token: 1 if token in RUNS else -number for token, number in vocabulary.items()}
    merges = generate_merges(vocabulary, scores, ["<unk>", "<s>", "</s>", *BYTES])
    made = Tokenizer(bpe.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    if metaspace:
        made.pre_tokenizer = cut.Metaspace(prepend_scheme="first" if prefix else "never", split=False)
    elif gemma:
        made.normalizer, made.pre_tokenizer = normalizers.Replace(" ", "▁"), cut.Split(" ", "merged_with_previous")
    else:
        first = [normalizers.Prepend("▁")] if prefix else []
        made.normalizer = normalizers.Sequence([*first, normalizers.Replace(" ", "▁")])
    last = [decoders.Strip(" ", 1, 0)] if prefix else []
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *last])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    more = [run for run in RUNS if "\t" not in run and len(run) < 6] if gemma else []
    made.add_tokens([AddedToken(token, normalized=False) for token in ("<tool>", *more)])
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>",
                                   clean_up_tokenization_spaces=False)  # fmt: skip


FAMILIES = {
    "gpt-2": lambda: byte_level([cut.ByteLevel(add_prefix_space=False)]),
    "smollm": lambda: byte_level([cut.Digits(individual_digits=True), cut.ByteLevel(add_prefix_space=False)]),
    "llama-bpe": lambda: byte_level(split(LLAMA_3), whole=True),
    "smaug-bpe": lambda: byte_level(split(LLAMA_3)),
    "smaug-bpe, phi-4": lambda: swallowing(byte_level(split(LLAMA_3, "removed"))),  # tiktoken's, as often converted
    "qwen2": lambda: byte_level(split(QWEN_2), normalizers.NFC()),
    "gpt-4o": lambda: byte_level(split(GPT_4O, "removed")),
    "tekken": lambda: byte_level(split(TEKKEN), whole=True),
    "default": pieces,
    "default, first": lambda: pieces(metaspace=True),
    "default, none": lambda: pieces(prefix=False),
    "default, never": lambda: pieces(prefix=False, metaspace=True),
    "default, gemma": lambda: pieces(prefix=False, gemma=True),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """name -> (tokenizer, GGUF file of a tiny model with it)."""
    folder, found = tmp_path_factory.mktemp("tokenizers"), {}

    def of(name):
        if name not in found:
            tokenizer, model = FAMILIES[name](), tiny.llama()
            model.resize_token_embeddings(len(tokenizer) + 3, mean_resizing=False)
            found[name] = tokenizer, llama.export(model, tokenizer, folder / f"{name}.gguf", "F32")
        return found[name]

    return of


def in_llama_cpp(path, texts):
    oracle = Llama(path)
    try:
        return [oracle.tokenize(text) for text in texts]
    finally:
        oracle.close()


def ids(tokenizer, texts):
    return [tokenizer(text, add_special_tokens=False).input_ids for text in texts]


@pytest.mark.parametrize("name", FAMILIES)
def test_llama_cpp_and_the_tokenizer_read_back_cut_the_same(written, name):
    tokenizer, path = written(name)
    keys = read(path).metadata
    assert keys["tokenizer.ggml.pre"] == name.split(",")[0]
    texts = TEXTS if name.endswith("first") else TEXTS + SPACE_FIRST + ADDED
    if name.startswith(("gpt-4o", "tekken")):
        texts = [text for text in texts if "नमस्ते" not in text] + ["camelCase HTTPServer iOS XMLHttp's A'S //\r\n/"]
    if name.endswith("gemma"):
        texts = texts + [f"a{' ' * n}b{chr(9) * n}c{chr(10) * (n + 1)}▁▁d" for n in range(1, 40)]
    want = ids(tokenizer, texts)
    assert in_llama_cpp(path, texts) == want
    again = load(path)[1]
    assert ids(again, texts) == want and len({len(w) for w in want}) > 5
    assert [again.decode(w) for w in want] == [tokenizer.decode(w) for w in want]
    assert (again("a").input_ids[0] == 1) == (tokenizer("a").input_ids[0] == 1) == name.startswith("default")


@pytest.mark.parametrize("name, other", [("smollm", "gpt-2"), ("gpt-2", "smollm"), ("llama-bpe", "smaug-bpe"),
                                         ("qwen2", "llama-bpe"), ("smaug-bpe", "qwen2"),
                                         ("gpt-4o", "tekken"), ("tekken", "gpt-4o"), ("gpt-4o", "smaug-bpe"),
                                         ("tekken", "llama-bpe")])  # fmt: skip
def test_another_name_gives_other_tokens(written, tmp_path, name, other):
    """So the texts tell the cuts apart: without this, the test above would show nothing."""
    tokenizer, path = written(name)
    lied = rewritten(path, tmp_path / "x.gguf", lambda k: k | {"tokenizer.ggml.pre": other})
    assert in_llama_cpp(lied, TEXTS) != ids(tokenizer, TEXTS)


def test_the_order_of_scores_matters(written, tmp_path):
    tokenizer, path = written("default")
    for change in (lambda s: np.zeros_like(s), lambda s: -s):
        flat = rewritten(path, tmp_path / "x.gguf", lambda k, change=change: k | {
            "tokenizer.ggml.scores": change(np.float32(k["tokenizer.ggml.scores"].value))})  # fmt: skip
        assert in_llama_cpp(flat, TEXTS) != ids(tokenizer, TEXTS)


def test_what_llama_cpp_does_otherwise_is_known(written):
    """No NFC; ▁ before a space and behind an added token, where Metaspace has none; white space beside added tokens.

    What is read back does the same.
    """
    for name, texts in (("qwen2", ["e\u0301 E\u0301"]), ("default, first", SPACE_FIRST + ADDED),
                        ("gpt-4o", MARKS), ("tekken", MARKS),
                        ("smaug-bpe, phi-4", ["ab <sep>", "<sep> cd"])):  # fmt: skip
        tokenizer, path = written(name)
        theirs = in_llama_cpp(path, texts)
        assert all(a != b for a, b in zip(theirs, ids(tokenizer, texts), strict=True))
        assert ids(load(path)[1], texts) == theirs


def test_kinds_scores_and_the_way_to_write_a_talk(written):
    tokenizer, path = written("default")
    keys = read(path).metadata
    tokens, kinds = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    assert kinds[:3] == [2, 3, 3] and {kinds[tokens.index(byte)] for byte in BYTES} == {6}
    assert kinds[tokens.index("<tool>")] == 4 and kinds[-3:] == [5] * 3
    made = {"".join(pair): place for place, pair in reversed(list(enumerate(_merges(tokenizer))))}
    by_merge = sorted(made, key=made.get)
    by_score = sorted(made, key=lambda token: -keys["tokenizer.ggml.scores"][tokens.index(token)])
    assert by_score == by_merge and keys["tokenizer.ggml.unknown_token_id"] == 0
    tokenizer = FAMILIES["gpt-2"]()
    tokenizer.chat_template = "{{ messages }}"
    assert llama.tokenizer_keys(tokenizer)["tokenizer.chat_template"] == "{{ messages }}"


def _merges(tokenizer):
    return json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]


def _out_of_row(merges):
    """The first of two merges to one token, moved to the end."""
    made = ["".join(pair) for pair in merges]
    merges.append(merges.pop(next(k for k in range(len(made)) if made[k] == made[k + 1])))


def changed(tokenizer, change):
    """The tokenizer with another tokenizer.json."""
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    change(described)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(described)), eos_token="</s>")


@pytest.mark.parametrize(
    "name, change, words",
    [
        ("gpt-2", lambda d: d["pre_tokenizer"].update(add_prefix_space=True), "must cut text as one of gpt-2, smollm"),
        ("gpt-2", lambda d: d["pre_tokenizer"].update(use_regex=False), r"got \['ByteLevel False'\]"),
        ("gpt-2", lambda d: d["model"].update(ignore_merges=True), r"got \['ByteLevel True'\] and ignore_merges"),
        ("gpt-2", lambda d: d.update(normalizer={"type": "Lowercase"}), "got the normalizer Lowercase"),
        ("gpt-2", lambda d: d.update(pre_tokenizer=None), "must cut text as one of"),
        ("smollm", lambda d: d["pre_tokenizer"]["pretokenizers"][0].update(individual_digits=False), "'Digits False'"),
        ("qwen2", lambda d: d["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed"), "must cut text as one"),
        ("qwen2", lambda d: d["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex=r"\s+"), r"Split \\\\s\+"),
        ("default", lambda d: d.update(normalizer=None), r"must write spaces as ▁ .*got \[\]"),
        ("default", lambda d: d["normalizer"]["normalizers"].append({"type": "NFKC"}), "'Prepend', 'Replace', 'NFKC'"),
        ("default, first", lambda d: d["pre_tokenizer"].update(split=True), "got .*'Metaspace'"),
        ("default", lambda d: d["model"]["merges"].pop(5), "must merge any two tokens that make a third.*got no merge"),
        (
            "default",
            lambda d: _out_of_row(d["model"]["merges"]),
            "merges to a token in a row, as SentencePiece does, got",
        ),
    ],
)
def test_other_tokenizers_are_refused(written, name, change, words):
    with pytest.raises(ValueError, match=words):
        llama.tokenizer_keys(changed(written(name)[0], change))


def test_runs_are_from_the_left_and_share_a_score(written, tmp_path):
    tokenizer, path = written("default, gemma")
    keys = read(path).metadata
    scores = dict(zip(keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.scores"], strict=True))
    assert {scores[run] for run in RUNS if len(run) > 2} == {0.0} and -4 < scores["▁▁"] < 0  # one merge makes two
    flat = [0.0 if token in RUNS else score for token, score in scores.items()]  # as llama.cpp's converter has them
    even = rewritten(path, tmp_path / "x.gguf", lambda k: k | {"tokenizer.ggml.scores": np.float32(flat)})
    texts = [f"a{' ' * n}b{chr(9) * n}c" for n in range(1, 40)]
    assert in_llama_cpp(even, texts) == ids(load(even)[1], texts) == ids(tokenizer, texts)
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    merges = described["model"]["merges"]
    merges[: 3 * 55] = merges[: 3 * 55][::-1]  # the longest right part first
    with pytest.raises(ValueError, match="merges to a token in a row, as SentencePiece does, got"):
        llama.tokenizer_keys(changed(tokenizer, lambda d: d.update(described)))


def test_a_token_of_pictures_without_a_row_is_left_out():
    tokenizer = FAMILIES["default"]()
    size = len(tokenizer)
    tokenizer.add_tokens(["<image_soft_token>"], special_tokens=True)
    assert len(llama.tokenizer_keys(tokenizer, size)["tokenizer.ggml.tokens"]) == size
    assert llama.tokenizer_keys(tokenizer)["tokenizer.ggml.tokens"][-1] == "<image_soft_token>"
    tokenizer.add_tokens(["<call>"], special_tokens=True)
    with pytest.raises(ValueError, match="tokenizer must have at most"):
        llama.tokenizer_keys(tokenizer, size)


def test_a_byte_without_a_token_is_refused(written):
    described = json.loads(written("default")[0].backend_tokenizer.to_str())
    tokens = [token for token in described["model"]["vocab"] if token != "<0xC3>"]
    with pytest.raises(ValueError, match="a token for each byte, as llama.cpp expects, <0xC3> is missing"):
        sentencepiece.keys(described, tokens, np.ones(len(tokens), np.int32), 0)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"tokenizer.ggml.scores": [0.0]}, "tokenizer.ggml.scores must be 7 numbers, one a token"),
        ({"tokenizer.ggml.scores": [float("nan")] * 7}, "must be 7 numbers"),
        ({"tokenizer.ggml.scores": "x"}, "must be 7 numbers"),
        ({"tokenizer.ggml.tokens": ["a"] * 7, "tokenizer.ggml.scores": [0.0] * 7}, "must differ from each other"),
    ],
)
def test_scores_that_lie_are_refused(change, words):
    keys = gguf_toys.LLAMA_KEYS | {"tokenizer.ggml.model": "llama"} | change
    with pytest.raises(GGUFError, match=words):
        tokenizer_of(parse(gguf_toys.joined(keys, [])))


@pytest.mark.parametrize("other, name", pre_tokenizers.ALIKE.items())
def test_names_that_mean_the_same_in_llama_cpp(written, tmp_path, other, name):
    """Files of Phi-4 say dbrx, those of Falcon 3 falcon3."""
    tokenizer, path = written(name)
    file = rewritten(path, tmp_path / "x.gguf", lambda k: k | {"tokenizer.ggml.pre": other})
    texts = [text for text in TEXTS if "नमस्ते" not in text]
    assert in_llama_cpp(file, texts) == ids(tokenizer, texts) == ids(load(file)[1], texts)


def test_names_of_cuts_that_mean_the_same():
    described = json.loads(byte_level(split(GPT_4O)).backend_tokenizer.to_str())
    assert pre_tokenizers.name_of(described) == "gpt-4o"
    for other, name in pre_tokenizers.ALIKE.items():
        (a, first), (b, second) = pre_tokenizers.build(other), pre_tokenizers.build(name)
        assert str(a) == str(b) and first == second
    with pytest.raises(GGUFError, match="must be one of gpt-2, .*got 'bloom'"):
        pre_tokenizers.build("bloom")
