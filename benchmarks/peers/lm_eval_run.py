"""The real lm-evaluation-harness on artifacts of the course, offline, with three local tasks in its own format.

    python benchmarks/peers/lm_eval_run.py ARTIFACT…        in an environment that also has lm_eval

Recorded are "bundled" and what `course quantize` makes of it, as `--gguf Q4_K_M` and, called gptq3-prose, as
`--method gptq --samples 64 --bits 3 --group 32 --asymmetric --calibration prose --act-order`.

The tasks ask in the three ways that the harness knows: as MMLU does (the likeliest of several continuations), as GSM8K
does (text up to a stop, compared to the letter), as WikiText does (bits per byte of a text). Beside them stands what
the course's own functions say on the same items. benchmarks/results/lm_eval.json holds what was found.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.record import record  # noqa: E402
from course_lib import artifacts, evaluate, models  # noqa: E402
from course_lib.evaluate import harness  # noqa: E402

CHOICE = """task: bot_choice
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/choice.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{prompt}}"
doc_to_choice: "{{choices}}"
doc_to_target: gold
target_delimiter: ""
metric_list: [{metric: acc}]
"""
REPLY = """task: bot_reply
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/reply.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{prompt}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], do_sample: false, max_gen_toks: 250}
metric_list: [{metric: exact_match}]
"""
PROSE = """task: bot_prose
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/prose.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte}]
"""
ITEMS, TEXTS = 40, 12
WORDS = ("refund", "exchange", "resend", "reject")


def write_tasks(folder: Path):
    """The three tasks and their data; returns the examples and the texts."""
    examples, prose = models.task.generate(ITEMS, seed=13), models.texts.heldout("prose")[:TEXTS]
    choices = []
    for e in examples:
        start, first = e.answer.split('"do":')[0] + '"do":"', e.action["lines"][0]["do"]
        choices.append({"prompt": e.prompt + start, "choices": list(WORDS), "gold": WORDS.index(first)})
    data = {"choice": choices, "reply": [{"prompt": e.prompt, "answer": e.answer} for e in examples],
            "prose": [{"text": text} for text in prose]}  # fmt: skip
    for name, rows in data.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for name, text in (("choice", CHOICE), ("reply", REPLY), ("prose", PROSE)):
        (folder / f"{name}.yaml").write_text(text.replace("FOLDER", str(folder)), encoding="utf-8")
    return examples, prose


def main():
    found = {}
    with tempfile.TemporaryDirectory() as name:
        examples, prose = write_tasks(Path(name))
        for artifact in sys.argv[1:] or ["bundled"]:
            results = harness.run(artifact, ["bot_choice", "bot_reply", "bot_prose"], name, bootstrap_iters=0)
            model, tokenizer = artifacts.load(artifact)
            own = evaluate.generate_many(model, tokenizer, [e.prompt for e in examples], 250, progress=False)
            same = sum(reply == e.answer for reply, e in zip(own, examples, strict=True)) / len(examples)
            found[Path(artifact).name] = {
                "choice, accuracy": results["bot_choice"]["acc,none"],
                "reply, exact match": results["bot_reply"]["exact_match,none"],
                "reply, exact match by evaluate.generate_many": same,
                "prose, bits per byte": results["bot_prose"]["bits_per_byte,none"],
                "prose, bits per byte by evaluate.score": evaluate.bits_per_byte(
                    model, tokenizer, prose, None, progress=False
                ),
            }
            print(artifact, json.dumps(found[Path(artifact).name], indent=2))
    command = " ".join(["python benchmarks/peers/lm_eval_run.py", *found])
    record("lm_eval", found, command=command, lm_eval=version("lm_eval"), items=ITEMS, texts=TEXTS)


if __name__ == "__main__":
    main()
