"""One block at a time and shard by shard gives what quantize_model and save give, also after an interruption."""

import json

import pytest
import tiny
import torch
from safetensors.torch import load_file
from test_calibrate_pipeline import family, tokens

from course_lib import Scheme, artifacts, models
from course_lib.artifacts import stream as module
from course_lib.artifacts.stream import stream
from course_lib.calibrate import quantize_model

INT4 = Scheme.int(4, "full", 16, scale_dtype=torch.float16)
BATCHES = [tokens(seed=0), tokens(3, 17, seed=1)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny.llama(num_hidden_layers=3).save_pretrained(folder)
    return folder


def same(a, b):
    assert a.qtensors.keys() == b.qtensors.keys()
    for name, q in a.qtensors.items():
        other = b.qtensors[name]
        assert torch.equal(q.codes, other.codes) and torch.equal(q.scale, other.scale), name
        assert (q.g_idx is None) == (other.g_idx is None)
    ids = tokens(seed=9, vocabulary=50)
    with torch.no_grad():
        torch.testing.assert_close(a(input_ids=ids).logits, b(input_ids=ids).logits, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    "method, options, layout",
    [
        ("gptq", {}, "gptq"),
        ("gptq", {"act_order": True}, "gptq_v2"),
        ("awq", {}, "gptq"),
        ("rtn", {}, "gptq"),
        ("autoround", {"iters": 3}, "gptq"),
    ],
)
def test_it_is_what_quantize_model_and_save_give(checkpoint, tmp_path, method, options, layout):
    out = stream(checkpoint, tmp_path / "out", INT4, method, BATCHES, layout, **options)
    loaded, _ = artifacts.load(out)
    whole = quantize_model(tiny.llama(num_hidden_layers=3), INT4, method, BATCHES, **options)
    same(whole, loaded)
    artifacts.save(whole, tmp_path / "whole", layout)
    one, other = (json.loads((folder / "config.json").read_text()) for folder in (out, tmp_path / "whole"))
    assert one["quantization_config"] == other["quantization_config"]
    assert not list(tmp_path.glob(".out*"))
    index = json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(index.values())) == 4 and set(index.values()) == {p.name for p in out.glob("*.safetensors")}


def stored(folder):
    tensors = {}
    for file in folder.glob("*.safetensors"):
        tensors |= load_file(file)
    return tensors


def test_the_bundled_model_streamed_is_bit_for_bit_the_saved_one(tmp_path):
    """Also what is not quantized: logits that differ in another runtime come from its kernel (peers, `kernels`)."""
    model, _ = models.load("bundled")
    scheme = Scheme.int(4, "full", 64, scale_dtype=torch.float16)
    streamed = stored(stream(models.BUNDLED, tmp_path / "streamed", scheme, "rtn", []))
    saved = stored(artifacts.save(quantize_model(model, scheme, "rtn"), tmp_path / "saved"))
    assert streamed.keys() == saved.keys()
    assert [name for name, t in saved.items() if t.dtype != streamed[name].dtype or not t.equal(streamed[name])] == []


@pytest.mark.parametrize("name", ["Qwen2", "Mistral"])
def test_other_families_with_heads_of_their_own(tmp_path, name):
    model = family(name, tie_word_embeddings=False)
    model.save_pretrained(tmp_path / "model")
    batches = [tokens(vocabulary=60)]
    out = stream(tmp_path / "model", tmp_path / "out", INT4, "gptq", batches, skip=("lm_head", "q_proj"))
    same(quantize_model(model, INT4, "gptq", batches, skip=("lm_head", "q_proj")), artifacts.load(out)[0])


