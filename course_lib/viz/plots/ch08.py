"""Plots of chapter 08: logits of two runtimes against each other, and where in a text they part."""

import numpy as np

from course_lib.viz.look import new_figure, styled
from course_lib.viz.palette import light

_LOOK = (("blue", "o"), ("red", "D"))


@styled
def agreement(ours, files, title="The same weights, the same file but for the order of some rows", most=1500):
    """One panel a file: its logits in llama.cpp over those of transformers; on the diagonal they agree.

    ours   (tokens, vocabulary) logits of transformers
    files  name -> logits of the same shape, in llama.cpp
    """
    ours = np.asarray(ours).ravel()
    some = np.random.default_rng(0).choice(len(ours), min(most, len(ours)), replace=False)
    figure, panels = new_figure(3.7, columns=len(files), sharex=True, sharey=True, squeeze=False)
    for axes, (name, theirs), (color, marker) in zip(panels[0], files.items(), _LOOK, strict=False):
        theirs = np.asarray(theirs).ravel()
        ends = [float(ours.min()), float(ours.max())]
        axes.plot(ends, ends, color=light("muted"), linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.scatter(
            ours[some], theirs[some], s=7, color=light(color), marker=marker, alpha=0.45, linewidths=0, zorder=2
        )
        axes.set_title(name, fontsize=11)
        axes.set_xlabel("logit in transformers")
    panels[0][0].set_ylabel("logit in llama.cpp")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure
