"""`course quantize` on a tiny checkpoint: the directory it leaves, and what it says when it cannot."""

import json
import re
import shutil

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from course_lib import artifacts
from course_lib.artifacts import gguf, quantize
from course_lib.artifacts.gguf import mixes
from course_lib.calibrate import calibration_batches, quantize_model
from course_lib.cli import main
from course_lib.formats import affine
from course_lib.scheme import Scheme

TEXT = "the mug is broken, please send money back to my card. " * 60


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny.llama().save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    return folder


def call(checkpoint, out, *options):
    text = ("--calibration", str(checkpoint / "text.txt"), "--samples", "4", "--length", "32")
    return main(["quantize", str(checkpoint), str(out), "--group", "16", *(() if "rtn" in options else text), *options])


@pytest.mark.parametrize(
    "method, layout, symmetric",
    [
        ("gptq", "gptq", "full"),
        ("gptq", "gptq_v2", "full"),
        ("awq", "awq", False),
        ("awq", "compressed-tensors", "full"),
        ("rtn", "gptq", "full"),
    ],
)
def test_the_directory_holds_what_quantize_model_made(checkpoint, tmp_path, capsys, method, layout, symmetric):
    assert call(checkpoint, tmp_path / "new" / "out", "--method", method, "--layout", layout) == 0
    assert f"{method} int4 g16" in capsys.readouterr().out
    loaded, tokenizer = artifacts.load(tmp_path / "new" / "out")
    ids = calibration_batches(tokenizer, [TEXT], 4, 32)
    scheme = Scheme.int(4, symmetric, 16, scale_dtype=torch.float16)
    want = quantize_model(tiny.llama(), scheme, method, ids).qtensors
    assert want.keys() == loaded.qtensors.keys()
    assert all(torch.equal(q.codes, loaded.qtensors[name].codes) for name, q in want.items())


@pytest.mark.parametrize("method, bits, asymmetric", [("gptq", 4, False), ("awq", 4, True), ("rtn", 5, False)])
def test_a_directory_for_mlx_holds_the_same_codes(checkpoint, tmp_path, method, bits, asymmetric):
    options = ("--method", method, "--bits", str(bits), "--group", "32", *(["--asymmetric"] * asymmetric))
    for layout in ("mlx", "gptq_v2") if bits != 5 else ("mlx",):
        assert call(checkpoint, tmp_path / layout, "--layout", layout, *options) == 0
    loaded = artifacts.load(tmp_path / "mlx")[0].qtensors
    if bits == 5:
        want = quantize_model(tiny.llama(), Scheme.int(5, "full", 32, scale_dtype=torch.float16)).qtensors
    else:
        want = artifacts.load(tmp_path / "gptq_v2")[0].qtensors
    assert want.keys() == loaded.keys() and len(want) == 14
    for name, q in want.items():
        back = affine.to_integers(loaded[name])
        assert torch.equal(back.codes, q.codes) and torch.equal(back.zero_point, q.zero_point), name


def test_iterations_reach_learned_rounding(checkpoint, tmp_path):
    codes = []
    for iters in ("0", "3"):
        assert call(checkpoint, tmp_path / iters, "--method", "autoround", "--iters", iters) == 0
        codes.append({name: q.codes for name, q in artifacts.load(tmp_path / iters)[0].qtensors.items()})
    plain = quantize_model(tiny.llama(), Scheme.int(4, "full", 16, scale_dtype=torch.float16)).qtensors
    assert all(torch.equal(codes[0][name], q.codes) for name, q in plain.items())
    assert any(not torch.equal(codes[1][name], q.codes) for name, q in plain.items())


def test_act_order_and_two_bits(checkpoint, tmp_path):
    assert call(checkpoint, tmp_path / "out", "--bits", "2", "--act-order") == 0
    loaded, _ = artifacts.load(tmp_path / "out")
    assert {q.scheme.bits for q in loaded.qtensors.values()} == {2}
    assert loaded.qtensors["model.layers.0.mlp.down_proj"].g_idx is not None


