"""Sizing: the source document's printed numbers, bytes as `quantize` stores them, and the roofline's laws."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import Scheme, quantize
from course_lib import capacity as c

# ------------------------------------------------------------------ the source document's figures


@pytest.mark.parametrize(
    "params, sizes", [(7e9, ("14.0", "7.0", "3.5", "2.6")), (70e9, ("140.0", "70.0", "35.0", "26.2"))]
)
def test_weights_only_table(params, sizes):
    assert tuple(f"{c.gb(c.weight_bytes(params, bits)):.1f}" for bits in (16, 8, 4, 3)) == sizes


def test_bars_of_the_70b_model():
    assert [round(c.gb(c.weight_bytes(70e9, bits))) for bits in (16, 8, 4, 4.9, 3)] == [140, 70, 35, 43, 26]


def test_metadata_of_the_70b_model():
    ideal = c.weight_bytes(70_000_000_000, 4)
    scales = c.metadata_bytes(70_000_000_000, group=128, scale_bits=16)
    assert f"{c.gb(ideal):.2f} GB {c.gb(scales):.2f} GB" == "35.00 GB 1.09 GB"
    assert c.weight_bytes(70e9, 4, group=128) == ideal + scales


def test_sizing_exercise():
    assert f"{c.usable(8, reserve=0.2):.1f}" == "6.4"
    assert all(c.weight_bytes(70e9, bits) > c.usable(8 * c.GB) for bits in (16, 4))


def test_traffic_is_not_speed():
    card = c.Device("card", "1 TB/s", memory_gib=24, bandwidth_gb_s=1000, fp16_tflops=100)
    fp16, int4 = (c.roofline(card, gb * c.GB, overhead_s=3e-3) for gb in (14.0, 3.5))
    assert f"{fp16.memory_s / int4.memory_s:.1f}x {fp16.seconds / int4.seconds:.2f}x" == "4.0x 2.62x"
    assert f"{c.speedup(card, 7e9, bits=4, overhead_s=3e-3):.2f}" == "2.62"


def test_gpt_oss_120b():
    parts = [(114.71e9, 4.25), (2.12e9, 16)]
    assert f"{c.gib(c.mixed_bytes(parts)):.1f}" == "60.7"


def test_published_parameter_counts(tmp_path):
    llama_2_7b = {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 32000,
    }
    llama_3_70b = {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
                   "num_key_value_heads": 8, "vocab_size": 128256}  # fmt: skip
    assert (c.parameters(llama_2_7b), c.parameters(llama_3_70b)) == (6_738_415_616, 70_553_706_496)
    (tmp_path / "config.json").write_text(json.dumps(llama_2_7b))
    assert c.parameters(tmp_path) == c.parameters(tmp_path / "config.json") == 6_738_415_616


# ------------------------------------------------------------------ bytes


def test_gb_and_gib_are_apart():
    assert (c.gb(c.GIB), c.gib(c.GIB), c.gb(c.GB)) == (1.073741824, 1.0, 1.0)


@settings(max_examples=30, deadline=None)
@given(
    bits=st.integers(2, 8),
    symmetric=st.sampled_from([True, "full", False]),
    group=st.sampled_from([None, "tensor", 16, 3]),
    dtype=st.sampled_from([torch.float32, torch.float16]),
    shape=st.sampled_from([(4, 48), (2, 3, 48), (5, 96)]),
)
def test_bytes_of_a_scheme_are_those_that_quantize_stores(bits, symmetric, group, dtype, shape):
    scheme = Scheme.int(bits, symmetric=symmetric, group=group, scale_dtype=dtype)
    assert c.weight_bytes(shape, scheme) == quantize(torch.randn(shape), scheme).nbytes


def test_bytes_of_square_blocks_and_of_a_count():
    scheme = Scheme("int8", (16, 16), True)
    assert (
        c.weight_bytes((32, 64), scheme)
        == quantize(torch.randn(32, 64), scheme).nbytes
        == c.weight_bytes(32 * 64, scheme)
    )


@given(
    params=st.integers(1, 10**12), bits=st.sampled_from([2, 3, 4, 4.25, 8, 16]), group=st.sampled_from([32, 100, 128])
)
def test_metadata_adds_up(params, bits, group):
    total = c.weight_bytes(params, bits, group=group, zero_bits=4)
    assert total == c.weight_bytes(params, bits) + c.metadata_bytes(params, group, zero_bits=4)
    assert 0 <= total - params * c.bits_per_weight(bits, group, zero_bits=4) / 8 <= 5 + 1e-12 * total


# ------------------------------------------------------------------ devices and roofline


def test_devices_are_complete_and_sourced():
    assert len(c.DEVICES) >= 12
    for name, entry in c.DEVICES.items():
        assert c.device(name) is entry is c.device(entry)
        assert len(entry.source) > 20, name
        assert 5 < c.ridge_point(entry) < 500, name


@given(moved=st.floats(0, 1e13), flops=st.floats(0, 1e17), overhead=st.floats(0, 1))
def test_a_step_takes_at_least_each_of_its_parts(moved, flops, overhead):
    step = c.roofline("h100-sxm", moved, flops, overhead)
    assert step.seconds >= max(step.memory_s, step.compute_s, step.overhead_s)
    assert step.seconds <= step.memory_s + step.compute_s + step.overhead_s
    assert max(step.memory_s, step.compute_s, step.overhead_s) == getattr(step, f"{step.bound}_s")


@pytest.mark.parametrize("name", list(c.DEVICES))
@pytest.mark.parametrize("bits", [4, 8, 16])
def test_at_the_break_even_batch_both_roofs_meet(name, bits):
    batch = c.break_even_batch(name, bits)
    below, above = (c.decode_step(name, 10**10, bits, n) for n in (int(batch), int(batch) + 1))
    assert below.bound == "memory" and above.bound == "compute"


def test_roofs_meet_at_the_ridge():
    step = c.roofline("l4", 1e9, 1e9 * c.ridge_point("l4"))
    assert step.memory_s == pytest.approx(step.compute_s)


def test_cache_traffic_is_not_made_smaller_by_weight_bits():
    one = c.decode_step("rtx-4090", 8e9, 4, batch=8, kv_bytes=1e9)
    assert one.memory_s == pytest.approx((4e9 + 8e9) / 1008e9)
    assert 1 < c.speedup("rtx-4090", 8e9, 4, batch=8, kv_bytes=1e9) == pytest.approx(24 / 12)


def test_ceiling_grows_with_the_batch_until_it_is_flat():
    ceilings = [c.decode_tokens_per_s("a100-80gb", 7e9, 4, batch=n) for n in (1, 2, 64, 128)]
    assert ceilings[1] == pytest.approx(2 * ceilings[0]) and ceilings[2] == pytest.approx(ceilings[3])


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    "call, names",
    [
        (lambda: c.weight_bytes(0, 4), "params"),
        (lambda: c.weight_bytes(1.5, 4), "params"),
        (lambda: c.weight_bytes(float("nan"), 4), "params"),
        (lambda: c.weight_bytes("7B", 4), "params"),
        (lambda: c.weight_bytes((4, 0), 4), "params"),
        (lambda: c.weight_bytes(7e9, 0), "bits"),
        (lambda: c.weight_bytes(7e9, True), "bits"),
        (lambda: c.weight_bytes(7e9, 4, group=0), "group"),
        (lambda: c.weight_bytes(7e9, 4, group=128.0), "group"),
        (lambda: c.weight_bytes(7e9, Scheme.int(4)), "shape"),
        (lambda: c.weight_bytes((8, 100), Scheme.int(4, group=64)), "does not divide"),
        (lambda: c.weight_bytes(7e9, Scheme.int(4, group=128), group=128), "group"),
        (lambda: c.metadata_bytes(7e9, 128, scale_bits=-1), "scale_bits"),
        (lambda: c.mixed_bytes([]), "parts"),
        (lambda: c.mixed_bytes([7e9, 4]), "parts"),
        (lambda: c.usable(8, reserve=20), "reserve"),
        (lambda: c.device("rtx-9090"), "rtx-4090"),
        (lambda: c.Device("x", "x", 8, 0, 1), "bandwidth_gb_s"),
        (lambda: c.roofline("l4", -1), "bytes_moved"),
        (lambda: c.decode_step("l4", 7e9, 4, batch=0), "batch"),
        (lambda: c.parameters({"hidden_size": 8}), "intermediate_size"),
        (lambda: c.parameters({"model_type": "gpt_oss"}), "gpt_oss"),
    ],
)
def test_bad_input_is_one_clear_sentence(call, names):
    with pytest.raises(ValueError, match=names) as caught:
        call()
    assert "\n" not in str(caught.value)
