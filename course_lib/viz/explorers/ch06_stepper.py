"""Chapter 06: GPTQ one column at a time: what rounding a column costs, and how those to its right make up for it."""

import functools
from dataclasses import dataclass

import numpy as np

from course_lib.viz.axis import Axis, number, plural
from course_lib.viz.controls import Choice, Slider, Steps
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

ROWS, COLUMNS = 4, 6
INPUTS = (("nothing in common", 0.0), ("something in common", 0.6), ("much in common", 0.95))
LEFT, TOP, CELL_W, CELL_H = 30, 66, 70, 40
WIDTH, HEIGHT = 760, 404


@dataclass(frozen=True)
class Stand:
    """Where the work stands after some columns: weights now, codes so far, the last step, and the output errors."""

    done: int
    bits: int
    common: float
    now: np.ndarray  # (4, 6) weights as they stand; rounded in the columns that are done
    codes: np.ndarray  # (4, 6); only the first `done` columns count
    error: np.ndarray  # (4,) what the last rounded column lost, in weights
    moved: np.ndarray  # (4, 6) how far each weight moved in the last step, its own rounding left out
    share: np.ndarray  # (6,) by how much a column moves when the last one is off by 1
    gptq: tuple  # output error in percent after 0 … 6 columns
    rtn: tuple


@functools.cache
def weights():
    """The matrix: 4 x 6 numbers of size 1, always the same."""
    return np.random.default_rng(205).standard_normal((ROWS, COLUMNS)).round(2)


@functools.cache
def curvature(common):
    """H = 2/n xᵀx of 200 tokens, (6, 6): `common` is the share of each input that all of them have in common."""
    if common == 0:
        return np.diag(np.linspace(2.6, 1.4, COLUMNS))
    dice = np.random.default_rng(3)
    own, shared = dice.standard_normal((200, COLUMNS)), dice.standard_normal((200, 1))
    x = np.sqrt(1 - common) * own + np.sqrt(common) * shared * np.array([1, 0.9, 1.1, -1, 0.8, 1])
    return 2 / len(x) * x.T @ x


def output_error(delta, common):
    """Σ d H dᵀ over the rows, in percent of the same sum for the weights themselves."""
    H, w = curvature(common), weights()
    return float(100 * np.einsum("ri,ij,rj", delta, H, delta) / np.einsum("ri,ij,rj", w, H, w))


@functools.lru_cache(maxsize=64)
def run(bits, common):
    """Every stand from 0 to 6 columns, by GPTQ without damping, marks fixed by the original rows."""
    w, top = weights(), 2 ** (bits - 1) - 1
    step = np.abs(w).max(axis=1, keepdims=True) / top  # (4, 1)
    U = np.linalg.cholesky(np.linalg.inv(curvature(common))).T  # upper, UᵀU = H⁻¹
    nearest = step * np.clip(np.round(w / step), -top, top)
    now, codes = w.copy(), np.zeros_like(w)
    error, moved, share = np.zeros(ROWS), np.zeros_like(w), np.zeros(COLUMNS)
    gptq, rtn, stands = [0.0], [0.0], []
    for i in range(COLUMNS + 1):
        stands.append((now.copy(), codes.copy(), error, moved, share))
        if i == COLUMNS:
            break
        codes[:, i] = np.clip(np.round(now[:, i] / step[:, 0]), -top, top)
        error = now[:, i] - step[:, 0] * codes[:, i]
        share = np.where(np.arange(COLUMNS) > i, -U[i] / U[i, i], 0.0)
        moved = error[:, None] * share
        now = now + moved
        now[:, i] = step[:, 0] * codes[:, i]
        gptq.append(output_error(w - now, common))
        rtn.append(output_error(np.where(np.arange(COLUMNS) <= i, w - nearest, 0.0), common))
    return [Stand(k, bits, common, *stand, tuple(gptq), tuple(rtn)) for k, stand in enumerate(stands)]


class Stepper(Explorer):
    """A 4 x 6 matrix, rounded column by column; the rest moves, and the output error of two ways is compared."""

    name = "stepper"
    controls = (
        Slider("done", "columns rounded", 0, COLUMNS, 1, 0),
        Steps("bits", "bits a weight", (("2", 2), ("3", 3), ("4", 4)), 3),
        Choice("inputs", "the inputs have", INPUTS, 0.6),
    )

    def numbers(self, done, bits, inputs):
        return run(bits, inputs)[int(done)]

    def sentence(self, s):
        if s.done == 0:
            start = f"Nothing is rounded yet, and the output is exact. At {s.bits} bits {COLUMNS} columns are waiting."
            return start + " Move the first slider one step to the right."
        largest, reach = np.abs(s.error).max(), np.abs(s.moved).max()
        lost = f"Column {s.done} is rounded: it is off by up to {number(largest, 2)}."
        left = COLUMNS - s.done
        if left == 0:
            paid = "Nobody is left to make up for that."
        elif reach < 1e-9:
            paid = "No other column moves, because its input has nothing in common with theirs."
        else:
            paid = f"The {plural(left, 'column')} to its right moved by up to {number(reach, 2)} to make up for it."
        return f"{lost} {paid} {_compared(s)}"

    def draw(self, s):
        scene = Scene(WIDTH, HEIGHT)
        _matrix(scene, s)
        _shares(scene, s)
        _race(scene, s)
        return scene


