"""lm-evaluation-harness on any artifact of the course: MMLU, GSM8K, HumanEval and its other tasks, unchanged.

    from course_lib.evaluate import harness
    harness.run("bot.gguf", ["gsm8k"])            # or lm_eval.simple_evaluate(model=harness.adapter("bot.gguf"), …)

The harness asks three things of a model. `Answers` gives them with plain lists, and is all there is to it; `adapter`
puts them behind the harness's own class. lm_eval is optional: the course needs it for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from course_lib.evaluate import corpus
from course_lib.evaluate.decode import lockstep, prompt_tokens

MISSING = "lm-evaluation-harness is not installed here: `pip install lm_eval` in an environment of your own adds it"


class Answers:
    """What the harness asks of a model: log-likelihoods of continuations and of texts, and text up to a stop."""

    def __init__(self, model, tokenizer, max_new_tokens: int = 256):
        self.model, self.tokenizer, self.max_new_tokens = model, tokenizer, max_new_tokens
        self.limit = getattr(model.config, "max_position_embeddings", 2**31)

    def loglikelihood(self, pairs: Iterable[tuple[str, str]]) -> list[tuple[float, bool]]:
        """(sum of ln p(token), was every token the likeliest) of each continuation behind its context.

        MMLU asks so: four continuations, the likeliest counts as the answer. Both parts are tokenized together, and
        the continuation begins where the context's own tokens end; a long context loses its beginning.
        """
        rows = [self._split(context, continuation) for context, continuation in pairs]
        return [(float(chosen.sum()), bool(best.all())) for chosen, best in self._scored(rows)]

    def loglikelihood_rolling(self, texts: Iterable[str]) -> list[float]:
        """Sum of ln p(token) of each whole text, in windows of the model's context, each behind a BOS."""
        found = []
        for text in texts:
            ids, start = self._tokens(text), corpus.start_token(self.tokenizer)
            size = self.limit - 1
            windows = [([start], ids[at : at + size]) for at in range(0, len(ids), size)]
            found.append(float(sum(chosen.sum() for chosen, _ in self._scored(windows))))
        return found

    def generate_until(self, asked: Iterable[tuple[str, dict]]) -> list[str]:
        """The greedy continuation of each prompt up to the first of its "until" strings, without it."""
        return [self._reply(prompt, dict(options)) for prompt, options in asked]

    def _reply(self, prompt: str, options: dict) -> str:
        if options.get("do_sample") and options.get("temperature", 0) > 0:
            raise ValueError("this adapter decodes greedily; the task asks for sampling (do_sample)")
        stops = options.get("until") or []
        stops = [stops] if isinstance(stops, str) else list(stops)
        most = int(options.get("max_gen_toks") or self.max_new_tokens)
        room = max(self.limit - most, self.limit // 2)  # a long prompt loses its beginning, not its question
        ids = prompt_tokens(self.tokenizer, prompt)[-room:]
        seen: list[int] = []

        def ends(token: int) -> bool:
            seen.append(token)
            return token == self.tokenizer.eos_token_id or any(stop in self.tokenizer.decode(seen) for stop in stops)

        with corpus.running(self.model):
            new = lockstep(self.model, [ids], most, ends)[0]
        text = self.tokenizer.decode(new, skip_special_tokens=True)
        for stop in stops:
            text = text.split(stop)[0]
        return text

    def _tokens(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    def _split(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        tail = len(context) - len(context.rstrip())  # a space before a word belongs to the word's token
        if tail:
            context, continuation = context[:-tail], context[-tail:] + continuation
        before = self._tokens(context) if context else []
        target = self._tokens(context + continuation)[len(before) :]
        return [corpus.start_token(self.tokenizer), *before], target

    def _scored(self, rows: Sequence[tuple[list[int], list[int]]]):
        """(ln p of each target token, is it the likeliest) of every (given, target)."""
        with corpus.running(self.model):
            for given, target in rows:
                ids = torch.tensor([(given + target)[-(self.limit + 1) :]], device=next(self.model.parameters()).device)
                logits = self.model(input_ids=ids[:, :-1], use_cache=False).logits[0, -len(target) :].float().cpu()
                wanted = torch.tensor(target[-len(logits) :])
                log_p = logits.double().log_softmax(-1)
                yield log_p.gather(1, wanted[:, None])[:, 0], log_p.argmax(-1) == wanted


def adapter(artifact: str | Path, **options):
    """The artifact as an `lm_eval.api.model.LM`; ImportError with one sentence where lm_eval is missing."""
    LM = _lm_eval("lm_eval.api.model").LM
    from course_lib import artifacts

    answers = Answers(*artifacts.load(artifact), **options)

    class CourseLM(LM):
        def loglikelihood(self, requests):
            return answers.loglikelihood(request.args for request in requests)

        def loglikelihood_rolling(self, requests):
            return answers.loglikelihood_rolling(request.args[0] for request in requests)

        def generate_until(self, requests):
            return answers.generate_until(request.args for request in requests)

    return CourseLM()


def run(artifact: str | Path, tasks: Sequence[str], task_folder: str | Path | None = None, **options) -> dict:
    """The harness's results on some tasks; task_folder holds tasks of your own, as YAML in its format.

    options go to lm_eval.simple_evaluate: limit=100, num_fewshot=5, …
    """
    harness = _lm_eval("lm_eval")
    manager = _lm_eval("lm_eval.tasks").TaskManager(include_path=None if task_folder is None else str(task_folder))
    found = harness.simple_evaluate(adapter(artifact), tasks=list(tasks), task_manager=manager, **options)
    return found["results"]


def _lm_eval(module: str):
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "lm_eval":
            raise
        raise ImportError(MISSING) from None
