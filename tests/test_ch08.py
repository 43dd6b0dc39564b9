"""Chapter 08's own: its references against the library and the gguf package, the text's claims, explorers, *mine*."""

import contextlib
import io
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib import models
from course_lib.artifacts.gguf import Part, TensorInfo, llama, parse, read, writer
from course_lib.artifacts.gguf.runtime import LlamaCpp
from course_lib.artifacts.gguf.spans import spans
from course_lib.checks import compare, pieces, plain, shorten
from course_lib.checks.ch08 import header, offload, offsets, permute, tensor_info, warmup
from course_lib.checks.ch08 import mine as recipe
from course_lib.checks.ch08.incident import convert
from course_lib.viz import explorers
from course_lib.viz.explorers import ch08_inspector, ch08_offload
from course_lib.viz.plots import ch08

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "08-gguf-container.ipynb"
SEEDS = range(40)


def cell(name):
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return "".join(next(c["source"] for c in cells if c["id"] == f"ch08-{name}"))


def printed(source, space=None):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(source, {"torch": torch, "np": np} | (space or {}))
    return out.getvalue()


@pytest.fixture(scope="module")
def bundled():
    return models.load("bundled")


# the exercises' references, against what they did not write


def test_header_reads_what_the_writer_and_the_gguf_package_say(bundled, tmp_path):
    import gguf

    path = llama.export(*bundled, tmp_path / "bot.gguf", "Q8_0")
    theirs = gguf.GGUFReader(path)
    found = header.reference(path.read_bytes())
    counts = [int(theirs.fields[name].parts[-1][0]) for name in ("version", "tensor_count", "kv_count")
              if name in theirs.fields] or [int(theirs.fields[f"GGUF.{n}"].parts[-1][0])
              for n in ("version", "tensor_count", "kv_count")]  # fmt: skip
    assert list(found[:3]) == counts and found[3] == next(iter(read(path).fields))


@pytest.mark.parametrize("name, shape, kind", [("w", (2, 3), 0), ("größe", (7,), 1), ("e", (2, 3, 64), 8)])
def test_tensor_info_is_the_library_s(name, shape, kind):
    part = Part(name, shape, kind, lambda: None)
    assert tensor_info.reference(name, shape, kind, 64) == writer.tensor_info(part, 64)


def test_permute_is_the_library_s():
    for heads, width in ((1, 4), (2, 8), (3, 6), (4, 64)):
        w = torch.randn(heads * width, 5, generator=torch.Generator().manual_seed(heads))
        assert torch.equal(permute.reference(w, heads), llama.permute(w, heads))


