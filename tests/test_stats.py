"""Calibration windows and the statistics of what flows into each linear, against float64 sums over recorded inputs."""

import math

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.calibrate import calibration_batches, collect, hessian
from course_lib.calibrate.activations import changed
from course_lib.calibrate.stats import Running


@pytest.fixture(scope="module")
def model():
    return tiny.llama()


def tokens(rows=2, length=9, seed=0):
    return torch.randint(1, len(tiny.tokenizer()), (rows, length), generator=torch.Generator().manual_seed(seed))


def recorded(model, batches, name):
    """Inputs of one linear, float64 (tokens, in), by a hook of our own."""
    seen = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    with torch.no_grad():
        for batch in batches:
            model(input_ids=batch)
    handle.remove()
    return np.concatenate([x.reshape(-1, x.shape[-1]).double().numpy() for x in seen])


# ------------------------------------------------------------------ H


def test_hessian_is_twice_the_mean_outer_product():
    x = torch.randn(50, 6)
    want = 2 * sum(np.outer(row, row) for row in x.double().numpy()) / 50
    np.testing.assert_allclose(hessian(x), want, rtol=1e-5, atol=1e-6)
    assert hessian(x.bfloat16()).dtype == torch.float32


def test_hessian_is_the_second_derivative_of_the_output_error():
    x, w, w_hat = torch.randn(40, 5), torch.randn(1, 5), torch.randn(5, requires_grad=True)
    loss = torch.autograd.functional.hessian(lambda v: (x @ (w[0] - v)).square().mean(), w_hat)
    torch.testing.assert_close(hessian(x), loss)


@pytest.mark.parametrize("x", [torch.ones(3), torch.ones(0, 3), torch.ones(2, 3, dtype=torch.int64), [[1.0]]])
def test_hessian_says_what_it_wants(x):
    with pytest.raises(ValueError, match=r"x must be a floating-point tensor \(tokens, in\)"):
        hessian(x)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6), seed=st.integers(0, 99), with_h=st.booleans())
