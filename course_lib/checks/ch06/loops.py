"""GPTQ's block loop with one part of it changed: the mistakes of ch06.block_loop."""

import torch


def loop(  # the reference with one part of it changed
    scale=lambda now, original, i, g: now[:, i : i + g].abs().amax(dim=1),
    begins=lambda i, start, g: i % g == 0,
    divide=lambda e, u: e / u,
    kept=None,
    clip=lambda code, qmax: torch.clip(code, -qmax, qmax),
    lost=lambda w, step, q, code: w - step * q,
    near=lambda i, end, cols: (i, end),
    lazy=lambda errors, U, start, end: errors @ U[start:end, end:],
    blocks=lambda cols, block: range(0, cols, block),
    dtype=torch.float16,
    sign=1,
    zeros=1.0,
    nearest=torch.round,
    cut=False,
    coded=lambda now, original: now,
    weighed=lambda now, original: now,
    inside=False,
    lag=False,
):
    def answer(w, U, b, g, block):
        qmax, original, w, (rows, cols) = 2 ** (b - 1) - 1, w, w.clone(), w.shape
        q, s = torch.zeros(rows, cols, dtype=torch.int8), torch.ones(rows, cols // g, dtype=dtype)
        for start in blocks(cols, block):
            end = min(start + block, cols)
            errors, stale = torch.zeros(rows, end - start), w.clone()
            for i in range(start, end):
                if begins(i, start, g):
                    top = scale(stale if lag else w, original, i, min(g, block) if cut else g)
                    s[:, i // g] = torch.where(top == 0, zeros, top / qmax)
                step = s[:, i // g].float()
                code = nearest(coded(w, original)[:, i] / step)
                q[:, i] = clip(code, qmax)
                off = lost(weighed(w, original)[:, i], step, q[:, i], code)
                lo, hi = near(i, end, cols)
                e, later = divide(off, U[i, i]), (kept or divide)(off, U[i, i])
                w[:, lo:hi] -= sign * e[:, None] * U[i, lo:hi]
                errors[:, i - start] = later
                if inside or i == end - 1:
                    w[:, end:] -= sign * lazy(errors, U, start, end)
        return q, s.half()

    return answer
