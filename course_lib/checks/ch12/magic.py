"""ch12.magic: a float without a conversion."""

from course_lib.checks import Exercise, Wrong, law, near

RIGHT = {"bits_of_1024": 0x6400, "with_11": 1035.0, "shifted": 1200.0, "widest": 10, "bfloat16": 128}


def _is(key, said):
    return near(key, RIGHT[key], said, "Write down sign, exponent and mantissa.")


EXERCISE = Exercise(
    id="ch12.magic",
    title="A float without a conversion",
    spec="Five figures about codes among the mantissa bits of a float.",
    kind="explain",
    stub="""
claim = {
    "bits_of_1024": ...,  # the 16 bits of the float16 1024.0, as a whole number (0x… is fine)
    "with_11": ...,  # the float16 whose bits are bits_of_1024 | 11
    "shifted": ...,  # the float16 whose bits are bits_of_1024 | (11 << 4): a nibble left where it was in its byte
    "widest": ...,  # the most bits that a code may have to fit below that leading one
    "bfloat16": ...,  # the power of two to use in bfloat16 (8 exponent bits, 7 mantissa bits), so that code 1 adds 1
}
""",
    reference=RIGHT,
    solution_source="""
claim = {
    "bits_of_1024": 0x6400,  # 0 11001 0000000000: exponent 25 - 15 = 10
    "with_11": 1035.0,  # the last mantissa bit of 1024 is worth 2^(10 - 10) = 1
    "shifted": 1200.0,  # 1024 + 16 * 11
    "widest": 10,  # float16 has ten mantissa bits
    "bfloat16": 128,  # 2^7: seven mantissa bits
}
""",
    properties=[
        law(
            "the bits of 1024",
            _is("bits_of_1024", {
                0x4400: "0x4400 has exponent 17 − 15 = 2: that is 4.0. 1024 is 2^10, stored as 10 + 15.",
                0x2800: "The exponent is stored with 15 added: 10 + 15 = 25 = 0b11001, followed by ten zeros.",
                1024: "1024 is the number. Asked are the bits that stand for it as a float16.",
                6400: "0x6400 is hexadecimal. Write it so, or as 25600.",
                0x4B000000: "Those are the bits of 2^23 in float32. A float16 has 16 bits.",
                0x4480: "Those are the bits of 1024 as bfloat16. float16 has 5 exponent bits and 10 of mantissa.",
            }),
            "Sign 0, exponent 10 + 15, mantissa 0.",
        ),
        law(
            "a code in the lowest bits",
            _is("with_11", {
                11: "That is the code. The leading 1024 is still there: it is taken off in one subtraction.",
                1024: "The code has changed the mantissa: what are its lowest bits worth?",
                2048: "0x6400 | 11 sets mantissa bits, not the exponent.",
                25611: "25611 is the bit pattern read as a whole number. Read it as a float16.",
            }),
            "The last of ten mantissa bits of 2^10 is worth 1.",
        ),
        law(
            "a code four bits further up",
            _is("shifted", {
                1068: "Four bits further up is a factor of 2^4, not of 4.",
                1035: "Shifted by four bits, the code is worth sixteen times as much.",
                176: "176 = 16 · 11 is what the code adds. The leading 1024 is still there.",
                1024: "The code lies among mantissa bits 4 to 7, all of which are kept.",
            }),
            "Bits 4 to 7 are worth 16 to 128.",
        ),
        law(
            "the widest code",
            _is("widest", {
                4: "Four bits fit, and more would: how many mantissa bits has a float16?",
                11: "Eleven counts the leading one, which is not stored. Ten bits are there to be filled.",
                16: "Of the 16 bits one is sign and five are exponent.",
                7: "That is bfloat16's mantissa.",
                8: "Eight fit, and two more would.",
            }),
            "Ten mantissa bits are stored.",
        ),
        law(
            "the same in bfloat16",
            _is("bfloat16", {
                1024: "In bfloat16 the last mantissa bit of 1024 is worth 8: code 1 adds 8, not 1.",
                256: "Seven mantissa bits: the last one of 2^e is worth 2^(e − 7). It is 1 for e = 7.",
                64: "The last mantissa bit of 64 is worth one half.",
                7: "2^7, then: the number, not its exponent.",
                0x4300: "0x4300 are the bits of the right number. Asked is the number itself.",
                8388608: "2^23 is float32's. bfloat16 has 7 mantissa bits, not 23.",
            }),
            "The last of seven mantissa bits of 2^7 is worth 1.",
        ),
    ],
    wrong=[
        Wrong(
            "the leading one forgotten",
            RIGHT | {"with_11": 11, "shifted": 176},
            "The bits are those of 1024 and the code together. One subtraction takes 1024 off.",
        ),
        Wrong(
            "exponent without its bias",
            RIGHT | {"bits_of_1024": 0x2800},
            "float16 stores exponent + 15: 25 for 2^10. Ten zeros of mantissa follow.",
        ),
        Wrong(
            "shift ignored",
            RIGHT | {"shifted": 1035},
            "Four bits further up a bit is worth sixteen times as much: 16 · 11.",
        ),
        Wrong(
            "hidden bit counted",
            RIGHT | {"widest": 11},
            "The leading one is not stored. Ten stored bits can hold a code.",
        ),
        Wrong(
            "the same magic number for bfloat16",
            RIGHT | {"bfloat16": 1024},
            "bfloat16 has 7 mantissa bits: the last one of 1024 is worth 8. With 128 it is worth 1.",
        ),
        Wrong(
            "one bit too many in bfloat16",
            RIGHT | {"bfloat16": 256},
            "The last of seven mantissa bits of 256 is worth 2.",
        ),
        Wrong(
            "bits read as a whole number",
            RIGHT | {"with_11": 25611, "shifted": 25776},
            "Those are the bit patterns as integers. Read them as float16: sign, exponent, mantissa.",
        ),
    ],
    hints=[
        "A float is 1.mantissa × 2^exponent. Which bit of the mantissa is worth 1 when the exponent is 10, and which "
        "one is the last that float16 has?",
        "float16 has 5 exponent bits (15 added) and 10 mantissa bits. 4.0 = 2^2: exponent 17, 0 10001 0000000000 = "
        "0x4400. Its last mantissa bit is worth 4 / 1024.",
        'claim = {\n    "bits_of_1024": (10 + ____) << ____,\n    "with_11": 1024 + ____,\n'
        '    "shifted": 1024 + ____ * 11,\n    "widest": ____,\n    "bfloat16": 2 ** ____,\n}',
    ],
    passed="An OR and a subtraction in place of a conversion. Whether that pays, the machine code says, not the idea.",
)  # fmt: skip
