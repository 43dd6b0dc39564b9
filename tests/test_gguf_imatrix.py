"""Importance matrices in both of llama.cpp's file forms, and `course gguf`, which shows any GGUF file."""

import struct

import gguf
import numpy as np
import pytest
import torch

from course_lib import artifacts, calibrate, cli, models
from course_lib.artifacts.gguf import GGUFError, Part, imatrix, llama, read, write
from course_lib.artifacts.gguf.imatrix import Entry
from course_lib.formats import ggml

ENTRIES = {
    "blk.0.attn_q.weight": Entry(np.array([1024.0, 0, 512, 2048]), 1024),
    "blk.0.ffn_down.weight": Entry(np.arange(1, 9) * 512.0, 512),
}


@pytest.fixture(scope="module")
def bundled():
    return models.load("bundled")


@pytest.mark.parametrize("name", ["x.gguf", "x.dat"])
def test_what_is_written_is_read(tmp_path, name):
    back = imatrix.load(imatrix.save(tmp_path / name, ENTRIES, "prose"))
    assert list(back) == list(ENTRIES)
    for key, entry in ENTRIES.items():
        assert np.array_equal(back[key].sums, entry.sums) and back[key].count == entry.count


def test_the_legacy_bytes():
    """Entries, each a name, calls, values that are mean squares times calls; then the last call and the data set."""
    want = struct.pack("<ii", 1, 1) + b"w" + struct.pack("<ii", 2, 2) + struct.pack("<ff", 2.0, 6.0)
    want += struct.pack("<ii", 2, 4) + b"text"
    assert imatrix.legacy({"w": Entry(np.array([1024.0, 3072]), 1024)}, "text") == want


def test_a_chunk_that_was_begun_counts():
    """llama-imatrix rounds the number of calls up; what matters, the mean square, is the same."""
    data = imatrix.legacy({"w": Entry(np.array([1800.0]), 600)})
    assert struct.unpack_from("<iif", data, 9) == (2, 1, 2 * 3.0)
    assert imatrix.from_legacy(data)["w"].importance.tolist() == [3.0]


@pytest.mark.parametrize(
    ("shape", "count", "kind"),
    [
        ((1, 4), None, "F32"),
        ((2, 2), [512.0], "F32"),
        ((1, 4), [1.0, 2.0], "F32"),
        ((1, 4), [0.25], "F32"),
        ((1, 4), [512.0], "F16"),
    ],
)
def test_damaged_gguf_matrices_are_refused(tmp_path, shape, count, kind):
    dtype, number = (np.float32, 0) if kind == "F32" else (np.float16, 1)
    parts = [Part("w.in_sum2", shape, number, lambda: np.ones(shape, dtype))]
    if count is not None:
        parts.append(Part("w.counts", (len(count), 1), 0, lambda: np.float32(count)))
    with pytest.raises(GGUFError, match="^w"):
        imatrix.load(write(tmp_path / "x.gguf", {"general.type": "imatrix"}, parts))


def test_the_gguf_package_reads_ours(tmp_path):
    reader = gguf.GGUFReader(imatrix.save(tmp_path / "x.gguf", ENTRIES, "prose"))
    assert reader.fields["general.type"].contents() == "imatrix"
    assert reader.fields["imatrix.chunk_count"].contents() == 2
    tensors = {t.name: t.data for t in reader.tensors}
    assert tensors["blk.0.attn_q.weight.in_sum2"].tolist() == [[1024, 0, 512, 2048]]
    assert tensors["blk.0.attn_q.weight.counts"].tolist() == [[1024]]