def test_offsets_are_those_that_a_reader_finds(tmp_path):
    sizes = [24, 8, 4, 64, 100]
    parts = [Part(str(k), (n // 4,), 0, lambda n=n: np.zeros(n // 4, np.float32)) for k, n in enumerate(sizes)]
    for alignment in (32, 64, 4096):
        path = writer.write(tmp_path / "some.gguf", {"general.alignment": alignment}, parts)
        assert offsets.reference(sizes, alignment) == [info.offset for info in read(path).tensors.values()]


def test_offload_is_the_planner_s():
    from course_lib.capacity.offload import Needs, plan

    rng = random.Random(8)
    for _ in range(200):
        layers = [rng.randint(1, 9) for _ in range(rng.randint(1, 6))]
        kv, output, memory, reserve = rng.randint(0, 3), rng.randint(0, 9), rng.randint(1, 60), rng.randint(0, 4)
        found = plan(Needs(layers, [kv] * len(layers), output=output, compute=reserve), [memory], margin=0)
        assert offload.reference(layers, kv, output, memory, reserve) == found.ngl


# what the text says


def test_the_source_s_budget():
    assert "3.5 GiB" in printed(cell("budget")) and "22/32 layers fit" in printed(cell("budget"))
    assert offload.reference([5.0 / 32] * 32, 0, 0, 4.0, 0.5) - 1 == 22


def test_the_bytes_that_the_text_names():
    data = ch08_inspector.tiny()
    found = {(span.what, span.part): span for span in spans(data)}
    assert len(data) == 288
    kind = found["type of tiny.size", "keys"]
    assert (kind.at, kind.at + kind.size - 1, kind.value) == (85, 88, "4 = u32")
    assert data[244:248] == np.float32(-3.0).tobytes() == bytes.fromhex("000040c0")
    dims = [found[f"dimension {k} of one", "tensor infos"].value for k in (0, 1)]
    assert dims == ["3, the length of a row", "2"]
    paddings = [span for span in spans(data) if span.part == "padding" and span.at > found["one", "data"].at]
    assert (paddings[0].at, paddings[0].size) == (248, 8)


def test_the_notebook_s_small_file_is_the_explorer_s(tmp_path):
    from course_lib.artifacts.gguf import write

    space = {"folder": tmp_path, "write": write, "Part": Part}
    printed(cell("tiny"), space)
    assert (tmp_path / "tiny.gguf").read_bytes() == ch08_inspector.tiny()


def test_the_incident_is_the_permutation_and_nothing_else(bundled, tmp_path):
    theirs = convert(*bundled, tmp_path / "theirs.gguf")
    mended = convert(*bundled, tmp_path / "mended.gguf", permute.reference)
    assert mended.read_bytes() == llama.export(*bundled, tmp_path / "right.gguf", "F32").read_bytes()
    file, right = read(theirs), read(mended)
    changed = {n.split(".")[-2] for n in file.tensors if not np.array_equal(file.data(n), right.data(n))}
    assert changed == {"attn_q", "attn_k"} and file.fields == right.fields


def test_the_first_token_is_right_without_the_permutation(bundled, tmp_path):
    model, tokenizer = bundled
    ids = tokenizer(models.task.generate(1, seed=3)[0].prompt).input_ids
    with torch.no_grad():
        ours = model(torch.tensor([ids])).logits[0].numpy()
    with LlamaCpp(convert(*bundled, tmp_path / "theirs.gguf")) as bot:
        off = np.abs(bot.logits(ids) - ours).max(1)
    assert off[0] < 1e-4 < 0.1 < off[1]


def test_the_rotation_by_hand_agrees_and_the_forgotten_one_does_not():
    rows = [re.findall(r"-?\d+\.\d+", line) for line in printed(cell("rotary")).splitlines()]
    assert rows[0] == rows[1] != rows[2]


def test_every_attack_is_refused():
    from course_lib.artifacts.gguf import GGUFError

    told = printed(cell("hostile"), {"tiny": ch08_inspector.tiny(), "parse": parse, "GGUFError": GGUFError})
    assert len(told.splitlines()) == 7 and "accepted" not in told
    told = printed(cell("versions"), {"tiny": ch08_inspector.tiny()})
    assert told.count("3 keys, 2 tensors") == 2 and "big-endian file of version 3" in told


# explorers


def test_the_inspector_knows_every_byte():
    inspector, data = explorers.inspector(), ch08_inspector.tiny()
    for span_number, span in enumerate(inspector.spans):
        for further in range(min(span.size, 3)):
            s = inspector.numbers(span_number, further)
            assert s.span == span and s.at == span.at + further
            assert f"Byte {s.at:,} of 288 is {data[s.at]:02x}" in inspector.sentence(s)
    last = inspector.numbers(len(inspector.spans) - 1, 63)
    assert last.at == 287


def test_the_inspector_decodes_numbers_and_hovers_over_each():
    inspector = explorers.inspector()
    one = next(k for k, span in enumerate(inspector.spans) if span.part == "data")
    assert inspector.sentence(inspector.numbers(one, 21)).endswith("They say: 2 × 3 numbers of F32; number 5 is −3.")
    svg = inspector.draw(inspector.numbers(0, 0)).svg("words")
    assert svg.count("<title>byte ") == 13 * 16 and "<title>byte 4: version: 3</title>" in svg


def test_the_inspector_opens_a_real_file(bundled, tmp_path):
    inspector = explorers.inspector(llama.export(*bundled, tmp_path / "bot.gguf", "Q8_0"))
    assert len(inspector.controls[0].options) == len(inspector.spans) > 200
    sentence, scene = inspector.frame(field=len(inspector.spans) - 1)
    assert "output_norm" in sentence and len(scene.svg(sentence)) < 200_000


def test_the_offload_explorer_says_what_the_tasks_promise():
    planner = explorers.offload()
    s = planner.numbers(("8B", "Q4_K_M"), ("rtx-4060",), 32768, 16)
    assert s.plan.layers_on_gpu == 25 and "a cache of 8.5 bits" in planner.sentence(s)
    assert planner.numbers(("8B", "Q4_K_M"), ("rtx-4060",), 32768, 8.5).plan.whole
    assert planner.numbers(("8B", "Q4_K_M"), ("rtx-4060", "rtx-4090"), 32768, 16).plan.tensor_split == (0, 33)
    for bits, longest in ((16, 16384), (8.5, 32768), (4.5, 65536)):
        whole = [n for _, n in ch08_offload.CONTEXTS
                 if planner.numbers(("70B", "Q4_K_M"), ("rtx-4090", "rtx-4090"), n, bits).plan.whole]  # fmt: skip
        assert max(whole) == longest


@pytest.mark.parametrize("model", [m for _, m in ch08_offload.MODELS])
@pytest.mark.parametrize("gpus", [g for _, g in ch08_offload.GPUS])
def test_every_plan_can_be_drawn(model, gpus):
    planner = explorers.offload()
    for context in (512, 131072):
        s = planner.numbers(model, gpus, context, 16)
        assert f"-ngl {s.plan.ngl} of {len(s.plan.needs.layers) + 1}" in planner.draw(s).svg("words")


def test_the_plot_puts_both_files_beside_each_other():
    ours = np.arange(12.0).reshape(3, 4)
    figure = ch08.agreement(ours, {"right": ours, "wrong": -ours})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["right", "wrong"]


# mine


def test_my_file_is_byte_for_byte_the_library_s(bundled, tmp_path):
    path = recipe.write(pieces.references(), *bundled, tmp_path / "mine.gguf")
    assert path.read_bytes() == llama.export(*bundled, tmp_path / "theirs.gguf", "Q8_0").read_bytes()


def test_a_wrong_piece_shows(bundled, tmp_path):
    own = pieces.references()
    own.functions = own.functions | {"permute": lambda w, heads: w}
    straight = recipe.write(own, *bundled, tmp_path / "straight.gguf")
    assert straight.read_bytes() != llama.export(*bundled, tmp_path / "right.gguf", "Q8_0").read_bytes()
    own.functions = own.functions | {"header": lambda data: (3, 0, 0, "")}
    with pytest.raises(ValueError, match="header reads .* where .* was written"):
        recipe.write(own, *bundled, tmp_path / "bad.gguf")


def test_the_recipe_stores_what_the_file_holds(bundled):
    from course_lib.calibrate import quantize_model

    model = recipe.prepare(pieces.references(), bundled[0], recipe.RECIPE.scheme)
    again = quantize_model(model, recipe.RECIPE.scheme, lambda w, s: recipe.RECIPE.quantize(None, w, s), progress=False)
    name = "model.layers.2.mlp.down_proj"
    assert torch.equal(again.qtensors[name].dequantize(), model.get_submodule(name).weight.detach())


# bytes in checks


def test_checks_take_show_and_compare_bytes():
    assert plain.plain(bytearray(b"ab")) == b"ab" and plain.same_bits(b"ab", b"ab") and not plain.same_bits(b"a", b"b")
    assert shorten.shorten(b"GG\0") == "47 47 00" and shorten.shorten(b"") == "no bytes"
    assert shorten.shorten(bytes(100)).endswith("00 …") and shorten.describe(b"a") == "1 byte"
    assert compare.fit(b"ab", b"xy") == b"ab" and compare.difference(b"ab", b"ab") is None
    assert compare.difference(b"ab", b"ac") == "at byte 1: yours 62, expected 63"
    assert compare.difference(b"a", b"ab") == "at byte 1: yours no more bytes, expected 62"
    with pytest.raises(compare.Mismatch, match="expected bytes, got the string 'ab'"):
        compare.fit("ab", b"ab")


# warm-ups


def test_warm_up_answers_are_whole_numbers():
    asked = [make(random.Random(seed)) for make in warmup.QUESTIONS for seed in SEEDS]
    assert all(question.answer == int(question.answer) >= 0 for question in asked)


@pytest.mark.parametrize("seed", SEEDS)
def test_warm_up_answers_are_the_exercises_and_the_library_s(seed):
    rng = random.Random(seed)
    question = warmup.padding(rng)
    size = int(re.search(r"of (\d+) bytes lies", question.text).group(1))
    assert offsets.reference([size, 1], 32)[1] - size == question.answer
    question = warmup.info_bytes(rng)
    dims, name = (int(n) for n in re.findall(r"\d+", question.text))
    assert len(tensor_info.reference("n" * name, (1,) * dims, 0, 0)) == question.answer
    question = warmup.where_a_row_goes(rng)
    rows, row = (int(re.search(words, question.text).group(1)) for words in (r"(\d+) rows", r"does row (\d+)"))
    heads = row // rows + 1
    moved = permute.reference(torch.arange(heads * rows)[:, None], heads).flatten().tolist()
    assert moved.index(row) == question.answer
    question = warmup.little_endian(rng)
    piece = bytes.fromhex(re.search(r"`([0-9a-f ]+)`", question.text).group(1))
    assert int.from_bytes(piece, "little") == question.answer


def test_type_ids_of_the_chapter():
    assert TensorInfo("w", (1, 3), 0, 0, 12).type == "F32" and TensorInfo("w", (1, 32), 8, 0, 34).type == "Q8_0"
