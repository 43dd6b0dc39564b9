"""Greedy decoding: one reply as fast as a small model can, or many in lockstep with the same tokens as one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from course_lib.evaluate.corpus import running
from course_lib.progress import bar


def generate(model: nn.Module, tokenizer, prompt: str, max_new_tokens: int = 256, stop: str | None = "\n") -> str:
    """What the model writes after `prompt`, always taking the likeliest token, up to EOS or the character `stop`.

    Runs on one torch thread: splitting a matrix-vector product of a small model over cores costs more than it saves.
    """
    if not isinstance(prompt, str):
        raise TypeError(f"prompt must be a string, got {type(prompt).__name__}")
    with one_thread():
        return generate_many(model, tokenizer, [prompt], max_new_tokens, stop, progress=False)[0]


def generate_many(
    model: nn.Module,
    tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int = 256,
    stop: str | None = "\n",
    batch_size: int = 64,
    progress: bool | None = None,
) -> list[str]:
    """One reply a prompt, in the order of the prompts; `batch_size` prompts of similar length run together."""
    rows = [prompt_tokens(tokenizer, prompt) for prompt in prompts]
    new = generate_tokens(model, tokenizer, rows, max_new_tokens, stop, batch_size, progress)
    texts = tokenizer.batch_decode(new, skip_special_tokens=True)
    return [text.split(stop)[0] if stop else text for text in texts]


def generate_tokens(
    model: nn.Module,
    tokenizer,
    rows: Sequence[list[int]],
    max_new_tokens: int = 256,
    stop: str | None = "\n",
    batch_size: int = 64,
    progress: bool | None = None,
) -> list[list[int]]:
    """The tokens that the model adds to each row of tokens, the one that ends a reply among them."""
    if stop is not None and len(stop) != 1:
        raise ValueError(f"stop must be one character or None, got {stop!r}")
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    ends = _ends(model, tokenizer, stop)
    new: list[list[int]] = [[] for _ in rows]
    with running(model):
        for at in bar(range(0, len(rows), batch_size), "replies", progress):
            chosen = order[at : at + batch_size]
            tokens = lockstep(model, [rows[i] for i in chosen], max_new_tokens, ends)
            for i, row in zip(chosen, tokens, strict=True):
                new[i] = row
    return new


def prompt_tokens(tokenizer, prompt: str) -> list[int]:
    """The prompt as the model expects it: BOS first, if the tokenizer has one."""
    ids = tokenizer(prompt, verbose=False)["input_ids"]
    bos = tokenizer.bos_token_id
    return ids if bos is None or ids[:1] == [bos] else [bos, *ids]


def lockstep(
    model: nn.Module, prompts: list[list[int]], max_new_tokens: int, ends: Callable[[int], bool]
) -> list[list[int]]:
    """New tokens of every prompt. All rows stand at the same position, so there is no padding and no mask.

    The prompts are read together up to the end of the shortest; from there every step adds one token to every row:
    the next one of its prompt while it has one, then the likeliest. A row that ends leaves the batch and its cache.
    """
    from transformers import DynamicCache

    device, limit = next(model.parameters()).device, _limit(model, prompts)
    position = min(len(prompt) for prompt in prompts)
    new: list[list[int]] = [[] for _ in prompts]
    live = list(range(len(prompts)))
    inputs = torch.tensor([prompt[:position] for prompt in prompts], device=device)  # (rows, position)
    cache = DynamicCache(config=model.config)
    while live and max_new_tokens > 0:
        out = model(input_ids=inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        best = out.logits[:, -1].argmax(-1).tolist()
        following, stay = [], []
        for at, row in enumerate(live):
            token = prompts[row][position] if position < len(prompts[row]) else best[at]
            if position >= len(prompts[row]):
                new[row].append(token)
                if ends(token) or len(new[row]) == max_new_tokens or position + 1 >= limit:
                    continue
            following.append(token)
            stay.append(at)
        if len(stay) < len(live) and stay:
            cache.batch_select_indices(torch.tensor(stay, device=device))
        live = [live[at] for at in stay]
        inputs = torch.tensor(following, device=device)[:, None]  # (rows, 1)
        position += 1
    return new


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread, then on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _limit(model: nn.Module, prompts: list[list[int]]) -> int:
    """The longest sequence of the model; a prompt has to leave room for at least one token."""
    limit = getattr(model.config, "max_position_embeddings", None) or 2**31
    longest = max(len(prompt) for prompt in prompts)
    if not min(len(prompt) for prompt in prompts) or longest >= limit:
        raise ValueError(f"prompts must have from 1 to {limit - 1} tokens, the model's context less one, got {longest}")
    return limit


def _ends(model: nn.Module, tokenizer, stop: str | None) -> Callable[[int], bool]:
    """Does a reply end with this token: EOS of tokenizer or model, or a token that holds the character `stop`."""
    known: dict[int, bool] = {}
    for source in (tokenizer, getattr(model, "generation_config", None), model.config):
        ids = getattr(source, "eos_token_id", None)
        known |= dict.fromkeys(ids if isinstance(ids, list | tuple) else [ids], True)

    def ends(token: int) -> bool:
        if token not in known:
            known[token] = stop is not None and stop in tokenizer.decode([token])
        return known[token]

    return ends
