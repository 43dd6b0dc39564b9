"""QuantLinear takes the kernels, says so, and gives what the reference gives: interpreted, or on a GPU."""

import copy
import gc
import pickle
import weakref
from dataclasses import replace

import pytest
import torch
from torch import nn

from course_lib import Scheme, models, quantize
from course_lib.artifacts.gguf import llama
from course_lib.artifacts.gguf.load import load as load_gguf
from course_lib.calibrate import QuantLinear, quantize_model, ran
from course_lib.calibrate.targets import linears_of
from course_lib.formats import microscaling
from course_lib.kernels import ON_GPU, dispatch, weights

DEVICE = "cuda" if ON_GPU else "cpu"
ROW8, FP8 = Scheme.int(8), Scheme("e4m3fn", (1, -1))
ZEROS = Scheme.int(4, symmetric=False, group=64)
CASES = {  # name: (weight scheme, inputs' scheme, kernel)
    "int4": (Scheme.int(4, group=64), None, "w4a16"),
    "int4 full": (Scheme.int(4, symmetric="full", group=128, scale_dtype=torch.float16), None, "w4a16"),
    "int4 zeros": (ZEROS, None, "w4a16"),
    "int4 channel": (Scheme.int(4), None, "w4a16"),
    "int8": (ROW8, ROW8, "int8 W8A8"),
    "int8 zeros": (Scheme.int(8, symmetric=False), ROW8, "int8 W8A8"),
    "int8 tensor": (Scheme.int(8, symmetric="full", group="tensor"), ROW8, "int8 W8A8"),
    "fp8 row": (FP8, FP8, "fp8 W8A8"),
    "fp8 tensor": (Scheme("e4m3fn", (-1, -1)), FP8, "fp8 W8A8"),
    "fp8 blocks": (Scheme("e4m3fn", (128, 128)), Scheme("e4m3fn", (1, 128)), "fp8 W8A8"),
    "mxfp4": (microscaling.scheme("mxfp4"), None, "mxfp4"),
    "nvfp4": (microscaling.scheme("nvfp4"), None, "nvfp4"),
}
TEXT = "The customer asks for"


@pytest.fixture(scope="module")
def bot():
    """The bundled model's first block: the interpreter takes a third of a second a linear."""
    model, tokenizer = models.load("bundled", dtype=torch.float32)
    model.model.layers, model.config.num_hidden_layers = model.model.layers[:1], 1
    return model.to(DEVICE), tokenizer


def ids(tokenizer):
    return tokenizer(TEXT, return_tensors="pt").input_ids.to(DEVICE)


def watched(model, tokens):
    """(logits, {name: (x, y)} of every QuantLinear)."""
    seen, handles = {}, []
    for name, module in model.named_modules():
        if isinstance(module, QuantLinear):
            keep = lambda module, args, y, name=name: seen.__setitem__(name, (args[0].detach(), y.detach()))  # noqa: E731
            handles.append(module.register_forward_hook(keep))
    with dispatch.prefer("reference"), torch.no_grad():
        logits = model(input_ids=tokens).logits
    for handle in handles:
        handle.remove()
    return logits, seen


def allowed(layer, x):
    """Σ |x|·|w| in units of float32's rounding: a sum in another order errs by a few of them, whatever its length.
    The matrix units of a GPU keep 14 bits of a sum of E4M3 products."""
    unit = 2.0**-14 if ON_GPU and layer.ran.startswith("fp8") else torch.finfo(torch.float32).eps
    return 16 * unit * (x.abs() @ layer.weight.abs().T) + 1e-30


