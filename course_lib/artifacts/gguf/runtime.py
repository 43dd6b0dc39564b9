"""llama.cpp itself, on a GGUF file: logits and greedy text, through the C functions that the xllamacpp wheel exports.

The wheel is llama.cpp compiled for the CPU; none of the course's own arithmetic is in between. Parameter structs come
from llama.cpp's default functions and go back by value. The few fields that are set are found by their place, and their
default values are looked at first, so that a release with another layout is refused instead of misread.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

CONTEXT = 512  # tokens
STEP = 512  # tokens that are worked on at once
_DEFAULTS = {2: 512, 3: 1, 7: 4, 8: 4, 13: -1, 26: 1, 27: 1}  # place in the context's parameters: expected default


class Unavailable(RuntimeError):
    """llama.cpp cannot be used on this machine; the message says why and what to do."""


class Refused(ValueError):
    """llama.cpp does not load the file."""


class _Opaque(ctypes.Structure):
    _fields_ = [("data", ctypes.c_uint8 * 1024)]  # more than any of its parameter structs; larger does no harm


class _Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("token", "embd", "pos", "n_seq_id", "seq_id", "logits")),
    ]


@functools.cache
def library() -> ctypes.CDLL:
    """llama.cpp's shared object, its functions declared, its log silent; Unavailable where there is none."""
    try:
        import xllamacpp
    except ImportError:
        raise Unavailable(
            "llama.cpp is not installed here: the package xllamacpp is missing. `make env` installs it where a wheel "
            "with C functions exists (Linux, macOS); the rest of the course does without."
        ) from None
    found = [p for p in sorted(Path(xllamacpp.__file__).parent.glob("xllamacpp*")) if p.suffix in (".so", ".pyd")]
    try:
        lib = ctypes.CDLL(str(found[0]))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
    except (IndexError, OSError, AttributeError) as error:
        raise Unavailable(
            "this wheel of xllamacpp does not export llama.cpp's C functions, as none for Windows does; those for Linux"
            f" and macOS do ({error})"
        ) from None
    lib.llama_log_set(ctypes.cast(_QUIET, ctypes.c_void_p), None)
    lib.llama_backend_init()
    return lib


_pointer, _int = ctypes.c_void_p, ctypes.c_int32
_QUIET = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, _pointer)(lambda level, text, data: None)
_FUNCTIONS = {
    "llama_model_default_params": (_Opaque, []),
    "llama_context_default_params": (_Opaque, []),
    "llama_model_load_from_file": (_pointer, [ctypes.c_char_p, _Opaque]),
    "llama_init_from_model": (_pointer, [_pointer, _Opaque]),
    "llama_batch_init": (_Batch, [_int] * 3),
    "llama_decode": (_int, [_pointer, _Batch]),
    "llama_get_logits_ith": (ctypes.POINTER(ctypes.c_float), [_pointer, _int]),
    "llama_model_get_vocab": (_pointer, [_pointer]),
    "llama_model_n_ctx_train": (_int, [_pointer]),
    "llama_vocab_n_tokens": (_int, [_pointer]),
    "llama_vocab_bos": (_int, [_pointer]),
    "llama_tokenize": (_int, [_pointer, ctypes.c_char_p, _int, _pointer, _int, ctypes.c_bool, ctypes.c_bool]),
    "llama_batch_free": (None, [_Batch]),
    "llama_free": (None, [_pointer]),
    "llama_model_free": (None, [_pointer]),
    "llama_log_set": (None, [_pointer, _pointer]),
    "llama_backend_init": (None, []),
}


