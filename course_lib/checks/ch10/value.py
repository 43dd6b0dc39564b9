"""ch10.value: the number that a code of any minifloat stands for."""

from course_lib.checks import Case, Exercise, Wrong, equals_reference, relation


def value(code, e, m, bias):
    sign = -1.0 if code >> (e + m) else 1.0
    exponent = code >> m & (2**e - 1)
    fraction = (code & (2**m - 1)) / 2**m
    if exponent == 0:
        return sign * 2.0 ** (1 - bias) * fraction
    return sign * 2.0 ** (exponent - bias) * (1 + fraction)


def _parts(code, e, m):
    sign = -1.0 if code >> (e + m) else 1.0
    return sign, code >> m & (2**e - 1), code & (2**m - 1)


def _variant(number):
    """An answer from number(sign, exponent, mantissa, e, m, bias)."""

    def answer(code, e, m, bias):
        return number(*_parts(code, e, m), e, m, bias)

    return answer


def _usual(sign, exponent, mantissa, e, m, bias, below=1, hidden=1.0):
    fraction = mantissa / 2**m
    if exponent == 0:
        return sign * 2.0 ** (below - bias) * fraction
    return sign * 2.0 ** (exponent - bias) * (hidden + fraction)


def _mantissa_first(code, e, m, bias):
    sign, exponent, mantissa = -1.0 if code >> (e + m) else 1.0, code & (2**e - 1), code >> e & (2**m - 1)
    return _usual(sign, exponent, mantissa, e, m, bias)


def _complement(code, e, m, bias):
    n = e + m + 1
    return value(code, e, m, bias) if code < 2 ** (n - 1) else -value(2**n - code, e, m, bias)


def _ieee(sign, exponent, mantissa, e, m, bias):
    if exponent == 2**e - 1:
        return sign * float("inf") if mantissa == 0 else float("nan")
    return _usual(sign, exponent, mantissa, e, m, bias)


def _sign_in_exponent(code, e, m, bias):
    sign, _, mantissa = _parts(code, e, m)
    return _usual(sign, code >> m, mantissa, e, m, bias)


def _unpadded(code, e, m, bias):
    bits = f"{code:b}"
    sign = -1.0 if bits[0] == "1" else 1.0
    return _usual(sign, int(bits[1 : 1 + e] or "0", 2), int(bits[1 + e :] or "0", 2), e, m, bias)


def _eight_digits(code, e, m, bias):
    bits = f"{code:08b}"
    return _usual(-1.0 if bits[0] == "1" else 1.0, int(bits[1 : 1 + e], 2), int(bits[1 + e :], 2), e, m, bias)


def _mirrored(run, code, e, m, bias):
    other = code ^ (1 << (e + m))
    a, b = run(code, e, m, bias), run(other, e, m, bias)
    return a == -b or f"Code {code:0{e + m + 1}b} gives {a:.4g}. With its top bit turned over it gives {b:.4g}."


def _rising(run, code, e, m, bias):
    code &= (1 << (e + m)) - 1
    if code + 1 >= 1 << (e + m):
        return True
    a, b = run(code, e, m, bias), run(code + 1, e, m, bias)
    told = f"Code {code:0{e + m + 1}b} gives {a:.4g} and the next one, {code + 1:0{e + m + 1}b}, {b:.4g}."
    return a < b or told


def _whole_fraction(code, e, m, bias):
    sign, exponent = (-1.0 if code >> (e + m) else 1.0), code >> m & (2**e - 1)
    return 0.0 if exponent == 0 else sign * 2.0 ** (exponent - bias)


