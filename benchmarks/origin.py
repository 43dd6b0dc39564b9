"""Who made it? Every layer of the bundled model by every maker, and what `course origin` says: a confusion table.

    python benchmarks/origin.py

The makers' calibration text is prose. A verdict is asked for three times: without inputs, with inputs of other prose,
and with inputs of the task, which the makers did not see. "wrong" is a maker named that it was not; "cannot tell", and
"fitted to the inputs" of what was, are neither right nor wrong.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

import torch

F16 = torch.float16
ROWS = 32  # windows of 128 tokens


def makers(model, prose):
    """(name, right verdicts, model) of every maker. AWQ with α = 0 is rounding; its clipping narrows ranges."""
    from course_lib import Scheme, calibrate
    from course_lib.artifacts import maker as m
    from course_lib.calibrate.rotation import rotate_residual
    from course_lib.formats.microscaling import scheme as mx

    by = partial(calibrate.quantize_model, progress=False)
    mse, act = (lambda w, s: calibrate.rtn(w, s, "mse")), {"act_order": True, "static_groups": True}
    for bits, symmetric in ((4, "full"), (2, False)):
        s = Scheme.int(bits, symmetric, 64, scale_dtype=F16)
        yield f"rtn {s.name}", (m.NEAREST,), by(model, s)
        yield f"mse {s.name}", (m.NARROWED,), by(model, s, mse)
        yield f"gptq {s.name}", (m.GPTQ,), by(model, s, "gptq", prose)
        yield f"gptq act-order static {s.name}", (m.ACT_ORDER,), by(model, s, "gptq", prose, **act)
        yield f"awq {s.name}", (m.SCALED, m.NEAREST, m.NARROWED), by(model, s, "awq", prose[:1], alpha_grid=8)
    s = Scheme.int(4, "full", 64, scale_dtype=F16)
    yield f"gptq act-order {s.name}", (m.ACT_ORDER,), by(model, s, "gptq", prose, act_order=True)
    yield f"gptq mse {s.name}", (m.GPTQ,), by(model, s, "gptq", prose, mse=True)
    for name in ("mxfp4", "nvfp4"):
        yield f"rtn {name}", (m.NEAREST,), by(model, mx(name))
        yield f"gptq {name}", (m.GPTQ,), by(model, mx(name), "gptq", prose)
    yield f"rotated, rtn {s.name}", (m.UNKNOWN,), by(rotate_residual(model, seed=0), s)
    trained = by(model, s, "qat", [batch[:4] for batch in prose], steps=10, rate=3e-3)
    yield f"qat {s.name}", (m.UNKNOWN, m.FITTED), trained


def main() -> None:
    """Make, ask, print and record."""
    from record import record

    from course_lib import calibrate, models
    from course_lib.artifacts.fingerprints import fingerprints
    from course_lib.artifacts.maker import FITTED, UNKNOWN, maker

    torch.set_num_threads(1)
    model, tokenizer = models.load("bundled")
    texts = {"prose": 2 * ROWS, "task": ROWS}
    batches = {text: calibrate.calibration_batches(tokenizer, text, rows, 128) for text, rows in texts.items()}
    prose, other = batches["prose"][: ROWS // 8], batches["prose"][ROWS // 8 :]
    asked = {"no inputs": None}
    for name, text in (("other prose", other), ("task", batches["task"])):
        asked[name] = calibrate.collect(model, text, progress=False)
    results = {}
    for name, right, made in makers(model, prose):
        row = results[name] = {}
        for what, stats in asked.items():
            told = Counter()
            for linear, q in made.qtensors.items():
                w, H = model.get_submodule(linear).weight.detach().float(), stats and stats[linear].H
                told[maker(fingerprints(w, q, H)).name] += 1
            less = (UNKNOWN, FITTED) if name.startswith(("gptq", "awq")) else (UNKNOWN,)  # true, and says less
            wrong = sum(n for verdict, n in told.items() if verdict not in (*right, *less))
            row[what] = {"right": sum(told[r] for r in right), "wrong": wrong, "told": dict(told.most_common())}
        said = (f"{what}: {r['right']:2} right, {r['wrong']} wrong" for what, r in row.items())
        print(f"{name:40}", "  ".join(said), flush=True)
    record("origin", results, linears=len(made.qtensors), calibration=f"{ROWS} windows of 128 tokens of prose")


if __name__ == "__main__":
    main()
