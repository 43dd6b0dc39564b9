"""What each instruction of a loop is for, told by its name, and by whether it works on what was loaded.

Integer instructions serve two masters: `SHF` takes codes out of a word, and it finds an address. So `purposes` follows
the numbers: what a load brought is marked, and so is what integer instructions make of it. On marked numbers they
unpack (a sum takes the zero point off: arithmetic); on others they find addresses, guard loads and count turns.
"""

from __future__ import annotations

import re

LOAD, UNPACK, CONVERT, ARITHMETIC, EXCHANGE, CONTROL = PURPOSES = (
    "load", "unpack", "convert", "arithmetic", "exchange", "control")  # fmt: skip
_BY_NAME = {
    LOAD: "LDG LDGSTS LDGDEPBAR DEPBAR",  # the last three: copies that go on while the program computes
    CONVERT: "I2FP I2F F2F",
    ARITHMETIC: "FFMA FADD FMUL HADD2 HFMA2 HMUL2 HMMA",
    EXCHANGE: "LDS LDSM STS BAR",
    CONTROL: "BRA CS2R IMAD ISETP LDC LEA MOV P2R R2P S2R SEL UIADD3 UISETP ULEA UMOV USEL VIADDMNMX VIMNMX",
}
KNOWN = {name: purpose for purpose, names in _BY_NAME.items() for name in names.split()}
BITS = frozenset(("SHF", "LOP3", "SGXT", "PRMT", "LEA.HI", "IMAD.SHL"))  # unpack, where they work on what was loaded
SUMS = frozenset(("IADD3", "VIADD"))  # take the zero point off there
_LOADS = ("LDG", "LDS", "LDSM")
_CONSTANT = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?$")


def purposes(instructions) -> list[str]:
    """The purpose of each instruction of a loop, one of PURPOSES; ValueError names an instruction that is not known.

    Twice round, since a turn may use what the one before has loaded.

    >>> purposes(["LDG.E R4, [R2]", "SHF.R.U32.HI R5, RZ, 0x4, R4", "SHF.R.U32.HI R6, RZ, 0x4, R2"])
    ['load', 'unpack', 'control']
    """
    loaded: set[str] = set()
    for _ in range(2):
        found = [_follow(text, loaded) for text in instructions]
    return found


def opcode(text: str) -> str:
    """The name of an instruction without its guard: `opcode("@!P0 LDG.E.U16 R2, [R4]") == "LDG.E.U16"`."""
    return re.sub(r"^@!?U?P\w+ ", "", text).split()[0]


def _follow(text, loaded):
    """The purpose of one instruction; what it writes enters or leaves the registers that hold what was loaded."""
    name, parts = opcode(text), _operands(text)
    stem = name.split(".")[0]
    writes = _registers(parts[0], _width(name)) if parts else []
    marked = any(set(_registers(part)) & loaded for part in parts[1:])
    purpose = _purpose(text, name, stem, parts, marked)
    loaded.difference_update(writes)
    if stem in _LOADS or (marked and purpose in (UNPACK, ARITHMETIC) and (_bits(name) or stem in SUMS)):
        loaded.update(writes)
    return purpose


def _purpose(text, name, stem, parts, marked):
    if _bits(name) or stem in SUMS:
        clears = stem == "PRMT" and parts[1] == "RZ"  # a 0 for a lane that a mask will keep from loading
        return CONTROL if clears or not marked else ARITHMETIC if stem in SUMS else UNPACK
    if name == "HADD2.F32":
        return CONVERT  # the hardware's way from a half to a float
    if stem in ("FADD", "HADD2", "HFMA2") and _CONSTANT.match(parts[-1]):
        return CONVERT  # a constant is added: the magic number goes
    if stem not in KNOWN:
        raise ValueError(f"purposes(instructions): no purpose is known for {text!r}")
    return KNOWN[stem]


def _bits(name):
    return any(name == known or name.startswith(f"{known}.") for known in BITS)


def _operands(text):
    rest = re.sub(r"^@!?U?P\w+ ", "", text).partition(" ")[2]
    return [part.strip() for part in rest.split(",")] if rest else []


def _width(name):
    """Registers that an instruction writes."""
    if "16816" in name or name.startswith("LDG.E.128") or name.endswith(".4"):
        return 4
    return 2 if ".64" in name or ".WIDE" in name or name.startswith("CS2R") else 1


def _registers(part, count=1):
    found = re.match(r"-?R(\d+)\b", part)
    return [f"R{int(found[1]) + k}" for k in range(count)] if found else []
