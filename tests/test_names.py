"""Names on download pages: what is read from them, and sizes against those that the pages state."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.capacity.plan.models import config_of
from course_lib.deploy.names import FIXED, read

CONFIG = config_of("llama-3.1-8b")[1]
# GB of the weights' files as Hugging Face lists them, November 2026: bartowski's Meta-Llama-3(.1)-8B-Instruct-GGUF,
# hugging-quants' -AWQ-INT4, mlx-community's -4bit. (IQ4_XS, listed at 4.45, is left out: an importance matrix spares
# an eighth of ffn_down the Q5_K that it has without one.)
LISTED = {
    "Q8_0.gguf": 8.54, "Q4_K_M.gguf": 4.92, "IQ3_M.gguf": 3.78, "IQ3_XS.gguf": 3.52,
    "Q3_K_L.gguf": 4.32, "Q2_K.gguf": 3.18, "AWQ-INT4": 5.73, "mlx-4bit": 4.52,
}  # fmt: skip
# bytes of whole files of Llama 3 8B, a model of the same shape (ddh0/UnquantizedEmbeddingTesting, sizes.txt)
EXACT = {"q2_K": 3_179_131_168, "q3_K_L": 4_321_956_128, "q3_K_M": 4_018_917_664, "q3_K_S": 3_664_498_976}


@pytest.mark.parametrize("name, gigabytes", LISTED.items())
def test_the_size_of_a_word_is_the_listed_one(name, gigabytes):
    size = next(word.bytes(CONFIG) for word in read(f"Meta-Llama-3.1-8B-Instruct-{name}"))
    assert gigabytes - 0.015 < size / 1e9 < gigabytes + 0.005  # a GGUF holds some 8 MB of tokens, too


@pytest.mark.parametrize("name, size", EXACT.items())
def test_a_mix_s_bytes_leave_room_for_the_same_header(name, size):
    (word,) = read(f"Meta-Llama-3-8B-Instruct-{name}.gguf")
    assert 7_800_000 < size - word.bytes(CONFIG) < 7_900_000  # 128,256 tokens, their types and merges


@pytest.mark.parametrize(
    "name, words",
    {
        "unsloth/Llama-3.1-8B-Instruct-GGUF/Llama-3.1-8B-Instruct-UD-Q4_K_XL.gguf": ["UD", "Q4_K_XL"],
        "Phi-4-reasoning-plus.i1-IQ2_XXS.gguf": ["i1", "IQ2_XXS"],
        "google/gemma-3-12b-it-qat-q4_0-gguf": ["qat", "q4_0"],
        "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4": ["GPTQ-Int4"],
        "TheBloke/Llama-2-7B-GPTQ": ["GPTQ"],
        "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16": ["w4a16"],
        "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic": ["FP8-dynamic"],
        "nvidia/Llama-3.1-8B-Instruct-NVFP4": ["NVFP4"],
        "unsloth/Meta-Llama-3.1-8B-bnb-4bit": ["bnb-4bit"],
        "turboderp/Llama-3.1-8B-Instruct-exl3-3.0bpw": ["exl3", "3.0bpw"],
        "Intel/Qwen3-8B-int4-AutoRound": ["AutoRound"],
        "ggml-org/gpt-oss-20b-MXFP4.gguf": ["MXFP4"],
        "batmac/Meta-Llama-3-8B-Instruct-4bit-mlx": ["4bit"],
        "mlx-community/Meta-Llama-3.1-8B-Instruct-4bit": ["4bit"],
        "mlx-community/Llama-3.1-8B-bnb-4bit": ["bnb-4bit"],
        "somebody/Meta-Llama-3.1-8B-Instruct-4bit": [],  # whose four bits, nothing says
        "Llama-3.1-8B-Instruct-W8A8-FP8": ["W8A8-FP8"],
        "meta-llama/Llama-3.1-8B": [],
        "Prawqtical-FP80-Q4_K_Mx": [],  # parts of longer words say nothing
        "": [],
    }.items(),
)
def test_the_words_of_names_that_people_give(name, words):
    assert [word.word for word in read(name)] == words


def test_a_dynamic_mix_fixes_no_size():
    assert [word.bytes(CONFIG) for word in read("Llama-3.1-8B-UD-IQ2_XXS.gguf")] == [None, None]
    assert read("Llama-3.1-8B-IQ2_XXS.gguf")[0].bytes(CONFIG) is not None


def test_every_word_is_explained_and_placed():
    names = (
        "UD-Q4_K_XL i1-Q4_0 qat BF16 AWQ GPTQ-Int8 w4a16 w8a8 FP8 NVFP4 MXFP4 bnb-4bit HQQ AutoRound exl2 exl3 mlx-8bit"
    )
    for name in names.split():
        assert read(name), name
        for word in read(name):
            assert word.what and 1 <= int(word.chapter) <= 15, word
    assert all(len(says) == 5 for says in FIXED.values())


@given(st.text(max_size=40))
def test_any_text_is_read_without_a_word(name):
    words = read(name)
    at = 0
    for word in words:  # in order, and none inside another
        at = name.index(word.word, at) + len(word.word)


def test_bad_input():
    with pytest.raises(TypeError, match="name must be a string"):
        read(None)
