"""Rotations drawn by lot: W4A4 of the bundled model with loud channels, and whether the best one stays the best.

    python benchmarks/rotations.py [--draws 16]

QuaRot's rotation of the stream, signs drawn by seed; each is judged on calibration prose, where one would choose,
and on held-out prose. Rounding to nearest, symmetric, one scale a row and one a token.
"""

from __future__ import annotations

import argparse
import statistics

import torch


def main() -> None:
    """Measure all draws on both texts and write the results."""
    from record import record

    from course_lib import Scheme, calibrate, evaluate, models
    from course_lib.calibrate.rotation import rotate_residual
    from course_lib.models.outliers import plant_outliers

    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=16)
    draws = parser.parse_args().draws
    torch.set_num_threads(1)
    model, tokenizer = models.load("bundled")
    loud = plant_outliers(model)
    chosen_on, judged_on = (
        evaluate.Reference(model, tokenizer, source("prose"), 8_000, progress=False)
        for source in (lambda d: models.texts.train(d, 40), models.texts.heldout)
    )
    int4 = Scheme.int(4)

    def kls(bot, inputs=int4):
        small = calibrate.quantize_model(bot, int4, activations=inputs, progress=False)
        return [round(reference.compare(small, progress=False).kl, 4) for reference in (chosen_on, judged_on)]

    found = [kls(rotate_residual(loud, seed=seed)) for seed in range(draws)]
    choose, judge = zip(*found, strict=True)
    best = min(range(draws), key=choose.__getitem__)
    results = {
        "loud w4a4": {
            "not rotated": kls(loud)[1],
            "least": min(judge),
            "median": round(statistics.median(judge), 4),
            "most": max(judge),
            "chosen on calibration text": judge[best],
            "all": found,
        },
        "quiet w4a4": {"not rotated": kls(model)[1], "rotated": kls(rotate_residual(model, seed=0))[1]},
        "quiet w4a16": {
            "not rotated": kls(model, None)[1],
            "rotated": kls(rotate_residual(model, seed=0), None)[1],
        },
    }
    print(results)
    record("rotations", results, draws=draws, figure="KL on held-out prose, nats a token")


if __name__ == "__main__":
    main()
