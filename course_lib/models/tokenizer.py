"""Train the bundled model's tokenizer: byte-level BPE behind GPT-2's own split, digits never merged."""

import random
import re

from course_lib.models import task, texts

END = "<|endoftext|>"
VOCABULARY = 1024


def _samples(bytes_a_domain=3_000_000):
    rng = random.Random("tokenizer")
    for domain in ("prose", "code"):
        documents = texts.train(domain)
        rng.shuffle(documents)
        size = 0
        for document in documents:
            if size > bytes_a_domain:
                break
            size += len(document)
            yield document
    for example in task.generate(4000, seed="tokenizer"):
        yield example.prompt + example.answer


def train_tokenizer(vocabulary=VOCABULARY):
    """Return a `PreTrainedTokenizerFast` with `vocabulary` tokens.

    Digits are blanked in the training text, so no merge holds one: every digit is one token, as in Llama 3's
    arithmetic-friendly splits, while the pre-tokenizer stays GPT-2's (llama.cpp's "gpt-2").
    """
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        (re.sub(r"\d+", "\n", text) for text in _samples()),
        vocab_size=vocabulary,
        special_tokens=[END],
        show_progress=False,
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token=END, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False
    )


def read(folder):
    """Return the tokenizer of a checkpoint directory."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)