class LlamaCpp:
    """A GGUF file, loaded by llama.cpp. Use it with `with`, or close() it.

    >>> with LlamaCpp("bot.gguf") as bot:  # doctest: +SKIP
    ...     bot.logits(bot.tokenize("Hello")).shape
    (2, 1024)
    """

    def __init__(self, path, context: int = CONTEXT):
        """context: tokens of prompt and reply together; the model's own limit is `.trained_context`."""
        self._lib, self.context = library(), context
        if not Path(path).exists():
            raise FileNotFoundError(f"no such file: {path}")
        self.model = self._lib.llama_model_load_from_file(str(path).encode(), self._lib.llama_model_default_params())
        if not self.model:
            raise Refused(f"llama.cpp does not load {Path(path).name}")
        self._vocab = self._lib.llama_model_get_vocab(self.model)
        self.vocabulary = self._lib.llama_vocab_n_tokens(self._vocab)
        self.trained_context = self._lib.llama_model_n_ctx_train(self.model)
        self.bos = self._lib.llama_vocab_bos(self._vocab)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Give the memory back."""
        if self.model:
            self._lib.llama_model_free(self.model)
        self.model = None

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text, by the tokenizer in the file; special tokens are plain text here."""
        data = text.encode()
        ids = (_int * (len(data) + 8))()
        n = self._lib.llama_tokenize(self._vocab, data, len(data), ids, len(ids), False, False)
        return list(ids[:n])

    def logits(self, ids: list[int]) -> np.ndarray:
        """float32 (len(ids), vocabulary): the logits of the next token after each of these."""
        self._expect(ids)
        with self._context() as context:
            return self._decode(context, ids, 0, range(len(ids)))

    def stream(self, ids: list[int], max_new_tokens: int) -> Iterator[int]:
        """The likeliest tokens after `ids`, each as soon as it is known, while the context has room."""
        self._expect(ids)
        with self._context() as context:
            row, end = self._decode(context, ids, 0, [len(ids) - 1])[0], len(ids) + max_new_tokens
            for position in range(len(ids), min(end, self.context)):
                token = int(row.argmax())
                yield token
                if position + 1 < min(end, self.context):
                    row = self._decode(context, [token], position, [0])[0]

    def _expect(self, ids) -> None:
        if not 0 < len(ids) <= self.context or not all(0 <= n < self.vocabulary for n in ids):
            known = f"1 to {self.context} token ids below {self.vocabulary}"
            raise ValueError(f"ids must be {known}, got {len(ids)} of them")

    def generate(self, tokenizer, prompt: str, max_new_tokens: int = 256, stop: str = "\n") -> str:
        """The greedy continuation of a prompt, up to `stop`; `tokenizer` turns text into ids and back."""
        reply, text = [], ""
        for token in self.stream(tokenizer(prompt).input_ids, max_new_tokens):
            reply.append(token)
            text = tokenizer.decode(reply, skip_special_tokens=True)
            if token == tokenizer.eos_token_id or stop in text:
                break
        return text.split(stop)[0]

    @contextlib.contextmanager
    def _context(self):
        context = self._lib.llama_init_from_model(self.model, self._parameters())
        if not context:
            raise RuntimeError(f"llama.cpp finds no memory for a context of {self.context:,} tokens")
        try:
            yield context
        finally:
            self._lib.llama_free(context)

    def _decode(self, context, ids, start: int, wanted) -> np.ndarray:
        """Run tokens at the positions from start on; the logits after those numbered in `wanted`."""
        batch = self._lib.llama_batch_init(len(ids), 0, 1)
        try:
            _fill(batch, ids, start, wanted)
            if self._lib.llama_decode(context, batch) != 0:
                raise RuntimeError("llama.cpp could not run the model on these tokens")
            rows = [self._lib.llama_get_logits_ith(context, k) for k in wanted]
            return np.array([np.ctypeslib.as_array(row, (self.vocabulary,)) for row in rows])
        finally:
            self._lib.llama_batch_free(batch)

    def _parameters(self) -> _Opaque:
        """The context's parameters: one thread, no flash attention, a float32 cache, not float16."""
        params = self._lib.llama_context_default_params()
        fields = np.frombuffer(params.data, np.int32)
        odd = [place for place, value in _DEFAULTS.items() if fields[place] != value]
        if odd:
            raise Unavailable(f"this release of llama.cpp lays its parameters out differently (field {odd[0]}); the "
                              "course knows that of xllamacpp 2026.10")  # fmt: skip
        fields[:3], fields[7:9], fields[13], fields[26:28] = self.context, 1, 0, 0
        fields[2] = min(self.context, STEP)  # more at once, and the scores of all with all have to be in memory
        return params


def _fill(batch: _Batch, ids, start: int, wanted) -> None:
    """Write tokens of one sequence, from position start on, into a batch; logits are asked for those in `wanted`."""
    n = len(ids)

    def array(name, kind):
        return np.ctypeslib.as_array(ctypes.cast(getattr(batch, name), ctypes.POINTER(kind)), (n,))

    array("token", _int)[:], array("pos", _int)[:], array("n_seq_id", _int)[:] = ids, range(start, start + n), 1
    asked = array("logits", ctypes.c_int8)
    asked[:] = 0
    asked[list(wanted)] = 1
    sequences = ctypes.cast(batch.seq_id, ctypes.POINTER(ctypes.POINTER(_int)))
    for k in range(n):
        sequences[k][0] = 0
    batch.n_tokens = n
