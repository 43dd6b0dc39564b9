"""ch03.mixed: the bits per weight of a model that is not quantized everywhere; one is measured, one is published."""

import math

from course_lib.capacity import parameter_shapes
from course_lib.checks import Exercise, Wrong, law, near
from course_lib.models import BUNDLED

EXPERTS, REST, ACTIVE = 114.71e9, 2.12e9, 5.13e9  # gpt-oss-120b, from its model card
LLAMA = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": 1024, "tie_word_embeddings": True}  # fmt: skip


def _bot():
    """(weights of the linears, all others) of the bundled model; of its architecture where the files are missing."""
    try:
        shapes = parameter_shapes(BUNDLED)
    except FileNotFoundError:
        shapes = parameter_shapes(LLAMA)
    linears = sum(math.prod(shape) for name, shape in shapes.items() if "_proj" in name)
    return linears, sum(math.prod(shape) for shape in shapes.values()) - linears


LINEARS, OTHER = _bot()


def _bot_bits(linear_bits, other_bits=16):
    return (linear_bits * LINEARS + other_bits * OTHER) / (LINEARS + OTHER)


def _gib(params, bits):
    return params * bits / 8 / 2**30


GPT_BITS = (EXPERTS * 4.25 + REST * 16) / (EXPERTS + REST)
RIGHT = {"bot_bits": _bot_bits(4.125), "gpt_oss_bits": GPT_BITS, "gpt_oss_gib": _gib(EXPERTS + REST, GPT_BITS)}


def _near(key, share, said, otherwise="All bits, divided by all weights."):
    return near(key, RIGHT[key], said, otherwise, rtol=share)


EXERCISE = Exercise(
    id="ch03.mixed",
    title="What a 4-bit model really stores",
    spec="Bits per weight of the bot with 4-bit linears in groups of 128; bits per weight and GiB of gpt-oss-120b.",
    kind="measure",
    stub="""
claim = {
    "bot_bits": ...,  # bits of everything in bot4, divided by all its weights
    "gpt_oss_bits": ...,  # 114.71 billion weights at 4.25 bits, 2.12 billion at 16
    "gpt_oss_gib": ...,  # the same model in GiB
}
""",
    reference=lambda: dict(RIGHT),
    solution_source=f"""
total = 114.71e9 * 4.25 + 2.12e9 * 16  # bits
claim = {{
    "bot_bits": (4.125 * {LINEARS} + 16 * {OTHER}) / {LINEARS + OTHER},  # 8 * calibrate.model_bytes(bot4) / weights
    "gpt_oss_bits": total / (114.71e9 + 2.12e9),
    "gpt_oss_gib": total / 8 / 2**30,
}}
""",
    properties=[
        law(
            "the bot's bits per weight",
            _near(
                "bot_bits",
                0.005,
                [
                    (4.125, "4.125 is what its linears store. Embedding and norms are weights, too, at 16 bits."),
                    (_bot_bits(4), "You left out the scales: 16 bits for each group of 128."),
                    (4, "That counts the codes only: no scales, and no embedding."),
                    (10, "That is the plain mean of 4 and 16. There are nine times as many of the one."),
                    (16 * _bot_bits(4.125) / 8, "That is twice as much. Did you multiply bytes by 16 instead of 8?"),
                    (_bot_bits(4.125) / 8, "These are bytes per weight."),
                ],
            ),
            "What is stored, divided by what it stands for. Nothing is left out.",
        ),
        law(
            "gpt-oss-120b, bits per weight",
            _near(
                "gpt_oss_bits",
                0.005,
                [
                    (4.25, "4.25 is the experts' width. The other 2.12 billion weights have 16."),
                    (10.125, "That is the plain mean of 4.25 and 16. There are 54 times as many of the one."),
                    (4.543, "A little too much: weigh 4.25 by its share, too, and divide by all 116.83 billion."),
                ],
            ),
            "Each part weighs as much as it has weights.",
        ),
        law(
            "gpt-oss-120b, GiB",
            _near(
                "gpt_oss_gib",
                0.005,
                [
                    (RIGHT["gpt_oss_gib"] * 2**30 / 1e9, "65.2 is right in GB. A GiB has 2³⁰ bytes."),
                    (_gib(EXPERTS, 4.25), "The 2.12 billion weights at 16 bits are missing."),
                    (_gib(ACTIVE, GPT_BITS), "Those are the active weights. All of them have to be in memory."),
                    (_gib(EXPERTS + REST, 4.25), "That is 4.25 bits for every weight. 2.12 billion have 16."),
                    (8 * RIGHT["gpt_oss_gib"], "Those are bits. Eight of them make a byte."),
                    (RIGHT["gpt_oss_gib"] * 2**30, "Those are bytes. A GiB has 2³⁰ of them."),
                ],
                "All bits, divided by 8 and by 2³⁰.",
            ),
            "A token may call any expert, so all of them have to be there.",
        ),
    ],
    wrong=[
        Wrong(
            "only the 4-bit part counted",
            {"bot_bits": 4.125, "gpt_oss_bits": 4.25, "gpt_oss_gib": _gib(EXPERTS, 4.25)},
            "What stays at 16 bits is small in number, but each of its weights costs four times as much.",
        ),
        Wrong(
            "the plain mean of the two widths",
            {"bot_bits": (4.125 + 16) / 2, "gpt_oss_bits": 10.125, "gpt_oss_gib": _gib(EXPERTS + REST, 10.125)},
            "Weigh each width by the number of weights that have it.",
        ),
        Wrong(
            "GB called GiB",
            RIGHT | {"gpt_oss_gib": RIGHT["gpt_oss_gib"] * 2**30 / 1e9},
            "You divided bytes by 10⁹. A GiB has 2³⁰ bytes, 7.4 % more.",
        ),
        Wrong(
            "active weights taken for all weights",
            RIGHT | {"gpt_oss_gib": _gib(ACTIVE, GPT_BITS)},
            "A token uses 5.13 billion of the weights, but the next token may use others. Memory has to hold all.",
        ),
        Wrong(
            "scales forgotten",
            RIGHT | {"bot_bits": _bot_bits(4)},
            "Each group of 128 codes has a 16-bit scale: 16 / 128 = 0.125 bits a weight on top of the 4.",
        ),
        Wrong(
            "4 bits for everything",
            {"bot_bits": 4.0, "gpt_oss_bits": 4.0, "gpt_oss_gib": _gib(EXPERTS + REST, 4)},
            "That is the name, not the file. Count the scales, and the parts that stay at 16 bits.",
        ),
    ],
    hints=[
        "Count every bit, then divide by every weight. calibrate.model_bytes(bot4) counts the bot's bytes for you.",
        "3 million weights at 4.25 bits and 1 million at 16: (12.75 + 16) / 4 = 7.1875 bits a weight; "
        "28.75 million bits are 3.59 million bytes, 3.43 MiB.",
        'total = 114.71e9 * ____ + 2.12e9 * ____\nclaim = {\n    "bot_bits": 8 * calibrate.model_bytes(____) / ____,\n'
        '    "gpt_oss_bits": total / ____,\n    "gpt_oss_gib": total / ____ / 2**30,\n}',
    ],
    passed="OpenAI publishes 60.8 GiB for this checkpoint. A width in a name is that of most weights, not of all.",
)