@pytest.mark.parametrize(
    "options, names",
    [
        (("--bits", "3", "--layout", "awq"), "--bits must be one of 4 for --layout awq, got 3"),
        (("--bits", "7", "--layout", "mlx"), "--bits must be one of 2, 3, 4, 5, 6, 8 for --layout mlx, got 7"),
        (("--layout", "mlx"), "layout 'mlx' holds .* groups of 32, 64 or 128 columns, got 'int4 g16"),
        (("--group", "24"), "q_proj: .*24 columns does not divide"),
        (("--calibration", "proze"), "calibration must be one of prose, code, task or a text file, got 'proze'"),
        (("--length", "5000", "--calibration", "missing.txt"), "missing.txt"),
        (("--samples", "0"), "samples must be at least 1"),
    ],
)
def test_errors_are_one_sentence_and_leave_nothing(checkpoint, tmp_path, capsys, options, names):
    (folder := tmp_path / "folder").mkdir()
    assert call(checkpoint, folder / "out", *options) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("course quantize: ") and "Traceback" not in said
    assert re.search(names, said)
    assert not list(folder.iterdir())


def test_every_method_with_every_mix_is_refused_in_one_sentence(checkpoint, tmp_path, capsys):
    """A GGUF's blocks are llama.cpp's: --method and its options were once read and ignored."""
    for mix in (*mixes.WRITTEN, "Q9"):
        for option in ("--method gptq", "--method hqq", "--bits 4", "--group -1", "--layout gptq", "--asymmetric",
                       "--act-order", "--duo", "--iters 200", "--method awq --bits 3"):  # fmt: skip
            assert main(["quantize", str(checkpoint), str(tmp_path / "x"), "--gguf", mix, *option.split()]) == 1
            said = capsys.readouterr().err
            assert said.startswith(f"course quantize: {option.split()[0]} cannot be given with --gguf: {mix} says")
            assert said.count("\n") == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "options, names",
    [
        (
            ("--method", "hqq"),
            "one of gptq, awq, autoround, rtn, got 'hqq', whose zero points are real",
        ),
        (("--method", "qat"), "got 'qat', which trains the whole model"),
        (("--method", "gtpq"), "--method must be one of gptq, awq, autoround, rtn, got 'gtpq'\n"),
        (("--method", "awq", "--act-order"), "--act-order belongs to --method gptq, got --method awq"),
        (("--duo",), "--duo belongs to --method awq, got --method gptq"),
        (("--method", "rtn", "--iters", "200"), "--iters belongs to --method autoround, got --method rtn"),
        (("--method", "rtn", "--calibration", "prose"), "--calibration cannot be given with --method rtn, which looks"),
        (("--method", "rtn", "--samples", "4"), "--samples cannot be given with --method rtn"),
        (("--imatrix", "im.gguf"), "--imatrix needs --gguf"),
        (("--gguf", "Q4_0", "--samples", "4"), "--samples needs --calibration"),
        *(
            (("--gguf", mix), f"--gguf {mix} needs an importance matrix: give --calibration prose, or --imatrix FILE")
            for mix in ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "Q2_K_S")
        ),
    ],
)
def test_what_would_be_ignored_is_refused(checkpoint, tmp_path, capsys, options, names):
    assert main(["quantize", str(checkpoint), str(tmp_path / "x"), *options]) == 1
    said = capsys.readouterr().err
    assert names in said and said.count("\n") == 1 and not (tmp_path / "x").exists()


@pytest.mark.parametrize("mix", ["F16", "Q8_0", "Q4_0"])
def test_an_importance_matrix_is_told_of_where_the_bytes_depend_on_it(checkpoint, tmp_path, capsys, mix):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    text = ("--calibration", str(tmp_path / "text.txt"), "--samples", "4", "--length", "32")
    for name, options in (("without.gguf", ()), ("with.gguf", text)):
        assert main(["quantize", str(checkpoint), str(tmp_path / name), "--gguf", mix, *options]) == 0
    a, b = gguf.read(tmp_path / "with.gguf"), gguf.read(tmp_path / "without.gguf")
    same = all(a.data(name).tobytes() == b.data(name).tobytes() for name in a.tensors)
    first, second = capsys.readouterr().out.splitlines()
    assert "importance matrix" not in first
    assert ("types take no importance matrix" if same else " with importance matrix") in second


@pytest.mark.parametrize(
    "out, options, names",
    [
        ("x", ("--gguf", "Q8_0"), "OUT must end in .gguf, by which the other commands know such a file, got "),
        ("x.gguf", ("--method", "rtn"), "OUT is named like a GGUF file, got "),
    ],
)
def test_a_name_that_says_something_else_is_refused(checkpoint, tmp_path, capsys, out, options, names):
    assert main(["quantize", str(checkpoint), str(tmp_path / out), *options]) == 1
    said = capsys.readouterr().err
    assert names in said and said.count("\n") == 1 and not (tmp_path / out).exists()


