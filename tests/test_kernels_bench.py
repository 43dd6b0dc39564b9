"""What `course bench kernels` checks before it times: right kernels pass, and a wrong one is seen."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import course_lib
from course_lib.kernels import kv
from course_lib.kernels.measure import contest, families, kv_contest

SMALL = (96, 512)


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("name", families.families())
def test_a_family_agrees_with_its_exact_product(name, m):
    family = families.families()[name]
    torch.manual_seed(0)
    weight = family.draw(*SMALL)
    x = torch.randn(min(m, family.most), SMALL[1]).to(family.dtype)
    with families.poisoned():
        error = families.close(family.run(x, weight), family.exact(x, weight))
    assert error <= families.limit(family.dtype)


@pytest.mark.parametrize("kind", kv_contest.KINDS)
def test_attention_agrees_with_its_exact_result(kind, monkeypatch):
    monkeypatch.setattr(kv_contest, "KV_HEADS", 2)  # the interpreter's time follows the number of heads
    torch.manual_seed(0)
    pages = kv_contest.draw(kind, 2, 100)
    pages.lengths[1] = 37
    q = torch.randn(2, 8, 128, dtype=torch.bfloat16)
    assert families.close(kv.decode_attention(q, pages), kv_contest.exact(q, pages, kind)) < 2**-6


def test_an_unwritten_output_and_a_wrong_code_are_seen():
    exact = torch.randn(2, 8, dtype=torch.float64)
    with families.poisoned():
        assert families.close(torch.empty(2, 8), exact) == float("inf")
    assert families.close(exact[:1].float(), exact) == float("inf")
    family = families.families()["w4a16-g128"]
    weight, x = family.draw(*SMALL), torch.ones(1, 512, dtype=torch.bfloat16)
    right = family.exact(x, weight)
    weight.words.bitwise_xor_(8)  # the highest bit of one nibble in eight
    assert families.close(family.run(x, weight), right) > families.limit(torch.bfloat16)


def test_codes_take_all_their_values():
    assert families.draw_int4(64, 256).words.unique().numel() > 2000
    assert families.fp8_codes(256, 64).view(torch.uint8).unique().numel() == 254  # two are NaN
    assert not families.fp8_codes(256, 64).float().isnan().any()


def test_copies_lie_elsewhere_and_fill_the_rotation(monkeypatch):
    monkeypatch.setattr(families.clock, "ROTATE", 100_000)
    weight = families.draw_int4(64, 256)
    copies = families.in_rotation(weight)
    assert sum(map(families.nbytes, copies)) >= 100_000 and len({w.words.data_ptr() for w in copies}) == len(copies)
    assert all(torch.equal(w.words, weight.words) for w in copies)


def test_points_cover_the_shapes_that_were_asked():
    known = families.families()
    assert len(contest.points(known["w4a16-g128"], quick=False)) == 40
    assert {m for m, *_ in contest.points(known["q4_k"], quick=False)} == {1}
    assert len(contest.points(known["fp8-row"], quick=True)) == 5


def test_peers_are_written_beside_what_they_compete_with():
    rows = [{"kernel": k, "m": 1, "n": 2, "k": 3, "peers": {}} for k in ("w4a16-g128", "w4a16-g128-fp16", "fp8-row")]
    contest.join_peers(rows, [{"peer": "humming", "against": "w4a16-g128", "m": 1, "n": 2, "k": 3, "us": 7.0}])
    assert [row["peers"] for row in rows] == [{"humming": 7.0}, {"humming": 7.0}, {}]


def test_a_run_that_is_stopped_leaves_what_it_had(monkeypatch, capsys):
    """The phases with a clock and a GPU of our own: what fails its check is not timed, and each phase is saved."""
    names = ["w4a16-g128", "fp8-row"]
    checks = [{"family": name, "passed": name == names[0]} for name in names]
    row = {"kernel": "w4a16-g128", "m": 1, "n": 2, "k": 3, "us": 1.0, "torch_bf16_us": 2.0, "percent_of_copy": 50.0}
    peer = {"peer": "humming", "against": "w4a16-g128", "m": 1, "n": 2, "k": 3, "us": 7.0}
    monkeypatch.setattr(families, "families", lambda: {name: SimpleNamespace(name=name, most=1) for name in names})
    monkeypatch.setattr(contest, "check_all", lambda *_: checks)
    monkeypatch.setattr(contest, "machine", dict)
    monkeypatch.setattr(contest, "time_torch", lambda points: {point: 2.0 for point in points})
    monkeypatch.setattr(contest, "time_family", lambda family, *_: [row | {"kernel": family.name, "peers": {}}])
    monkeypatch.setattr(
        contest, "run_peers", lambda which, *_: ([peer], {}) if which == ["humming"] else ([], {"x": "gone"})
    )
    monkeypatch.setattr(kv_contest, "measure", lambda *_: ([row | {"kernel": "kv_fp8", "peers": {}}], []))
    for name in ("copy_bandwidth", "matmul_flops"):
        monkeypatch.setattr(families.clock, name, lambda: 1e12)
    args, saved = SimpleNamespace(family=[], peer=["humming", "x"], quick=True, jobs=1, seconds=9.0), []
    contest.measure(args, lambda found: saved.append(json.loads(json.dumps(found))))
    kernels = [[found["kernel"] for found in entry["rows"]] for entry in saved]
    assert kernels == [["w4a16-g128"], *[["w4a16-g128", "kv_fp8"]] * 3]
    assert [entry["rows"][0]["peers"] for entry in saved] == [{}, {}, {"humming": 7.0}, {"humming": 7.0}]
    assert saved[-1]["peers_missing"] == {"x": "gone"} and saved[-1]["checks"] == checks
    assert saved[0]["command"] == "course bench kernels --quick --peer humming x --seconds 9"
    assert "w4a16-g128            1 x     2 x      3       1.0 us" in capsys.readouterr().out


def test_without_a_gpu_the_command_says_so(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert contest.main([]) == 2 and "finds none here" in capsys.readouterr().out


BARE = """
import sys
from importlib.metadata import packages_distributions

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

missing = {name for name, of in packages_distributions().items() if set(of) & set(sys.argv[1:])}
assert "ml_dtypes" in missing and "torch" not in missing
sys.meta_path.insert(0, Missing())
from course_lib.cli import main
for what in ("kernels", "decode"):
    assert main(["bench", what]) == 2
from course_lib.kernels.compiled import builds
from course_lib.kernels.measure import decode_models, families, kv_contest, rivals
families.families()["nvfp4"].draw(32, 128)
print(main(["bench", "sass", "--arch", "sm_80", "--kernel", "gemv-1"]))
"""


def test_a_machine_with_torch_and_triton_only_can_run_it(tmp_path):
    """A GPU machine often has no more: every other package that the course names is hidden from the imports."""
    from importlib.metadata import requires

    named = {re.match(r"[\w.-]+", line)[0] for line in requires("llm-quantization-course")}
    needed = {re.match(r"[\w.-]+", line)[0] for line in ("torch", "triton", "numpy", *requires("torch"))}
    words = [sys.executable, "-c", BARE, *named - needed]
    env = os.environ | {"TRITON_INTERPRET": "0", "PYTHONPATH": str(Path(course_lib.__file__).parents[1])}
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=env | {"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0" and "gemv-1" in done.stdout
