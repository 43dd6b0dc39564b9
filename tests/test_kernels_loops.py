"""The loops that chapter 12 shows: what each instruction is for, and whether the record is what compiles today."""

import json
from collections import Counter

import pytest

from course_lib.files import repository
from course_lib.kernels.compiled import loops, sass
from course_lib.kernels.compiled.purposes import BITS, KNOWN, PURPOSES, SUMS, opcode, purposes
from course_lib.kernels.measure import recorded
from tests.test_kernels_aot import LISTING


@pytest.fixture(scope="module")
def shown():
    return loops.read(recorded.loops())


# a loop out of a listing


def test_a_loop_is_cut_out_of_its_listing():
    assert sass.loop(LISTING) == ["LOP3.LUT R9, R10, 0xf, RZ, 0xc0, !PT", "HMMA.16816.F32 R4, R8, R12, R4",
                                  "STL [R1], R4", "@!P1 BRA 0x20"]  # fmt: skip


def test_without_a_loop_it_is_the_whole_listing():
    assert len(sass.loop(LISTING.replace("0x20 ;", "0x60 ;"))) == 7


# what an instruction is for

BY_HAND = [  # in this order, as a turn might run
    ("LDC R13, c[0x0][0x238]", "control"),
    ("LEA R20, P1, R21, UR10, 0x2", "control"),
    ("LEA.HI.X.SX32 R21, R21, UR11, 0x2, P1", "control"),
    ("@P3 LDG.E.128 R16, desc[UR8][R20.64]", "load"),  # words: R16 to R19
    ("PRMT R101, RZ, 0x7610, R101", "control"),  # 0 for a lane whose mask is off
    ("@!P6 LDG.E.U16 R101, desc[UR8][R96.64]", "load"),
    ("HADD2.F32 R91, -RZ, R101.H0_H0", "convert"),
    ("SHF.R.U32.HI R25, RZ, 0x4, R19", "unpack"),  # the fourth register of the load
    ("SGXT.U32 R25, R25, 0x4", "unpack"),
    ("VIADD R25, R25, 0xfffffff8", "arithmetic"),  # the zero point
    ("LEA.HI R96, R19, 0xfffffff8, RZ, 0x4", "unpack"),  # a shift that takes it off as well
    ("I2FP.F32.S32 R28, R25", "convert"),
    ("FMUL R23, R28, R91", "arithmetic"),
    ("FFMA R110, R26, R29, R110", "arithmetic"),
    ("FADD R84, RZ, R20", "arithmetic"),
    ("FADD R23, R23, -8388608", "convert"),  # the magic number goes
    ("HADD2 R20, R20, -1032, -1032", "convert"),
    ("HFMA2 R48, R48, R91.reuse.H0_H0, -72, -72", "convert"),
    ("FFMA R28, R52.reuse, -8, R87", "arithmetic"),  # the zero point, once a word
    ("HMMA.16816.F32 R48, R48, R32, RZ", "arithmetic"),
    ("VIADD R21, R0.reuse, 0xfffffe80", "control"),
    ("IMAD.SHL.U32 R98, R17.reuse, 0x10, RZ", "unpack"),
    ("IMAD R23, R82.reuse, R13, R2", "control"),
    ("S2R R12, SR_TID.X", "control"),
    ("LOP3.LUT R22, R12, 0x18, RZ, 0xc0, !PT", "control"),
    ("LOP3.LUT R22, R70, 0xf, R18, 0xf8, !PT", "unpack"),
    ("STS.128 [R8+UR6], R24", "exchange"),
    ("BAR.SYNC.DEFER_BLOCKING 0x0", "exchange"),
    ("LDSM.16.M88.4 R24, [R6+0x400]", "exchange"),
    ("SHF.R.U32.HI R60, RZ, 0x8, R27", "unpack"),  # codes that came by shared memory
    ("LDGSTS.E.BYPASS.128 [R37], desc[UR8][R20.64], !P0", "load"),
    ("LDGDEPBAR", "load"),
    ("CS2R R16, SRZ", "control"),  # clears two registers: they hold no codes any more
    ("SHF.L.U32 R3, R17, 0x2, RZ", "control"),
    ("ISETP.GE.U32.AND P0, PT, R13, R16, PT", "control"),
    ("@!P0 BRA 0x530", "control"),
]