@pytest.mark.parametrize("method, at, options, other", [
    ("gptq", 1, {}, {"act_order": True}), ("gptq", 2, {}, {"act_order": True}), ("gptq", 3, {}, {"act_order": True}),
    ("autoround", 3, {"iters": 3}, {"iters": 4}),
])  # fmt: skip
def test_an_interrupted_run_goes_on(checkpoint, tmp_path, monkeypatch, method, at, options, other):
    real, calls = module.ONE_BLOCK[method], []

    def breaks(*args, **options):
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setitem(module.ONE_BLOCK, method, breaks)
    with pytest.raises(KeyboardInterrupt):
        stream(checkpoint, tmp_path / "out", INT4, method, BATCHES, **options)
    assert not (tmp_path / "out").exists() and (tmp_path / ".out.partial").is_dir()
    with pytest.raises(ValueError, match="interrupted run with other settings"):
        stream(checkpoint, tmp_path / "out", INT4, method, BATCHES, **other)
    done = stream(checkpoint, tmp_path / "out", INT4, method, BATCHES, **options)
    assert len(calls) == 1 + 3  # the broken one, and every block once
    want = stream(checkpoint, tmp_path / "whole", INT4, method, BATCHES, **options)
    for file in want.glob("*.safetensors"):
        assert file.read_bytes() == (done / file.name).read_bytes()
    assert not (tmp_path / ".out.partial").exists()


def test_a_run_that_is_refused_leaves_nothing(checkpoint, tmp_path):
    """A weight of the last block that is no number: by then two blocks are done, and would be found again for ever."""
    model = tiny.llama(num_hidden_layers=3)
    with torch.no_grad():
        model.model.layers[2].mlp.down_proj.weight[0, 0] = torch.nan
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="finite"):
        stream(tmp_path / "model", tmp_path / "out", INT4, "gptq", BATCHES)
    assert not (tmp_path / "out").exists() and not (tmp_path / ".out.partial").exists()


def test_a_run_does_not_go_on_with_other_weights(checkpoint, tmp_path, monkeypatch):
    """A model tuned on in the same folder: its first blocks would be yesterday's."""
    real, calls = module.ONE_BLOCK["rtn"], []

    def breaks(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setitem(module.ONE_BLOCK, "rtn", breaks)
    tiny.llama(num_hidden_layers=3).save_pretrained(tmp_path / "model")
    with pytest.raises(KeyboardInterrupt):
        stream(tmp_path / "model", tmp_path / "out", INT4, "rtn", BATCHES)
    tiny.llama(seed=1, num_hidden_layers=3).save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="other settings or other weights: delete it"):
        stream(tmp_path / "model", tmp_path / "out", INT4, "rtn", BATCHES)


def test_blocks_leave_memory_again(checkpoint, tmp_path, monkeypatch):
    seen, real = [], module.ONE_BLOCK["rtn"]

    def watches(flow, inside, scheme):
        seen.append([not next(block.parameters()).is_meta for block in flow.blocks])
        return real(flow, inside, scheme)

    monkeypatch.setitem(module.ONE_BLOCK, "rtn", watches)
    stream(checkpoint, tmp_path / "out", INT4, "rtn", BATCHES)
    assert seen == [[i == j for j in range(3)] for i in range(3)]


def test_bad_input(checkpoint, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="which holds files"):
        stream(checkpoint, tmp_path / "full", INT4, "rtn", BATCHES)
    with pytest.raises(FileNotFoundError, match="must hold safetensors files, got none"):
        stream(tmp_path / "full", tmp_path / "out", INT4, "rtn", BATCHES)
    with pytest.raises(ValueError, match="the model's vocabulary"):
        stream(checkpoint, tmp_path / "out", INT4, "rtn", [torch.tensor([[9999]])])
    with pytest.raises(ValueError, match="layout must be one of"):
        stream(checkpoint, tmp_path / "out", INT4, "rtn", BATCHES, layout="gguf")


def test_a_missing_tensor_is_named(tmp_path):
    from safetensors.torch import load_file, save_file

    tiny.llama().save_pretrained(tmp_path / "model")
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    for missing in ("model.norm.weight", "model.layers.1.mlp.up_proj.weight"):
        save_file({k: v for k, v in tensors.items() if k != missing}, tmp_path / "model" / "model.safetensors")
        with pytest.raises(ValueError, match=f"the checkpoint lacks {missing}"):
            stream(tmp_path / "model", tmp_path / f"out{len(missing)}", INT4, "rtn", BATCHES)
