"""`mine("ch04")`: the bundled model, quantized with the learner's own pieces, and one more point on their curve.

A chapter that extends the learner's quantizer has a module `chNN/mine.py` with one `RECIPE`. Pieces that are not solved
yet are the course's, and the result says so.
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from course_lib.checks import curve, namespace, pieces, render

TRY_S = 60.0  # the learner's pieces get this long for the whole model


@dataclass(frozen=True)
class Recipe:
    """How a chapter's pieces quantize one weight: `quantize(pieces, w, scheme)` returns a QTensor.

    prepare  if given, `prepare(pieces, model, scheme)` returns a copy that computes the same and is easier to round
    """

    title: str  # as in "4 bits, one scale a row"
    scheme: object  # a Scheme; mine(chapter, scheme=…) tries another
    pieces: tuple[str, ...]  # the names of the pieces that it calls
    quantize: Callable
    prepare: Callable | None = None


class Mine:
    """Call it with a chapter; `pieces()` are the learner's functions, `points()` their curve."""

    def __call__(self, chapter: str, scheme=None) -> "MineRun":
        """Quantize the bundled model with the pieces up to this chapter, measure it, show bytes, KL and exact replies.

        chapter  such as "ch01"; scheme  another Scheme than the chapter's own. Returns the run; `.figure` is my curve.
        Errors: ValueError for a chapter without a recipe.
        """
        recipe = recipe_of(chapter)
        if not isinstance(recipe, Recipe):  # chapter 11's pieces make a cache, not weights
            return recipe()
        scheme = recipe.scheme if scheme is None else scheme
        model, whose, notes = quantized(recipe, scheme, pieces.load())
        point = curve.measure(model)
        point |= {"name": chapter, "scheme": str(scheme), "own": all(w == "yours" for w in whose.values())}
        return MineRun(recipe, point, whose, [*notes, *curve.keep(point)]).show()

    def pieces(self) -> pieces.Pieces:
        """The learner's functions as attributes, the course's where there is none; `whose` says which."""
        return pieces.load()

    def points(self) -> list[dict]:
        """My curve: the latest run of each chapter and scheme."""
        return curve.points()

    def __repr__(self):
        return repr(pieces.load())


mine = Mine()


def recipe_of(chapter: str) -> Recipe:
    """The recipe of a chapter. Errors: ValueError that names the chapters which have one."""
    known = [name for name in namespace.chapters() if _has_recipe(name)]
    if chapter not in known:
        raise ValueError(f"chapter must be one of {', '.join(known)}, got {chapter!r}")
    return importlib.import_module(f"course_lib.checks.{chapter}.mine").RECIPE


def model_of(chapter: str) -> tuple:
    """(the bundled model quantized as `mine(chapter)` does, whose piece each was, notes)."""
    recipe = recipe_of(chapter)
    return quantized(recipe, recipe.scheme, pieces.load())


def _has_recipe(chapter: str) -> bool:
    package = importlib.import_module(f"course_lib.checks.{chapter}")
    return hasattr(package, "__path__") and importlib.util.find_spec(f"{package.__name__}.mine") is not None


def quantized(recipe: Recipe, scheme, own: pieces.Pieces):
    """(model, whose piece each was, notes): the bundled model, rounded with the learner's pieces if they can do it."""
    curve.base()  # loaded and measured before the clock starts: that is not the learner's time
    return pieces.tried(recipe.pieces, lambda functions: _apply(recipe, scheme, functions), TRY_S, own)


def _apply(recipe: Recipe, scheme, functions: pieces.Pieces):
    from course_lib.calibrate import quantize_model

    model = curve.base().model
    model = model if recipe.prepare is None else recipe.prepare(functions, model, scheme)
    return quantize_model(model, scheme, lambda w, s: recipe.quantize(functions, w, s), progress=False)


class MineRun(render.Sheet):
    """One run of *mine*: `point` holds its figures, `figure` is a matplotlib figure of my curve."""

    def __init__(self, recipe: Recipe, point: dict, whose: dict[str, str], notes: list[str]):
        self.recipe, self.point, self.whose, self.notes = recipe, point, whose, notes

    def show(self) -> "MineRun":
        """Display the figures and the curve; returns self."""
        render.show(self)
        if render.in_notebook():
            from course_lib import viz

            viz.show(self.figure, alt=curve.described())
        return self

    @property
    def figure(self):
        """My curve as a matplotlib figure."""
        return curve.figure()

    def rows(self) -> list[tuple[str, str]]:
        """The figures, each beside the 16-bit model's."""
        p, base = self.point, curve.base()
        return [
            ("bytes", f"{p['bytes'] / 1e6:.2f} MB (16 bits: {base.bytes / 1e6:.2f} MB)"),
            ("KL to the 16-bit model", f"{p['kl']:.4f} ± {p['kl_stderr']:.4f} nats a token"),
            ("replies exactly right", f"{p['exact']} of {p['n']} (16 bits: {base.exact} of {p['n']})"),
            *[(name, whose) for name, whose in self.whose.items()],
        ]

    def title(self) -> str:
        own = self.point["scheme"] == str(self.recipe.scheme)
        return f"Mine, {self.point['name']}: {self.recipe.title if own else self.point['scheme']}"
