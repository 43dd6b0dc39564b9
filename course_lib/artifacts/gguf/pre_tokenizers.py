"""How a byte-level BPE cuts text before its merges: llama.cpp's name of a cut, and the steps that `tokenizers` takes.

Nothing in a GGUF file describes the cut; llama.cpp knows a list of names. A wrong name gives other tokens without a
word, so a tokenizer is known by its own regular expression, or refused. Source: llm_tokenizer_bpe and
llama_vocab::load in llama-vocab.cpp, whose expressions are these (GPT-2's stands inside ByteLevel).

GPT-4o's and Tekken's cut words where a capital follows a small letter. llama.cpp tells A–Z from a–z only and knows no
marks, so that accented capitals (École) and scripts with vowel signs are cut otherwise there, and come back so.
"""

from __future__ import annotations

from course_lib.artifacts.gguf.values import GGUFError

_END = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
LLAMA_3 = _WORDS + r"|\p{N}{1,3}" + _END  # digits by three
QWEN_2 = _WORDS + r"|\p{N}" + _END  # digits one by one

_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_AHEAD, _REST = r"[^\r\n\p{L}\p{N}]?", r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _cased(capital: str, small: str, short: str, digits: str) -> str:
    """A word of capitals and then small letters, at least one of the small ones, or else of the capitals."""
    return f"{_AHEAD}{capital}*{small}+{short}|{_AHEAD}{capital}+{small}*{short}|{digits}{_REST}"


_PUBLISHED = (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]")  # of the families' tokenizer.json
_LLAMA_CPP = (r"(?:(?=\p{L})[^a-z])", r"(?:(?=\p{L})[^A-Z])")
GPT_4O, TEKKEN = (_cased(*_LLAMA_CPP, *more) for more in ((_SHORT, r"\p{N}{1,3}"), ("", r"\p{N}")))
KNOWN = {  # expressions of the families' tokenizer.json, all of which match any text from end to end
    _cased(*_PUBLISHED, _SHORT, r"\p{N}{1,3}"): GPT_4O, _cased(*_PUBLISHED, "", r"\p{N}"): TEKKEN,
    LLAMA_3: LLAMA_3, QWEN_2: QWEN_2,
}  # fmt: skip

CUTS = {  # name: (steps, whether a piece that is a token is taken whole, without its merges)
    "gpt-2": ((("ByteLevel", True),), False),
    "smollm": ((("Digits", True), ("ByteLevel", True)), False),
    "llama-bpe": ((("Split", LLAMA_3), ("ByteLevel", False)), True),
    "smaug-bpe": ((("Split", LLAMA_3), ("ByteLevel", False)), False),  # Llama 3's cut in SmolLM3 and others
    "qwen2": ((("Split", QWEN_2), ("ByteLevel", False)), False),
    "gpt-4o": ((("Split", GPT_4O), ("ByteLevel", False)), False),  # Phi-4-mini's
    "tekken": ((("Split", TEKKEN), ("ByteLevel", False)), True),  # Mistral Nemo's
}
ALIKE = {  # the same in llama.cpp; dbrx is Phi-4's, falcon3 that of llama files, too
    "llama3": "llama-bpe", "llama-v3": "llama-bpe", "falcon3": "llama-bpe", "dbrx": "smaug-bpe",
    "deepseek-r1-qwen": "qwen2", "llama4": "gpt-4o",
}  # fmt: skip


def name_of(described: dict) -> str:
    """llama.cpp's name for the cut of a tokenizer, from its tokenizer.json; ValueError where it has none.

    A normalizer is refused, but for NFC: Qwen's tokenizers have it, and llama.cpp goes without, so that letters that
    come as a base and an accent (e + ´) give other tokens there.
    """
    normalizer = described.get("normalizer") or {"type": "NFC"}
    if normalizer["type"] != "NFC":
        raise ValueError(f"tokenizer must not change text before it is cut, got the normalizer {normalizer['type']}")
    steps = described["pre_tokenizer"] or {"type": "nothing"}
    steps = tuple(_step(step) for step in steps.get("pretokenizers", [steps]))
    whole = bool(described["model"].get("ignore_merges"))
    for name, cut in CUTS.items():
        if cut == (steps, whole):
            return name
    said = [text if len(text := f"{kind} {value}") < 60 else f"{text[:60]}…" for kind, value in steps]
    raise ValueError(f"tokenizer must cut text as one of {', '.join(CUTS)} does, got {said}"
                     f"{' and ignore_merges' if whole else ''}")  # fmt: skip


def _step(step: dict) -> tuple:
    """(kind, what matters about it) of one step; a kind that no cut has where it is not usual in any other way."""
    kind = step["type"]
    pattern = step["pattern"].get("Regex", step["pattern"]) if kind == "Split" else None
    if kind == "Split" and (step["behavior"], step["invert"]) == ("Removed", True) and pattern in KNOWN:
        return kind, KNOWN[pattern]  # tiktoken's, as many convert it: what does not match goes, and nothing does
    if kind == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
        return kind, KNOWN.get(pattern, pattern) if isinstance(pattern, str) else pattern
    if kind == "ByteLevel" and not step["add_prefix_space"]:
        return kind, step.get("use_regex", True)
    if kind == "Digits":
        return kind, step["individual_digits"]
    return kind, step


def build(name) -> tuple:
    """(pre-tokenizer, whether pieces are taken whole) by llama.cpp's name; GGUFError for one that is not known."""
    from tokenizers import Regex, pre_tokenizers

    known = ALIKE.get(name, name) if isinstance(name, str) else None
    if known not in CUTS:
        raise GGUFError(f"tokenizer.ggml.pre must be one of {', '.join((*CUTS, *ALIKE))}, got {name!r:.60}")
    make = {
        "Split": lambda value: pre_tokenizers.Split(Regex(value), "isolated"),
        "Digits": lambda value: pre_tokenizers.Digits(individual_digits=value),
        "ByteLevel": lambda value: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=value),
    }
    steps, whole = CUTS[known]
    made = [make[kind](value) for kind, value in steps]
    return (made[0] if len(made) == 1 else pre_tokenizers.Sequence(made)), whole
