"""llama.cpp itself as oracle, through the C functions that the xllamacpp wheel exports: logits of token ids.

Its parameter structs are taken as they come from the default functions and passed on by value; the few fields that
are set are found by their default values, so that another layout is noticed.
"""

import ctypes

import numpy as np

from tests.ggml_oracle import LIB


class Opaque(ctypes.Structure):
    _fields_ = [("data", ctypes.c_uint8 * 1024)]  # more than the struct needs; it lies in memory either way


class Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("token", "embd", "pos", "n_seq_id", "seq_id", "logits")),
    ]


def _declare():
    pointer = ctypes.c_void_p
    for name, result, arguments in (
        ("llama_model_default_params", Opaque, []),
        ("llama_context_default_params", Opaque, []),
        ("llama_model_load_from_file", pointer, [ctypes.c_char_p, Opaque]),
        ("llama_init_from_model", pointer, [pointer, Opaque]),
        ("llama_batch_init", Batch, [ctypes.c_int32] * 3),
        ("llama_decode", ctypes.c_int32, [pointer, Batch]),
        ("llama_get_logits_ith", ctypes.POINTER(ctypes.c_float), [pointer, ctypes.c_int32]),
        ("llama_model_get_vocab", pointer, [pointer]),
        ("llama_vocab_n_tokens", ctypes.c_int32, [pointer]),
        ("llama_tokenize", ctypes.c_int32, [pointer, ctypes.c_char_p, ctypes.c_int32, pointer, ctypes.c_int32,
                                            ctypes.c_bool, ctypes.c_bool]),
        ("llama_batch_free", None, [Batch]),
        ("llama_free", None, [pointer]),
        ("llama_model_free", None, [pointer]),
        ("llama_log_set", None, [pointer, pointer]),
        ("llama_backend_init", None, []),
    ):  # fmt: skip
        function = getattr(LIB, name)
        function.restype, function.argtypes = result, arguments


_declare()
_QUIET = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda level, text, data: None)
LIB.llama_log_set(ctypes.cast(_QUIET, ctypes.c_void_p), None)
LIB.llama_backend_init()


class Llama:
    """A GGUF file in llama.cpp: `logits(ids)` (len(ids), vocabulary) float32, `tokenize(text)`; close() it."""

    def __init__(self, path):
        self.model = LIB.llama_model_load_from_file(str(path).encode(), LIB.llama_model_default_params())
        if not self.model:
            raise ValueError(f"llama.cpp refuses {path}")
        self.vocab = LIB.llama_model_get_vocab(self.model)
        self.size = LIB.llama_vocab_n_tokens(self.vocab)

    def logits(self, ids):
        params = LIB.llama_context_default_params()
        fields = np.frombuffer(params.data, np.int32)
        fields[:3] = 512  # n_ctx, n_batch, n_ubatch
        assert fields[13] == -1 and fields[26:28].tolist() == [1, 1], "the struct has another layout in this version"
        fields[13], fields[26:28] = 0, 0  # flash attention off, keys and values cached in F32 instead of F16
        context = LIB.llama_init_from_model(self.model, params)
        batch = LIB.llama_batch_init(len(ids), 0, 1)
        view = {
            name: np.ctypeslib.as_array(ctypes.cast(getattr(batch, name), ctypes.POINTER(kind)), (len(ids),))
            for name, kind in (("token", ctypes.c_int32), ("pos", ctypes.c_int32), ("n_seq_id", ctypes.c_int32),
                               ("logits", ctypes.c_int8))
        }  # fmt: skip
        view["token"][:], view["pos"][:], view["n_seq_id"][:], view["logits"][:] = ids, range(len(ids)), 1, 1
        sequences = ctypes.cast(batch.seq_id, ctypes.POINTER(ctypes.POINTER(ctypes.c_int32)))
        for k in range(len(ids)):
            sequences[k][0] = 0
        batch.n_tokens = len(ids)
        try:
            assert LIB.llama_decode(context, batch) == 0
            rows = [np.ctypeslib.as_array(LIB.llama_get_logits_ith(context, k), (self.size,)) for k in range(len(ids))]
            return np.array(rows)
        finally:
            LIB.llama_batch_free(batch)
            LIB.llama_free(context)

    def tokenize(self, text):
        data = text.encode()
        ids = (ctypes.c_int32 * (len(data) + 8))()
        n = LIB.llama_tokenize(self.vocab, data, len(data), ids, len(ids), False, False)
        return list(ids[:n])

    def close(self):
        LIB.llama_model_free(self.model)
