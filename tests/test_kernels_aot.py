"""Every kernel compiles for GPUs that are not here, spills nothing, and uses the matrix units where it should."""

import pytest
import torch

from course_lib.kernels.compiled import aot, sass
from course_lib.kernels.compiled.builds import BUILDS

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("aot")]  # one worker compiles, once
ARCHES = ("sm_80", "sm_89", "sm_90", "sm_100", "gfx942")
SPILLS = {("gemv-3", "sm_89"): 6,  # a version that is there to be read
          ("lanes-int4-stay", "sm_100"): 2, ("lanes-int4-gated-stay", "sm_100"): 2,
          ("tokens-int8", "sm_90"): 2}  # fmt: skip  # one register each


@pytest.fixture(scope="module")
def codes():
    return {(code.name, code.arch): code for code in aot.table(ARCHES)}


def test_every_kernel_compiles_for_every_architecture(codes):
    assert set(codes) == {(build.name, arch) for build in BUILDS for arch in ARCHES if arch in build.arches}


def test_nothing_spills(codes):
    assert {key: code.spilled for key, code in codes.items() if code.spilled} == SPILLS
    assert all(code.registers <= (512 if arch == "gfx942" else 255) for (_, arch), code in codes.items())


def test_products_of_tiles_are_matrix_instructions_and_only_those(codes):
    wanted = {build.name for build in BUILDS if build.tensor_cores}
    for (name, arch), code in codes.items():
        assert bool(code.matrix) == (name in wanted), f"{name} on {arch} uses {code.matrix!r}"
    assert codes["gemm-64", "sm_90"].matrix == "HGMMA"  # asynchronous, for four warps, from 64 rows on
    assert codes["gemm-1", "sm_90"].matrix == "HMMA"


def test_a_later_version_spends_fewer_instructions_on_a_weight(codes):
    for arch in ("sm_90", "sm_100"):
        spent = {version: codes[f"gemv-{version}", arch].per_weight for version in (1, 2, 4)}
        assert spent[1] > spent[2] > spent[4]


LISTING = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;                            /* 0x00000a00ff017b82 */
                                                                                     /* 0x000e300000000800 */
        /*0010*/              @!P0 BRA 0x60 ;                                        /* 0x0000002000808947 */
        /*0020*/                   LOP3.LUT R9, R10, 0xf, RZ, 0xc0, !PT ;            /* 0x0000000f0a097812 */
        /*0030*/                   HMMA.16816.F32 R4, R8, R12, R4 ;                  /* 0x000000000c04723c */
        /*0040*/                   STL [R1], R4 ;                                    /* 0x0000000401007387 */
        /*0050*/              @!P1 BRA 0x20 ;                                        /* 0xffffffe0007c8947 */
        /*0060*/                   EXIT ;                                            /* 0x000000000000794d */
"""


def test_counting_takes_the_loop():
    build = aot.Build("toy", "toy.toy", {}, {}, weights=64, warps=1)
    code = sass.count(build, "sm_90", 40, sass.sass_operations(LISTING))
    assert (code.instructions, code.per_weight, code.matrix, code.spilled) == (4, 2.0, "HMMA", 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_failing_compilation_says_so():
    with pytest.raises(RuntimeError, match="compiling failed"):
        aot.table(["sm_1"])