EXERCISE = Exercise(
    id="ch10.value",
    title="Any small float",
    spec="value(code, e, m, bias): the number of a code of 1 + e + m bits, subnormal where its exponent is all 0.",
    kind="build",
    stub='''
def value(code, e, m, bias):
    """The number of a code: a sign bit, e bits of exponent, m bits of mantissa. Every code is a number here."""
    ...
''',
    reference=value,
    piece="value",
    cases=[
        Case("E2M1, 3", 0b0101, 2, 1, 1),
        Case("E2M1, 1", 0b0010, 2, 1, 1),
        Case("E2M1, its only subnormal", 0b0001, 2, 1, 1),
        Case("E2M1, zero", 0b0000, 2, 1, 1),
        Case("E2M1, −4", 0b1110, 2, 1, 1),
        Case("E2M1, −0.5", 0b1001, 2, 1, 1),
        Case("E3M2, a subnormal", 0b000011, 3, 2, 3),
        Case("E3M2, the largest", 0b011111, 3, 2, 3),
        Case("E2M3", 0b110110, 2, 3, 1),
        Case("E4M3, the largest", 0b0_1111_110, 4, 3, 7),
        Case("E4M3, the smallest", 0b0_0000_001, 4, 3, 7),
        Case("E4M3 with the bias of FNUZ", 0b1_0101_011, 4, 3, 8),
        Case("E5M2", 0b0_10010_11, 5, 2, 15),
        Case("E5M2, a negative subnormal", 0b1_00000_10, 5, 2, 15),
    ],
    properties=[
        relation("the top bit is the sign", _mirrored, "The other bits say how large."),
        relation("the next code is the next number", _rising, "Without its sign a code counts the numbers from 0 up."),
        equals_reference(why="Sums and products of powers of two: exact."),
    ],
    wrong=[
        Wrong(
            "no subnormals",
            _variant(lambda s, x, k, e, m, bias: s * 2.0 ** (x - bias) * (1 + k / 2**m)),
            "Where all exponent bits are 0 there is no hidden 1: the number is 2^(1 − bias) · fraction. Else there "
            "would be no zero.",
        ),
        Wrong(
            "a subnormal with exponent 0",
            _variant(lambda *parts: _usual(*parts, below=0)),
            "Exponent bits 0 mean 2^(1 − bias), the same as exponent bits 1, not 2^(0 − bias). So the steps below and "
            "above the first normal number are equally wide.",
        ),
        Wrong(
            "a subnormal keeps its 1",
            _variant(
                lambda sign, exponent, mantissa, e, m, bias: (
                    sign * 2.0 ** (max(exponent, 1) - bias) * (1 + mantissa / 2**m)
                )
            ),
            "Where the exponent is 0, the 1 in front is missing as well: m / 2^M alone. So 0 is among the numbers.",
        ),
        Wrong(
            "the sign of subnormals lost",
            _variant(
                lambda sign, exponent, mantissa, e, m, bias: _usual(
                    sign if exponent else 1.0, exponent, mantissa, e, m, bias
                )
            ),
            "Subnormals have a sign, too. Yours are all positive.",
        ),
        Wrong(
            "one bit in place of all below it",
            lambda code, e, m, bias: _usual(
                -1.0 if code >> (e + m) else 1.0, code >> m & 2**e, code & 2**m, e, m, bias
            ),
            "2**m has a single bit, the one above the mantissa. 2**m − 1 has the m bits of the mantissa.",
        ),
        Wrong(
            "the hidden 1 forgotten",
            _variant(lambda *parts: _usual(*parts, hidden=0.0)),
            "The mantissa holds what comes after the point. A normal number is 1.fraction: add the 1.",
        ),
        Wrong(
            "the sign forgotten",
            _variant(lambda s, *rest: _usual(1.0, *rest)),
            "The top bit is the sign, and it never reached your result.",
        ),
        Wrong(
            "the bias added",
            _variant(lambda s, x, k, e, m, bias: _usual(s, x, k, e, m, -bias)),
            "The bias is taken *off* the exponent's bits, so that small exponents are negative.",
        ),
        Wrong(
            "a bias of one's own",
            _variant(lambda s, x, k, e, m, bias: _usual(s, x, k, e, m, 2 ** (e - 1) - 1)),
            "You worked the bias out from e. That is IEEE's habit, but formats differ: take the bias that is given.",
        ),
        Wrong(
            "the mantissa as a whole number",
            _variant(lambda s, x, k, e, m, bias: s * 2.0 ** ((x or 1) - bias) * ((x > 0) + k)),
            "The mantissa's bits stand behind the point: divide them by 2^m.",
        ),
        Wrong(
            "divided by m",
            _variant(lambda s, x, k, e, m, bias: s * 2.0 ** ((x or 1) - bias) * ((x > 0) + k / m)),
            "m bits count from 0 to 2^m − 1: divide by 2**m, not by m.",
        ),
        Wrong(
            "the last codes are ∞ and NaN",
            _variant(_ieee),
            "You gave the last exponent to ∞ and NaN, as IEEE does. In this exercise every code is a number.",
        ),
        Wrong(
            "the sign bit in the exponent",
            _sign_in_exponent,
            "After >> m the sign bit is still there, above the exponent. Keep e bits: & (2**e - 1).",
        ),
        Wrong(
            "leading zeros lost",
            _unpadded,
            "bin() drops leading zeros, so that you cut in the wrong places. Pad to 1 + e + m digits, or use >> and &.",
        ),
        Wrong(
            "eight digits for every format",
            _eight_digits,
            "You padded to eight digits. E2M1 has four and E3M2 six: pad to 1 + e + m, or use >> and &.",
        ),
        Wrong(
            "the mantissa's bits before the exponent's",
            _mantissa_first,
            "The order is sign, exponent, mantissa: the mantissa lies in the *lowest* m bits.",
        ),
        Wrong(
            "two's complement",
            _complement,
            "A negative float is no two's complement: the sign bit is turned over and the others stay.",
        ),
        Wrong(
            "the fraction cut to a whole number",
            _whole_fraction,
            "`//` drops what is behind the point, and a mantissa is all behind it. Divide by 2^m with `/`.",
        ),
    ],
    hints=[
        "Cut the code in three with >> and &. Then ask whether the exponent's bits are all 0.",
        "E2M1, bias 1, code 0101: sign 0, exponent 10 = 2, mantissa 1. 2^(2 − 1) · (1 + 1/2) = 3. Code 0001: "
        "exponent 0, so 2^(1 − 1) · 1/2 = 0.5.",
        "    sign = -1.0 if code >> ____ else 1.0\n    exponent = code >> m & ____\n"
        "    fraction = (code & ____) / 2**m\n"
        "    if exponent == 0:\n        return sign * ____ * fraction\n    return sign * 2.0 ** (____) * (____)",
    ],
    passed="Eight bits or four, one rule. What differs is the bias, and what a format does with its last codes.",
)