def test_collected_from_text_it_lowers_the_weighted_error(bundled, tmp_path):
    model, tokenizer = bundled
    stats = calibrate.collect(model, "prose", hessian=False, progress=False)
    weights = imatrix.importance(imatrix.load(imatrix.save(tmp_path / "x.gguf", imatrix.of_stats(stats))))
    name = "model.layers.1.mlp.down_proj"
    importance = weights[llama.gguf_name(f"{name}.weight")]
    assert np.allclose(importance, stats[name].mean_square, rtol=1e-5)
    w = model.get_submodule(name).weight.detach()

    def error(blocks):
        return float(((ggml.dequantize(blocks, "Q2_K") - w) ** 2 * torch.from_numpy(importance)).sum())

    assert error(ggml.quantize(w, "Q2_K", importance)) < 0.9 * error(ggml.quantize(w, "Q2_K"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (struct.pack("<i", 2**30), "needs 4 bytes, but 0 are left"),
        (struct.pack("<ii", 1, -5), "a name needs -5 bytes"),
        (struct.pack("<ii", 1, 1) + b"w" + struct.pack("<ii", 1, 2**29), "needs 2147483648 bytes"),
        (struct.pack("<ii", 1, 1) + b"w" + struct.pack("<iif", 0, 1, 1.0), "over at least one token, got a count of 0"),
        (struct.pack("<ii", 1, 1) + b"w" + struct.pack("<iif", 1, 1, np.nan), "finite sums >= 0"),
    ],
)
def test_damaged_legacy_files_are_refused(tmp_path, data, words):
    (tmp_path / "x.dat").write_bytes(data)
    with pytest.raises(GGUFError, match=words):
        imatrix.load(tmp_path / "x.dat")


def test_a_model_is_no_importance_matrix(bundled, tmp_path):
    path = llama.export(*bundled, tmp_path / "m.gguf", "Q8_0")
    with pytest.raises(GGUFError, match="general.type must be 'imatrix', got None"):
        imatrix.load(path)
    model, tokenizer = artifacts.load(path)
    assert model.config.num_hidden_layers == 4 and tokenizer is not None


def test_course_gguf(bundled, tmp_path, capsys):
    path = llama.export(*bundled, tmp_path / "m.gguf", "Q4_K_M")
    assert cli.main(["gguf", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "llama.rope.freq_base                       f32       10000.0" in shown
    size = sum(info.nbytes for info in read(path).tensors.values())
    assert f"{size:,} bytes" in shown.splitlines()[-1] and "bits a weight" in shown.splitlines()[-1]
    nasty = write(tmp_path / "n.gguf", {"a\x1b[2Jb": "x\n\x1b[31m"}, [Part("t\x07", (1,), 0, lambda: np.float32([1]))])
    assert cli.main(["gguf", str(nasty)]) == 0
    assert not set("\x1b\x07") & set(capsys.readouterr().out)
    (tmp_path / "bad.gguf").write_bytes(path.read_bytes()[:1000])
    assert cli.main(["gguf", str(tmp_path / "bad.gguf")]) == 1
    assert capsys.readouterr().err.startswith("bad.gguf: at byte ")
    assert cli.main(["gguf", str(tmp_path / "none.gguf")]) == 1


def test_course_quantize_writes_gguf(tmp_path, capsys):
    """Plain, with an importance matrix made from text, and with the same one from a file: the last two agree."""
    out = {name: tmp_path / f"{name}.gguf" for name in ("plain", "text", "file")}
    assert cli.main(["quantize", "bundled", str(out["plain"]), "--gguf", "Q4_K_M"]) == 0
    assert "Q4_K_M, 1.67 MB" in capsys.readouterr().out
    assert cli.main(["quantize", "bundled", str(out["text"]), "--gguf", "Q4_K_M", "--calibration", "task"]) == 0
    model, tokenizer = models.load("bundled")
    stats = calibrate.collect(model, calibrate.calibration_batches(tokenizer, "task"), hessian=False, progress=False)
    matrix = imatrix.save(tmp_path / "i.gguf", imatrix.of_stats(stats))
    assert cli.main(["quantize", "bundled", str(out["file"]), "--gguf", "Q4_K_M", "--imatrix", str(matrix)]) == 0
    same = [read(out["text"]).data(name).tobytes() == read(out["file"]).data(name).tobytes()
            for name in read(out["text"]).tensors]  # fmt: skip
    assert sum(same) >= len(same) - 2  # float32 sums in a file: a scale may round the other way
    assert out["plain"].read_bytes() != out["text"].read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--gguf", "Q4_K_XL"], "--gguf must be one of F32, "),
        (["--gguf", "IQ2_NL"], "--gguf must be one of F32, "),
        (["--gguf", "Q4_0", "--imatrix", "x", "--calibration", "prose"], "cannot both be given"),
        (["--gguf", "Q4_0", "--imatrix", "none.gguf"], "none.gguf"),
    ],
)
def test_course_quantize_says_what_is_wrong(tmp_path, capsys, options, words):
    assert cli.main(["quantize", "bundled", str(tmp_path / "x.gguf"), *options]) == 1
    assert words in capsys.readouterr().err and not (tmp_path / "x.gguf").exists()