def test_running_means_do_not_depend_on_the_batches(sizes, seed, with_h):
    x = torch.randn(sum(sizes) + 1, 4, generator=torch.Generator().manual_seed(seed)) * 3
    running = Running(with_h)
    for part in x.split([*sizes, 1]):
        running.update(part)
    stats = running.stats()
    assert stats.tokens == len(x) and (stats.H is not None) is with_h
    if with_h:
        torch.testing.assert_close(stats.H, hessian(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(stats.mean_abs, x.abs().mean(0))
    torch.testing.assert_close(stats.mean_square, x.square().mean(0))
    assert torch.equal(stats.max_abs, x.abs().amax(0)) and torch.equal(stats.rows, x)


# ------------------------------------------------------------------ a model


def test_collect_sees_what_a_hook_sees(model):
    batches = [tokens(seed=0), tokens(3, 5, seed=1)]
    stats = collect(model, batches)
    assert len(stats) == 14 and all(s.tokens == 33 for s in stats.values())
    for name in ("model.layers.0.self_attn.k_proj", "model.layers.1.mlp.down_proj"):
        x = recorded(model, batches, name)
        np.testing.assert_allclose(stats[name].H, 2 * x.T @ x / len(x), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(stats[name].mean_abs, abs(x).mean(0), rtol=1e-5)
        np.testing.assert_allclose(stats[name].max_abs, abs(x).max(0), rtol=1e-6)
        np.testing.assert_allclose(stats[name].mean_square, (x**2).mean(0), rtol=1e-4)
        np.testing.assert_allclose(stats[name].rows, x, rtol=1e-6)


def test_linears_that_share_an_input_share_their_stats(model):
    stats = collect(model, tokens())
    layer = "model.layers.0."
    q, k, v, o = (stats[f"{layer}self_attn.{x}_proj"] for x in "qkvo")
    assert q is k is v and q is not o
    assert stats[layer + "mlp.gate_proj"] is stats[layer + "mlp.up_proj"] is not stats["model.layers.1.mlp.up_proj"]


def test_collect_names_without_h_and_at_most_512_rows(model):
    stats = collect(model, [tokens(8, 40, seed=i) for i in range(5)], names=["lm_head"], hessian=False)
    assert list(stats) == ["lm_head"] and stats["lm_head"].H is None
    assert stats["lm_head"].rows.shape == (512, 32) and stats["lm_head"].tokens == 1600


def test_collect_leaves_the_model_alone(model):
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    collect(model, tokens())
    assert model.training and not any(m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    model.eval()


# ------------------------------------------------------------------ windows


def test_windows_begin_with_bos_and_hold_the_text():
    tok, text = tiny.tokenizer(), "the mug is broken, please send money back. " * 40
    batches = calibration_batches(tok, [text], samples=10, length=16)
    rows = torch.cat(batches)
    assert [len(b) for b in batches] == [8, 2] and rows.shape == (10, 16) and (rows[:, 0] == 0).all()
    assert tok.decode(rows[:, 1:].flatten()) == text[: len(tok.decode(rows[:, 1:].flatten()))]


def test_documents_are_joined_by_bos():
    tok = tiny.tokenizer()
    a, b = (tok(t)["input_ids"] for t in ("mug", "card"))
    row = calibration_batches(tok, ["mug", "card"], 1, len(a) + len(b) + 2)[0][0]
    assert row.tolist() == [0, *a, 0, *b]


@pytest.mark.parametrize("source", ["prose", "code", "task"])
def test_bundled_text_comes_from_the_training_part_and_is_always_the_same(source):
    from course_lib.models import texts

    tok = tiny.tokenizer()
    first, again = (torch.cat(calibration_batches(tok, source, 4, 32)) for _ in range(2))
    assert torch.equal(first, again) and first.shape == (4, 32)
    piece = tok.decode(first[1, 1:20], skip_special_tokens=True)
    assert any(piece in text for text in texts.train(source, 200 if source == "task" else None))


def test_a_file_is_read(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("the mug is broken " * 50, encoding="utf-8")
    assert calibration_batches(tiny.tokenizer(), path, 2, 20)[0].shape == (2, 20)
    assert calibration_batches(tiny.tokenizer(), str(path), 2, 20)[0].shape == (2, 20)


# ------------------------------------------------------------------ bad input


def test_bad_windows(tmp_path):
    tok = tiny.tokenizer()
    (tmp_path / "latin1.txt").write_bytes(b"caf\xe9 " * 100)
    for arguments, names in [
        ((["mug"],), "1 texts has .* fewer than one window of 511"),
        (("proze",), "calibration must be one of prose, code, task or a text file, got 'proze'"),
        ((tmp_path / "latin1.txt",), "is not UTF-8"),
        (([],), "got an empty list"),
        ((["mug", 3],), "got int, str"),
        (("prose", 0), "samples must be at least 1"),
        (("prose", 1, 1), "length at least 2"),
    ]:
        with pytest.raises(ValueError, match=names) as caught:
            calibration_batches(tok, *arguments)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "calibration, names",
    [
        (None, "calibration must be .* got None"),
        (torch.tensor([[1, 10_000]]), r"tokens must lie in 0…\d+, the model's vocabulary, got 1…10000"),
        (torch.tensor([[-1, 1]]), "got -1…1"),
        (torch.ones(2, 3), "whole numbers"),
        (torch.ones(0, 3, dtype=torch.int64), "whole numbers"),
        (["some text"], "no tokenizer lies beside the model"),
    ],
)
def test_bad_calibration(model, calibration, names):
    with pytest.raises(ValueError, match=names):
        collect(model, calibration)


def test_nan_activations_are_named(model):
    with changed(model, "layers.0.mlp", lambda x, name: x * math.nan):
        with pytest.raises(ValueError, match=r"model.layers.1.self_attn.q_proj: its inputs must be finite"):
            collect(model, tokens())


def test_a_layer_that_never_ran_is_named(model):
    model.spare = nn.Linear(4, 4)
    try:
        with pytest.raises(ValueError, match=r"spare never ran on the calibration text \(1 of 15 linears"):
            collect(model, tokens())
    finally:
        del model.spare
