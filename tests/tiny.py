"""Tiny models and a tiny tokenizer for tests: real transformers classes, random weights, milliseconds to build."""

import functools
from dataclasses import dataclass

import torch

WORDS = '{"do":"refund","eur":0123456789} the mug is broken, please send é ü money back to my card.\n'


@functools.cache
def tokenizer():
    """Byte-level BPE without normalisation, END as BOS, EOS and padding, as the bundled tokenizer."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([WORDS] * 3, vocab_size=300, special_tokens=["<|end|>"], show_progress=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<|end|>", eos_token="<|end|>", pad_token="<|end|>"
    )


def llama(seed=0, context=64, tied=True, **more):
    """A random Llama of 2 layers, 32 wide, in float32 and eval mode."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    sizes = dict(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    tokens = dict(vocab_size=len(tokenizer()), bos_token_id=0, eos_token_id=0, pad_token_id=0)
    other = dict(max_position_embeddings=context, tie_word_embeddings=tied, initializer_range=0.3)
    return LlamaForCausalLM(LlamaConfig(**sizes | tokens | other | more)).eval()


@dataclass(frozen=True)
class Example:
    prompt: str
    action: dict
    answer: str


EXAMPLES = tuple(
    Example(f"{what}:", action, answer)
    for what, action, answer in (
        ("mug", {"do": "refund", "eur": 12}, '{"do":"refund","eur":12}'),
        ("the card is broken", {"do": "send", "eur": 0}, '{"do":"send","eur":0}'),
        ("my mug, please", {"do": "back", "eur": 345}, '{"do":"back","eur":345}'),
    )
)


@functools.cache
def trained():
    """The same Llama after 150 steps on EXAMPLES: it answers them and nothing else. Do not change it in place."""
    model, tok = llama(seed=1, initializer_range=0.08).train(), tokenizer()
    rows = [[0, *tok(e.prompt)["input_ids"], *tok(e.answer)["input_ids"], 0] for e in EXAMPLES]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        loss = sum(model(input_ids=torch.tensor([row]), labels=torch.tensor([row])).loss for row in rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()
