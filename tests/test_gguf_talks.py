"""What a talk needs of a file: templates by name, all tokens that end a reply, tokens around text; its length."""

import ctypes

import gguf
import pytest
import tiny
from tokenizers import AddedToken, processors
from transformers import PreTrainedTokenizerFast

from course_lib import artifacts
from course_lib.artifacts.gguf import llama, read
from course_lib.artifacts.gguf.tokenizer import ENDS, tokenizer_of
from tests import llama_oracle as oracle
from tests.gguf_models import SIZES, made_of

TALK = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
TOOLS = "{{ tools }}" + TALK


def tokenizer(more=(), **given):
    """The bundled tokenizer's kind with further special tokens."""
    made = tiny.tokenizer().backend_tokenizer
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in more])
    return PreTrainedTokenizerFast(tokenizer_object=made, **{"eos_token": "<|end|>"} | given)


@pytest.fixture(scope="module")
def model():
    return made_of("llama", SIZES | dict(vocab_size=320, num_hidden_layers=1, hidden_size=64, intermediate_size=64))


def ends_in_llama_cpp(path, tokens):
    """Which of these tokens end a reply, says llama.cpp."""
    is_end = oracle.LIB.llama_vocab_is_eog
    is_end.restype, is_end.argtypes = ctypes.c_bool, [ctypes.c_void_p, ctypes.c_int32]
    with oracle.Llama(path) as opened:
        vocab = oracle.LIB.llama_model_get_vocab(opened.model)
        return [token for token in tokens if is_end(vocab, token)]


@pytest.mark.parametrize("template", [TALK, {"default": TALK, "tool_use": TOOLS}, {"tool_use": TOOLS}])
def test_every_template_is_in_the_file_as_llama_cpp_s_converter_has_it(tmp_path, model, template):
    made = tokenizer(chat_template=template)
    path = llama.export(model, made, tmp_path / "ours.gguf", "F32")
    writer = gguf.GGUFWriter(tmp_path / "theirs.gguf", "llama")
    named = template if isinstance(template, str) else [{"name": n, "template": t} for n, t in template.items()]
    writer.add_chat_template(named)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    ours, theirs = read(path).metadata, read(tmp_path / "theirs.gguf").metadata
    talks = {key: value for key, value in theirs.items() if "chat" in key}
    assert talks and talks == {key: value for key, value in ours.items() if "chat" in key}
    assert artifacts.load(path)[1].chat_template == template


def test_a_name_of_a_template_is_written_in_letters_and_digits():
    made = llama.tokenizer_keys(tokenizer(chat_template={"default": TALK, "tool-use/2": TOOLS}))
    assert made["tokenizer.chat_templates"] == ["tool_use_2"] and made["tokenizer.chat_template.tool_use_2"] == TOOLS


def test_llama_cpp_ends_a_reply_where_transformers_does(tmp_path, model):
    """With and without a name that llama.cpp knows, from the model and from its folder, and again from the file."""
    made = tokenizer(["<|im_end|>", "<|done|>", "<|pause|>", "<|other|>"])
    known, done, pause, other = map(made.convert_tokens_to_ids, ("<|im_end|>", "<|done|>", "<|pause|>", "<|other|>"))
    model.generation_config.eos_token_id = [made.eos_token_id, known, done, pause]
    model.save_pretrained(tmp_path / "model")
    for name, source in (("live", model), ("folder", tmp_path / "model")):
        path = llama.export(source, made, tmp_path / f"{name}.gguf", "F32")
        assert ends_in_llama_cpp(path, range(320)) == sorted(model.generation_config.eos_token_id)
        again, _ = artifacts.load(path)
        assert again.generation_config.eos_token_id == [made.eos_token_id, done, pause]
    model.generation_config.eos_token_id = made.eos_token_id
    path = llama.export(model, made, tmp_path / "one.gguf", "F32")
    assert other not in ends_in_llama_cpp(path, range(320)) and "tokenizer.ggml.eot_token_id" not in read(path).metadata


def test_llama_cpp_knows_these_names_by_itself(tmp_path, model):
    made = tokenizer(sorted(ENDS - {"<|end|>"}))
    path = llama.export(model, made, tmp_path / "x.gguf", "F32")
    assert ends_in_llama_cpp(path, range(320)) == sorted(map(made.convert_tokens_to_ids, ENDS))


AROUND = {"both": "<|bos|> $A <|end|>", "first": "<|bos|> $A", "last": "$A <|end|>", "none": "$A"}


@pytest.mark.parametrize("kind", AROUND)
def test_a_token_behind_text_is_there_in_the_file_too(tmp_path, model, kind):
    made = tokenizer(["<|bos|>"], bos_token="<|bos|>")
    special = [(token, made.convert_tokens_to_ids(token)) for token in ("<|bos|>", "<|end|>")]
    backend = made.backend_tokenizer
    backend.post_processor = processors.TemplateProcessing(single=AROUND[kind], special_tokens=special)
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|bos|>", eos_token="<|end|>")
    path = llama.export(model, made, tmp_path / "x.gguf", "F32")
    with oracle.Llama(path) as opened:
        vocab, out = oracle.LIB.llama_model_get_vocab(opened.model), (ctypes.c_int32 * 64)()
        n = oracle.LIB.llama_tokenize(vocab, b"a box of tea", 12, out, 64, True, True)
    assert out[:n] == made("a box of tea").input_ids == tokenizer_of(read(path))("a box of tea").input_ids


def test_other_tokens_around_text_are_refused():
    made = tokenizer(["<|sop|>"])
    backend = made.backend_tokenizer
    backend.post_processor = processors.TemplateProcessing(
        single="<|sop|> $A", special_tokens=[("<|sop|>", made.convert_tokens_to_ids("<|sop|>"))]
    )
    with pytest.raises(ValueError, match="nothing around text but its bos_token and its eos_token.*sop"):
        llama.tokenizer_keys(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>"))


@pytest.mark.parametrize("tokens, refused", [(2**31 - 1, False), (2**31, True), (10**12, True), (0, True)])
def test_a_context_that_llama_cpp_cannot_count_is_refused(model, tokens, refused):
    model.config.max_position_embeddings, usual = tokens, model.config.max_position_embeddings
    try:
        if refused:
            with pytest.raises(ValueError, match=rf"from 1 to 2\^31 - 1, as llama.cpp counts tokens, got {tokens}"):
                llama.keys(model.config, "F16", 320)
        else:
            assert llama.keys(model.config, "F16", 320)["llama.context_length"] == tokens
    finally:
        model.config.max_position_embeddings = usual
