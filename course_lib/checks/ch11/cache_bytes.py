"""ch11.cache_bytes: what a cache takes, for four kinds of attention and for layers with a window."""

from course_lib.checks import Case, Exercise, Wrong, equals_reference, relation


def cache_bytes(layers, tokens, batch):
    total = 0
    for layer in layers:
        kept = tokens if layer["window"] is None else min(tokens, layer["window"])
        if "rank" in layer:
            numbers = layer["rank"] + layer["rope"]
        else:
            numbers = 2 * layer["kv_heads"] * layer["head_dim"]
        total += 2 * batch * kept * numbers
    return total


def _variant(mla=lambda x: x["rank"] + x["rope"], other=lambda x: 2 * x["kv_heads"] * x["head_dim"],
             kept=lambda n, w: n if w is None else min(n, w), width=2, times=lambda batch: batch):  # fmt: skip
    def wrong(layers, tokens, batch):
        numbers = [mla(x) if "rank" in x else other(x) for x in layers]
        held = [kept(tokens, x["window"]) for x in layers]
        return width * times(batch) * sum(a * b for a, b in zip(numbers, held, strict=True))

    return wrong


def _first_for_all(layers, tokens, batch):
    return len(layers) * cache_bytes(layers[:1], tokens, batch)


def _layer(heads, kv_heads, head_dim, window=None):
    return {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "window": window}


def _mla(heads, rank, rope, window=None):
    return {"heads": heads, "rank": rank, "rope": rope, "window": window}


def _adds_up(run, layers, tokens, batch):
    parts = sum(run([layer], tokens, batch) for layer in layers)
    whole = run(layers, tokens, batch)
    return whole == parts or f"The layers one by one take {parts} bytes, all together {whole}."


def _batch(run, layers, tokens, batch):
    one, some = run(layers, tokens, 1), run(layers, tokens, batch)
    return some == batch * one or f"One sequence takes {one} bytes, {batch} of that length {some}."