@pytest.mark.parametrize("case", CASES)
def test_the_bundled_model_gives_the_same_through_every_kernel(bot, case):
    model, tokenizer = bot
    scheme, inputs, kernel = CASES[case]
    result = quantize_model(model, scheme, activations=inputs)
    tokens = ids(tokenizer)
    logits, seen = watched(result, tokens)
    assert {said.split(",")[0] for said in ran(result).values()} == {"reference"}
    with dispatch.prefer("kernels"), torch.no_grad():
        found = result(input_ids=tokens).logits
        assert set(ran(result).values()) == {kernel}
        for name, (x, y) in seen.items():  # the same inputs: codes are the same, and only sums are in another order
            if not name.endswith(("q_proj", "k_proj", "up_proj", "down_proj")):  # one of each shape
                continue
            layer = result.get_submodule(name)
            for part in (slice(None), slice(0, 1))[: 1 + name.endswith("down_proj")]:  # several tokens, and one
                assert ((layer(x[0, part]) - y[0, part]).abs() <= allowed(layer, x[0, part])).all(), name
    with torch.no_grad():
        moved = (logits - model(input_ids=tokens).logits).abs().max()
    most = 1e-4 * logits.abs().max() if inputs is None else moved / 4  # a code of an input may round the other way
    assert (found - logits).abs().max() <= most


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_err_by_their_own_rounding(dtype):
    torch.manual_seed(0)
    layer = QuantLinear(quantize(torch.randn(64, 256) / 16, ZEROS), torch.randn(64), None, dtype).to(DEVICE, dtype)
    x = torch.randn(2, 3, 256).to(DEVICE, dtype)
    with dispatch.prefer("kernels"):
        got = layer(x)
    exact = x.double() @ layer.qtensor.dequantize().double().T + layer.bias.double()
    assert got.dtype == dtype and got.shape == (2, 3, 64) and layer.ran == "w4a16"
    # eight roundings of scale, weight, product and bias, each to half a unit
    most = 4 * torch.finfo(dtype).eps * (x.double().abs() @ layer.weight.double().abs().T + layer.bias.double().abs())
    assert ((got.double() - exact).abs() <= most).all()


def test_generate_says_the_same_words(bot):
    model, tokenizer = bot
    result = quantize_model(model, Scheme.int(4, group=64))
    how = dict(max_new_tokens=3, do_sample=False, pad_token_id=0)
    with torch.no_grad():
        with dispatch.prefer("reference"):
            wanted = result.generate(ids(tokenizer), **how)
        with dispatch.prefer("kernels"):
            got = result.generate(ids(tokenizer), **how)
    assert set(ran(result).values()) == {"w4a16"}
    assert got.tolist() == wanted.tolist()


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "Q4_K_M"])
def test_a_gguf_file_runs_from_its_own_blocks(bot, kind, tmp_path):
    model, tokenizer = bot
    llama.export(model, tokenizer, tmp_path / "bot.gguf", kind)
    result, plain = (load_gguf(tmp_path / "bot.gguf", blocks=blocks)[0].to(DEVICE) for blocks in (True, False))
    one = ids(tokenizer)[:, :1]
    with torch.no_grad():
        wanted = plain(input_ids=one).logits
        with dispatch.prefer("reference"):
            both = [m(input_ids=ids(tokenizer)).logits for m in (result, plain)]  # rows of q and k count
        torch.testing.assert_close(*both, atol=1e-5, rtol=1e-5)
        with dispatch.prefer("kernels"):
            got = result(input_ids=one).logits
            kernels = {said for said in ran(result).values() if not said.startswith("reference")}
            result(input_ids=ids(tokenizer))
    assert kernels and kernels <= {"q4_0", "q8_0", "q4_k", "q6_k"}
    assert "at a time, x has" in next(iter(ran(result).values()))
    # x in digits of 256, of each run of 32: 24 bits of its largest number
    torch.testing.assert_close(got, wanted, atol=1e-4 * wanted.abs().max().item(), rtol=0)


def test_every_refusal_has_its_reason():
    torch.manual_seed(0)
    w, x = torch.randn(32, 256), torch.randn(2, 256)

    def said(scheme, inputs=None, x=x, pad=False):
        layer = QuantLinear(quantize(w, scheme, pad=pad), None, inputs)
        layer(x)
        return layer.ran

    assert said(ROW8, ROW8) == "reference, because x is on the CPU"
    with dispatch.prefer("reference"):
        assert said(ROW8, ROW8) == "reference, because it was asked for"
    with dispatch.prefer("kernels"):
        assert "kernels have no gradient" in said(ZEROS, x=x.clone().requires_grad_())
        assert "no kernel for int3 weights and inputs in 16 bits" in said(Scheme.int(3, group=64))
        assert "no kernel for int8 weights and inputs in 16 bits" in said(ROW8)
        assert "no kernel for int4 weights and inputs in int8" in said(ZEROS, ROW8)
        assert "no kernel quantizes inputs as int8 tensor" in said(ROW8, Scheme.int(8, group="tensor"))
        assert "no kernel quantizes inputs as int8 channel sym (scales" in said(ROW8, Scheme.int(8, scale_scheme=ROW8))
        assert "no kernel quantizes inputs as int8 channel asym" in said(ROW8, Scheme.int(8, symmetric=False))
        assert "one scale a row" in said(Scheme.int(8, group=64), ROW8)
        assert "128×128" in said(FP8, Scheme("e4m3fn", (1, 128)))
        assert "the weight is padded" in said(Scheme.int(4, group=96), pad=True)
        assert "the group must be" in said(Scheme.int(4, group=16))
        assert "x has 0" in said(ZEROS, x=x[:0])
    assert dispatch.preferred() == "auto"
    with pytest.raises(ValueError, match="what must be one of auto, kernels, reference, got 'gpu'"):
        dispatch.prefer("gpu").__enter__()