def test_purposes_are_those_told_by_hand():
    found = purposes([text for text, _ in BY_HAND])
    assert [(text, f) for (text, _), f in zip(BY_HAND, found, strict=True)] == BY_HAND


def test_what_one_turn_loads_the_next_may_unpack():
    assert purposes(["SHF.R.U32.HI R5, RZ, 0x4, R4", "LDG.E R4, desc[UR8][R2.64]"]) == ["unpack", "load"]


def test_an_instruction_that_nobody_knows_is_an_error():
    with pytest.raises(ValueError, match="no purpose is known for 'BFREV R4, R4'"):
        purposes(["LDG.E R4, desc[UR8][R2.64]", "BFREV R4, R4"])


def test_every_opcode_that_occurs_is_known_by_name(shown):
    stems = {opcode(text).split(".")[0] for loop in shown.values() for text in loop.instructions}
    assert stems <= set(KNOWN) | BITS | SUMS and set(KNOWN.values()) <= set(PURPOSES)
    for loop in shown.values():
        assert set(purposes(loop.instructions)) == set(PURPOSES)


# what the kernels' own text promises of a lane: 16 words of 8 codes in a turn


@pytest.mark.parametrize(
    "version, unpack, convert, arithmetic",
    [
        # nibbles 1 to 6: shift and cut; 0: cut; 7: shift, with −8; convert 128 codes, x and scales; −8, scale, product
        (1, 16 * (6 + 6 + 1 + 1), 128 + 16 + 16, 16 * 7 + 128 + 128),
        (2, 16 * (7 + 6 + 1), 128 + 32 + 16, 128 + 16 * 2 + 32),  # products; zero and scale once a word; sums of x
        (3, 16 * (7 + 6 + 8), 128 + 32 + 16, 128 + 16 * 2 + 32),  # and an OR for each nibble
        # a shift for two nibbles, an AND-OR for each; products; five steps a word, three a column; sums of x
        (4, 16 * (4 + 8), 32 + 16, 128 + 16 * 5 + 4 * 3 + 32),
    ],
)
def test_counts_are_those_of_the_source(shown, version, unpack, convert, arithmetic):
    loop = shown[f"gemv-{version}"]
    found = Counter(purposes(loop.instructions))
    assert loop.weights == 128
    assert (found["unpack"], found["convert"], found["arithmetic"]) == (unpack, convert, arithmetic)


def test_masks_are_all_that_version_4_was_spared(shown):
    bare, masked = (Counter(purposes(shown[name].instructions)) for name in ("gemv-4", "gemv-4-masked"))
    assert {p for p in PURPOSES if bare[p] != masked[p]} == {"control"}


# the record


def test_the_two_records_agree(shown):
    counted = recorded.instructions(loops.ARCH)
    assert set(shown) == set(loops.SHOWN)
    for name, loop in shown.items():
        if name in counted:
            row = counted[name]
            assert (len(loop.instructions), round(loop.per_weight, 2)) == (row["instructions"], row["per_weight"])


def test_the_record_stays_small():
    file = repository() / "benchmarks/results/kernels-loops.json"
    assert file.stat().st_size < 200_000
    assert json.loads(file.read_text(encoding="utf-8"))["command"] == "python benchmarks/kernels_sass.py"


@pytest.mark.long
@pytest.mark.xdist_group("aot")
def test_the_record_is_what_compiles_today():
    assert loops.table(["gemv-3"])["gemv-3"] == recorded.loops()["gemv-3"]


@pytest.mark.long
def test_a_failing_compilation_says_so():
    with pytest.raises(RuntimeError, match="compiling failed: KeyError: 'gemv-9'"):
        loops.table(["gemv-9"])
