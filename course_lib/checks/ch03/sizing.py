"""ch03.sizing: will a 70B model run on an 8 GB card? Three figures and a verdict."""

from course_lib.checks import Exercise, Wrong, law, near

RIGHT = {"fp16_gb": 140.0, "int4_gb": 35.0, "usable_gb": 6.4, "fits": False, "largest": 12.8}


def _near(key, said):
    return near(key, RIGHT[key], said, "Write the product down with its units.", rtol=0.006)


def _verdict(got):
    return got["fits"] is False or "Compare the two figures above: what is needed, and what is free."


EXERCISE = Exercise(
    id="ch03.sizing",
    title="Does it fit?",
    spec="70 billion weights on a card of 8 GB, a fifth kept free: what they need, what there is, and a verdict.",
    kind="explain",
    stub="""
claim = {
    "fp16_gb": ...,  # GB of 70 billion weights at 16 bits each
    "int4_gb": ...,  # GB of the same weights at 4 bits each, without scales
    "usable_gb": ...,  # GB of an 8 GB card when a fifth stays free for cache and runtime
    "fits": ...,  # do the 4-bit weights fit? True or False
    "largest": ...,  # how many billion weights of 4 bits fit into what is usable
}
""",
    reference=RIGHT,
    solution_source="""
claim = {
    "fp16_gb": 70 * 16 / 8,  # 140: two bytes a weight
    "int4_gb": 70 * 4 / 8,  # 35: half a byte a weight
    "usable_gb": 8 * 0.8,  # 6.4
    "fits": False,  # 35 is more than five times 6.4
    "largest": 6.4 / (4 / 8),  # 12.8 billion
}
""",
    properties=[
        law(
            "the model at 16 bits",
            _near(
                "fp16_gb",
                {
                    1120: "1120 are gigabits. Eight bits make a byte.",
                    280: "That is 4 bytes a weight. 16 bits are 2.",
                    70: "That is one byte a weight. 16 bits are 2.",
                    140e9: "Those are bytes. A GB is 10⁹ of them.",
                    130.4: "130.4 is right in GiB. The claim asks for GB, of 10⁹ bytes.",
                },
            ),
            "A billion weights of one byte are a GB; 16 bits are two bytes.",
        ),
        law(
            "the model at 4 bits",
            _near(
                "int4_gb",
                {
                    280: "280 are gigabits. Eight bits make a byte.",
                    17.5: "That is 2 bits a weight. Four bits are half a byte.",
                    70: "That is one byte a weight. Four bits are half a byte.",
                    36.1: "You counted scales, too. They come in the next sections: here only the codes.",
                    32.6: "32.6 is right in GiB. The claim asks for GB, of 10⁹ bytes.",
                },
            ),
            "Two 4-bit codes share a byte.",
        ),
        law(
            "what is usable",
            _near(
                "usable_gb",
                {
                    1.6: "1.6 GB is the fifth that stays free.",
                    7.8: "A fifth of 8 GB is more than 0.2 GB.",
                    8: "Nothing is left for the cache and the runtime.",
                    6.67: "8 / 1.2 leaves a sixth of the card free. A fifth of 8 GB is 1.6.",
                    6.87: "You took the card for 8 GiB, which is what is built in. Take the 8 GB at its word here.",
                },
            ),
            "Weights are not alone: the KV cache, activations and the runtime live on the same card.",
        ),
        law("the verdict", _verdict, "A model that does not fit does not run on the card alone, at any speed."),
        law(
            "the largest model that fits",
            _near(
                "largest",
                {
                    12.8e9: "Right, but the claim counts in billions.",
                    12: "Why round? The answer need not be whole.",
                    13: "Why round? 13 billion would not fit any more.",
                    6.4: "That is one byte a weight. At 4 bits two weights share a byte.",
                    3.2: "You halved where you should double: two weights share a byte.",
                    1.6: "That divides by 4 bytes a weight. 4 bits are half a byte.",
                    16: "That fills the whole card and leaves nothing free.",
                    25.6: "That is a quarter of a byte a weight. 4 bits are half a byte.",
                    13.74: "You took the card for 8 GiB, which is what is built in. Take the 8 GB at its word here.",
                },
            ),
            "The same product the other way round: bytes divided by bytes per weight.",
        ),
    ],
    wrong=[
        Wrong(
            "bits taken for bytes",
            RIGHT | {"fp16_gb": 1120.0, "int4_gb": 280.0, "largest": 1.6},
            "Bits per weight divided by 8 are bytes per weight: 16 bits are 2 bytes, 4 bits are half a byte.",
        ),
        Wrong(
            "GiB instead of GB",
            RIGHT | {"fp16_gb": 130.4, "int4_gb": 32.6},
            "You divided by 2³⁰. GB are 10⁹ bytes; GiB come in the next section.",
        ),
        Wrong(
            "a quarter of the bits, half of the bytes",
            RIGHT | {"int4_gb": 70.0, "largest": 6.4},
            "70 GB are 8 bits a weight. From 16 to 4 bits the model halves twice.",
        ),
        Wrong(
            "the reserve, not the rest",
            RIGHT | {"usable_gb": 1.6, "largest": 3.2},
            "A fifth of 8 GB stays free: 1.6 GB. The other four fifths hold the weights.",
        ),
        Wrong(
            "no reserve",
            RIGHT | {"usable_gb": 8.0, "largest": 16.0},
            "With every byte taken by weights, the first token has no room for its cache.",
        ),
        Wrong(
            "4 bits make everything fit",
            RIGHT | {"fits": True},
            "Four bits make the model four times smaller. 35 GB is still more than five times 6.4 GB.",
        ),
    ],
    hints=[
        "A billion weights of one byte are one GB. How many bytes is a weight of 16 bits? Of 4 bits?",
        "A 7B model: 7 · 2 = 14 GB at 16 bits, 7 · 0.5 = 3.5 GB at 4. A 24 GB card keeps 24 · 0.8 = 19.2 GB usable, "
        "room for 19.2 / 0.5 = 38.4 billion 4-bit weights.",
        'claim = {\n    "fp16_gb": 70 * ____,\n    "int4_gb": 70 * ____,\n    "usable_gb": 8 * ____,\n'
        '    "fits": ____,\n    "largest": ____ / 0.5,\n}',
    ],
    passed="Not on this card, even at 4 bits: a smaller model, a larger card, or part of it in the host's memory.",
)
