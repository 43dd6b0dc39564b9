"""A tokenizer as the keys of tokenizer.ggml.*, and back: tokens, kinds, special tokens, and what joins them."""

from __future__ import annotations

import json
import re

import numpy as np

from course_lib.artifacts.gguf import pre_tokenizers, sentencepiece
from course_lib.artifacts.gguf.values import GGUFError

NO_ROW = (
    "<image_soft_token>",
)  # Gemma 3's text models have this token of a picture, and no row of the embedding for it
PHI_3, KEEPING = re.compile("phi-?3", re.IGNORECASE), ("<unk>", "<s>", "<|endoftext|>")
ENDS = frozenset(("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>",
                  "<|eom_id|>", "<EOT>"))  # fmt: skip  # by these names llama.cpp knows the end of a reply
SPECIAL = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}  # transformers' name of a token: ggml's


def tokenizer_keys(tokenizer, size: int | None = None) -> dict:
    """The keys of tokenizer.ggml.*: tokens, kinds and merges or scores of a BPE, padded to `size` tokens.

    Kinds: 1 of the vocabulary, 2 unknown, 3 special, 4 added (cut out before the split, as are special ones), 5 unused,
    6 a byte. ValueError for a tokenizer that would give other tokens in llama.cpp.
    """
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    if described["model"]["type"] != "BPE":
        raise ValueError(f"tokenizer must be a byte-level BPE, got {described['model']['type']}")
    known = {number: token for token, number in tokenizer.get_vocab().items()}
    size = size or max(known) + 1
    known = {number: token for number, token in known.items() if number < size or token not in NO_ROW}
    if max(known) >= size:
        raise ValueError(f"tokenizer must have at most {size} tokens, as the embedding has rows, got {max(known) + 1}")
    of = dict.fromkeys(known, 1) | {t["id"]: 3 if t["special"] else 4 for t in described["added_tokens"]}
    tokens = [known.get(number, f"[PAD{number}]") for number in range(size)]
    kinds = np.array([of.get(number, 5) for number in range(size)], np.int32)
    if sentencepiece.is_like(described):
        own = sentencepiece.keys(described, tokens, kinds, tokenizer.unk_token_id)
    else:
        merges = [m if isinstance(m, str) else " ".join(m) for m in described["model"]["merges"]]
        own = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre_tokenizers.name_of(described),
               "tokenizer.ggml.token_type": kinds, "tokenizer.ggml.merges": merges}  # fmt: skip
    head = {f"tokenizer.ggml.{key}": own[f"tokenizer.ggml.{key}"] for key in ("model", "pre")}
    return head | {"tokenizer.ggml.tokens": tokens} | own | _special(tokenizer)


def named(name: str, tokenizer) -> str:
    """general.name. Where it says phi-3 or phi3, llama.cpp swallows white space behind special tokens but for KEEPING,
    and refuses a vocabulary without them and </s>. So only a tokenizer that does this has such a name.
    """
    added = json.loads(tokenizer.backend_tokenizer.to_str())["added_tokens"]
    if any(t["rstrip"] for t in added) and {"</s>", *KEEPING} <= set(tokenizer.get_vocab()):
        return name if PHI_3.search(name) else f"Phi-3 {name}"
    return PHI_3.sub("Phi 3", name)


