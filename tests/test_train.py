"""`course train`: what a batch holds, what a step does to the weights, and that a short run leaves a checkpoint."""

import json
from functools import partial

import pytest
import torch

from course_lib import Scheme, dequantize, models, quantize
from course_lib.models import rows, texts, tokenizer, train

TEXT = train.Phase(steps=2, context=64, decay=0.0, prose=0.25, code=0.5, task=0.25)


@pytest.fixture(scope="module", autouse=True)
def few_texts():
    """The first documents only: turning all of them into tokens takes half a minute."""
    few = {d: texts.train(d, 20) for d in ("prose", "code")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "train", few.get)
        patch.setattr(texts, "more_code", lambda: few["code"][:10])
        yield


@pytest.fixture(scope="module")
def tok(few_texts):
    return tokenizer.read(models.BUNDLED)


@pytest.fixture
def small(tok):
    torch.manual_seed(0)
    return train.begin(tok)


@pytest.fixture(scope="module")
def batch(tok):
    return rows.Rows(tok, TEXT).batch()


def weights_of(model):
    return [w.detach().clone() for w in train.matrices_of(model)]


def test_a_batch_holds_its_shares_text_first(batch):
    tokens, weights, text = batch
    assert tokens.shape == weights.shape == (rows.TOKENS // 64, 65) and text == 48
    assert (weights[:text] == 1).all()
    message = torch.tensor(rows.MESSAGE_WEIGHT)
    assert all(set(row.unique().tolist()) <= {message.item(), 1.0} for row in weights[text:])
    assert (weights[text:] == message).any()


def test_the_second_slice_is_read_only_where_asked(tok):
    first = rows.Rows(tok, TEXT)
    both = rows.Rows(tok, train.Phase(**{**vars(TEXT), "more": True}))
    assert len(both.flat["code"]) > 1.2 * len(first.flat["code"])
    assert len(both.flat["prose"]) == len(first.flat["prose"])


@pytest.mark.parametrize("group", [None, 64])
def test_weights_are_rounded_as_the_library_rounds_and_come_back_bit_for_bit(small, group):
    before = weights_of(small)
    with train.changed(train.matrices_of(small), partial(train.rounded, group=group)):
        for w, old in zip(train.matrices_of(small), before, strict=True):
            scheme = Scheme.int(4, group=group, scale_dtype=torch.float16)
            assert torch.equal(w, dequantize(quantize(old, scheme))) and not torch.equal(w, old)
    assert all(map(torch.equal, weights_of(small), before))


def test_weights_come_back_when_a_step_fails(small):
    before = weights_of(small)
    with pytest.raises(KeyboardInterrupt), train.changed(train.matrices_of(small), torch.zeros_like):
        raise KeyboardInterrupt
    assert all(map(torch.equal, weights_of(small), before))


def test_noise_stays_within_its_width():
    w = torch.tensor([[0.0, 7.0], [1.0, -2.0]])
    shift = (train.shaken(w, 1 / 14) - w).abs()
    assert (shift <= torch.tensor([[0.25], [1 / 14]]) + 1e-6).all() and (shift > 0).all()


class Watch:
    """An optimizer that keeps the gradients and moves nothing."""

    def __init__(self, model):
        self.model, self.param_groups = model, []

    def step(self):
        self.seen = [w.grad.clone() for w in train.matrices_of(self.model)]

    def zero_grad(self, set_to_none):
        self.model.zero_grad(set_to_none=set_to_none)


def gradients(model, tokens, weights, *how):
    watch = Watch(model)
    loss = train.step_of(model, [watch], tokens, weights, *how)
    return loss, watch.seen


def test_a_step_in_two_parts_is_the_step_in_one(small, batch):
    tokens, weights, text = batch
    loss, whole = gradients(small, tokens, weights)
    again, parts = gradients(small, tokens, weights, lambda w: w, text)
    assert again == pytest.approx(loss, rel=1e-3)
    for a, b in zip(whole, parts, strict=True):
        assert (a - b).norm() < 0.02 * a.norm()  # bfloat16 products, added in another order


def test_the_task_never_passes_through_changed_weights(small, batch):
    tokens, weights, text = batch
    only_task = weights.clone()
    only_task[:text] = 0
    loss, clean = gradients(small, tokens, only_task)
    again, seen = gradients(small, tokens, only_task, torch.zeros_like, text)
    assert again == pytest.approx(loss, rel=1e-3)
    for a, b in zip(clean, seen, strict=True):
        assert (a - b).norm() < 0.02 * a.norm()
    only_text = weights.clone()
    only_text[text:] = 0
    assert gradients(small, tokens, only_text, torch.zeros_like, text)[0] != pytest.approx(loss, rel=1e-3)


def test_the_rate_warms_up_stays_and_falls():
    assert train.schedule(0.0, 0, 1.0) == 0.01 and train.schedule(0.5, 500, 0.0) == 1.0
    assert train.schedule(0.75, 500, 0.5) == 0.5 and train.schedule(1.0, 500, 1.0) == 0.02


def test_a_short_run_leaves_a_checkpoint_and_a_log(tok, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "TOKENS", 512)
    phase = train.Phase(**{**vars(TEXT), "round": 1.0})
    model = train.train(tmp_path, (phase,), start=models.BUNDLED)
    line = json.loads((tmp_path / "training-log.jsonl").read_text().splitlines()[-1])
    assert line["step"] == 2 and line["loss"] < 3
    again, _ = models.load(tmp_path)
    for name, value in model.named_parameters():
        assert torch.equal(again.get_parameter(name), value.detach().to(torch.bfloat16).float())