def held(module):
    """Bytes of memory behind the parameters and buffers of a module, each storage once."""
    stores = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in
              (*module.parameters(), *module.buffers())}  # fmt: skip
    return sum(stores.values())


@pytest.mark.parametrize("case", CASES)
def test_a_layer_whose_kernel_ran_holds_codes_and_scales_only(bot, case):
    """Zero points in 16 bits, a scale a row, and counters are what kernels hold beyond QTensor.nbytes: 5 % at 256."""
    scheme, inputs, kernel = CASES[case]
    w = bot[0].model.layers[0].mlp.up_proj.weight.detach()
    before = quantize(w, scheme)
    layer = QuantLinear(quantize(w, scheme), None, inputs)
    x, wanted = torch.randn(2, 256, device=DEVICE), layer.weight.clone()
    with dispatch.prefer("reference"):
        layer(x)
    assert held(layer) >= before.nbytes + 4 * w.numel()  # torch multiplied: the decoded weight is kept
    gone = [weakref.ref(layer.weight), weakref.ref(layer.qtensor)]
    with dispatch.prefer("kernels"):
        layer(x)
        assert layer.ran == kernel
        assert not any(ref() is not None for ref in gone)
        assert before.nbytes <= held(layer) <= 1.05 * before.nbytes
    assert "decoded" not in dict(layer.named_buffers())
    assert weights.same(layer.qtensor, before) and torch.equal(layer.weight, wanted)


def storages_alive():
    """Address -> storage. Whoever keeps the result keeps its storages, so that no later one gets their addresses."""
    gc.collect()
    tensors = (t for t in gc.get_objects() if type(t) in (torch.Tensor, nn.Parameter))
    held = [t.untyped_storage() for t in tensors if t.device.type == DEVICE and t.layout == torch.strided]
    return {storage.data_ptr(): storage for storage in held}


def test_a_model_whose_kernels_ran_holds_no_second_copy(bot):
    """Every storage that torch has, before and after: `.qtensors` and the routes keep nothing alive."""
    model, tokenizer = bot
    start = storages_alive()
    rest = held(model) - sum(4 * module.weight.numel() for module in linears_of(model).values())
    result = quantize_model(model, ZEROS)
    with dispatch.prefer("kernels"), torch.no_grad():
        result(input_ids=ids(tokenizer))
    stored = sum(q.nbytes for q in result.qtensors.values())
    more = sum(storage.nbytes() for at, storage in storages_alive().items() if at not in start)
    assert stored + rest <= more <= 1.05 * stored + 1.01 * rest
    assert sum(layer.qtensor.nbytes for layer in result.modules() if isinstance(layer, QuantLinear)) == stored
    assert held(result) - rest <= 1.05 * stored


def test_keeping_the_decoded_weight_is_a_choice(monkeypatch):
    layer, x = QuantLinear(quantize(torch.randn(32, 128), ZEROS)), torch.randn(1, 128)
    assert "decoded" not in dict(layer.named_buffers())
    wanted = layer(x)
    assert layer.weight is layer.weight
    monkeypatch.setattr(QuantLinear, "keep", False)
    assert torch.equal(layer(x), wanted) and "decoded" not in dict(layer.named_buffers())


@pytest.mark.parametrize("packed", [False, True])
def test_copies_hold_what_the_layer_holds(packed):
    layer = QuantLinear(quantize(torch.randn(32, 128), ZEROS), torch.randn(32)).to(DEVICE)
    x = torch.randn(1, 128, device=DEVICE)
    with dispatch.prefer("kernels" if packed else "reference"):
        wanted = layer(x)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert held(other) == held(layer)
            assert not {t.data_ptr() for t in other.buffers()} & {t.data_ptr() for t in layer.buffers()}
            assert torch.equal(other(x), wanted) and weights.same(other.qtensor, layer.qtensor)
            assert held(other) == held(layer)


@pytest.mark.parametrize("packed", [False, True])
def test_another_dtype_leaves_codes_and_scales_alone(packed):
    layer = QuantLinear(quantize(torch.randn(32, 128), ZEROS), torch.randn(32)).to(DEVICE)
    before, x = layer.qtensor, torch.randn(1, 128, device=DEVICE)
    with dispatch.prefer("kernels" if packed else "reference"):
        layer(x)
        half = copy.deepcopy(layer).half()
        assert half.bias.dtype == half.weight.dtype == half(x.half()).dtype == torch.float16
        assert weights.same(half.qtensor, before)
        assert torch.equal(half.double().weight, before.dequantize().double())
    assert {t.device.type for t in layer.to("meta").buffers()} == {"meta"}