def _special(tokenizer) -> dict:
    """The numbers of special tokens, whether text begins or ends with one, and how a talk is written."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    plain, whole = (tokenizer("a", add_special_tokens=special).input_ids for special in (False, True))
    first = bos is not None and whole[:1] == [bos] and plain[:1] != [bos]
    last = eos is not None and len(whole) == first + len(plain) + 1 and whole[-1] == eos
    if whole != [*[bos] * first, *plain, *[eos] * last]:
        raise ValueError("tokenizer must put nothing around text but its bos_token and its eos_token, as llama.cpp"
                         f" does, got {tokenizer.convert_ids_to_tokens(whole)} of 'a'")  # fmt: skip
    found = {"tokenizer.ggml.add_bos_token": first} | ({"tokenizer.ggml.add_eos_token": True} if last else {})
    for ours, theirs in SPECIAL.items():
        number = getattr(tokenizer, f"{ours}_token_id")
        if number is not None:
            found[f"tokenizer.ggml.{theirs}_token_id"] = number
    return found | _chat(getattr(tokenizer, "chat_template", None))


def _chat(template) -> dict:
    """The keys of a template for talks, or of several by name, of which "default" has a key without one.

    >>> _chat({"default": "A", "tool-use": "B"})["tokenizer.chat_template.tool_use"]
    'B'
    """
    if not template:
        return {}
    found = dict(template) if isinstance(template, dict) else {"default": template}
    found = {re.sub("[^A-Za-z0-9]", "_", name): text for name, text in found.items()}
    default = {"tokenizer.chat_template": found.pop("default")} if "default" in found else {}
    names = {"tokenizer.chat_templates": sorted(found)} if found else {}
    return default | names | {f"tokenizer.chat_template.{name}": text for name, text in sorted(found.items())}


def _templates(keys: dict):
    """The way back from `_chat`: a text, or several by name; None where there is none."""
    found, names = {"default": keys.get("tokenizer.chat_template")}, keys.get("tokenizer.chat_templates")
    for name in names if isinstance(names, list) else ():
        found[name] = keys.get(f"tokenizer.chat_template.{name}")
    found = {name: text for name, text in found.items() if isinstance(name, str) and isinstance(text, str)}
    return found if set(found) - {"default"} else found.get("default")


def more_ends(tokenizer, ids) -> dict:
    """The keys of those tokens that end a reply, too, beside eos and such as llama.cpp knows by their names (ENDS).

    A file has places for two more: "end of turn" and "end of message".
    """
    known = {tokenizer.eos_token_id, *tokenizer.convert_tokens_to_ids([t for t in ENDS if t in tokenizer.get_vocab()])}
    more = [number for number in ids if number not in known]
    return {f"tokenizer.ggml.{kind}_token_id": n for kind, n in zip(("eot", "eom"), more, strict=False)}


def tokenizer_of(file):
    """The tokenizer that the keys of a GGUFFile describe, as llama.cpp runs it; None where it has another kind."""
    keys = file.metadata
    kind, merged = keys.get("tokenizer.ggml.model"), "tokenizer.ggml.merges" in keys
    if kind == "llama" and "tokenizer.ggml.scores" in keys:
        tokens = _tokens(keys)
        return _finished(sentencepiece.build(keys, tokens), tokens, keys, True)
    if kind != "gpt2" or not merged:
        return None
    from tokenizers import Tokenizer, decoders, models

    tokens = _tokens(keys)
    cut, whole = pre_tokenizers.build(keys.get("tokenizer.ggml.pre"))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=_merges(keys, set(tokens)), ignore_merges=whole))
    bpe.pre_tokenizer, bpe.decoder = cut, decoders.ByteLevel()
    return _finished(bpe, tokens, keys, whole)  # llama-bpe puts a first token where the key is missing, too


def _finished(bpe, tokens: list[str], keys: dict, first: bool):
    """The tokenizer with its added and special tokens; `first` is llama.cpp's default of add_bos_token."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    strips = PHI_3.search(str(keys.get("general.name")))
    for kind, add in ((2, bpe.add_special_tokens), (3, bpe.add_special_tokens), (4, bpe.add_tokens)):
        more = [AddedToken(t, special=kind < 4, normalized=False, rstrip=bool(strips) and t not in KEEPING)
                for t in _of_kind(tokens, keys, kind)]  # fmt: skip
        add(more)
    given = {f"{ours}_token": token_id(keys, theirs, len(tokens)) for ours, theirs in SPECIAL.items()}
    put = {
        name: given[f"{name}_token"]
        for name, usual in (("bos", first), ("eos", False))
        if keys.get(f"tokenizer.ggml.add_{name}_token", usual) is True and given[f"{name}_token"] is not None
    }
    if put:
        bpe.post_processor = _around(put, tokens)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        clean_up_tokenization_spaces=False,
        chat_template=_templates(keys),
        **{name: tokens[number] for name, number in given.items() if number is not None},
    )


def _around(put: dict[str, int], tokens: list[str]):
    """The step that puts the token "bos" before text and "eos" behind it, where they are in `put`."""
    from tokenizers import processors

    def one(text: str, k: int) -> list[str]:
        return [f"{name}:{k}" for name in ("bos", text, "eos") if name in put or name == text]

    return processors.TemplateProcessing(
        single=one("$A", 0),
        pair=[*one("$A", 0), *one("$B", 1)],
        special_tokens=[{"id": name, "ids": [n], "tokens": [tokens[n]]} for name, n in put.items()],
    )


def token_id(keys: dict, name: str, size: int) -> int | None:
    """The number of a special token; None where there is none, or none of the vocabulary, as llama.cpp has it."""
    value = keys.get(f"tokenizer.ggml.{name}_token_id")
    return value if type(value) is int and 0 <= value < size else None


def _of_kind(tokens: list[str], keys: dict, kind: int) -> list[str]:
    """The tokens of a kind, such as 3 for special ones."""
    kinds = keys.get("tokenizer.ggml.token_type")
    return [t for t, k in zip(tokens, kinds if isinstance(kinds, list) else (), strict=False) if k == kind]


def _tokens(keys: dict) -> list[str]:
    """The tokens, after looking that they differ."""
    tokens = _texts(keys, "tokenizer.ggml.tokens")
    if len(set(tokens)) < len(tokens):
        raise GGUFError("tokenizer.ggml.tokens must differ from each other")
    return tokens


def _merges(keys: dict, known: set[str]) -> list[tuple[str, str]]:
    """The merges, after looking that each joins two tokens to a third."""
    merges = _texts(keys, "tokenizer.ggml.merges")
    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    for merge, pair in zip(merges, pairs, strict=True):
        if len(pair) < 2 or not known.issuperset((*pair, "".join(pair))):
            raise GGUFError(f"tokenizer.ggml.merges must join two tokens to a third, got {merge!r:.60}")
    return pairs


def _texts(keys: dict, key: str) -> list[str]:
    """keys[key], a list of strings in valid UTF-8."""
    value = keys.get(key)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        try:
            "".join(value).encode()
            return value
        except UnicodeEncodeError:
            pass
    raise GGUFError(f"{key} must be a list of strings in UTF-8")
