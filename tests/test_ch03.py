"""Chapter 03's own: timings of three ways to read weights, its pictures, its part of the learner's quantizer."""

import json
from pathlib import Path

import pytest
import torch

from course_lib import Scheme, quantize
from course_lib.calibrate import quantize_model
from course_lib.capacity import measure
from course_lib.checks import pieces
from course_lib.checks.ch03.mine import RECIPE
from course_lib.viz.plots import ch03
from tests.tiny import llama

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "03-memory-and-bandwidth.ipynb"


@pytest.fixture(scope="module")
def stack():
    return measure.Stack(size=256, copies=2)


def test_all_ways_of_the_stack_give_the_same_products(stack):
    x = stack.inputs(3)
    wanted = x.float() @ stack.q.dequantize().T
    for way, run in stack.ways().items():
        for y in run(x):  # bfloat16 keeps 8 bits of each number
            assert (y.float() - wanted).abs().max() < 0.02 * wanted.abs().max(), way


def test_bytes_of_the_ways(stack):
    n = 2 * 256 * 256
    assert stack.weight_bytes("16 bits") == stack.traffic_bytes("16 bits") == 2 * n
    assert stack.weight_bytes("4 bits, fused") == stack.weight_bytes("4 bits, unpack first") == n // 2 + 2 * n // 128
    assert stack.traffic_bytes("4 bits, unpack first") == stack.weight_bytes("4 bits, fused") + 4 * n


def test_the_16_bit_products_take_the_faster_of_torch_s_two_and_restore_its_switch(stack):
    x, before = stack.inputs(2), torch._C._get_mkldnn_enabled()
    both = [measure._multiply(x, stack.weights, switch)[0].float() for switch in (True, False)]
    assert (both[0] - both[1]).abs().max() < 0.02 * both[0].abs().max()
    assert stack.ways()["16 bits"](x)[0].float().allclose(both[not stack._onednn[2]])
    assert torch._C._get_mkldnn_enabled() == before


def test_without_a_fused_kernel_two_ways_are_left(stack, monkeypatch):
    monkeypatch.setattr(stack, "fused", [])
    assert list(stack.ways()) == ["16 bits", "4 bits, unpack first"]


def test_race_and_its_pictures(stack):
    threads = torch.get_num_threads()
    timings = stack.race(batches=(1, 4))
    assert torch.get_num_threads() == threads
    assert len(timings) == 2 * len(stack.ways())
    for t in timings:
        assert t.flops == 2 * 2 * 256 * 256 * t.batch and t.ms > 0
        assert t.gflops == pytest.approx(t.gb_per_s * t.intensity)
    for picture in (ch03.race(timings), ch03.race_roofline(timings)):
        assert "4 bits, unpack first" in picture.svg("a picture")


@pytest.mark.parametrize("symmetric", [True, "full", False])
def test_unpacking_each_time_answers_like_the_quantized_model(symmetric):
    scheme, ids = Scheme.int(4, symmetric=symmetric, group=16), torch.arange(7)[None]
    model = llama()
    with torch.no_grad():
        got = measure.unpack_each_time(model, scheme)(ids).logits
        wanted = quantize_model(model, scheme)(ids).logits
    assert torch.equal(got, wanted)
    assert not torch.equal(got, model(ids).logits)


def test_pictures_say_what_they_were_given():
    promise = ch03.promise([("smaller", 3.01, "5.25 → 1.75 MB"), ("as fast", 0.4, "347 → 137 tokens/s")]).svg("a")
    assert "3.01 ×, 5.25 → 1.75 MB" in promise and "0.4 ×" in promise and "promised: 4 ×" in promise
    assert "1.75 MB" in ch03.bill({"stored": {"linears": 1_250_000, "scales": 500_000}}, 2_000_000).svg("a")
    steps = ch03.steps({"16 bits": (14.0, 3), "4 bits": (3.5, 3)}).svg("a")
    assert "17 ms, 58.8 tokens/s" in steps and "6.5 ms, 154 tokens/s" in steps
    w = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    q = quantize(w, Scheme.int(4, group=16))
    assert "row 3: 64 weights, 4 groups of 16" in ch03.groups(w, q.scale, row=3).svg("a")


def test_the_recipe_is_the_courses_quantizer_with_the_courses_pieces():
    w = torch.randn(4, 256, generator=torch.Generator().manual_seed(0))
    w[1, :128] = 0
    mine, course = RECIPE.quantize(pieces.references(), w, RECIPE.scheme), quantize(w, RECIPE.scheme)
    assert torch.equal(mine.codes, course.codes) and mine.nbytes == course.nbytes
    assert torch.equal(mine.dequantize(), course.dequantize())


def test_the_recipe_refuses_a_wrong_count():
    found = pieces.references()
    found.functions["weight_bytes"] = lambda params, bits, group, scale_bits=16, zero_bits=0: params * bits // 8
    with pytest.raises(ValueError, match="weight_bytes counts 64 bytes where 66 are stored"):
        RECIPE.quantize(found, torch.ones(1, 128), RECIPE.scheme)


def test_the_story_names_the_budget_of_chapter_00():
    from course_lib.viz.explorers.ch00_bot import BUDGET_BYTES

    first = "".join(json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"][0]["source"])
    assert f"{BUDGET_BYTES / 1e6:.1f} MB" in first
