"""ch11.saved: DeepSeek-V2 keeps 93.3 % less. Less than what, and in which numbers?"""

from course_lib.checks import Exercise, Wrong, law, near

RIGHT = {"same_shape": 98.24, "other_model": 82.24, "bits": 6.03}


def _near(key, tolerance, said):
    return near(key, RIGHT[key], said, "Write both sizes down, then divide.", atol=tolerance)


EXERCISE = Exercise(
    id="ch11.saved",
    title="93.3 % less than what?",
    spec="Three figures behind a published one: against its own shape, against the older model, and the bits.",
    kind="explain",
    stub="""
claim = {
    "same_shape": ...,  # % that V2 saves against itself with MHA: 128 heads of 128, K and V, all at 16 bits
    "other_model": ...,  # % that V2 saves against DeepSeek 67B, all at 16 bits
    "bits": ...,  # at how many bits a number does V2 save 93.3 % against DeepSeek 67B at 16 bits?
}
""",
    reference=RIGHT,
    solution_source="""
v2, older = 60 * (512 + 64), 95 * 2 * 8 * 128  # numbers a token, all layers
claim = {
    "same_shape": 100 * (1 - v2 / (60 * 2 * 128 * 128)),  # 98.2
    "other_model": 100 * (1 - v2 / older),  # 82.2
    "bits": (1 - 0.933) * 16 * older / v2,  # 6.03: six bits
}
""",
    properties=[
        law(
            "against its own shape",
            _near("same_shape", 0.06, {
                82.24: "That is what it saves against DeepSeek 67B, one line further down.",
                1.76: "1.76 % is what is left. Asked is what is saved.",
                96.48: "Keys *and* values: MHA keeps 2 · 128 · 128 numbers a layer, MLA one vector of 576.",
                98.44: "V2 keeps 512 + 64 numbers, the rotated part of the key, too.",
                98: "Rounded too far: give one decimal.",
                0.9824: "Right, but the claim is in percent.",
            }),
            "60 layers on both sides: 576 numbers a token against 2 · 128 · 128.",
        ),
        law(
            "against the older model",
            _near("other_model", 0.06, {
                17.76: "17.76 % is what is left. Asked is what is saved.",
                71.88: "Both models keep their numbers in layers: V2 has 60 of them, DeepSeek 67B has 95.",
                64.47: "DeepSeek 67B keeps keys *and* values, 2 · 8 · 128 numbers a layer.",
                97.78: "DeepSeek 67B has 64 query heads, but 8 key-value heads. Only those are kept.",
                84.21: "V2 keeps 512 + 64 numbers, the rotated part of the key, too.",
                93.3: "That is the published figure. At 16 bits on both sides it does not come out.",
                82: "Rounded too far: give one decimal.",
                0.8224: "Right, but the claim is in percent.",
            }),
            "60 · 576 numbers a token against 95 · 2 · 8 · 128.",
        ),
        law(
            "the bits",
            _near("bits", 0.1, {
                14.93: "That is 93.3 % of 16 bits. It compares sizes of caches: V2 also keeps fewer numbers.",
                6.78: "V2 keeps 512 + 64 numbers, the rotated part of the key, too.",
                16: "At 16 bits V2 saves what you wrote in the line above.",
                8: "At 8 bits it saves 91.1 %.",
                4: "At 4 bits it saves 95.6 %.",
                1.07: "6.7 % of 16 bits would do if both kept as many numbers. V2 keeps fewer, so each may have more.",
                84.04: "Saved are 93.3 %. What is left, 6.7 %, is shared by V2's numbers.",
                60.8: "You compared with the same shape. The 93.3 % are against DeepSeek 67B.",
            }),
            "6.7 % of DeepSeek 67B's bits, spread over V2's numbers.",
        ),
    ],
    wrong=[
        Wrong(
            "what is left, not what is saved",
            {"same_shape": 1.76, "other_model": 17.76, "bits": 6},
            "You give what remains. Saved is the rest of 100 %.",
        ),
        Wrong(
            "shares, not percent",
            {"same_shape": 0.9824, "other_model": 0.8224, "bits": 6},
            "Right as shares of one. The claim asks for percent.",
        ),
        Wrong(
            "layers forgotten",
            RIGHT | {"other_model": 71.88, "bits": 4},
            "A token is kept in every layer, and 67B has 95 of them where V2 has 60.",
        ),
        Wrong(
            "the printed figure believed",
            RIGHT | {"other_model": 93.3, "bits": 16},
            "The figure was taken from the paper, and so nothing was left for the bits to explain. Compute the line.",
        ),
        Wrong(
            "values forgotten",
            {"same_shape": 96.48, "other_model": 64.47, "bits": 3},
            "MHA and GQA keep a key and a value of each head: twice as many numbers as you counted for them.",
        ),
        Wrong(
            "query heads counted",
            RIGHT | {"other_model": 97.78, "bits": 48},
            "DeepSeek 67B uses GQA: 64 heads ask, 8 keys and values are kept.",
        ),
        Wrong(
            "the rotated part forgotten",
            {"same_shape": 98.44, "other_model": 84.21, "bits": 7},
            "MLA keeps kv_lora_rank + qk_rope_head_dim numbers: 512 + 64.",
        ),
    ],
    hints=[
        "Numbers a token: layers times what one layer keeps. MLA keeps rank + rope; GQA keeps 2 · kv_heads · head_dim.",
        "A model that keeps 100 numbers a token saves 75 % against one with 400. Stored in 8 bits instead of 16, it "
        "saves 87.5 %.",
        'v2, older = 60 * (____ + ____), 95 * 2 * ____ * 128\nclaim = {\n'
        '    "same_shape": 100 * (1 - v2 / (60 * ____)),\n'
        '    "other_model": 100 * (1 - v2 / ____),\n    "bits": (1 - 0.933) * 16 * ____ / ____,\n}',
    ],
    passed="Three honest percentages of one model. Ask of each: less than what, and at how many bits?",
)  # fmt: skip
