"""SentencePiece's tokenizers in a GGUF file (tokenizer.ggml.model "llama"): tokens with scores instead of merges.

Llama 2, TinyLlama, Mistral and Gemma write a space as ▁, a character without a token as its bytes, <0x00> to <0xFF>.
llama.cpp joins the two neighbours whose join is the token of the highest score, the leftmost of equals; tokenizer.json
has merges in an order instead. Both do the same where every way to make a token from two others is a merge, and the
merges that make one token follow each other. transformers' conversion from SentencePiece leaves them so, but for tokens
of one score: Gemma's runs of spaces, tabs and line ends, whose merges are mixed, the longest left part first. A run of
one character grows from its left in either order.
Source: llm_tokenizer_spm in llama-vocab.cpp. (llama.cpp's converter reads scores from tokenizer.model. Where only
tokenizer.json is left, it gives every token the same, which joins in another order.)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from course_lib.artifacts.gguf.values import GGUFError

SPACE = "▁"
NORMAL, UNKNOWN, BYTE = 1, 2, 6  # kinds of token
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
LONGEST = 128  # characters of a token that is joined from others; SentencePiece allows 16 unless told otherwise


def is_like(described: dict) -> bool:
    """Whether a tokenizer.json is of this kind."""
    return described["model"]["type"] == "BPE" and bool(described["model"].get("byte_fallback"))


def keys(described: dict, tokens: list[str], kinds: np.ndarray, unknown: int | None) -> dict:
    """tokenizer.ggml.model, pre, scores, token_type and add_space_prefix for `tokens` in their order.

    kinds  of the tokens as a byte-level BPE has them: 1, 3, 4 and 5; bytes and the unknown token are marked here

    ValueError for a tokenizer that would give other tokens in llama.cpp. One difference stays: where `tokenizers` puts
    ▁ before the first word only, or not before a space, llama.cpp puts it before every stretch of text.
    """
    places, kinds = {token: number for number, token in enumerate(tokens)}, kinds.copy()
    here = [byte for byte in BYTES if byte in places]
    itself = [byte for number, byte in enumerate(BYTES[:128]) if chr(number) in places]  # such as Gemma 2's tab
    if missing := [byte for byte in BYTES if byte not in {*here, *itself}]:
        raise ValueError(f"tokenizer must have a token for each byte, as llama.cpp expects, {missing[0]} is missing")
    kinds[[places[byte] for byte in here]] = BYTE
    if unknown is not None:
        kinds[unknown] = UNKNOWN
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.scores": _scores(_pairs(described["model"]["merges"]), tokens, kinds),
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.add_space_prefix": _prefix(described),
    }


def _pairs(merges: list) -> list[tuple[str, str]]:
    return [tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge) for merge in merges]


def _scores(merges: list[tuple[str, str]], tokens: list[str], kinds: np.ndarray) -> np.ndarray:
    """float32: 0, -1, -2 … of the tokens in the order in which merges make them; those that none makes come last."""
    rank = {"".join(pair): place for place, row in enumerate(_rows(merges)) for pair in row}
    normal = {token for token, kind in zip(tokens, kinds, strict=True) if kind == NORMAL}
    known = set(merges)
    for token in normal:
        for pair in _splits(token, normal):
            if pair not in known:
                raise ValueError(f"tokenizer must merge any two tokens that make a third, as SentencePiece's does,"
                                 f" got no merge of {pair[0]!r} and {pair[1]!r}")  # fmt: skip
    return np.array([-rank.get(token, len(rank)) for token in tokens], np.float32)


def _rows(merges: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Stretches of merges that make one token, or several runs that grow from the left; ValueError for others."""
    last, start = {"".join(pair): place for place, pair in enumerate(merges)}, 0
    while start < len(merges):
        end = place = start
        while place <= end:
            end, place = max(end, last["".join(merges[place])]), place + 1
        row, start = merges[start : end + 1], end + 1
        made = ["".join(pair) for pair in row]
        from_the_left = all(len(a[0]) >= len(b[0]) for a, b in zip(row, row[1:], strict=False))
        if len(set(made)) > 1 and not (from_the_left and all(is_run(token) for token in made)):
            again = next(token for k, token in enumerate(made) if token in made[:k] and token != made[k - 1])
            raise ValueError("tokenizer must have the merges to a token in a row, as SentencePiece does,"
                             f" got {again!r} twice")  # fmt: skip
        yield row


def is_run(token: str) -> bool:
    """Whether a token is one character again and again."""
    return len(set(token)) == 1


def _splits(token: str, vocabulary) -> list[tuple[str, str]]:
    """The ways to make a token from two others."""
    halves = ((token[:k], token[k:]) for k in range(1, len(token)))
    return [pair for pair in halves if pair[0] in vocabulary and pair[1] in vocabulary]


def _prefix(described: dict) -> bool:
    """Whether ▁ stands before text; ValueError unless spaces become ▁ and nothing else happens before the merges."""
    normalizer, cut = described.get("normalizer"), described.get("pre_tokenizer")
    steps = normalizer.get("normalizers", [normalizer]) if normalizer else []
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    if spaces in steps and cut and cut["type"] == "Split" and cut["pattern"] == {"String": " "}:
        cut = None  # Gemma's: no space is left where it would cut
    if cut and not steps and cut["type"] == "Metaspace" and cut["replacement"] == SPACE and not cut.get("split", True):
        return cut["prepend_scheme"] != "never"
    for before, prefix in (([{"type": "Prepend", "prepend": SPACE}], True), ([], False)):
        if steps == [*before, spaces] and not cut:
            return prefix
    said = [step["type"] for step in (*steps, *([cut] if cut else ()))]
    raise ValueError(f"tokenizer must write spaces as {SPACE} and do nothing else before its merges, got {said}")


def build(keys: dict, tokens: list[str]):
    """The `tokenizers.Tokenizer` of a file with tokenizer.ggml.model "llama", without its special tokens.

    Its merges are all ways to make a token from two others, the highest score first; of tokens with one score runs from
    the left, else the first in the list, where llama.cpp takes the leftmost in the text. GGUFError for scores that do
    not go with the tokens.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers

    scores, prefix = keys.get("tokenizer.ggml.scores"), keys.get("tokenizer.ggml.add_space_prefix", True)
    right = isinstance(scores, list) and all(type(score) is float and score == score for score in scores)
    if not right or len(scores) != len(tokens):
        raise GGUFError(f"tokenizer.ggml.scores must be {len(tokens)} numbers, one a token")
    vocabulary, merges = {token: number for number, token in enumerate(tokens)}, []
    for score, token in zip(scores, tokens, strict=True):
        if len(token) <= LONGEST:
            run = is_run(token)
            for pair in _splits(token, vocabulary):
                merges.append((-score, -len(pair[0]) * run, vocabulary[token], len(merges), pair))
    pairs = [pair for *_, pair in sorted(merges)]
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, byte_fallback=True, fuse_unk=True))
    spaces, first = normalizers.Replace(" ", SPACE), [normalizers.Prepend(SPACE)] if prefix is not False else []
    bpe.normalizer = normalizers.Sequence([*first, spaces])
    last = [decoders.Strip(" ", 1, 0)] if first else []
    bpe.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *last])
    return bpe
