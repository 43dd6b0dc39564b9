"""Serving, measured: each runtime in a process of its own, its figures laws of each other, its crashes results."""

import subprocess
import sys

import pytest

from course_lib.artifacts.gguf import llama, runtime
from course_lib.evaluate import serving, serving_worker
from course_lib.evaluate.serving import Serving, Spread, percentile, serve
from tests import tiny

PROMPTS = ["the mug is broken", "send money back to my card, please"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("artifacts")
    model, tokenizer = tiny.llama(context=48), tiny.tokenizer()
    model.save_pretrained(path / "hf")
    tokenizer.save_pretrained(path / "hf")
    llama.export(model, tokenizer, path / "bot.gguf", "F32")
    return path


def llama_cpp():
    try:
        return runtime.library()
    except runtime.Unavailable as error:
        pytest.skip(str(error))


def sound(served, runs):
    figures = served.figures
    assert figures["context"] == 48 and served.runs == runs and not served.log
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] and figures["ttft_ms"] > 0
    assert figures["cold_start_s"] * 1e3 > figures["ttft_ms"]
    assert all(s.low <= s.median <= s.high for s in served.spreads.values())
    return figures


def test_llama_cpp_serves_without_torch_in_its_memory(folder):
    llama_cpp()
    figures = sound(serve(folder / "bot.gguf", PROMPTS, tokens=4, runs=2, progress=False), 2)
    assert 0.01 < figures["memory_gib"] < 0.15  # torch alone takes more


def test_transformers_serves_a_checkpoint(folder):
    served = serve(folder / "hf", PROMPTS, tokens=4, runs=1, progress=False)
    assert served.runtime == "transformers" and sound(served, 1)["memory_gib"] > 0.15


@pytest.fixture(scope="module")
def claims(tmp_path_factory):
    """A model that claims a context of 131,072 tokens, as Llama 3.1 does."""
    path = tmp_path_factory.mktemp("long")
    model, tokenizer = tiny.llama(context=131_072), tiny.tokenizer()
    model.save_pretrained(path / "hf")
    tokenizer.save_pretrained(path / "hf")
    llama.export(model, tokenizer, path / "bot.gguf", "F32")
    return path


@pytest.mark.parametrize("name", ["bot.gguf", "hf"])
def test_a_long_context_is_tried_as_far_as_asked(claims, name):
    """All of it at once took more memory than there is: llama.cpp gave no context, and the process ended by signal 11.

    A small model in float32 reads 4,096 tokens in a second; its scores of all with all would take 64 GiB at 131,072.
    """
    if name.endswith("gguf"):
        llama_cpp()
    usual = serve(claims / name, PROMPTS, tokens=4, runs=1, progress=False)
    assert usual.figures["context"] == serving.LONGEST and usual.figures["memory_gib"] < 1.5, usual
    assert serve(claims / name, PROMPTS, tokens=4, runs=1, longest=700, progress=False).figures["context"] == 700


def test_a_context_without_memory_is_a_sentence(folder):
    """llama.cpp then gives no context, and whoever goes on with that ends by signal 11."""

    class WithoutMemory:
        def __getattr__(self, name):
            return (lambda model, params: None) if name == "llama_init_from_model" else getattr(llama_cpp(), name)

    with runtime.LlamaCpp(folder / "bot.gguf", context=48) as bot:
        bot._lib = WithoutMemory()
        with pytest.raises(RuntimeError, match="llama.cpp finds no memory for a context of 48 tokens"):
            bot.logits([1, 2])


def test_logits_do_not_depend_on_how_many_tokens_are_worked_on_at_once(claims, monkeypatch):
    llama_cpp()
    ids = [n % 290 for n in range(700)]
    with runtime.LlamaCpp(claims / "bot.gguf", context=1024) as bot:
        parts = bot.logits(ids)
        monkeypatch.setattr(runtime, "STEP", 1024)
        assert abs(bot.logits(ids) - parts).max() < 1e-4  # sums of the same products


def test_a_file_without_a_first_token_is_served_without_one():
    from types import SimpleNamespace

    engine = object.__new__(serving_worker.LlamaEngine)
    for bos, ids in ((-1, [5, 6]), (3, [3, 5, 6])):
        engine.vocabulary, engine.bot = 9, SimpleNamespace(bos=bos, tokenize=lambda text: [5, 6])
        assert engine.encode("ab") == ids