def _compared(s):
    ours, theirs = s.gptq[s.done], s.rtn[s.done]
    told = f"Output error so far: GPTQ {number(ours, 2)} %, round-to-nearest {number(theirs, 2)} %"
    if abs(ours - theirs) < 1e-9:
        return f"{told}: the same."
    times = theirs / max(ours, 1e-9)
    return f"{told}, {number(times, 2)} times as much." if times > 1.05 else f"{told}."


def _matrix(scene, s):
    """The weights as they stand: finished columns tinted with their codes, the last one framed, the others moving."""
    scene.text(LEFT, 20, "the weights as they stand", size=14, bold=True, anchor="start")
    reach = max(np.abs(s.moved).max(), 1e-9)
    for c in range(COLUMNS):
        x, finished = LEFT + c * CELL_W, c < s.done
        scene.text(x + CELL_W / 2, TOP - 26, f"column {c + 1}", size=12, bold=c == s.done - 1)
        if c >= s.done:
            state = "still free"
        else:
            state = "just rounded" if c == s.done - 1 else "rounded"
        scene.text(x + CELL_W / 2, TOP - 10, state, size=11, color="muted")
        for r in range(ROWS):
            y = TOP + r * CELL_H
            shade = 0.16 if finished else 0.42 * abs(s.moved[r, c]) / reach
            fill = "blue" if finished else "orange"
            if shade:
                scene.rect(x, y, CELL_W, CELL_H, fill=fill, opacity=shade)
            scene.rect(x, y, CELL_W, CELL_H, color="faint", line=1)
            scene.text(x + CELL_W / 2, y + 17, _plain(s.now[r, c]), size=13, bold=finished)
            scene.text(x + CELL_W / 2, y + 33, _below(s, r, c), size=11, color="muted")
    if s.done:
        scene.rect(LEFT + (s.done - 1) * CELL_W, TOP, CELL_W, ROWS * CELL_H, color="blue", line=3)


def _plain(value):
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def _below(s, r, c):
    """The small line of a cell: the code, or how far the weight has just moved."""
    if c < s.done:
        return f"code {int(s.codes[r, c])}".replace("-", "−")
    if abs(s.moved[r, c]) < 5e-3:
        return ""
    return ("▲ " if s.moved[r, c] > 0 else "▼ ") + f"{abs(s.moved[r, c]):.2f}"


def _shares(scene, s):
    """Under each column: by how much it moves when the column just rounded is off by 1."""
    middle, tall = 330, 42
    scene.text(LEFT, 258, _shares_title(s), size=14, bold=True, anchor="start")
    scene.line(LEFT, middle, LEFT + COLUMNS * CELL_W, middle, "muted", 1)
    for c in range(COLUMNS):
        x = LEFT + (c + 0.5) * CELL_W
        if not s.done or c < s.done - 1:
            continue
        if c == s.done - 1:
            scene.text(x, middle + 16, "loses 1", size=11, color="muted")
            continue
        high = tall * max(-1.0, min(1.0, s.share[c]))
        scene.rect(x - 15, min(middle, middle - high), 30, max(1.0, abs(high)), fill="orange")
        scene.text(x, middle - high + (-6 if high >= 0 else 16), _plain(s.share[c]), size=13, bold=True)


def _shares_title(s):
    if not s.done:
        return "how far the others move when a column loses 1"
    return f"for every 1 that column {s.done} loses, the others move by"


def _race(scene, s):
    """Output error after each column, both ways; beyond the columns that are done the lines are faint."""
    x0, x1 = 528, 736
    x, top = Axis(0, COLUMNS, x0, x1), max(*s.gptq, *s.rtn) * 1.12
    y = Axis(0, top, TOP + 264, TOP)
    scene.text(x0 - 30, 20, "output error so far, %", size=14, bold=True, anchor="start")
    for tick in y.ticks(4):
        scene.line(x0, y(tick), x1, y(tick), "faint", 1)
        scene.text(x0 - 7, y(tick) + 4, number(tick), size=11, color="muted", anchor="end")
    for k in range(COLUMNS + 1):
        scene.text(x(k), y.start + 18, k, size=12, color="muted", bold=k == s.done)
    scene.text((x0 + x1) / 2, y.start + 38, "columns rounded", size=12, color="muted")
    for k, (line, color, name) in enumerate(((s.rtn, "red", "round to nearest"), (s.gptq, "blue", "GPTQ"))):
        spots = [(x(n), y(v)) for n, v in enumerate(line)]
        scene.path(spots[s.done :] if s.done < COLUMNS else spots[-1:] * 2, color, 1.2, dash=(2, 4))
        scene.path(spots[: s.done + 1] if s.done else spots[:1] * 2, color, 2.6)
        for spot in [(x0 + 4 + 138 * k, TOP - 24), *spots[: s.done + 1]]:
            scene.diamond(*spot, 5, color) if color == "red" else scene.circle(*spot, 4.2, color)
        scene.text(x0 + 14 + 138 * k, TOP - 20, name, size=12, color=color, anchor="start")


def stepper(**start):
    """The explorer of chapter 06: `stepper(done=0, bits=3, inputs=0.6)`."""
    return Stepper(**start)
