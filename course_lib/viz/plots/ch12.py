"""Plot of chapter 12: times predicted and measured."""

from course_lib.viz.axis import number
from course_lib.viz.look import new_figure, styled
from course_lib.viz.palette import light


@styled
def versions(rows, title="Predicted from bytes and instructions, and measured"):
    """µs of each version: `rows` is a list of {"version", "predicted_us", "us"}; a line joins the two."""
    figure, axes = new_figure(0.9 + 0.42 * len(rows))
    for k, row in enumerate(rows):
        axes.plot([row["predicted_us"], row["us"]], [k, k], color=light("faint"), linewidth=2, zorder=1)
        axes.scatter(row["predicted_us"], k, s=70, marker="o", facecolor=light("paper"), edgecolor=light("blue"),
                     linewidth=2, zorder=2)  # fmt: skip
        axes.scatter(row["us"], k, s=75, marker="D", color=light("red"), zorder=3)
        axes.annotate(f"{number(row['us'], 3)} µs", (max(row["us"], row["predicted_us"]), k), (11, -4),
                      textcoords="offset points")  # fmt: skip
    axes.scatter([], [], s=70, marker="o", facecolor=light("paper"), edgecolor=light("blue"), linewidth=2,
                 label="predicted")  # fmt: skip
    axes.scatter([], [], s=75, marker="D", color=light("red"), label="measured")
    axes.legend(loc="lower right", ncols=2, bbox_to_anchor=(1, 1.0), borderaxespad=0)
    axes.set_yticks(range(len(rows)), [f"version {row['version']}" for row in rows])
    top = max(max(row["us"], row["predicted_us"]) for row in rows)
    axes.set(xlim=(0, 1.2 * top), ylim=(len(rows) - 0.5, -0.5), xlabel="µs")
    axes.set_title(title, pad=24)
    return figure
