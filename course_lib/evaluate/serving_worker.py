"""One process that serves one artifact and times itself: `python serving_worker.py`, its task as JSON on stdin.

A process of its own, so that memory is the artifact's and its runtime's, and a crash is nobody else's. It is started as
a file, not as a module of the package: llama.cpp's memory would otherwise hold torch as well.

    in   {"artifact": path, "prompts": [text, …], "tokens": n, "longest": tokens of context to try}
    out  a line as soon as the first token is there, then one line of JSON with what was measured
"""

import importlib.util
import json
import sys
import time
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1]


class LlamaEngine:
    """A GGUF file in llama.cpp, on one thread."""

    def __init__(self, path, longest):
        runtime = _by_path("artifacts/gguf/runtime.py")
        with runtime.LlamaCpp(path) as peek:
            context = min(peek.trained_context, longest)
        self.bot = runtime.LlamaCpp(path, context)
        self.context, self.vocabulary = context, self.bot.vocabulary

    def encode(self, text):
        first = [self.bot.bos] if 0 <= self.bot.bos < self.vocabulary else []  # a file need not have one
        return [*first, *self.bot.tokenize(text)]

    def stream(self, ids, n):
        return self.bot.stream(ids, n)


class TorchEngine:
    """Any checkpoint that the course reads, in transformers, on one thread; on the GPU where there is one."""

    def __init__(self, path, longest):
        sys.path.insert(0, str(LIBRARY.parent))
        import torch

        from course_lib import artifacts

        torch.set_num_threads(1)
        torch.inference_mode().__enter__()
        self.torch = torch
        self.model, self.tokenizer = artifacts.load(path)
        self.device = next(self.model.parameters()).device
        config = self.model.config.get_text_config()
        self.context, self.vocabulary = min(config.max_position_embeddings, longest), config.vocab_size

    def encode(self, text):
        from course_lib.evaluate.decode import prompt_tokens

        return prompt_tokens(self.tokenizer, text)

    def stream(self, ids, n):
        from transformers import DynamicCache

        cache, new = DynamicCache(config=self.model.config), ids
        for _ in range(min(n, self.context - len(ids))):
            inputs = self.torch.tensor([new], device=self.device)
            logits = self.model(input_ids=inputs, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
            new = [int(logits[0, -1].argmax())]
            yield new[0]


def _by_path(name):
    spec = importlib.util.spec_from_file_location("runtime", LIBRARY / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def peak_bytes():
    """The most memory that this process ever held.

    Linux: VmHWM. `getrusage` there begins with what the parent held when it started this process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import psutil

    memory = psutil.Process().memory_info()
    return getattr(memory, "peak_wset", memory.rss)


def timed(tokens):
    """(seconds to the first token, [seconds between tokens])."""
    marks = [time.perf_counter()]
    for _ in tokens:
        marks.append(time.perf_counter())
    return marks[1] - marks[0], [b - a for a, b in zip(marks[1:], marks[2:], strict=False)]


def main():
    task = json.loads(sys.stdin.read())
    engine_class = LlamaEngine if task["artifact"].endswith(".gguf") else TorchEngine
    engine, n = engine_class(task["artifact"], task["longest"]), task["tokens"]
    prompts = [engine.encode(text)[: max(1, engine.context - n)] for text in task["prompts"]]
    next(iter(engine.stream(prompts[0], 1)))
    print("first", flush=True)
    first, between = [], []
    for ids in prompts:
        ttft, gaps = timed(engine.stream(ids, n))
        first.append(ttft)
        between += gaps
    filler = (prompts[0] * engine.context)[: engine.context - 1]
    read = len(filler) + sum(1 for _ in engine.stream(filler, 1))  # the whole context, if it really has it
    found = {"ttft_s": first, "between_s": between, "context": read, "peak_bytes": peak_bytes()}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
