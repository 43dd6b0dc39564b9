"""One and two bits a weight: ternary models come back exactly, five digits share a byte; NVFP4's scales."""

import gguf
import numpy as np
import pytest

from course_lib.formats import ggml
from course_lib.formats.ggml import nvfp4, ternary
from tests import ggml_oracle

rng = np.random.default_rng(0)


@pytest.mark.parametrize("name", ["TQ1_0", "TQ2_0", "Q2_0"])
def test_a_ternary_model_comes_back_exactly(name):
    """Weights -d, 0, d of a d that is an fp16 number, as BitNet has them."""
    w = (rng.integers(-1, 2, (32, 512)) * np.float16(0.0371)).astype(np.float32)
    blocks = ggml.quantize(w, name)
    assert np.array_equal(ggml.dequantize(blocks, name), w)
    assert np.array_equal(blocks, ggml_oracle.quantize(w, name))


@pytest.mark.parametrize("name", ["TQ1_0", "TQ2_0"])
@pytest.mark.parametrize("size", [0.02, 1e20, 1e-30, 1e-41])
def test_the_gguf_package_writes_the_same(name, size):
    """1e-41: 1/d is infinite."""
    x = (rng.standard_normal((16, 512)) * size).astype(np.float32)
    if size > 1e-38:
        with np.errstate(all="ignore"):
            assert np.array_equal(ggml.quantize(x, name), gguf.quantize(x, gguf.GGMLQuantizationType[name]))
    assert np.array_equal(ggml.quantize(x, name), ggml_oracle.quantize(x, name))


def test_five_digits_of_base_3_share_a_byte():
    digits = np.stack([np.arange(243) // 3**k % 3 for k in (4, 3, 2, 1, 0)]).astype(np.uint8)
    data = ternary._join(digits[:, None])
    assert len(np.unique(data)) == 243 and np.array_equal(ternary._split(data.T, 5).T, digits)
    assert data[0, [0, 1, 242]].tolist() == [0, 2, 255]


def test_half_of_the_largest_is_where_a_weight_becomes_zero():
    x = np.zeros((1, 256), np.float32)
    x[0, :6] = 1, -0.5, 0.49999997, 0.5, -0.49999997, 0.75
    for name in ("TQ1_0", "TQ2_0", "Q2_0"):
        assert ggml.dequantize(ggml.quantize(x, name), name)[0, :6].tolist() == [1, -1, 0, 1, 0, 1]


def test_a_code_of_3_is_two_steps():
    block = np.uint8([[0, 0x3C, *range(16)]])  # d = 1
    assert ggml.dequantize(block, "Q2_0")[0, 12:16].tolist() == [2, -1, -1, -1]
    assert np.array_equal(ggml.dequantize(block, "Q2_0"), ggml_oracle.dequantize(block, "Q2_0", 64))


def test_every_scale_of_nvfp4_is_read_as_ggml_reads_it():
    data = np.zeros((256, 36), np.uint8)
    data[:, :4], data[:, 4:] = np.arange(256)[:, None], 0xF1  # 1/2 and -6
    assert np.array_equal(ggml.dequantize(data, "NVFP4"), ggml_oracle.dequantize(data, "NVFP4", 64))
    assert nvfp4.HALF_SCALES[[0, 8, 0x38, 126, 127]].tolist() == [0, 2**-7, 0.5, 224, 0]


@pytest.mark.parametrize("low", [1e-4, 0.1, 100, 1000, 1e4])
def test_scales_of_nvfp4_are_rounded_as_ggml_rounds_them(low):
    """Subnormal scales, ties, and those from 256 on, where ggml writes 448."""
    x = np.zeros((4000, 64), np.float32)
    x[:, ::16] = np.linspace(low, 4 * low, 16000, dtype=np.float32).reshape(4000, 4)
    x[:, 1::16] = x[:, ::16] * np.float32(0.4)
    x[:, 2::16] = -x[:, ::16] / np.float32(12)
    assert np.array_equal(ggml.quantize(x, "NVFP4"), ggml_oracle.quantize(x, "NVFP4"))


def test_from_1536_on_ggml_s_scale_of_nvfp4_jumps():
    """1536 / 6 = 256 has an E4M3 number; ggml writes 448, and 3 · 448 = 1344 is the nearest to 1536."""
    x = np.zeros((1, 64), np.float32)
    x[0, 0] = 1536
    for quantize in (ggml.quantize, ggml_oracle.quantize):
        blocks = quantize(x, "NVFP4")
        assert blocks[0, 0] == 126 and ggml.dequantize(blocks, "NVFP4")[0, 0] == 1344