EXERCISE = Exercise(
    id="ch11.cache_bytes",
    title="Four kinds of attention",
    spec="cache_bytes(layers, tokens, batch): bytes of a cache of 16-bit numbers; each layer says what it keeps.",
    kind="build",
    stub='''
def cache_bytes(layers, tokens, batch):
    """Bytes of the 16-bit cache of `batch` sequences of `tokens` tokens; `layers` is a list of dicts.

    MHA, GQA, MQA: {"heads", "kv_heads", "head_dim", "window"}; MLA: {"heads", "rank", "rope", "window"}.
    "window" is the most tokens that the layer keeps, None if it keeps all.
    """
    ...
''',
    reference=cache_bytes,
    cases=[
        Case("one head, one token", [_layer(1, 1, 2)], 1, 1),
        Case("MHA", [_layer(4, 4, 8)], 10, 1),
        Case("GQA", [_layer(4, 2, 8)], 10, 3),
        Case("MQA", [_layer(6, 1, 8)], 10, 1),
        Case("MLA", [_mla(4, 20, 8)], 10, 2),
        Case("a window that is full", [_layer(4, 2, 8, 6)], 10, 1),
        Case("a window that is not", [_layer(4, 2, 8, 60)], 10, 1),
        Case("MLA with a window", [_mla(4, 20, 8, 6)], 10, 1),
        Case("a hybrid", [_layer(4, 2, 8, 6), _layer(4, 2, 8), _mla(4, 20, 8), _layer(4, 1, 8)], 100, 2),
        Case("Llama 3 8B", [_layer(32, 8, 128)] * 32, 8192, 32),
    ],
    properties=[
        relation("layers add up", _adds_up, "Each layer has a cache of its own."),
        relation("sequences add up", _batch, "Nobody shares anything here."),
        equals_reference(why="Whole numbers."),
    ],
    wrong=[
        Wrong(
            "keys, no values",
            _variant(other=lambda x: x["kv_heads"] * x["head_dim"]),
            "That is half of it: a layer keeps a key *and* a value of each head. Times 2.",
        ),
        Wrong(
            "every query head",
            _variant(other=lambda x: 2 * x["heads"] * x["head_dim"]),
            "Queries are not kept. Under GQA several of them read the same key: count kv_heads.",
        ),
        Wrong(
            "numbers, not bytes",
            _variant(width=1),
            "That counts numbers. Each of 16 bits takes 2 bytes.",
        ),
        Wrong(
            "bits, not bytes",
            _variant(width=16),
            "Those are bits. Eight of them make a byte.",
        ),
        Wrong(
            "four bytes a number",
            _variant(width=4),
            "That is the cache at 32 bits, or the 2 of K and V twice. A number of 16 bits takes 2 bytes.",
        ),
        Wrong(
            "MLA twice",
            _variant(mla=lambda x: 2 * (x["rank"] + x["rope"])),
            "MLA keeps one vector from which keys and values are both computed: no factor of 2.",
        ),
        Wrong(
            "MLA in every head",
            _variant(mla=lambda x: x["heads"] * (x["rank"] + x["rope"])),
            "The compressed vector serves all heads: it is kept once a layer.",
        ),
        Wrong(
            "a rotated part in every head",
            _variant(mla=lambda x: x["rank"] + x["heads"] * x["rope"]),
            "All heads read the same rotated part: `rope` numbers once, not once a head.",
        ),
        Wrong(
            "MLA without its rotated part",
            _variant(mla=lambda x: x["rank"]),
            "MLA also keeps the part of the key that carries the position, `rope` numbers, beside the `rank` ones.",
        ),
        Wrong(
            "no window",
            _variant(kept=lambda n, w: n),
            "A layer with a window forgets what has left it: it keeps min(tokens, window).",
        ),
        Wrong(
            "no window for MLA",
            lambda layers, tokens, batch: sum(
                cache_bytes([x | {"window": None} if "rank" in x else x], tokens, batch) for x in layers
            ),
            "Every layer may have a window, one with MLA, too: it keeps min(tokens, window).",
        ),
        Wrong(
            "the longer of text and window",
            _variant(kept=lambda n, w: n if w is None else max(n, w)),
            "You took the larger of tokens and window. A window is the *most* that is kept: min(tokens, window).",
        ),
        Wrong(
            "always a full window",
            _variant(kept=lambda n, w: n if w is None else w),
            "A window of 60 keeps 10 tokens of a text of 10: min(tokens, window).",
        ),
        Wrong(
            "one sequence",
            _variant(times=lambda batch: 1),
            "That is one sequence. Each of the batch has a cache of its own.",
        ),
        Wrong(
            "all layers like the first",
            _first_for_all,
            "You took every layer for a copy of the first. In a hybrid they differ: add them up one by one.",
        ),
        Wrong(
            "only the last layer",
            lambda layers, tokens, batch: cache_bytes(layers[-1:], tokens, batch),
            "Each layer overwrites what the ones before it brought: `+=`, not `=`.",
        ),
        Wrong(
            "what the window leaves out",
            _variant(kept=lambda n, w: n if w is None else n - w),
            "tokens − window is what the layer has forgotten. It keeps min(tokens, window).",
        ),
        Wrong(
            "queries for each key",
            _variant(other=lambda x: 2 * (x["heads"] // x["kv_heads"]) * x["head_dim"]),
            "heads / kv_heads says how many queries read one key. What is kept are kv_heads keys and values.",
        ),
        Wrong(
            "rank times rope",
            _variant(mla=lambda x: x["rank"] * x["rope"]),
            "`rank` numbers are kept, and `rope` numbers beside them: add the two.",
        ),
        Wrong(
            "the return inside the loop",
            lambda layers, tokens, batch: cache_bytes(layers[:1], tokens, batch),
            "Your function returns after the first layer. Move the return out of the loop, to the left.",
        ),
        Wrong(
            "the latent part in every head",
            _variant(mla=lambda x: x["heads"] * x["rank"] + x["rope"]),
            "The latent vector is there once: each head computes its own keys and values from it.",
        ),
        Wrong(
            "None compared with a number",
            _variant(kept=lambda n, w: min(n, w)),
            "`min(tokens, None)` cannot be told. A window of None means that the layer keeps all tokens: ask for it "
            "first.",
        ),
        Wrong(
            "MLA overlooked",
            _variant(mla=lambda x: 2 * x["kv_heads"] * x["head_dim"]),
            'An MLA layer has no "kv_heads": it keeps rank + rope numbers a token. `if "rank" in layer` tells it '
            "apart.",
        ),
    ],
    hints=[
        "How many numbers does one layer keep of one token? How many tokens does it keep? Multiply, add the layers up, "
        "and mind that a number has 16 bits.",
        "GQA with 4 heads, 2 kv_heads of 8: 2 · 2 · 8 = 32 numbers a token. Ten tokens: 320 numbers, 640 bytes.",
        '    for layer in layers:\n        kept = tokens if layer["window"] is ____ else min(____)\n'
        '        numbers = layer["rank"] + ____ if "rank" in layer else 2 * ____ * ____\n'
        "        total += 2 * ____ * kept * numbers",
    ],
    passed="Neither weights nor query heads appear in it: two models of one size can differ by sixty times.",
)
