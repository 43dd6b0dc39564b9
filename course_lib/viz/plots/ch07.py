"""Plot of chapter 07: methods that round the same weights, side by side."""

from course_lib.viz.axis import number
from course_lib.viz.look import new_figure, styled
from course_lib.viz.palette import light

_LOOK = {"rtn": ("nearest", "muted", "D"), "awq": ("AWQ", "orange", "o"), "gptq": ("GPTQ", "blue", "s")}


@styled
def methods(kls, title="AWQ and GPTQ both beat the nearest mark"):
    """A few lines a setting, one a method: `kls` is {"3 bits": {"rtn": 0.30, "awq": 0.19, "gptq": 0.18}, …}."""
    figure, axes = new_figure(1.3 + 0.9 * len(kls))
    for row, found in enumerate(kls.values()):
        for k, (method, kl) in enumerate(found.items()):
            name, color, marker = _LOOK[method]
            y = row + 0.26 * (k - (len(found) - 1) / 2)
            axes.plot([0, kl], [y, y], color=light(color), linewidth=2, zorder=1)
            axes.scatter(kl, y, s=70, marker=marker, color=light(color), zorder=2)
            axes.annotate(f"{name} {number(kl, 2)}", (kl, y), (9, -4), textcoords="offset points")
    axes.set_xlim(0, 1.25 * max(max(found.values()) for found in kls.values()))
    axes.set_ylim(len(kls) - 0.5, -0.5)
    axes.set_yticks(range(len(kls)), list(kls))
    axes.set_xlabel("KL to the 16-bit model (nats)")
    axes.set_title(title)
    return figure
