"""Rotary positions in config.json under both names: transformers 5's, and those that mlx-lm and older readers know.

mlx-lm 0.32.2 takes rope_theta = 10000 and no scaling where it finds neither, and nobody is told: the logits of a model
with Llama 3's scaling were off by as much as they are large (7.6 of 5.6), and are now within 2e-5.
"""

import json

import pytest
import torch
from test_calibrate_pipeline import family, tokens
from transformers import AutoConfig

from course_lib import Scheme, artifacts
from course_lib.artifacts.stream import stream
from course_lib.artifacts.write import older_rope
from course_lib.calibrate import quantize_model

LLAMA_3 = dict(factor=32.0, high_freq_factor=4.0, low_freq_factor=1.0, original_max_position_embeddings=8192,
               rope_type="llama3")  # of Llama-3.2-1B's published config.json, beside rope_theta 500000.0  # fmt: skip
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32)
GEMMA = {"sliding_attention": dict(rope_type="default", rope_theta=1e4),
         "full_attention": dict(rope_type="linear", factor=8.0, rope_theta=1e6)}  # fmt: skip
CASES = {
    "Llama": (dict(rope_parameters=LLAMA_3 | dict(rope_theta=5e5)), {"rope_theta": 5e5, "rope_scaling": LLAMA_3}),
    "Qwen2": (dict(rope_parameters=dict(rope_type="default", rope_theta=1e6)), {"rope_theta": 1e6}),
    "Qwen3": (dict(rope_parameters=YARN | dict(rope_theta=1e6)), {"rope_theta": 1e6, "rope_scaling": YARN}),
    "Gemma3": (dict(rope_parameters=GEMMA, head_dim=8, sliding_window=16),
               {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": dict(rope_type="linear", factor=8.0)}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_both_names_stand_in_the_config_and_mean_the_same(tmp_path, name):
    more, older = CASES[name]
    model, scheme = family(name, **more), Scheme.int(4, "full", 32, scale_dtype=torch.float16)
    model.save_pretrained(tmp_path / "model")
    whole = artifacts.save(quantize_model(model, scheme, "rtn"), tmp_path / "whole", "mlx")
    streamed = stream(tmp_path / "model", tmp_path / "streamed", scheme, "rtn", [tokens(vocabulary=60)], "gptq")
    for folder in (whole, streamed):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        assert {key: config.get(key) for key in older} == older
        assert ("rope_scaling" in older) == (config.get("rope_scaling") is not None)
        assert AutoConfig.from_pretrained(folder).rope_parameters == model.config.rope_parameters
        with torch.no_grad():
            ids = tokens(seed=2, vocabulary=60)
            other = quantize_model(model, scheme, "rtn")(ids).logits
            torch.testing.assert_close(artifacts.load(folder)[0](ids).logits, other, rtol=2e-2, atol=2e-2)


def test_a_part_of_each_head_has_its_own_key_and_phi_3_s_scaling_three():
    """transformers 4's Phi3Config wants type and both lists of factors, and refuses a fourth key."""
    rope = dict(rope_type="longrope", rope_theta=1e4, partial_rotary_factor=0.75, short_factor=[1.0], long_factor=[2.0],
                original_max_position_embeddings=64)  # fmt: skip
    assert older_rope({"rope_parameters": rope}) == {
        "rope_theta": 1e4, "partial_rotary_factor": 0.75,
        "rope_scaling": dict(type="longrope", short_factor=[1.0], long_factor=[2.0]),
    }  # fmt: skip
    assert older_rope({}) == older_rope({"rope_parameters": None}) == {}