def test_groups_of_unequal_size_are_no_act_order_that_a_kernel_reads():
    q = quantize(torch.randn(32, 256), ZEROS)
    g_idx = (torch.arange(256) // 64).int().clamp(max=2)  # 64, 64 and 128 columns
    layer = QuantLinear(replace(q, g_idx=g_idx)).to(DEVICE)
    with dispatch.prefer("kernels"):
        layer(torch.randn(1, 256, device=DEVICE))
    assert layer.ran == "reference, because g_idx must put 64 columns into each group to be packed"


def test_a_layer_keeps_the_buffers_that_it_was_given():
    layer = QuantLinear(quantize(torch.randn(32, 128), ZEROS)).to(DEVICE)
    layer.register_buffer("mine", torch.ones(3, device=DEVICE))
    with dispatch.prefer("kernels"):
        layer(torch.randn(1, 128, device=DEVICE))
    layer.half()
    assert layer.mine.dtype == torch.float16 and "mine" in layer.state_dict()


def test_a_move_that_fails_leaves_the_layer_whole():
    def full(t):
        raise RuntimeError("out of memory")

    layer = QuantLinear(quantize(torch.randn(32, 128), ZEROS), torch.randn(32))
    names, x = list(dict(layer.named_buffers())), torch.randn(1, 128)
    with dispatch.prefer("reference"):
        wanted = layer(x)
        with pytest.raises(RuntimeError, match="out of memory"):
            layer._apply(full)
        assert set(names) <= set(dict(layer.named_buffers())) and torch.equal(layer(x), wanted)


@pytest.mark.parametrize("way", ["kernels", "reference"])
@pytest.mark.parametrize("scheme, inputs", [(ZEROS, None), (ROW8, ROW8)])
def test_no_tokens_and_a_wrong_width(way, scheme, inputs):
    layer = QuantLinear(quantize(torch.randn(32, 128), scheme), None, inputs).to(DEVICE)
    with dispatch.prefer(way):
        assert layer(torch.zeros(2, 0, 128, device=DEVICE)).shape == (2, 0, 32)
        for shape in ((2, 256), (4, 64), ()):
            with pytest.raises(ValueError, match="x must have 128 columns"):
                layer(torch.zeros(shape, device=DEVICE))


def test_state_dicts_hold_the_decoded_weight_and_refuse_another():
    layer = QuantLinear(quantize(torch.randn(32, 128), ZEROS), torch.randn(32)).to(DEVICE)
    plain = layer.state_dict()
    with dispatch.prefer("kernels"):
        layer(torch.randn(1, 128, device=DEVICE))
    packed = layer.state_dict()
    assert list(plain) == list(packed) == ["bias", "weight"] and torch.equal(plain["weight"], packed["weight"])
    layer.load_state_dict(plain)
    layer.load_state_dict({name: t.half() for name, t in plain.items()})
    with pytest.raises(RuntimeError, match="weight is not what this layer's codes decode to"):
        layer.load_state_dict(plain | {"weight": plain["weight"] + 1})
    with pytest.raises(RuntimeError, match="Missing key.*weight"):
        layer.load_state_dict({"bias": plain["bias"]})
    assert layer.load_state_dict({}, strict=False).missing_keys == ["bias", "weight"]


def test_what_a_packing_would_lose_is_held_beside_it():
    """MXFP4 scales of a row that lie more than 2¹²⁷ apart: the kernel's are relative to the largest, in 8 bits."""
    q = microscaling.quantize(torch.ones(2, 64), "mxfp4")
    q.scale.view(torch.uint8).copy_(torch.tensor([[1, 140], [127, 127]]))
    layer = QuantLinear(q).to(DEVICE)
    q = layer.qtensor
    with dispatch.prefer("kernels"):
        layer(torch.ones(1, 64, device=DEVICE))
    assert layer.ran == "mxfp4" and layer.qtensor is q


@pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
def test_a_gpu_takes_them_unasked(bot):
    model, tokenizer = bot
    result = quantize_model(model, ZEROS)
    with torch.no_grad():
        result(input_ids=ids(tokenizer))
    assert set(ran(result).values()) == {"w4a16"}


def test_modules_without_quantized_linears_have_run_nothing():
    assert ran(nn.Linear(2, 2)) == {}