def test_a_mix_is_known_in_small_letters_and_its_file_is_no_source(checkpoint, tmp_path, capsys):
    for name, mix in (("a.gguf", "q8_0"), ("b.gguf", "Q8_0")):
        assert main(["quantize", str(checkpoint), str(tmp_path / name), "--gguf", mix]) == 0
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    assert "matrices" not in capsys.readouterr().out
    assert main(["quantize", str(tmp_path / "a.gguf"), str(tmp_path / "c.gguf"), "--gguf", "Q8_0"]) == 1
    assert "got the file " in capsys.readouterr().err


@pytest.mark.parametrize("mix, hidden, told", [
    ("Q4_K_M", 64, "larger than that (Q5_0, Q8_0): rows of 64, 128 are not whole blocks of 256"),
    ("Q4_K_M", 40, "larger than that (F16, Q5_0, Q8_0): rows of 40, 64, 128 are not whole blocks of 256"),
    ("Q4_0", 40, "larger than that (F16): rows of 40 are not whole blocks of 32"),
])  # fmt: skip
def test_rows_that_are_not_whole_blocks_are_told_of(tmp_path, capsys, mix, hidden, told):
    """Their matrices take more bytes than the mix's name says."""
    tiny.llama(hidden_size=hidden, intermediate_size=128, head_dim=16).save_pretrained(tmp_path / "m")
    tiny.tokenizer().save_pretrained(tmp_path / "m")
    assert main(["quantize", str(tmp_path / "m"), str(tmp_path / "x.gguf"), "--gguf", mix]) == 0
    said, blocks = capsys.readouterr().out, int(re.search(r"\d+$", told)[0])
    matrices = [i for i in gguf.read(tmp_path / "x.gguf").tensors.values() if len(i.shape) > 1]
    odd = sum(info.shape[-1] % blocks > 0 for info in matrices)
    assert f". {odd} of {len(matrices)} matrices are {told}\n" in said


def test_a_default_that_is_written_out_changes_nothing():
    short = quantize.settled(quantize.parser().parse_args(["m", "o"]))
    long = "m o --method gptq --bits 4 --group 64 --layout gptq --samples 32 --length 512".split()
    assert vars(short) == vars(quantize.settled(quantize.parser().parse_args(long)))


def test_a_full_directory_and_a_missing_model_are_refused(checkpoint, tmp_path, capsys):
    (folder := tmp_path / "folder").mkdir()
    (folder / "kept.txt").write_text("mine")
    assert call(checkpoint, folder) == 1
    assert "which holds files" in capsys.readouterr().err and [p.name for p in folder.iterdir()] == ["kept.txt"]
    assert main(["quantize", str(tmp_path / "none"), str(tmp_path / "out")]) == 1
    assert "expected a checkpoint directory" in capsys.readouterr().err


def test_the_same_command_goes_on_where_it_was_interrupted(checkpoint, tmp_path, monkeypatch):
    from course_lib.artifacts import stream

    real, calls = stream.ONE_BLOCK["gptq"], []

    def breaks(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setitem(stream.ONE_BLOCK, "gptq", breaks)
    assert call(checkpoint, tmp_path / "out") == 130 and not (tmp_path / "out").exists()
    assert call(checkpoint, tmp_path / "out") == 0 and len(calls) == 3


def _without_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()


def _cut(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _index(folder):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _quantized(folder):
    _configured(folder, quantization_config={"quant_method": "awq"})


def _configured(folder, **more):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | more), encoding="utf-8")


def _no_object(folder):
    (folder / "config.json").write_text("[]", encoding="utf-8")


def _two_layers(folder):
    _configured(folder, num_hidden_layers="two")


def _adapter(folder):
    about = {"peft_type": "LORA", "base_model_name_or_path": "base/model"}
    (folder / "adapter_config.json").write_text(json.dumps(about), encoding="utf-8")


def _adapter_alone(folder):
    _adapter(folder)
    (folder / "config.json").unlink()


def _own_code(folder):
    _configured(folder, model_type="theirs", auto_map={"AutoConfig": "theirs.Config"})
    (folder / "theirs.py").write_text("raise SystemExit('it ran')", encoding="utf-8")


def _half_a_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")


