"""One artifact, all figures: loaded as it lies on disk, held against the model it was made from, served for real."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from course_lib import artifacts
from course_lib.evaluate.compare import Comparison, Reference
from course_lib.evaluate.corpus import DEFAULT_BYTES
from course_lib.evaluate.gate import Report
from course_lib.evaluate.paired import Paired, paired
from course_lib.evaluate.serving import LONGEST, Serving, serve
from course_lib.evaluate.task import TaskResult, task_accuracy

PROMPTS = 4  # requests that a runtime is timed on


class Base:
    """The model that artifacts are held against: what it predicts and what it answers, computed once.

        base = Base(model, tokenizer, texts, examples)
        judge(base.examine("bot.gguf"), read_policy("policy.toml"))

    texts are read for KL and perplexity, examples (.prompt, .answer, .action) are the task's items.
    """

    def __init__(
        self,
        model,
        tokenizer,
        texts: Sequence[str],
        examples: Sequence,
        max_bytes: int | None = DEFAULT_BYTES // 2,
        progress: bool | None = None,
    ) -> None:
        self.tokenizer, self.examples, self.progress = tokenizer, list(examples), progress
        self.probes = [*list(texts)[:3], *(example.prompt for example in self.examples[:3])]
        self.reference = Reference(model, tokenizer, texts, max_bytes, progress=progress)
        self.task = task_accuracy(model, tokenizer, self.examples, progress=progress, replies_only=True)

    def examine(self, artifact: str | Path, runs: int = 2, name: str | None = None, longest: int = LONGEST) -> Report:
        """Everything that the three gates ask about one artifact; what went wrong is in `.problem` and `.log`.

        Of its context `longest` tokens are tried.
        The runtime comes first, in a process of its own: what crashes there is never loaded here.
        """
        name = Path(artifact).name if name is None else name
        prompts = [e.prompt for e in self.examples[:PROMPTS]]
        served = serve(artifact, prompts, runs=runs, longest=longest, progress=self.progress)
        if not served.spreads:
            return Report(name, {}, served.runtime, served.log, f"{served.runtime} did not serve it.")
        figures = served.figures | {"file_gib": file_bytes(artifact) / 2**30}
        try:
            model, tokenizer = artifacts.load(artifact)
            if tokenizer is not None and (different := token_difference(self.tokenizer, tokenizer, self.probes)):
                return Report(name, figures, _source(served), problem=f"Its tokenizer is not the base's: {different}.")
            compared = self.reference.compare(model, self.progress)
            task = task_accuracy(model, self.tokenizer, self.examples, progress=self.progress, replies_only=True)
        except Exception as error:  # whatever a broken file makes a reader or a layer say
            said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            return Report(name, figures, _source(served), problem=f"It could not be measured: {said}.")
        figures |= language_figures(compared) | task_figures(task, paired(self.task.correct, task.correct))
        return Report(name, figures, _source(served), correct=item_by_item(task))


def language_figures(compared: Comparison) -> dict[str, float]:
    """The language gate's figures."""
    return {
        "kl": compared.kl,
        "kl_p99": compared.kl_p99,
        "kl_p999": compared.kl_p999,
        "top1": compared.top1,
        "bpb_rise": compared.bpb_diff,
        "perplexity_ratio": compared.perplexity / compared.base_perplexity,
    }


def task_figures(task: TaskResult, pair: Paired) -> dict[str, float]:
    """The task gate's figures."""
    return {
        "accuracy": task.exact,
        "items": pair.n,
        "drop": pair.drop,
        "drop_high": pair.drop_high(),
        "flips": pair.flips,
        "json_valid": task.json_valid,
        "schema_valid": task.schema_valid,
    }


def item_by_item(task: TaskResult) -> str:
    """ "1" for each right reply and "0" for each wrong one."""
    return "".join("01"[right] for right in task.correct)


def token_difference(base, other, texts: Sequence[str]) -> str:
    """A sentence about where two tokenizers differ, "" where they agree on their tokens and on these texts."""
    ours, theirs = base.get_vocab(), other.get_vocab()
    if moved := [token for token, number in ours.items() if theirs.get(token) != number]:
        first = min(moved, key=ours.get)
        return f"{len(moved):,} of {len(ours):,} tokens differ, the first is {first!r}, number {ours[first]}"
    for text in texts:
        a, b = (t(text, add_special_tokens=False, verbose=False)["input_ids"] for t in (base, other))
        if a != b:
            return f"{text[:30]!r} is {len(b)} tokens, other ones than the base's {len(a)}"
    return ""


def file_bytes(artifact: str | Path) -> int:
    """Bytes of an artifact's weights: the GGUF file, or the safetensors files of a directory."""
    from course_lib.models.load import BUNDLED

    path = BUNDLED if str(artifact) == "bundled" else Path(artifact)
    return path.stat().st_size if path.is_file() else sum(f.stat().st_size for f in path.glob("*.safetensors"))


def _source(served: Serving) -> str:
    return f"served by {served.runtime}, {served.runs} runs: " + ", ".join(
        f"{k} {v}" for k, v in served.spreads.items()
    )