def test_a_crash_is_a_result_with_the_runtime_s_last_words(folder, tmp_path):
    llama_cpp()
    (tmp_path / "cut.gguf").write_bytes((folder / "bot.gguf").read_bytes()[:5000])
    served = serve(tmp_path / "cut.gguf", PROMPTS, runs=1, progress=False)
    assert served.spreads == {} and served.figures == {}
    assert served.log.startswith("it ended with status 1") and served.log.endswith("does not load cut.gguf")
    assert "llama.cpp crashed: " in str(served)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os, signal, sys; sys.stdin.read(); os.kill(os.getpid(), signal.SIGSEGV)", "it ended by signal 11"),
        ("raise SystemExit('out of memory')", "out of memory"),
        ("import sys, time; sys.stdin.read(); time.sleep(60)", "it took longer than 2 s"),
        ("import sys; sys.stdin.read(); print('first'); sys.exit(3)", "it ended with status 3"),
        ("import sys; sys.stdin.read(); print('hello')", "it ended with status 0"),
    ],
)
def test_however_a_runtime_ends_it_is_told(monkeypatch, tmp_path, code, words):
    worker = tmp_path / "worker.py"
    worker.write_text(code)
    monkeypatch.setattr(serving, "WORKER", worker)
    served = serve("x", PROMPTS, runs=1, timeout_s=2 if "sleep" in code else 60, progress=False)
    assert served.spreads == {} and words in served.log


def test_figures_follow_from_what_a_run_saw(monkeypatch, tmp_path):
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import sys, json; sys.stdin.read(); print('first'); print(json.dumps({'ttft_s': [0.1, 0.2, 0.9],"
        " 'between_s': [0.01] * 95 + [0.05] * 5, 'context': 7, 'peak_bytes': 2**29}))"
    )
    monkeypatch.setattr(serving, "WORKER", worker)
    figures = serve("x", PROMPTS, runs=1, progress=False).figures
    assert figures.pop("cold_start_s") > 0
    assert figures == pytest.approx(
        {"ttft_ms": 200, "p50_ms": 10, "p95_ms": 10, "tokens_per_s": 100 / 1.2, "memory_gib": 0.5, "context": 7}
    )


def test_percentiles_are_numpy_s_inverted_cdf():
    import numpy as np

    values = np.random.default_rng(0).normal(size=37)
    for share in (0.01, 0.5, 0.95, 0.999, 1.0):
        assert percentile(values, share) == np.quantile(values, share, method="inverted_cdf")


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="a prompt, 2 tokens and a run at least, got 0, 32, 3"):
        serve("x", [])
    with pytest.raises(ValueError, match="longest must be more than the 32 tokens of a reply, got 32"):
        serve("x", PROMPTS, longest=32)


def test_the_stream_is_greedy_and_ends_with_the_context(folder):
    llama_cpp()
    with runtime.LlamaCpp(folder / "bot.gguf", context=48) as bot:
        assert (bot.trained_context, bot.bos) == (48, 0)
        ids = [0, *bot.tokenize(PROMPTS[0])]
        got = list(bot.stream(ids, 5))
        for k, token in enumerate(got):
            assert token == int(bot.logits([*ids, *got[:k]])[-1].argmax())
        assert len(list(bot.stream(ids, 1000))) == 48 - len(ids)


def test_a_serving_says_itself():
    served = Serving("llama.cpp", 2, {"ttft_ms": Spread(4.0, 3.0, 5.0)})
    assert str(served) == "llama.cpp, 2 runs: ttft_ms 4 (3 … 5)"


def test_the_worker_reports_what_the_system_counts():
    """In a process of its own: a peak that was reached before hides every later one."""
    code = """
from course_lib.evaluate.serving_worker import peak_bytes
before = peak_bytes()
block = bytearray(64 * 2**20)
block[::4096] = b"x" * len(block[::4096])
print(before, peak_bytes())
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    before, after = map(int, done.stdout.split())
    assert before > 2**22 and (after >= before + 2**25 or sys.platform != "linux")