def _not_a_number(folder):
    state = load_file(folder / "model.safetensors")
    state["model.layers.1.mlp.up_proj.weight"][3, 5] = float("nan")
    save_file(state, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("gguf", [False, True])
@pytest.mark.parametrize(
    "damage, told",
    [
        (_without_tokenizer, "must hold its tokenizer, such as tokenizer.json, got none"),
        (_cut, "model.safetensors is no whole safetensors file"),
        (_index, "lacks model-00002-of-00002.safetensors, one of the 2 files that its index names"),
        (_pickled, "must hold safetensors files, got none, only pytorch_model.bin"),
        (_adapter, "holds an adapter of 'base/model' (adapter_config.json), which would be left out: merge it first"),
        (_adapter_alone, "(adapter_config.json) and no whole model: merge it first, with peft's merge_and_unload"),
        (_quantized, "is quantized already, says its config.json (awq): start from the original"),
        (_not_a_number, "must be finite in float32"),
        (_no_object, "config.json must be a JSON object, got a list"),
        (_two_layers, "is none that transformers reads: Validation error for field 'num_hidden_layers'"),
        (_own_code, "is none that transformers reads: it needs Python code from the directory, which is not run here"),
        (_half_a_tokenizer, "the tokenizer of "),
    ],
)
def test_a_damaged_checkpoint_is_told_in_one_sentence(checkpoint, tmp_path, capsys, damage, told, gguf):
    folder = tmp_path / "eigenes Modell"
    shutil.copytree(checkpoint, folder)
    damage(folder)
    how = ("out.gguf", "--gguf", "Q8_0") if gguf else ("out", "--method", "rtn", "--group", "16")
    (made := tmp_path / "made").mkdir()
    assert main(["quantize", str(folder), str(made / how[0]), *how[1:]]) == 1
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1 and not list(made.iterdir())
    if damage is _not_a_number:
        assert ("blk.1.ffn_up.weight: " if gguf else "model.layers.1.mlp.up_proj: ") in said


def _shards(folder, below=""):
    """Two files and their index in the place of model.safetensors."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    (folder / below).mkdir(exist_ok=True)
    files = [f"{below}model-{n}.safetensors" for n in (1, 2)]
    index = {name: files[k % 2] for k, name in enumerate(sorted(state))}
    for file in files:
        save_file({name: state[name] for name, where in index.items() if where == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}), encoding="utf-8")


def _shards_below(folder):
    _shards(folder, "weights/")


def _mistrals_own(folder):
    """As in mistralai/Mistral-7B-v0.3: the same weights a second time, under other names."""
    _shards(folder)
    save_file({"layers.0.attention.wq.weight": torch.zeros(4, 4)}, folder / "consolidated.safetensors")


def _left_over(folder):
    """A variant and an adapter beside, the index of shards that were joined, a pickle, `null`."""
    state = load_file(folder / "model.safetensors")
    save_file({name: 9 * w for name, w in state.items()}, folder / "model.z.safetensors")
    save_file({"base_model.model.lora_A.weight": torch.zeros(2, 2)}, folder / "adapter_model.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "gone.safetensors"}}', encoding="utf-8")
    torch.save({}, folder / "pytorch_model.bin")
    _configured(folder, quantization_config=None, auto_map={"AutoConfig": "theirs.Config"})


def _linked(folder):
    """As in the hub's cache: links to files elsewhere."""
    (folder.parent / "blobs").mkdir()
    for k, file in enumerate(sorted(folder.iterdir())):
        file.rename(folder.parent / "blobs" / str(k))
        file.symlink_to(f"../blobs/{k}")


@pytest.mark.parametrize("how", [_shards, _shards_below, _mistrals_own, _left_over, _linked])
def test_what_transformers_reads_is_read_alike(checkpoint, tmp_path, how):
    folder, out = tmp_path / "model", {name: tmp_path / name for name in ("want", "got", "want.gguf", "got.gguf")}
    shutil.copytree(checkpoint, folder)
    how(folder)
    for source, name in ((checkpoint, "want"), (folder, "got")):
        assert main(["quantize", str(source), str(out[name]), "--method", "rtn", "--group", "16"]) == 0
        assert main(["quantize", str(source), str(out[f"{name}.gguf"]), "--gguf", "Q8_0"]) == 0
    want, got = (artifacts.load(out[name])[0].state_dict() for name in ("want", "got"))
    assert want.keys() == got.keys() and all(torch.equal(w, got[name]) for name, w in want.items())
    want, got = (gguf.read(out[name]) for name in ("want.gguf", "got.gguf"))
    assert want.tensors.keys() == got.tensors.keys()
    assert all((want.data(name) == got.data(name)).all() for name in want.tensors)
