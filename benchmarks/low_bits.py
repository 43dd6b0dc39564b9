"""What the bundled model loses in the block types from 4.5 bits down, written by llama.cpp, read by the course.

    python benchmarks/low_bits.py

All matrices of the layers, the embedding left alone; importance from prose, as in chapter 09. Beside them two guesses:
`blind` gives every token the same chance, `echo` is the bot with all these matrices 0. CPU seconds of one thread: what
llama.cpp takes to get ready for a type (its tables of neighbours, which IQ1_S shares with IQ1_M), and to write 2.4
million weights.
"""

from __future__ import annotations

import copy
import time

import torch

KINDS = ("Q4_K", "IQ3_S", "Q3_K", "IQ3_XXS", "Q2_K", "IQ2_S", "IQ2_XS", "Q2_0", "IQ2_XXS", "TQ2_0", "IQ1_M", "TQ1_0",
         "IQ1_S", "Q1_0")  # fmt: skip


def main() -> None:
    from course_lib import calibrate, evaluate, models
    from course_lib.formats import ggml
    from course_lib.formats.ggml import native

    torch.set_num_threads(1)
    model, tokenizer = models.load("bundled")
    names = [name for name, _ in model.named_modules() if name.endswith("_proj")]
    batches = calibrate.calibration_batches(tokenizer, "prose", samples=8)
    stats = calibrate.collect(model, batches, hessian=False, progress=False)
    held_out = [text[:3600] for text in models.texts.heldout("prose")[:5]]
    reference = evaluate.Reference(model, tokenizer, held_out, progress=False)

    def measured(decoded) -> dict:
        bot = copy.deepcopy(model)
        for name in names:
            bot.get_submodule(name).weight.data = decoded(bot.get_submodule(name).weight.detach(), name)
        found = reference.compare(bot, progress=False)
        return {"kl": found.kl, "top1": found.top1}

    results = {}
    for kind in KINDS:
        began = time.process_time()
        native.quantize(torch.ones(1, 256), kind, torch.ones(256))
        ready = time.process_time()
        blocks = {n: native.quantize(model.get_submodule(n).weight, kind, stats[n].mean_square) for n in names}
        written = time.process_time()
        results[kind] = {"bits": ggml.block_type(kind).bits_per_weight,
                         **measured(lambda w, name, blocks=blocks, kind=kind: ggml.dequantize(blocks[name], kind)),
                         "ready_s": round(ready - began, 2), "write_s": round(written - ready, 2)}  # fmt: skip
        print(kind, results[kind], flush=True)
    results["echo"] = measured(lambda w, name: 0 * w)
    silent = copy.deepcopy(model)
    silent.model.norm.weight.data.zero_()
    results["blind"] = {"kl": reference.compare(silent, progress=False).kl}
    from record import record

    record("low_bits", results)


if __name__ == "__main__":
    main()
