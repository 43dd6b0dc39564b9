"""The file that chapter 08 begins with: a converter that forgot one thing, which no program notices."""

from course_lib.artifacts.gguf import Part, llama, write


def convert(model, tokenizer, path, permute=lambda w, heads: w):
    """Write `model` in F32 to `path`: names, keys, tokenizer and every weight are right. Returns the path.

    permute  (w, heads) -> w in the order of rows that llama.cpp expects of q and k; left out, as the converter did
    """
    config, parts = model.config, []
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for theirs, w in model.state_dict().items():
        if theirs == "lm_head.weight" and config.tie_word_embeddings:
            continue
        name = llama.gguf_name(theirs)
        role = name.split(".")[-2]
        w = permute(w.float(), heads[role]) if role in heads else w.float()
        parts.append(Part(name, tuple(w.shape), 0, lambda w=w: llama.stored(w.contiguous(), 0)))
    keys = llama.keys(config, "F32", len(tokenizer)) | llama.tokenizer_keys(tokenizer)
    return write(path, keys, parts)
