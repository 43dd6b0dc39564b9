"""Plots of recorded GPU times: how many times as fast as torch's bf16, by tokens."""

from itertools import cycle

from course_lib.kernels.measure import measured
from course_lib.viz.axis import number
from course_lib.viz.look import new_figure, styled
from course_lib.viz.palette import CYCLE, light

SHAPE = (8192, 28672)  # of the weight: an up-projection of a 70B model
_LOOKS = (("-", "o"), ("--", "s"), (":", "D"), ("-.", "^"), ((0, (4, 1, 1, 1)), "v"))
_FORMATS = {
    "w4a16-g128": 0,
    "kv_int4": 0,
    "fp8-row": 1,
    "kv_fp8": 1,
    "int8-w8a8": 2,
    "kv_int8": 2,
    "mxfp4": 3,
    "nvfp4": 4,
}


@styled
def gpu_speedup(curves, peers=(), shape=SHAPE, title="", path=None):
    """Time of torch's bf16 product over a kernel's, against tokens; below 1 the kernel is slower.

    curves: {"w4a16-g128": "INT4 weights", …}, names as `course bench kernels` writes them; peers: whose times in the
    first curve's rows are drawn as well.
    """
    figure, axes = new_figure(3.9)
    drawn = _ratios(curves, peers, shape, path)
    for (label, points), look in zip(drawn, _looks([*curves, *peers]), strict=True):
        if points:
            m, ratio = zip(*points, strict=True)
            axes.plot(m, ratio, label=f"{label}: {number(ratio[0], 2)}× at {m[0]}", **look)
    axes.axhline(1, color=light("ink"), linewidth=1.2)
    axes.set_xscale("log", base=2)
    ticks = sorted({x for _, points in drawn for x, _ in points})
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
    axes.set(title=title, xlabel="tokens at once", ylabel="times as fast as bf16")
    axes.legend(frameon=False, loc="upper right", ncols=2, fontsize="small")
    figure.supxlabel(measured.provenance(path), x=0.01, ha="left", fontsize="x-small", color=light("muted"))
    return figure


def speeds(curves, tokens=(1, 512), peers=(), shape=SHAPE, path=None):
    """The figures behind `gpu_speedup` as lines of text: how many times as fast as bf16, for these tokens at once."""
    rows = [("times bf16, by tokens", {m: str(m) for m in tokens})]
    for label, points in _ratios(curves, peers, shape, path):
        rows.append((label, {m: f"{ratio:.2f}" for m, ratio in points}))
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:{width}}" + "".join(f"{row.get(m, '–'):>8}" for m in tokens) for label, row in rows)


@styled
def gpu_attention(curves, sequences=1, title="", path=None):
    """The same for attention over a quantized cache, against the tokens in it."""
    figure, axes = new_figure(3.6)
    ticks = set()
    for (name, label), look in zip(curves.items(), _looks(curves), strict=True):
        rows = [row for row in measured.rows(name, path=path) if row["m"] == sequences]
        tokens, ratio = [r["k"] for r in rows], [r["torch_bf16_us"] / r["us"] for r in rows]
        axes.plot(tokens, ratio, label=f"{label}: {number(ratio[-1], 2)}× at {tokens[-1] // 1024}k", **look)
        ticks |= set(tokens)
    axes.axhline(1, color=light("ink"), linewidth=1.2)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(ticks), [f"{t // 1024}k" for t in sorted(ticks)])
    axes.minorticks_off()
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
    axes.set(title=title, xlabel="tokens in the cache", ylabel="times as fast as bf16")
    axes.legend(frameon=False, loc="upper right", ncols=3)
    figure.supxlabel(measured.provenance(path), x=0.01, ha="left", fontsize="x-small", color=light("muted"))
    return figure


def _looks(names):
    """Colour, line and mark of each curve: a format's are the same in every chapter, the others take what is left."""
    free = cycle([i for i in range(len(_LOOKS)) if i not in {_FORMATS.get(name) for name in names}] or [0])
    for name in names:
        index = _FORMATS[name] if name in _FORMATS else next(free)
        style, marker = _LOOKS[index]
        yield {"color": light(CYCLE[index]), "linestyle": style, "marker": marker}


def _ratios(curves, peers, shape, path):
    """[(label, points)] of the curves, then of the peers: their times lie in the first curve's rows."""
    first = measured.rows(next(iter(curves)), *shape, path=path)
    found = [(label, _points(measured.rows(name, *shape, path=path))) for name, label in curves.items()]
    return found + [(peer, _points(first, peer)) for peer in peers]


def _points(rows, peer=None):
    """[(tokens, torch's time over the kernel's)]; a peer that ran elsewhere is held against torch's time there."""
    if peer is None:
        return [(row["m"], row["torch_bf16_us"] / row["us"]) for row in rows]
    there = [row | {"us": row["peers"][peer]} for row in rows if peer in row["peers"]]
    return [(row["m"], row.get("peers_torch_us", {}).get(peer, row["torch_bf16_us"]) / row["us"]) for row in there]
